"""Records that a server fails at while it takes others.

A server that fails at one document answers 502 for each request that brings it, as one does that
is down.  What tells them apart is that others are taken in between: then the request is halved
until one record is left, and that one is counted against until it is given up.

An index may be down as well, while the server takes what goes to others.  So records of the same
index are the better witnesses: others have to be taken for a longer time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relay.model.clock import Clock
from relay.model.text import counted
from relay.wire.http.answers import Fate, Verdict
from relay.wire.http.bodies import Record

FAILURES_MIN = 10
"""Before a record is given up."""
OTHERS_FACTOR = 6
"""How much longer it takes if only records of other indexes were taken."""
_INDEXES_MAX = 4096  # of which is known when they took a record last
_NO_RECORD = Record(b"")


class Item:
    """A record of a session.

    Attributes:
        number: In the queue.
        record: Empty when it is decided.
        fate: DELIVERED or REFUSED; None = not decided.
        reason: Why it was refused.
        failures: Of the server because of it alone, while it took others.
        failures_of_index: Those of them that came while it took others of the same index.
        failing_since: The first of them, in the clock's seconds.
        seen: What was taken, and what had failed, when the server failed with it last.
        is_suspect: Others were taken between two of the server's failures with it.
        in_company: Of records that were taken while it was refused.
    """

    __slots__ = (
        *("failing_since", "failures", "failures_of_index", "fate", "in_company", "is_suspect"),
        *("number", "reason", "record", "seen", "size"),
    )

    def __init__(self, number: int, record: Record) -> None:
        self.number = number
        self.record = record
        self.size = len(record.payload)
        self.fate: Fate | None = None
        self.reason = ""
        self.failures = self.failures_of_index = 0
        self.failing_since = 0.0
        self.seen: tuple[int, int] | None = None
        self.is_suspect = False
        self.in_company = False

    def decide(self, fate: Fate, reason: str, *, company: bool) -> int:
        """Note the last word on it.  Returns the bytes that it does not take any more."""
        self.fate, self.reason, self.in_company = fate, reason, company
        self.record = _NO_RECORD  # it may have to wait for others, however long
        return self.size


class Suspects:
    """The evidence of a session, and the batches that are tried apart from the others.

    A failure counts if others were taken since the one before and nothing else has failed
    meanwhile.  So neither an outage nor an overload, in which anything may fail, counts.  Nor do
    failures count of which the server says that the index is at fault.

    Args:
        seconds_min: How long a record has to fail before it is given up.

    Attributes:
        batches: To be tried again, each by itself.
        rounds: Of trials since the last one that told something new.
    """

    def __init__(self, seconds_min: float, clock: Clock) -> None:
        self.batches: list[list[Item]] = []
        self.rounds = 0
        self._seconds_min = seconds_min
        self._clock = clock
        self._taken = 0  # requests
        self._taken_of: dict[bytes, int] = {}  # their number when an index took something last
        self._failed = 0  # requests that were not under suspicion

    def took(self, indexes: Iterable[bytes]) -> None:
        """The server has taken something of a request, for `indexes`."""
        self._taken += 1
        for index in indexes:
            self._taken_of.pop(index, None)  # so the first one is the oldest
            self._taken_of[index] = self._taken
        while len(self._taken_of) > _INDEXES_MAX:
            del self._taken_of[next(iter(self._taken_of))]

    def failed(self, failing: Sequence[tuple[Item, Verdict]], *, others_taken: bool) -> bool:
        """The server has failed with records of one request.

        Args:
            failing: They, and what it says of each.
            others_taken: It has taken others of the same request.

        Returns:
            Whether it has taken others meanwhile; then the items are in `batches`, or given up.
        """
        items = [item for item, _ in failing]
        is_each = all(verdict.cause.startswith("item ") for _, verdict in failing)
        seen = self._taken - others_taken
        known = [item.seen for item in items]
        is_news = all(each is not None and each[0] < self._taken for each in known)
        is_suspected = is_news or all(item.is_suspect for item in items)
        if not is_suspected:
            self._failed += 1
        elif is_news and (is_each or len(items) == 1):
            for item, verdict in failing:
                if not verdict.is_of_index:
                    self._count(item)
        for item in items:
            item.seen, item.is_suspect = (seen, self._failed), is_suspected
        if is_suspected:
            self._keep([item for item in items if not self._is_enough(item)], is_each=is_each)
        return is_suspected

    def reason_of(self, item: Item, reason: str) -> str:
        """Why `item` is refused; empty = it is not."""
        if not self._is_enough(item):
            return ""
        seconds = self._clock.seconds() - item.failing_since
        others = "others" if item.failures_of_index >= FAILURES_MIN else "others of other indexes"
        return (
            f"{reason} ({counted(item.failures, 'time')} in {seconds:,.0f} s, {others} were taken)"
        )

    def take(self) -> list[list[Item]]:
        """The batches, which the caller tries now."""
        self.rounds += 1
        batches, self.batches = self.batches, []
        return batches

    def _count(self, item: Item) -> None:
        if item.seen is None or item.seen[1] != self._failed:
            return  # others have failed, too
        if not item.failures:
            item.failing_since = self._clock.seconds()
        item.failures += 1
        item.failures_of_index += self._taken_of.get(item.record.index, 0) > item.seen[0]

    def _is_enough(self, item: Item) -> bool:
        seconds = self._clock.seconds() - item.failing_since
        if item.failures_of_index >= FAILURES_MIN:
            return seconds >= self._seconds_min
        return item.failures >= FAILURES_MIN and seconds >= OTHERS_FACTOR * self._seconds_min

    def _keep(self, items: list[Item], *, is_each: bool) -> None:
        if is_each or len(items) < 2:
            self.batches += [items] if items else []
            return
        self.rounds = 0
        self.batches += halves(items)


def halves(batch: list[Item]) -> list[list[Item]]:
    """A batch as two; one record stays one batch."""
    middle = len(batch) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]
