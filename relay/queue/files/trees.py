"""The types of LMDB's trees, which it calls databases, for modules that do not open them.

A queue is read through LMDB's own transactions and through those of `repair/guarded.py`.  The
protocols here are what both offer; cursors of the latter also tell the size of a value without
reading it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias, TypedDict

import lmdb
from lmdb import Environment
from lmdb import _Database as Database

__all__ = ["BlockCursor", "BufferCursor", "BufferTransaction", "Cursor", "Database"]
__all__ += ["Buffer", "Environment", "Stat", "Transaction", "WriteTransaction"]

BufferCursor: TypeAlias = "lmdb.Cursor[memoryview]"
BufferTransaction: TypeAlias = "lmdb.Transaction[memoryview]"
"""With buffers: keys and values are views of the memory map."""
WriteTransaction: TypeAlias = "lmdb.Transaction[bytes]"

Buffer: TypeAlias = bytes | memoryview
"""A key or a value; a memoryview is valid until the next change, or the end of the transaction."""


class Stat(TypedDict):
    """The size of a tree."""

    psize: int
    """Size of a page in bytes."""
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int


class Cursor(Protocol):
    """The methods that move return whether there is an entry."""

    def __iter__(self) -> Iterator[tuple[Buffer, Buffer]]: ...

    def key(self) -> Buffer: ...

    def value(self) -> Buffer: ...

    def first(self) -> bool: ...

    def last(self) -> bool: ...

    def next(self) -> bool: ...

    def prev(self) -> bool: ...

    def set_range(self, key: bytes, /) -> bool: ...

    def delete(self) -> bool: ...


class BlockCursor(Cursor, Protocol):
    """A cursor that can read the beginning of a long value alone."""

    def head(self, length: int) -> tuple[int, Buffer]: ...


class Transaction(Protocol):
    """A transaction that is read from."""

    def cursor(self, db: Database | None = None) -> Cursor: ...

    def stat(self, db: Database) -> Stat: ...
