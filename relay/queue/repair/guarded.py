"""Transactions and cursors of LMDB that read nothing which would end the process.

Values are read from the file (`files/values.py`).  While part of the file has not been verified
(`repair/verify_lazily.py`), cursors verify the pages that they come near to before LMDB reads them.
Only the trees of blocks are left for later, and those are used by cursors alone, or appended to,
which concerns their last leaf.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress

from relay.model.errors import QueueFormatError
from relay.queue.block import KEY, seq_of
from relay.queue.files.ownership import sync_names
from relay.queue.files.trees import (
    Buffer,
    BufferCursor,
    BufferTransaction,
    Database,
    Environment,
    Stat,
)
from relay.queue.files.values import FileValues
from relay.queue.repair.verify import BLOCKS, verify
from relay.queue.repair.verify_lazily import KEYS_STOP, FileDamaged, LazyVerification

MARK = "examine-fully"
_FIRST, _LAST = KEY.pack(0), KEY.pack(KEYS_STOP - 1)
_BEYOND = _LAST + b"\0"


class GuardedTransaction:
    """A transaction of LMDB, with buffers.

    Args:
        values: Reads the values of the file.
        guard: Knows the parts that were not verified yet, and is told of damage.
        blocks: The database of blocks of each destination.
    """

    def __init__(
        self,
        txn: BufferTransaction,
        values: FileValues,
        guard: Guard,
        blocks: Mapping[str, Database],
    ) -> None:
        self.values = values
        self.guard = guard
        self._txn = txn
        self._lazy = guard.lazy
        self._names: dict[Database | None, bytes] = {}  # of the trees that are verified lazily
        for name in self._lazy.names if self._lazy is not None else ():
            if (id := name[len(BLOCKS) :].decode()) in blocks:
                self._names[blocks[id]] = name
        self._new: dict[Database | None, set[bytes]] = {}  # keys that were put

    def __enter__(self) -> GuardedTransaction:
        self._txn.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._txn.__exit__(*error)

    def stat(self, db: Database) -> Stat:
        return self._txn.stat(db)

    def cursor(self, db: Database | None = None) -> GuardedCursor:
        name = self._names.get(db)
        new = self._new.setdefault(db, set())
        lazy = None if name is None else self._lazy
        return GuardedCursor(self, self._txn.cursor(db=db), lazy, name or b"", new)

    def get(self, key: bytes, db: Database | None = None) -> Buffer | None:
        cursor = self.cursor(db)
        return cursor.value() if cursor.set_key(key) else None

    def put(self, key: bytes, value: Buffer, *, db: Database, append: bool = False) -> bool:
        self._new.setdefault(db, set()).add(bytes(key))
        return self._txn.put(key, value, db=db, append=append)

    def delete(self, key: bytes, db: Database) -> bool:
        cursor = self.cursor(db)
        return cursor.set_key(key) and cursor.delete()


class GuardedCursor:
    """A cursor of LMDB that reads values from the file, and reaches only leaves that were verified.

    Args:
        name: Of the tree that `lazy` verifies.
        new: Keys whose values are not in the file yet: those LMDB itself returns.
    """

    def __init__(
        self,
        txn: GuardedTransaction,
        cursor: BufferCursor,
        lazy: LazyVerification | None,
        name: bytes,
        new: Collection[bytes],
    ) -> None:
        self._txn = txn
        self._cursor = cursor
        self._values = txn.values
        self._lazy = lazy
        self._name = name
        self._new = new
        self.key = cursor.key
        self._low, self._high = b"", b""  # keys that are safe

    def value(self) -> Buffer:
        return self._cursor.value() if self._is_new else self._values.value(self._cursor)

    def head(self, length: int) -> tuple[int, Buffer]:
        """The size of the value, and its first bytes."""
        if self._is_new:
            value = self._cursor.value()
            return len(value), value[:length]
        return self._values.head(self._cursor, length)

    def delete(self) -> bool:
        """Raises FileDamaged if LMDB could not read the page of the value, as it has to."""
        trouble = "" if self._is_new else self._values.why_not_deleted(self._cursor)
        if trouble:
            self._txn.guard.damaged(trouble)
            raise FileDamaged(f"the queue's file is damaged: {trouble}")
        return self._cursor.delete()

    def set_key(self, key: bytes) -> bool:
        self._approach(key)
        return self._cursor.set_key(key)

    def __iter__(self) -> Iterator[tuple[memoryview, Buffer]]:
        found = self.first()
        while found:
            yield self.key(), self.value()
            found = self.next()

    @property
    def _is_new(self) -> bool:
        return bool(self._new) and bytes(self._cursor.key()) in self._new

    def first(self) -> bool:
        self._approach(_FIRST)
        return self._came(self._cursor.first())

    def last(self) -> bool:
        self._approach(_LAST)
        return self._came(self._cursor.last())

    def set_range(self, key: bytes) -> bool:
        self._approach(key)
        return self._came(self._cursor.set_range(key))

    def next(self) -> bool:
        return self._came(self._cursor.next())

    def prev(self) -> bool:
        return self._came(self._cursor.prev())

    def _came(self, found: bool) -> bool:
        if found and self._lazy is not None:
            self._approach(bytes(self._cursor.key()))
        return found

    def _approach(self, key: bytes) -> None:
        if self._lazy is not None and not self._low <= key < self._high:
            low, high = self._lazy.ensure(self._name, seq_of(key))
            self._low = KEY.pack(low)
            self._high = KEY.pack(high) if high < KEYS_STOP else _BEYOND


class Guard:
    """Stands between the store and a file that has not been verified completely.

    Where damage is found, the next start has to verify everything and salvage what can be
    read: a file named `MARK` tells it so.

    Args:
        path: Directory of the queue.
        fully: Verify everything on each start.
    """

    def __init__(self, path: str, *, fully: bool) -> None:
        self._mark = os.path.join(path, MARK)
        self._path = path
        self._fully = fully
        self.lazy: LazyVerification | None = None
        self.on_damage: Callable[[str], None] = lambda problem: None
        """Called with the damage that was found, from any thread.  The relay has to restart."""

    def verify(self, path: str, *, pages_only: bool = False) -> list[str]:
        """The problems of the file in `path`, as far as it is verified now."""
        fully = not pages_only and (self._fully or os.path.exists(self._mark))
        verified = verify(path, fully=fully, pages_only=pages_only)
        self.lazy = verified.lazy
        if self.lazy is not None:
            self.lazy.on_damage = self.damaged
        return verified.problems

    def require_sound(self, path: str) -> None:
        """Make sure that LMDB may read the file in `path`, for a read-only look.

        Raises:
            QueueFormatError: It may not.
        """
        if problems := self.verify(path, pages_only=True):
            raise QueueFormatError(
                f"queue {path}: data.mdb is damaged, or not an LMDB file ({problems[0]}); "
                "start the relay, which puts it aside and goes on with what can be read of it"
            )

    def settled(self) -> None:
        """The file is sound, or was replaced."""
        if os.path.exists(self._mark):
            os.unlink(self._mark)

    def renewed(self) -> Guard:
        """The guard of a file that takes the place of this one and needs no verification."""
        guard = Guard(self._path, fully=self._fully)
        guard.on_damage = lambda problem: self.on_damage(problem)
        return guard

    def verify_rest(self, environment: Environment) -> None:
        """Verify everything that is left.

        Raises:
            FileDamaged: There is damage.
        """
        lazy = self.lazy
        for name in lazy.names if lazy is not None else ():
            while lazy is not None and (seq := lazy.rest(name)) is not None:
                with environment.begin():  # so that no page is used again meanwhile
                    lazy.ensure(name, seq)

    def close(self) -> None:
        if self.lazy is not None:
            self.lazy.close()

    def damaged(self, problem: str) -> None:
        """Have the next start verify everything, and the relay restart."""
        if not self._path:
            return  # opened read-only: there is no relay to restart
        with suppress(OSError):  # on a full disk it is found again
            os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_names(self._path)
        self.on_damage(problem)
