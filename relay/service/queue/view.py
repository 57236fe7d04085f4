"""Reads of the queue, for status, watches and commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from relay.model.clock import Reactor, WallClock
from relay.queue.admission.backpressure import Admission
from relay.queue.history.keep import Histories
from relay.queue.ledger import Ledger
from relay.queue.repair.replace import damaged_files
from relay.queue.store import QueueStore
from relay.queue.transaction import account_of_source
from relay.queue.view import TransactionView
from relay.service.exit_status import ExitStatus
from relay.transport.notices import Notices

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class QueueParts:
    """Parts of the relay that the queue's service works with."""

    histories: Histories
    """Delivered records of the destinations that keep them."""
    admission: Admission
    notices: Notices
    reactor: Reactor
    """Provides IReactorThreads."""
    wall: WallClock
    exit_status: ExitStatus
    """Of the process: it ends with 1 where the queue gives up."""


class QueueView:
    """Reads from the store between start and stop of the queue's service.

    Args:
        path: Directory of the queue.
        configured: Accounts that the configuration names; all others are orphans.
        readers: Threads that may wait for the disk.
    """

    store: QueueStore  # from the start of the service on

    def __init__(
        self, path: str, configured: Container[str], parts: QueueParts, readers: ThreadPool
    ) -> None:
        self._path = path
        self._configured = configured
        self._notices, self._reactor = parts.notices, parts.reactor
        self._readers = readers

    # Accounts, as of the last commit.

    @property
    def ledgers(self) -> Mapping[str, Ledger]:
        """All accounts, those of sources and orphans included."""
        return self.store.ledgers

    def ledger(self, queue: str) -> Ledger:
        return self.store.ledgers[queue]

    def source_ledger(self, source: str) -> Ledger | None:
        """The account of what `source` set aside, or None if it does not do that."""
        return self.store.ledgers.get(account_of_source(source))

    @property
    def orphans(self) -> list[str]:
        """Ids that have records in the queue and no destination in the configuration."""
        return sorted(
            id
            for id, ledger in self.store.ledgers.items()
            if id not in self._configured and (ledger.queued or ledger.quarantined)
        )

    # Room.

    @property
    def used_bytes(self) -> int:
        """Bytes of the file that queues and quarantines took as of the last commit."""
        return self.store.used_bytes

    @property
    def in_use_bytes(self) -> int:
        """Bytes of the file that are not free: `used_bytes`, and the histories."""
        return self.store.in_use_bytes

    @property
    def allocated_bytes(self) -> int:
        """Bytes that the file takes on the disk.  Free pages are used again; only a
        compaction gives it back."""
        try:
            return os.stat(os.path.join(self._path, "data.mdb")).st_blocks * 512
        except OSError:
            return 0

    @property
    def free_bytes(self) -> int:
        """Room for the queue: free bytes on the disk and in the file, and those
        of the histories, which leave before anybody has to wait.

        Raises:
            OSError: The file system cannot be asked.
        """
        disk = os.statvfs(self._path)
        in_file = max(0, self.allocated_bytes - self.used_bytes)
        return disk.f_bavail * disk.f_frsize + in_file

    @property
    def damaged_files(self) -> list[str]:
        """Paths of the files that were damaged when a relay was started."""
        return damaged_files(self._path)

    # Reads.

    def oldest_received_at(self, queue: str) -> float | None:
        """When the oldest queued record came in (seconds since 1970-01-01 UTC), or None."""
        return self.store.oldest_received_at(queue)

    def positions(self, source: str) -> dict[str, bytes]:
        """How far `source` has read, by name, as of the last commit; empty where damaged."""
        found = self.store.positions(source)
        damaged = sum(not position for position in found.values())
        if damaged:
            self._notices.warn(
                f"source {source}",
                "positions",
                f"how far {damaged} of {len(found)} were read is damaged: read from the beginning, "
                "so messages may come twice; look at the disk",
            )
        return found

    def sources_with_positions(self) -> list[str]:
        """The sources that have read something, whether they are configured or not."""
        return self.store.sources_with_positions()

    def look(self, query: Callable[[TransactionView], _Found]) -> Deferred[_Found]:
        """The result of `query`, in a short read transaction."""
        return self.in_reader(lambda: self.store.look(query))

    def in_reader(self, call: Callable[[], _Found]) -> Deferred[_Found]:
        """Run `call` in a thread that may wait for the disk."""
        return deferToThreadPool(self._reactor, self._readers, call)  # type: ignore[arg-type]  # zope
