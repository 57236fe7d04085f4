"""Read values from the queue's file with reads that can fail, not through LMDB's memory map.

A sector that cannot be read is SIGBUS in a memory map, and the end of the process, again
at each start.  A plain read of it is an error.  So LMDB says where a value lies, and it is
read from the file's descriptor; both see the same page cache.  A value that is put in a transaction
is not in the file yet; LMDB returns it until the commit.

The position of a value is in its node, which also has its key (see `repair/pages.py`):

    size u16 u16 · flags u16 · size of the key u16 · key · value, or the first of its pages

A cursor of a transaction with buffers gives the key as a view of exactly that memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from relay.codec import node_of
from relay.queue.files.trees import BufferCursor, Environment

_PAGE_HEADER_BYTES = 16
_SECTOR_BYTES = 4096  # that are read at once when it is about what can be read at all
_TRIES, _PAUSE_SECONDS = 3, 0.5  # an error of the disk may pass


class Unreadable(bytes):
    """The readable part of a value; the rest is zeros.

    Attributes:
        reason: Why that is not all, for people.
    """

    reason: str


class FileValues:
    """The values in the file of an LMDB environment.

    Args:
        path: Directory of the file.
        page_size: LMDB's, in bytes.
        read_at: As `os.pread`.
        pause: Waits so many seconds before another try, in the thread of the reader.
    """

    def __init__(
        self,
        path: str,
        page_size: int,
        *,
        read_at: Callable[[int, int, int], bytes] = os.pread,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fd = os.open(os.path.join(path, "data.mdb"), os.O_RDONLY | os.O_CLOEXEC)
        self._page_size = page_size
        self._read_at, self._pause = read_at, pause
        self._unreadable: set[int] = set()  # pages that were tried often enough

    @classmethod
    def of(cls, environment: Environment) -> FileValues:
        """Those of the environment that has just been opened."""
        return cls(environment.path(), environment.stat()["psize"])

    def close(self) -> None:
        os.close(self._fd)

    def value(self, cursor: BufferCursor) -> bytes:
        """The value at the cursor, from the file; an `Unreadable` if it cannot be read."""
        size, page = node_of(cursor.key())
        return self._read(page, size) if page else bytes(cursor.value())

    def head(self, cursor: BufferCursor, length: int) -> tuple[int, bytes]:
        """The size of what the cursor is on, and its first bytes, `length` at most."""
        size, page = node_of(cursor.key())
        if not page:
            return size, bytes(cursor.value()[:length])
        return size, self._read(page, min(size, length))

    def why_not_deleted(self, cursor: BufferCursor) -> str:
        """Why LMDB cannot delete what the cursor is on, whose first page it reads; or nothing."""
        _, page = node_of(cursor.key())
        found = self._read(page, 1) if page else b""
        return f"page {page}: {found.reason}" if isinstance(found, Unreadable) else ""

    def _read(self, page: int, size: int) -> bytes:
        offset = page * self._page_size + _PAGE_HEADER_BYTES
        tries = 1 if page in self._unreadable else _TRIES
        for left in reversed(range(tries)):
            try:
                value = self._read_at(self._fd, size, offset)
            except OSError as error:
                reason = error.strerror or str(error)
                if left:
                    self._pause(_PAUSE_SECONDS)
            else:
                if len(value) == size:
                    return value
                reason = "the file ends before it"
                break
        self._unreadable.add(page)  # so that the next read of it does not pause again
        return self._rest(page, size, reason)

    def _rest(self, page: int, size: int, reason: str) -> Unreadable:
        """As much of a value as can be read."""
        start = page * self._page_size
        parts = []
        for offset in range(start, start + _PAGE_HEADER_BYTES + size, _SECTOR_BYTES):
            try:
                part = self._read_at(self._fd, _SECTOR_BYTES, offset)
            except OSError:
                part = b""
            parts.append(part.ljust(_SECTOR_BYTES, b"\0"))
        stop = _PAGE_HEADER_BYTES + size
        value = Unreadable(b"".join(parts)[_PAGE_HEADER_BYTES:stop])
        value.reason = reason
        return value
