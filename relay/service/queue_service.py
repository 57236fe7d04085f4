"""The queue's life: when it opens and closes, and the threads that work on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.admission import Admission
from relay.queue.committer import Committer
from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger
from relay.queue.limits import QueueLimit
from relay.queue.store import QueueStore, Refusal, account_of_source
from relay.service.refusal import StartRefused
from relay.transport.notices import Notices

__all__ = ["QueueService"]

_MAP_SLACK_BYTES = 1024**3


class QueueService(Service):
    """Owns the LMDB environment and the one thread that writes to it.

    twistd calls makeService before it daemonizes, and startService after it has
    forked and changed user.  So startService is the first place that may open the
    environment, and the files belong to the right user.

    Args:
        path: Directory of the queue.
        destinations: Ids of the configured destinations.
        sources: Ids of the sources that may set frames aside.
        map_bytes: Size of the map; more if what is there already needs it.
        check_path: Raises StartRefused if `path` is no place for a queue.
        limits: Those of the destinations.
    """

    name = "queue"
    _log = Logger(namespace="relay")
    _store: QueueStore  # both exist from startService on
    _committer: Committer

    def __init__(
        self,
        *,
        path: str,
        destinations: Iterable[str],
        sources: Iterable[str] = (),
        map_bytes: int,
        admission: Admission,
        notices: Notices,
        reactor: Any,
        check_path: Callable[[str], None],
        limits: Iterable[QueueLimit] = (),
    ) -> None:
        self._path = path
        self._destinations = tuple(destinations)
        self._sources = tuple(sources)
        self._accounts = {*self._destinations, *map(account_of_source, self._sources)}
        self._map_bytes = map_bytes
        self._admission = admission
        self._notices = notices
        self._reactor = reactor
        self._check_path = check_path
        self._limits = {limit.destination: limit for limit in limits}
        self._subscribers: dict[str, Callable[[int], None]] = {}
        self._evicted_subscribers: dict[str, Callable[[int, str], None]] = {}
        self._writer = ThreadPool(minthreads=1, maxthreads=1, name="queue-writer")
        self._readers = ThreadPool(minthreads=1, maxthreads=2, name="queue-reader")

    def startService(self) -> None:
        Service.startService(self)
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            self._check_path(self._path)
            self._store = QueueStore.open(
                self._path,
                destinations=self._destinations,
                sources=self._sources,
                # After a limit was lowered there may be more than fits: that has to leave.
                map_bytes=max(self._map_bytes, self.allocated_bytes + _MAP_SLACK_BYTES),
            )
        except QueueError as error:
            raise StartRefused(str(error)) from error
        except OSError as error:
            raise StartRefused(f"state_dir {os.path.dirname(self._path)}: {error}") from error
        self._writer.start()
        self._readers.start()
        self._committer = Committer(
            self._store,
            run_in_thread=partial(deferToThreadPool, self._reactor, self._writer),
            clock=self._reactor,
            admission=self._admission,
            on_stored=self._stored,
            on_failure=self._failed,
            limits=self._limits.values(),
            on_evicted=self._evicted,
        )

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._flush_and_close())

    async def _flush_and_close(self) -> None:
        await self._committer.close()
        self._writer.stop()
        self._readers.stop()
        self._store.close()

    # What the flows use.

    def append(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Deferred[None]:
        """Store payloads by destination; fires once they are on disk."""
        return self._committer.append(payloads, refusals, positions, drops)

    def positions(self, source: str) -> dict[str, bytes]:
        """How far `source` has read, by name, as of the last commit."""
        return self._store.positions(source)

    def acknowledge(self, destination: str, upto: int) -> None:
        self._committer.acknowledge(destination, upto)

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        self._committer.acknowledge_late(destination, count, reason)

    def expire(self, destination: str, received_before: float) -> None:
        """Let the records leave that came in before (seconds since 1970 UTC)."""
        self._committer.expire(destination, received_before)

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        self._committer.set_aside(destination, seqs, reason)

    def cursor(self, destination: str) -> Cursor:
        """A new cursor at the head of the queue of `destination`."""
        return Cursor(
            self._store,
            destination,
            position=self.ledger(destination).acknowledged_seq,
            run_in_thread=partial(deferToThreadPool, self._reactor, self._readers),
        )

    def subscribe(
        self,
        destination: str,
        stored: Callable[[int], None],
        evicted: Callable[[int, str], None] = lambda upto, reason: None,
    ) -> None:
        """Have `stored` called with the next seq after each commit for `destination`.

        Args:
            evicted: Called when the records before a seq have left undelivered, with the
                reason.
        """
        self._subscribers[destination] = stored
        self._evicted_subscribers[destination] = evicted

    # What status asks.

    def ledger(self, destination: str) -> Ledger:
        """The account as of the last commit."""
        return self._store.ledgers[destination]

    def source_ledger(self, source: str) -> Ledger | None:
        """The account of what `source` set aside, or None if it does not do that."""
        return self._store.ledgers.get(account_of_source(source))

    @property
    def orphans(self) -> list[str]:
        """Ids that have records in the queue and no destination in the configuration."""
        return sorted(
            destination
            for destination, ledger in self._store.ledgers.items()
            if destination not in self._accounts and (ledger.queued or ledger.quarantined)
        )

    def limit(self, destination: str) -> QueueLimit | None:
        return self._limits.get(destination)

    @property
    def used_bytes(self) -> int:
        """Octets of the file that queues and quarantines took as of the last commit."""
        return self._store.used_bytes

    @property
    def allocated_bytes(self) -> int:
        """Octets that the file takes on the disk.  It never shrinks; what is free in it
        is used again."""
        try:
            return os.stat(os.path.join(self._path, "data.mdb")).st_blocks * 512
        except FileNotFoundError:
            return 0

    @property
    def free_bytes(self) -> int:
        """Room for the queue: what is free on the disk and in the file.

        Raises:
            OSError: The file system cannot be asked.
        """
        disk = os.statvfs(self._path)
        in_file = max(0, self.allocated_bytes - self.used_bytes)
        return disk.f_bavail * disk.f_frsize + in_file

    def oldest_received_at(self, destination: str) -> float | None:
        """When the oldest queued record came in, or None (seconds since 1970 UTC)."""
        return self._store.oldest_received_at(destination)

    def _stored(self, destination: str, next_seq: int) -> None:
        subscriber = self._subscribers.get(destination)
        if subscriber is not None:
            subscriber(next_seq)

    def _evicted(self, destination: str, upto: int, count: int, reason: str) -> None:
        subscriber = self._evicted_subscribers.get(destination)
        if subscriber is not None:
            subscriber(upto, reason)
        limit = self._limits.get(destination)
        if limit is not None:
            limit.dropped(count, reason)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, QueueError):
            self._notices.warn(
                "queue",
                "commit",
                f"{self._path}: {error}; senders are kept waiting and it is tried again every "
                "second; if the disk is full, make room on it",
            )
            return
        # A defect.  Without commits nothing works any more; whoever supervises the
        # process starts it again, and the queue is whole.
        self._log.critical("queue: {error!r}: stopping", error=error)
        self._reactor.stop()
