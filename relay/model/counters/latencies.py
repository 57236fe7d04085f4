"""How long the records of a queue wait, by positions and times instead of a time per record."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from relay.model.counters.histogram import Histogram, added_up
from relay.model.text import Document

_MARKS_MAX = 1024


class PositionTimes:
    """When a position of a queue was passed, until another position catches up with it.

    Memory is bounded: above 1,024 marks, two neighbours become one with the earlier time, so a
    latency is rather reported too long than too short.

    Args:
        start: The position from which on records are timed.
    """

    def __init__(self, start: int) -> None:
        self._marks: deque[tuple[int, float]] = deque()  # end of a run of records, and its time
        self._reached = start

    def __len__(self) -> int:
        return len(self._marks)

    def note(self, upto: int, now: float) -> None:
        """The records before `upto` passed the first position at `now`, unless they had before."""
        if upto > (self._marks[-1][0] if self._marks else self._reached):
            self._marks.append((upto, now))
            if len(self._marks) > _MARKS_MAX:
                self._thin()

    def reached(self, upto: int, now: float, histogram: Histogram) -> None:
        """The records before `upto` pass the second position; count how long that took."""
        marks = self._marks
        while marks and self._reached < upto:
            stop, at = marks[0]
            part = min(stop, upto)
            if part > self._reached:
                histogram.observe(max(0.0, now - at), part - self._reached)
                self._reached = part
            if part == stop:
                marks.popleft()
        self._reached = max(self._reached, upto)

    def skip(self, upto: int) -> None:
        """The records before `upto` are gone by other ways, and not timed."""
        while self._marks and self._marks[0][0] <= upto:
            self._marks.popleft()
        self._reached = max(self._reached, upto)

    def begin(self, at: int) -> None:
        """Forget everything; the records from `at` on are timed."""
        self._marks.clear()
        self._reached = at

    def _thin(self) -> None:
        marks = list(self._marks)
        pairs = zip(marks[::2], marks[1::2], strict=False)
        thinned = [(later[0], earlier[1]) for earlier, later in pairs]
        self._marks = deque(thinned + marks[2 * len(thinned) :])


class Latencies:
    """The three stages of a queue's records, in seconds.

    Records that were on disk before the process started are timed only from being sent on.

    Args:
        end: The position behind the newest record on disk.
        seconds: The time, on a clock that is never set.

    Attributes:
        stored_to_sent: From being on disk until they are handed to a session the first time.
        sent_to_acknowledged: Through the session that they were acknowledged in.
        stored_to_acknowledged: Repeats included.
    """

    def __init__(self, end: int, *, seconds: Callable[[], float]) -> None:
        self.stored_to_sent = Histogram()
        self.sent_to_acknowledged = Histogram()
        self.stored_to_acknowledged = Histogram()
        self._seconds = seconds
        self._unsent = PositionTimes(end)
        self._unacknowledged = PositionTimes(end)
        self._in_flight = PositionTimes(end)

    def stored(self, upto: int) -> None:
        now = self._seconds()
        self._unsent.note(upto, now)
        self._unacknowledged.note(upto, now)

    def session_begins(self, at: int) -> None:
        """A session will be sent the records from `at` on."""
        self._in_flight.begin(at)

    def sent(self, upto: int) -> None:
        now = self._seconds()
        self._unsent.reached(upto, now, self.stored_to_sent)
        self._in_flight.note(upto, now)

    def acknowledged(self, upto: int) -> None:
        now = self._seconds()
        self._in_flight.reached(upto, now, self.sent_to_acknowledged)
        self._unacknowledged.reached(upto, now, self.stored_to_acknowledged)

    def left(self, upto: int) -> None:
        """The records before `upto` have left the queue undelivered."""
        for each in (self._unsent, self._unacknowledged, self._in_flight):
            each.skip(upto)


def latencies_report(all_of: Sequence[Latencies]) -> Document:
    """The histograms of one or more queues together, by stage."""
    return {
        stage: added_up([getattr(each, stage) for each in all_of]).report()
        for stage in ("stored_to_sent", "sent_to_acknowledged", "stored_to_acknowledged")
    }
