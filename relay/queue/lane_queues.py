"""Destinations with two queues: which of the two takes what comes.

One of them has the id of the destination, the other that of `account_of_lane`.  They
change places, so which is the newer one is stored: as a position, in the transaction of
the first record that goes there, or in an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.model.errors import QueueError
from relay.queue.admission.limits import QueueLimit
from relay.queue.changes import Changes
from relay.queue.committer import Committer
from relay.queue.inspect.commands import Adopt
from relay.queue.store import QueueStore
from relay.queue.transaction import account_of_lane

LANES = "/lanes"
"""Where those positions are; no source's id contains a slash."""


class LaneQueues:
    """The second queues of a store.

    Args:
        limits: Those of the destinations, by id.
    """

    def __init__(
        self, store: QueueStore, committer: Committer, limits: Mapping[str, QueueLimit]
    ) -> None:
        self._store = store
        self._committer = committer
        self._limits = limits

    def of(self, destination: str) -> tuple[str, str]:
        """The two queues of `destination`, the older one first."""
        lane = account_of_lane(destination)
        newer = self._store.positions(LANES).get(destination, b"").decode("utf-8", "replace")
        if newer not in (destination, lane):  # there is no such position, or it was damaged
            newer = lane if self._store.ledgers[lane].queued else destination
        return (destination, lane) if newer == lane else (lane, destination)

    def direct(self, destination: str, *, older: str, newer: str) -> None:
        """Put what comes for `destination` into its queue `newer` from now on."""
        self._committer.entrances[destination] = newer
        limit = self._limits.get(destination)
        if limit is not None:
            limit.queues = (older, newer)
        # Should the relay stop before that is stored, nothing that comes later is either.
        stored = self._committer.append({}, positions={f"{LANES}/{destination}": newer.encode()})
        stored.addErrback(_passed_over)

    def settle(self, queue: str, *, start: int) -> Deferred[None]:
        """Fires once no record of `queue` before `start` is on disk any more.

        Fails with QueueError if some cannot leave.
        """
        # An acknowledgement waits a while for an append to be removed with.
        self._committer.start_removing()
        # Between two commands removals are committed, even where the disk has no room for
        # what comes: that must not hold up the caller.
        settled = self._committer.operate(_Nothing())
        settled.addCallback(lambda _: self._committer.operate(_Nothing()))
        return settled.addCallback(lambda _: self._check_begins(queue, start))

    def move(self, queue: str, *, to: str, upto: int) -> Deferred[int]:
        """Move some of the oldest records of `queue`, up to before `upto`, to the end of `to`.

        Fires with where `queue` begins then, once on disk.  Fails with QueueError.
        """
        moved = self._committer.operate(Adopt(queue, to, upto=upto))
        return moved.addCallback(lambda _: self._store.ledgers[queue].acknowledged_seq)

    def _check_begins(self, queue: str, start: int) -> None:
        begins = self._store.ledgers[queue].acknowledged_seq
        if begins < start:
            raise QueueError(
                f"queue of {queue}: it begins with record {begins} on disk, and the ones before "
                f"{start} have been acknowledged"
            )


class _Nothing:
    """A command that changes nothing."""

    def apply(self, changes: Changes) -> None:
        pass


def _passed_over(failure: Failure) -> None:
    failure.trap(QueueError)
