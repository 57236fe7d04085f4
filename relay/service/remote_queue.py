"""The queue as the drain process sees it: it reads, and asks for every change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.committer import RunInThread
from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger
from relay.queue.lineage import Lineage
from relay.service.drain_messages import (
    Acknowledged,
    AcknowledgedLate,
    Heard,
    KeepLineage,
    Report,
    SetAside,
    Task,
)

__all__ = ["Readable", "RemoteQueue"]


class Readable(Protocol):
    """The store that is opened beside its owner."""

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]: ...

    def close(self) -> None: ...


class RemoteQueue:
    """What the service of a destination uses of `QueueService`, by messages.

    Args:
        open_store: Opens the queue, given the size of its map.
        tell: Sends a message to the main process.
        run_in_thread: Where the queue is read.
    """

    def __init__(
        self,
        *,
        open_store: Callable[[int], Readable],
        tell: Callable[[Report], None],
        run_in_thread: RunInThread,
    ) -> None:
        self._open_store = open_store
        self._tell = tell
        self._run_in_thread = run_in_thread
        self._store: Readable | None = None
        self._reading = 0  # in the threads
        self._to_close: Deferred[None] | None = None  # when nothing is read any more
        self._opened: list[Deferred[None]] = []  # reads that wait until it is open again
        self._tasks: dict[str, Task] = {}
        self._keeping: dict[str, Deferred[None]] = {}
        self._stored: dict[str, Callable[[int], None]] = {}
        self._evicted: dict[str, Callable[[int, str], None]] = {}

    # What the main process orders.

    def take_up(self, map_bytes: int) -> None:
        """Open the queue, first or again.

        Raises:
            QueueError: It cannot be opened.
        """
        assert self._store is None
        self._store = self._open_store(map_bytes)
        waiting, self._opened = self._opened, []
        for opened in waiting:
            opened.callback(None)

    def let_go(self) -> Deferred[None]:
        """Close the queue; fires when that is done.  Reads wait until it is open again."""
        closed: Deferred[None] = Deferred()
        self._to_close = closed
        self._close_if_unread()
        return closed

    def give(self, task: Task, id: str) -> None:
        """What is known of the destination `id`."""
        self._tasks[id] = task

    def stored(self, id: str, upto: int) -> None:
        self._stored[id](upto)

    def evicted(self, id: str, upto: int, reason: str) -> None:
        self._evicted[id](upto, reason)
        self._tell(Heard(id, upto))

    def lineage_kept(self, id: str, error: str) -> None:
        kept = self._keeping.pop(id)
        if error:
            kept.errback(QueueError(error))
        else:
            kept.callback(None)

    # What destinations use.

    def ledger(self, destination: str) -> Ledger:
        """The account, as far as a drain needs it."""
        task = self._tasks[destination]
        return Ledger(next_seq=task.stored, acknowledged_seq=task.acknowledged)

    def cursor(self, destination: str) -> Cursor:
        return Cursor(
            self,
            destination,
            position=self._tasks[destination].acknowledged,
            run_in_thread=self._read_in_thread,
        )

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        """As `QueueStore.read`; for cursors, in their thread."""
        assert self._store is not None
        return self._store.read(
            destination, start=start, records_max=records_max, bytes_max=bytes_max
        )

    def lineage(self, destination: str) -> Lineage | None:
        return Lineage.decode(self._tasks[destination].lineage)

    def keep_lineage(self, destination: str, lineage: Lineage) -> Deferred[None]:
        kept: Deferred[None] = Deferred()
        self._keeping[destination] = kept
        self._tell(KeepLineage(destination, lineage.encode()))
        return kept

    def subscribe(
        self,
        destination: str,
        stored: Callable[[int], None],
        evicted: Callable[[int, str], None],
    ) -> None:
        self._stored[destination] = stored
        self._evicted[destination] = evicted

    def acknowledge(self, destination: str, upto: int) -> None:
        self._tell(Acknowledged(destination, upto))

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        self._tell(AcknowledgedLate(destination, count, reason))

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        self._tell(SetAside(destination, seqs.start, seqs.stop, reason))

    # Reading.

    def _read_in_thread(self, read: Callable[[], Any]) -> Deferred[Any]:
        if self._store is not None and self._to_close is None:
            return self._begin_read(None, read)
        opened: Deferred[None] = Deferred()
        self._opened.append(opened)
        return opened.addCallback(self._begin_read, read)

    def _begin_read(self, _: None, read: Callable[[], Any]) -> Deferred[Any]:
        self._reading += 1
        return self._run_in_thread(read).addBoth(self._end_read)

    def _end_read(self, result: Any) -> Any:
        self._reading -= 1
        self._close_if_unread()
        return result

    def _close_if_unread(self) -> None:
        if self._to_close is None or self._reading:
            return
        closed, self._to_close = self._to_close, None
        if self._store is not None:
            self._store.close()
            self._store = None
        closed.callback(None)
