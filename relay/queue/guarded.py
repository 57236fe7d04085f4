"""LMDB's transactions and cursors, with a look at what they come near to.

As long as part of a file has not been looked at (`late_examination.py`), the store works
with these instead of LMDB's own.  Only the trees of blocks are left for later, and those
are used by cursors alone, or appended to, which concerns their last leaf.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from relay.queue.books import KEY, seq_of
from relay.queue.examination import BLOCKS, examine
from relay.queue.late_examination import KEYS_STOP, LateExamination
from relay.queue.ownership import sync_names

__all__ = ["MARK", "Guard", "GuardedCursor", "GuardedTransaction"]

MARK = "examine-fully"


class GuardedTransaction:
    """A transaction of LMDB.

    Args:
        names: The name of each tree that is looked at late, by its database.
        default: The database that `cursor` is for, where none is given.
    """

    def __init__(
        self, txn: Any, late: LateExamination, names: Mapping[Any, bytes], default: Any = None
    ) -> None:
        self._txn = txn
        self._late = late
        self._names = names
        self._default = default

    def __enter__(self) -> GuardedTransaction:
        self._txn.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._txn.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def cursor(self, db: Any = None) -> Any:
        cursor = self._txn.cursor(db=db)
        name = self._names.get(self._default if db is None else db)
        return cursor if name is None else GuardedCursor(cursor, self._late, name)


class GuardedCursor:
    """A cursor of LMDB that never comes to a leaf before somebody has looked at it."""

    def __init__(self, cursor: Any, late: LateExamination, name: bytes) -> None:
        self._cursor = cursor
        self._late = late
        self._name = name
        # Where it is, it is safe.
        self.key, self.value, self.delete = cursor.key, cursor.value, cursor.delete
        self._low, self._high = b"", b""  # keys that are safe

    def first(self) -> bool:
        self._late.ensure(self._name, 0)
        return self._came(self._cursor.first())

    def last(self) -> bool:
        self._late.ensure(self._name, KEYS_STOP - 1)
        return self._came(self._cursor.last())

    def set_range(self, key: bytes) -> bool:
        self._late.ensure(self._name, KEY.unpack(key)[0])
        return self._came(self._cursor.set_range(key))

    def next(self) -> bool:
        return self._came(self._cursor.next())

    def prev(self) -> bool:
        return self._came(self._cursor.prev())

    def _came(self, found: bool) -> bool:
        if found and not self._low <= bytes(self._cursor.key()) < self._high:
            low, high = self._late.ensure(self._name, seq_of(self._cursor.key()))
            self._low = KEY.pack(low)
            self._high = KEY.pack(high) if high < KEYS_STOP else b"\xff" * (KEY.size + 1)
        return found


class Guard:
    """What stands between the store and a file of which something was not looked at yet.

    Where damage is found, the next start has to look at everything and save what can be
    read, and a file named `MARK` tells it so.

    Args:
        path: Directory of the queue.
        fully: Look at everything on each start.
    """

    def __init__(self, path: str, *, fully: bool) -> None:
        self._mark = os.path.join(path, MARK)
        self._path = path
        self._fully = fully
        self._late: LateExamination | None = None
        self.on_damage: Callable[[str], None] = lambda problem: None
        """Called with what was found, from any thread.  The relay has to start anew."""

    def look(self, path: str) -> list[str]:
        """What is wrong with the file in `path`, as far as it is looked at now."""
        examined = examine(path, fully=self._fully or os.path.exists(self._mark))
        self._late = examined.late
        if self._late is not None:
            self._late.on_damage = self._damaged
        return examined.problems

    def settled(self) -> None:
        """The file is sound, or was replaced."""
        if os.path.exists(self._mark):
            os.unlink(self._mark)

    @property
    def is_needed(self) -> bool:
        return self._late is not None and bool(self._late.names)

    def begin(self, environment: Any, blocks: Mapping[str, Any], **options: Any) -> Any:
        """A transaction of `environment`.

        Args:
            blocks: The database of blocks of each destination.
        """
        txn = environment.begin(**options)
        if self._late is None or not self._late.names:
            return txn
        late = [name[len(BLOCKS) :].decode() for name in self._late.names]
        names = {blocks[id]: BLOCKS + id.encode() for id in late if id in blocks}
        return GuardedTransaction(txn, self._late, names, options.get("db"))

    def look_at_rest(self, environment: Any) -> None:
        """Look at everything that is left.

        Raises:
            FileDamaged: There is damage.
        """
        for name in self._late.names if self._late is not None else ():
            while self._late is not None and (seq := self._late.rest(name)) is not None:
                with environment.begin():  # so that no page is used again meanwhile
                    self._late.ensure(name, seq)

    def close(self) -> None:
        if self._late is not None:
            self._late.close()

    def _damaged(self, problem: str) -> None:
        with suppress(OSError):  # on a full disk it is found again
            os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_names(self._path)
        self.on_damage(problem)
