"""An LMDB environment with its databases, which stays open until its last reader is done.

Compaction puts another environment in the place of the one in use.  Readers on their way
go on in the old one, which is closed after the last of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from relay.queue.files.trees import Database, Environment
from relay.queue.files.values import FileValues
from relay.queue.repair.guarded import Guard, GuardedTransaction
from relay.queue.transaction import is_of_source

_KINDS = (b"blocks/", b"quarantine/", b"history/")


class Handles:
    """An environment, the handles of its databases, and the number of its readers.

    Args:
        environment: LMDB's.
        guard: Stands before pages that were not verified yet; None = all were.

    Attributes:
        blocks: The database of blocks of each destination.
        quarantine: The quarantine of each account.
        history: The delivered records that each destination keeps.
    """

    def __init__(self, environment: Environment, guard: Guard | None = None) -> None:
        self.environment = environment
        self.guard = guard or Guard("", fully=True)
        self._values = FileValues.of(environment)
        self.meta = environment.open_db(b"meta")
        self.positions = environment.open_db(b"positions")
        self._by_kind: dict[bytes, dict[str, Database]] = {kind: {} for kind in _KINDS}
        self.blocks, self.quarantine, self.history = self._by_kind.values()
        self._lock = threading.Lock()  # readers are in threads of their own
        self._readers = 0
        self._is_left = False

    def open_account(self, id: str) -> None:
        """Open the databases of the account `id`, or make them; a source has no blocks.

        Readers in other threads keep the databases that they have begun with.
        """
        blocks, quarantine, _ = _KINDS
        if not is_of_source(id):
            self._open(blocks, id)
        self._open(quarantine, id)
        self.blocks, self.quarantine = self._by_kind[blocks], self._by_kind[quarantine]

    def _open(self, kind: bytes, id: str) -> None:
        opened = self.environment.open_db(kind + id.encode())
        self._by_kind[kind] = {**self._by_kind[kind], id: opened}

    def like(self, environment: Environment) -> Handles:
        """Handles of the same databases in another environment, which has all of them."""
        handles = Handles(environment, self.guard.renewed())
        for kind, ours in self._by_kind.items():
            for id in ours:
                handles._by_kind[kind][id] = environment.open_db(kind + id.encode(), create=False)
        return handles

    def databases(self) -> dict[bytes, Database]:
        """All of them by name; in the thread that writes."""
        with self.environment.begin() as txn:
            names = [bytes(name) for name in txn.cursor().iternext(values=False)]
        ours = {b"meta": self.meta, b"positions": self.positions}
        for kind, databases in self._by_kind.items():
            ours |= {kind + id.encode(): db for id, db in databases.items()}
        others = {name for name in names if name not in ours}
        return ours | {name: self.environment.open_db(name, create=False) for name in others}

    def begin(self, *, write: bool = False) -> GuardedTransaction:
        """A transaction that verifies pages before LMDB reads them, and reads values itself."""
        txn = self.environment.begin(buffers=True, write=write)
        return GuardedTransaction(txn, self._values, self.guard, self.blocks)

    def enter(self) -> bool:
        """Begin to read.  False: it has been left, and the store has another one."""
        with self._lock:
            if self._is_left:
                return False
            self._readers += 1
            return True

    @contextmanager
    def transaction(self) -> Iterator[GuardedTransaction]:
        """The read transaction of a reader that has entered; its end is the end of the reading."""
        try:
            with self.begin() as txn:
                yield txn
        finally:
            with self._lock:
                self._readers -= 1
                is_over = self._is_left and not self._readers
            if is_over:
                self._close()

    def leave(self) -> None:
        """Admit no more readers, and close when the last one is done."""
        with self._lock:
            self._is_left = True
            is_over = not self._readers
        if is_over:
            self._close()

    def _close(self) -> None:
        self.environment.close()
        self.guard.close()
        self._values.close()
