"""A little time between commits, so that a stream of messages shares them.

A commit costs as much for one message as for thirty: at 5,000 messages a second, with commits
as fast as the disk takes them, two thirds of the CPU time of a message, and most of what is
written to the disk.  So the next one begins no sooner than `seconds` after the last one began,
unless there is enough for it already.

Hazard: who waits for an answer before he sends more is slowed down by that, and nobody
gains.  So nothing waits after a commit of a single message; nor when all who were answered by
the last commit have sent more, because then nobody is left to wait for.  Who sends more before
the answer is a stream, whose messages share commits.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

from twisted.internet.defer import Deferred

from relay.model.clock import Clock, DelayedCall

__all__ = ["CommitDelay"]


class CommitDelay:
    """Knows when the next commit may begin.

    Args:
        seconds: From one beginning to the next; 0 = whenever the disk is ready.
        records_enough: What need not wait for more.
    """

    def __init__(self, *, clock: Clock, seconds: float = 0.0, records_enough: int = 32) -> None:
        self._clock = clock
        self._seconds = seconds
        self._records_enough = records_enough
        self._records = 0  # that wait for the next commit
        self._senders: set[Hashable] = set()  # of those, as far as they wait for answers
        self._only_senders = True
        self._awaited: set[Hashable] | None = set()  # of the last commit; None = others too
        self._is_under_way = False  # a commit, of whose messages none is answered yet
        self._next_at = 0.0
        self._waiting: Deferred[None] | None = None
        self._call: DelayedCall | None = None

    def begin(self) -> None:
        """A commit takes what there is."""
        shared, self._records = self._records > 1, 0
        self._awaited = self._senders if self._only_senders else None
        self._senders, self._only_senders = set(), True
        self._next_at = self._clock.seconds() + self._seconds if shared else 0.0
        self._is_under_way = True

    def stored(self) -> None:
        """That commit is on disk; those who wait for its answers are about to get them."""
        self._is_under_way = False

    def came(self, records: int, senders: Collection[Hashable] = ()) -> None:
        """So many more wait for the next commit, and `senders` for the answer."""
        self._records += records
        if not senders:
            self._only_senders = False
        elif self._is_under_way and self._awaited and not self._awaited.isdisjoint(senders):
            # They send on without their answers, and so do not wait for them.
            self._only_senders, self._awaited = False, None
        else:
            self._senders.update(senders)
            if self._awaited:
                self._awaited.difference_update(senders)
        if self._is_enough():
            self.end()

    def wait(self) -> Deferred[None] | None:
        """Fires when the next commit may begin; None = now."""
        left = self._next_at - self._clock.seconds()
        # Should somebody set the clock back, a commit is not late for that.
        if not 0 < left <= self._seconds or self._is_enough():
            return None
        self._waiting = Deferred()
        self._call = self._clock.callLater(left, self.end)
        return self._waiting

    def end(self) -> None:
        """Wait no longer."""
        waiting, self._waiting = self._waiting, None
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        if waiting is not None:
            waiting.callback(None)

    def _is_enough(self) -> bool:
        return self._records >= self._records_enough or self._awaited == set()
