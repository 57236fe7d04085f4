"""How much of a backlog to send at a time: a window that finds its size, and a rate.

A window that is too small leaves a long line idle; one that is too large repeats more
than it has to when a session is lost.  So it begins small with every session, which
also spares a receiver that has just come back, and doubles as long as that makes
records go through faster, the way TCP's slow start does.
"""

from __future__ import annotations

from typing import Protocol

from relay.flow.refusals import Refusals
from relay.model.clock import Clock
from relay.model.output import SizeLimit
from relay.model.policy import DrainRate

BATCH_RECORDS_MAX = 8192
"""Most records in one batch; see `pump.BATCH_BYTES_MAX`."""
START_RECORDS = 256
"""Size of a window at the beginning of a session."""

_FASTER = 1.1  # by this factor, or a larger window is not worth it
_TRY_AGAIN_ROUNDS = 16  # after this many, lines change
_LIVE_SECONDS = 10.0  # over which the live rate is averaged
_LIVE_RECORDS_MIN = 100.0  # per second: a multiple of nothing would never end
_BURST_SECONDS = 0.1


class Window:
    """How many records may be on their way without an answer.

    Args:
        records_max: It grows no further.
    """

    def __init__(self, *, records_max: int, clock: Clock) -> None:
        self._records_max = records_max
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """A session begins."""
        self.records = min(START_RECORDS, self._records_max)
        self._was_full = False
        self._round_records = 0  # answered since the round began
        self._round_began = self._clock.seconds()
        self._best_rate = 0.0
        self._rounds_at_size = 0

    def room(self, in_flight: int) -> int:
        """How many more may be sent now."""
        room = self.records - in_flight
        if room <= 0:
            self._was_full = True
        return max(0, room)

    def answered(self, count: int) -> None:
        """The upstream has answered for `count` records.

        A round is over when a window's worth of them has been.
        """
        self._round_records += count
        if self._round_records < self.records:
            return
        now = self._clock.seconds()
        seconds = now - self._round_began
        rate = self._round_records / seconds if seconds > 0 else float("inf")
        self._rounds_at_size += 1
        limits = self._was_full and self.records < self._records_max
        if limits and (
            rate > self._best_rate * _FASTER or self._rounds_at_size > _TRY_AGAIN_ROUNDS
        ):
            self.records = min(2 * self.records, self._records_max)
            self._best_rate = rate
            self._rounds_at_size = 0
        self._was_full = False
        self._round_records = 0
        self._round_began = now


class Pacing(Protocol):
    """What a drain asks before it sends: a `Pace`, or the `Share` of a lane (`shares.py`)."""

    def came_in(self, records: int) -> None: ...

    def seconds_to_wait(self) -> float: ...

    def room(self, records: int) -> int: ...

    def bytes_max(self, size: int) -> int: ...

    def sent(self, records: int, size: int) -> None: ...


class Pace:
    """Keeps to a `DrainRate`: two token buckets, of bytes and of records.

    Both may go into debt by one batch, which is then waited for.
    """

    def __init__(self, rate: DrainRate, *, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._bytes = 0.0
        self._records = 0.0
        self._filled_at = clock.seconds()
        self._live_rate = 0.0  # records per second, averaged
        self._live_at = clock.seconds()

    def came_in(self, records: int) -> None:
        """`records` more have been stored for the destination."""
        now = self._clock.seconds()
        elapsed = now - self._live_at
        self._live_at = now
        # An average in which what was a time ago counts less and less.
        share = min(1.0, elapsed / _LIVE_SECONDS)
        self._live_rate = self._live_rate * (1 - share) + records / _LIVE_SECONDS

    def seconds_to_wait(self) -> float:
        """How long to wait before more may be sent; 0 = not at all."""
        self._fill()
        waits = [0.0]
        if self._rate.bytes_per_second and self._bytes <= 0:
            waits.append(-self._bytes / self._rate.bytes_per_second + _BURST_SECONDS)
        if self._rate.live_multiple and self._records <= 0:
            waits.append(-self._records / self._records_per_second + _BURST_SECONDS)
        return max(waits)

    def room(self, records: int) -> int:
        """How many of `records` to send in one go, when there is nothing to wait for."""
        if not self._rate.live_multiple:
            return records
        return max(1, min(records, int(self._records_per_second * _BURST_SECONDS)))

    def bytes_max(self, size: int) -> int:
        """How many of `size` bytes to send in one go."""
        if not self._rate.bytes_per_second:
            return size
        return max(1, min(size, int(self._rate.bytes_per_second * _BURST_SECONDS)))

    def sent(self, records: int, size: int) -> None:
        """So much was sent."""
        self._records -= records
        self._bytes -= size

    @property
    def _records_per_second(self) -> float:
        since = self._clock.seconds() - self._live_at
        live = self._live_rate * max(0.0, 1 - since / _LIVE_SECONDS)
        return self._rate.live_multiple * max(live, _LIVE_RECORDS_MIN)

    def _fill(self) -> None:
        now = self._clock.seconds()
        elapsed, self._filled_at = now - self._filled_at, now
        most = self._rate.bytes_per_second * _BURST_SECONDS
        self._bytes = min(most, self._bytes + elapsed * self._rate.bytes_per_second)
        if self._rate.live_multiple:
            per_second = self._records_per_second
            most = per_second * _BURST_SECONDS
            self._records = min(most, self._records + elapsed * per_second)


class Allowance:
    """Asks the window, the pace and what the upstream has refused.

    Args:
        refusals: What the upstream has refused, whichever of its drains sent it.
        window: How many records may be in flight; None = what the session takes.
        pace: How fast to send; None = as fast as possible.
        limit: The longest payloads to send; others are set aside.  None = all.
    """

    def __init__(
        self,
        refusals: Refusals,
        *,
        window: Window | None = None,
        pace: Pacing | None = None,
        limit: SizeLimit | None = None,
    ) -> None:
        self.refusals = refusals
        self.limit = limit
        self.window = window
        self.pace = pace

    def room(self, room: int, *, in_flight: int) -> int:
        """How many records to send now, of as many as the session has room for."""
        room = min(room, BATCH_RECORDS_MAX)
        if self.refusals.is_held:
            # One by one, to see whether it takes any: more would come to nothing, or, to a
            # receiver that has just come back, would be sent twice.
            room = min(room, 1 - min(1, in_flight))
        if self.window is not None:
            room = min(room, self.window.room(in_flight))
        if self.pace is not None and room > 0:
            room = self.pace.room(room)
        return room
