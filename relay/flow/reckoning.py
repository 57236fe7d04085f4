"""What a drain in another process says, and what left the queue before it could know.

A limit lets the head of a queue leave in a commit, and a drain in this process is told
within the same turn of the reactor.  One in another process goes on acknowledging by the
old head until it has heard:

    here     ── records 1 to 100 leave as too-old ─────────────▶ told: evicted(101)
    there    ── answers for 1 to 40 come: acknowledged(41) ──▶ heard here, too late

Those 40 are counted as dropped by now, and have arrived all the same.  So what is heard
is compared with what had left: the part that had is late (it moves from the dropped
records to the delivered ones), the rest is acknowledged.  Both sides' words keep their
order, so an acknowledgement from below the new head was said before the drain knew.
"""

from __future__ import annotations

from collections import deque

from relay.model.seq import SeqRange

__all__ = ["Reckoning"]


class Reckoning:
    """Where the drain of one destination is, as far as it has said.

    Args:
        head: The oldest record that is not acknowledged, or the next one.
    """

    def __init__(self, head: int) -> None:
        self._head = head
        self._left: deque[tuple[int, int, str]] = deque()
        """Start, stop and reason of what left and the drain has not heard of."""

    @property
    def head(self) -> int:
        """The oldest record that it has to deliver, or the next one."""
        return max(self._head, self._left[-1][1]) if self._left else self._head

    def begin(self) -> int:
        """A new drain begins, at the head that is returned; the one before says no more."""
        self._head = self.head
        self._left.clear()
        return self._head

    def evicted(self, upto: int, reason: str) -> None:
        """The records before `upto` have left; the drain will be told."""
        start = self.head
        if upto <= start:
            return
        if self._left and self._left[-1][2] == reason:
            start = self._left.pop()[0]
        self._left.append((start, upto, reason))

    def acknowledged(self, upto: int) -> list[tuple[int, str]]:
        """The drain has acknowledged the records before `upto`.

        Returns:
            How many of those that it had not before had left under which reason.
        """
        late = []
        for start, stop, reason in self._left:
            count = min(stop, upto) - max(start, self._head)
            if count > 0:
                late.append((count, reason))
        self.heard(upto)
        return late

    def set_aside(self, seqs: SeqRange) -> SeqRange | None:
        """The drain wants `seqs` set aside; returns what of them is still there."""
        gone = self._left[-1][1] if self._left else 0
        self.heard(seqs.stop)
        return SeqRange(max(seqs.start, gone), seqs.stop) if seqs.stop > gone else None

    def heard(self, upto: int) -> None:
        """The drain knows that the records before `upto` have left."""
        self._head = max(self._head, upto)
        while self._left and self._left[0][1] <= self._head:
            self._left.popleft()
