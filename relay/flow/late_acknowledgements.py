"""Answers for records that left their queue while they were in flight.

A limit lets the head of a queue leave undelivered, and what is in flight lies there.  Those
records are *overtaken*: the upstream still answers for them, before it answers for anything
that is left in the queue.  Each answer moves a record from the dropped ones to the delivered
ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class LateAcknowledgements:
    """The overtaken records of one session.

    Args:
        report: Called with how many records of those dropped for a reason have arrived.

    Attributes:
        expected: Records whose answers are awaited.
    """

    def __init__(self, report: Callable[[int, str], None]) -> None:
        self.expected = 0
        self._report = report
        self._runs: deque[tuple[int, str]] = deque()  # counts and reasons, oldest first

    def expect(self, count: int, reason: str) -> None:
        """`count` records in flight have left the queue for `reason`."""
        self._runs.append((count, reason))
        self.expected += count

    def take(self, count: int) -> int:
        """The `count` oldest records in flight were acknowledged.

        Returns:
            How many of them had been overtaken.
        """
        late = 0
        while self._runs and late < count:
            taken, reason = self._pop(count - late)
            late += taken
            self._report(taken, reason)
        return late

    def refused(self) -> bool:
        """The oldest record in flight was refused.

        Returns:
            Whether it had been overtaken: then it is dropped already.
        """
        if not self._runs:
            return False
        self._pop(1)
        return True

    def forget(self) -> None:
        """The session is over: whether they have arrived will not be known."""
        self._runs.clear()
        self.expected = 0

    def _pop(self, count_max: int) -> tuple[int, str]:
        """Take off up to `count_max` of the records that were overtaken first."""
        count, reason = self._runs.popleft()
        if count > count_max:
            self._runs.appendleft((count - count_max, reason))
            count = count_max
        self.expected -= count
        return count, reason
