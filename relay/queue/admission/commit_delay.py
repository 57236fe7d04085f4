"""A delay between commits, so that a stream of messages shares them.

A commit costs as much for one message as for thirty: at 5,000 messages a second, with commits
as fast as the disk takes them, it is two thirds of the CPU time of a message, and most of the
bytes written to the disk.  So the next commit begins no sooner than `seconds` after the last one
began, unless enough messages wait already.

Hazard: the delay slows down senders that wait for each answer, and nobody gains.  So there is no
delay after a commit of a single message, nor once every sender that the last commit answered has
sent more, because then there is nobody left to wait for.  A sender that sends on before its answer
is a stream, whose messages share commits.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

from twisted.internet.defer import Deferred

from relay.model.clock import Clock, DelayedCall


class CommitDelay:
    """Decides when the next commit may begin.

    Args:
        seconds: From one beginning to the next; 0 = whenever the disk is ready.
        records_enough: Records that begin a commit at once.

    Attributes:
        seconds: As given; may be changed at any time.
    """

    def __init__(self, *, clock: Clock, seconds: float = 0.0, records_enough: int = 32) -> None:
        self.seconds = seconds
        self._clock = clock
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
        """A commit begins and takes everything that waits."""
        shared, self._records = self._records > 1, 0
        self._awaited = self._senders if self._only_senders else None
        self._senders, self._only_senders = set(), True
        self._next_at = self._clock.seconds() + self.seconds if shared else 0.0
        self._is_under_way = True

    def stored(self) -> None:
        """That commit is on disk, and its senders are about to be answered."""
        self._is_under_way = False

    def add(self, records: int, senders: Collection[Hashable] = ()) -> None:
        """`records` more wait for the next commit, and `senders` for its answer."""
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
        # A clock that is set back must not hold up a commit.
        if not 0 < left <= self.seconds or self._is_enough():
            return None
        self._waiting = Deferred()
        self._call = self._clock.callLater(left, self.end)
        return self._waiting

    def end(self) -> None:
        """End the wait that is under way."""
        waiting, self._waiting = self._waiting, None
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        if waiting is not None:
            waiting.callback(None)

    def _is_enough(self) -> bool:
        return self._records >= self._records_enough or self._awaited == set()
