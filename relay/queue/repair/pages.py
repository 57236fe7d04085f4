"""Read an LMDB file without LMDB, and find damage in it.

LMDB trusts its pages.  One flipped bit can make it read beyond the map (the process
dies of SIGSEGV or SIGBUS), stop in an assertion, or take a page for free that is in use.
So the file is verified before LMDB reads it: every page that can be reached from
the two meta pages, and the list of free pages.  Nothing here can be made to crash.

The layout is that of LMDB 0.9 on a 64-bit machine, numbers in the machine's own order:

    page    0 number u64 · 8 unused u16 · 10 kind u16 · 12 lower u16 · 14 upper u16
            16 … lower: place of each node, u16      upper … end: the nodes
            a run of overflow pages has its length (u32) where lower and upper are
    node    0 size or page u32 · 4 flags u16 · 6 size of the key u16 · 8 key, value
    meta    16 magic u32 · 20 version u32 · 40 tree of free pages · 88 tree of names
            136 last page u64 · 144 number of the transaction u64
    tree    0 size of a page u32 · 4 flags u16 · 6 depth u16 · 8 branch, leaf and
            overflow pages, entries, root page: u64 each

A commit never writes over what the one before it needs, so there are two snapshots of
everything: the newest, and the one before.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

META_PAGES = 2
_HEADER = struct.Struct("=QHHHH")
_OVERFLOW = struct.Struct("=QHHI")
_NODE = struct.Struct("=HHHH")
_META = struct.Struct("=IIQQ48s48sQQ")
_TREE = struct.Struct("=IHHQQQQQ")
_PAGE_NUMBER = struct.Struct("=Q")

_MAGIC, _VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, _OVERFLOWN, _META_KIND = 1, 2, 4, 8
_BIG, _SUBTREE = 1, 2
_INTEGER_KEYS = 8
NO_PAGE = 2**64 - 1
_KEY_BYTES_MAX = 511
_DEPTH_MAX = 32
_FIRST_NUMBERS = 3  # transactions that may have had no page to give back
_READS_MAX = 100
_UNWRITTEN_BYTES_MAX = 2**30  # pages at the end that one transaction took and gave back


class Damage(Exception):
    """A page that is not there, cannot be read, or is not what it has to be; the text says how."""


class Tree(NamedTuple):
    page_size: int
    """Of the tree of free pages; 0 in all others here."""
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class Snapshot(NamedTuple):
    """The trees that one transaction left."""

    number: int
    free: Tree
    names: Tree
    last_page: int


class Entry(NamedTuple):
    key: bytes
    is_subtree: bool
    offset: int
    """Of the value, in the file."""
    size: int


@dataclass(slots=True)
class Audit:
    """The pages and problems that were found on the way through one snapshot."""

    pages: bytearray
    """1 for each page that is in use."""
    problems: list[str] = field(default_factory=list)
    values_only_before: int = 0
    """Of a snapshot later than the one that was marked: its pages; only values are held against
    the marks."""

    def take(self, number: int, count: int, *, is_value: bool) -> None:
        """Note that `count` pages from `number` on are in use, for a value or for a tree."""
        stop = number + count
        is_marked = is_value or not self.values_only_before
        pages_stop = len(self.pages) if is_marked else self.values_only_before
        if number < META_PAGES or stop > pages_stop:
            raise Damage("it is not in the file")
        if is_marked:
            if 1 in self.pages[number:stop]:
                raise Damage("it is used twice")
            self.pages[number:stop] = b"\1" * count


class PageFile:
    """An LMDB file, read with plain reads.

    Attributes:
        problems: Damage of the meta pages.
        size: Of the file, in bytes, when the meta pages were read.
        snapshots: Those whose meta page makes sense, the newest first.
        page_size: In bytes.
    """

    def __init__(self, fd: int) -> None:
        self.problems: list[str] = []
        self.snapshots: list[Snapshot] = []
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self.page_size = 0
        metas = [self._meta(0), None]
        sizes = [self.page_size] if self.page_size else [2**power for power in range(9, 17)]
        for size in sizes:
            if metas[1] is None:
                metas[1] = self._meta(1, size)
        self.snapshots = [meta for meta in metas if meta is not None]
        self.snapshots.sort(key=lambda meta: -meta.number)
        self.page_size = self.page_size or mmap.PAGESIZE  # LMDB's choice for a new file
        self._judge_metas(metas)

    def newest(self) -> Snapshot:
        """The newest snapshot now, while the relay writes to the file.

        Raises:
            Damage: There is none.
        """
        size = self.page_size
        before: list[Snapshot | None] = []
        for _ in range(_READS_MAX):  # one may fall into a write
            self.size = os.fstat(self._fd).st_size
            try:
                metas = [self._meta(0, size), self._meta(1, size)]
            except OSError as error:
                raise Damage(f"the meta pages cannot be read: {error.strerror}") from error
            if metas == before:
                break
            before = metas
        found = [meta for meta in metas if meta is not None]
        if not found:
            raise Damage("neither meta page makes sense")
        return max(found, key=lambda meta: meta.number)

    def audit(self, snapshot: Snapshot) -> Audit:
        """An audit of the pages of `snapshot`, none of which is marked yet."""
        return Audit(bytearray(max(snapshot.last_page + 1, META_PAGES)))

    def value(self, entry: Entry) -> bytes:
        """The value of `entry`; empty if it cannot be read."""
        try:
            return os.pread(self._fd, entry.size, entry.offset)
        except OSError:
            return b""

    def read(self, size: int, offset: int) -> bytes:
        """Exactly `size` bytes."""
        try:
            found = os.pread(self._fd, size, offset)
        except OSError as error:
            raise Damage(f"it cannot be read: {error.strerror}") from error
        if len(found) < size:
            raise Damage("it is not in the file")
        return found

    def will_need(self, numbers: list[int]) -> None:
        """Have the system read the pages `numbers` ahead."""
        for number in numbers:
            offset = number * self.page_size
            os.posix_fadvise(self._fd, offset, self.page_size, os.POSIX_FADV_WILLNEED)

    def tree(self, entry: Entry) -> Tree | None:
        """The tree that a name stands for, or None if it is none."""
        value = self.value(entry)
        if not entry.is_subtree or len(value) != _TREE.size:
            return None
        return Tree(*_TREE.unpack(value))

    def walk(self, tree: Tree, name: str, audit: Audit) -> Iterator[Entry]:
        """All entries of `tree` that can be read, in order; the rest is in `audit.problems`."""
        walk = Walk(self, name, audit, is_sorted_by_number=bool(tree.flags & _INTEGER_KEYS))
        before = len(audit.problems)
        if tree.root != NO_PAGE:
            yield from walk.entries_below(tree.root, tree.depth)
        found = (walk.branch_pages, walk.leaf_pages, walk.overflow_pages, walk.entries)
        if len(audit.problems) == before and found != tree[3:7]:
            audit.problems.append(f"{name}: there is {found} in it, it says {tree[3:7]}")

    def check_free(self, snapshot: Snapshot, audit: Audit) -> None:
        """After everything else: no page is both free and in use."""
        for entry in self.walk(snapshot.free, "free pages", audit):
            value = self.value(entry)
            numbers = struct.unpack(f"={len(value) // 8}Q", value[: len(value) // 8 * 8])
            if len(value) % 8 or not numbers or numbers[0] != len(numbers) - 1:
                audit.problems.append("free pages: a list has the wrong length")
                continue
            if _take_free(audit.pages, numbers[1:]):
                continue
            for number, above in zip(numbers[1:], (NO_PAGE, *numbers[1:]), strict=False):
                if not META_PAGES <= number < min(above, len(audit.pages)):
                    audit.problems.append(f"free pages: page {number} is out of place")
                elif audit.pages[number]:
                    audit.problems.append(f"free pages: page {number} is in use")
                else:
                    audit.pages[number] = 1

    def lost_snapshots(self) -> Iterator[Snapshot]:
        """Pages that look like the tree of names of a snapshot, wherever they lie in the file.

        For when a meta page is gone.  Such a page may be from long ago, and the pages below
        it may have been written over since.
        """
        pages = self.size // self.page_size
        nothing = Tree(self.page_size, _INTEGER_KEYS, 0, 0, 0, 0, 0, NO_PAGE)
        for number in range(META_PAGES, pages):
            if self._begins_with_name(number):
                names = Tree(0, 0, 1, 0, 1, 0, 0, number)
                snapshot = Snapshot(0, nothing, names, pages - 1)
                audit = self.audit(snapshot)
                entries = list(self.walk(names, "", audit))
                if entries and all(entry.is_subtree for entry in entries):
                    names = names._replace(entries=len(entries))
                    yield snapshot._replace(names=names)

    def _begins_with_name(self, number: int) -> bool:
        try:
            page = self.read(self.page_size, number * self.page_size)
        except Damage:
            return False
        found, _, kind, _, _ = _HEADER.unpack_from(page)
        if (found, kind) != (number, LEAF):
            return False
        place = int.from_bytes(page[_HEADER.size : _HEADER.size + 2], sys.byteorder)
        return page[place + 4 : place + 6] == _SUBTREE.to_bytes(2, sys.byteorder)

    def _meta(self, number: int, page_size: int = 0) -> Snapshot | None:
        page = os.pread(self._fd, _HEADER.size + _META.size, number * page_size)
        if len(page) < _HEADER.size + _META.size:
            return None
        page_number, _, kind, _, _ = _HEADER.unpack_from(page)
        magic, version, _, _, free, names, last, transaction = _META.unpack_from(page, _HEADER.size)
        if (page_number, kind, magic, version) != (number, _META_KIND, _MAGIC, _VERSION):
            return None
        snapshot = Snapshot(
            transaction, Tree(*_TREE.unpack(free)), Tree(*_TREE.unpack(names)), last
        )
        size = snapshot.free.page_size
        if (
            size not in (2**power for power in range(9, 17))
            or page_size not in (0, size)
            or snapshot.free.flags != _INTEGER_KEYS
            or snapshot.names.flags
            or snapshot.names.page_size
            or last * size > self.size + _UNWRITTEN_BYTES_MAX
            or (transaction & 1 != number and transaction)
        ):
            return None
        self.page_size = size
        return snapshot

    def _judge_metas(self, metas: list[Snapshot | None]) -> None:
        for number, meta in enumerate(metas):
            if meta is None:
                self.problems.append(f"meta page {number} makes no sense")
        if len(self.snapshots) == META_PAGES:
            newest, before = self.snapshots
            if newest.number - before.number != 1 and newest.number:
                # Which of them was changed cannot be told.
                self.problems.append(
                    f"the meta pages are of transactions {before.number} and {newest.number}"
                )
        for snapshot in self.snapshots:
            freed = self._freed_last(snapshot)
            if snapshot.number > _FIRST_NUMBERS and freed not in (None, snapshot.number):
                self.problems.append(
                    f"a meta page says transaction {snapshot.number}, its pages are of {freed}"
                )
        if self.problems:
            self.snapshots.sort(key=lambda each: -(self._freed_last(each) or each.number))

    def _freed_last(self, snapshot: Snapshot) -> int | None:
        """Number of the last transaction that gave pages back; every one does."""
        number = None
        for entry in self.walk(snapshot.free, "", self.audit(snapshot)):
            number = int.from_bytes(entry.key, sys.byteorder)
        return number


@dataclass(slots=True)
class Walk:
    """The way through one tree: checks each page that it comes to, and counts them."""

    file: PageFile
    name: str
    """Of the tree, for the problems."""
    audit: Audit
    is_sorted_by_number: bool = False
    branch_pages: int = 0
    leaf_pages: int = 0
    overflow_pages: int = 0
    entries: int = 0

    def entries_below(
        self, number: int, levels: int, low: bytes | None = None, high: bytes | None = None
    ) -> Iterator[Entry]:
        """Entries at and below the page `number`, whose keys are from `low` on and below `high`."""
        try:
            if not 1 <= levels <= _DEPTH_MAX:
                raise Damage("it is too deep")
            page = self.page(number, BRANCH if levels > 1 else LEAF)
            if levels == 1:
                self.leaf_pages += 1
                entries = self.leaf(page, number)
                self.check_order([entry.key for entry in entries], low, high)
                self.entries += len(entries)
            else:
                self.branch_pages += 1
                children = self.branch(page)
                self.check_order([key for _, key in children[1:]], low, high)
        except Damage as damage:
            self.audit.problems.append(f"{self.name}: page {number}: {damage}")
            return
        if levels == 1:
            yield from entries
            return
        stops = [*(key for _, key in children[1:]), high]
        for (child, key), stop in zip(children, stops, strict=True):
            yield from self.entries_below(child, levels - 1, key or low, stop)

    def page(self, number: int, wanted: int) -> bytes:
        """The page `number`, which has to be of the kind `wanted`."""
        self._take(number, 1)
        page = self.file.read(self.file.page_size, number * self.file.page_size)
        found, _, kind, _, _ = _HEADER.unpack_from(page)
        if (found, kind) != (number, wanted):
            raise Damage(f"its number is {found}, its kind {kind}, expected {wanted}")
        return page

    def _take(self, number: int, count: int, *, is_value: bool = False) -> None:
        if (number + count) * self.file.page_size > self.file.size:
            raise Damage("it is not in the file")
        self.audit.take(number, count, is_value=is_value)

    def _places(self, page: bytes) -> tuple[tuple[int, ...], int]:
        _, _, _, lower, upper = _HEADER.unpack_from(page)
        if not _HEADER.size < lower <= upper <= self.file.page_size or lower & 1:
            raise Damage(f"its bounds are {lower} and {upper}")
        count = (lower - _HEADER.size) // 2
        places = struct.unpack_from(f"={count}H", page, _HEADER.size)
        if min(places) < upper or max(places) + _NODE.size > self.file.page_size:
            raise Damage("a node is out of bounds")
        if len(set(places)) != count:
            raise Damage("two nodes are in one place")
        return places, self.file.page_size - upper

    def leaf(self, page: bytes, number: int, *, values: bool = True) -> list[Entry]:
        """The entries of a leaf; those with damaged values are left out, and noted in the audit.

        Args:
            values: Look at values on pages of their own, too.
        """
        places, room = self._places(page)
        entries = []
        for place in places:
            low, high, flags, key_size = _NODE.unpack_from(page, place)
            size = low | high << 16
            value_at = place + _NODE.size + key_size
            stop = value_at + (_PAGE_NUMBER.size if flags == _BIG else size)
            if not 1 <= key_size <= _KEY_BYTES_MAX or stop > self.file.page_size:
                raise Damage("a node is too long")
            if flags not in (0, _BIG, _SUBTREE):
                raise Damage(f"a node has flags {flags}")
            room -= (stop - place + 1) & ~1
            offset: int | None = number * self.file.page_size + value_at
            if flags == _BIG:
                (first,) = _PAGE_NUMBER.unpack_from(page, value_at)
                offset = self._overflow(first, size, look=values)
            if offset is not None:
                key = page[place + _NODE.size : value_at]
                entries.append(Entry(key, flags == _SUBTREE, offset, size))
        if room:
            raise Damage(f"{room} bytes are left between its nodes")
        return entries

    def _overflow(self, number: int, size: int, *, look: bool) -> int | None:
        """Where the value on the pages from `number` on begins; None if they are damaged."""
        count = (_HEADER.size - 1 + size) // self.file.page_size + 1
        try:
            if look:
                self._take(number, count, is_value=True)
                header = self.file.read(_OVERFLOW.size, number * self.file.page_size)
                found, _, kind, length = _OVERFLOW.unpack(header)
                if (found, kind, length) != (number, _OVERFLOWN, count):
                    raise Damage(f"its number is {found}, its kind {kind}, its length {length}")
        except Damage as damage:
            self.audit.problems.append(f"{self.name}: page {number}: {damage}")
            return None
        self.overflow_pages += count
        return number * self.file.page_size + _HEADER.size

    def branch(self, page: bytes) -> list[tuple[int, bytes]]:
        """The numbers of the pages below, each with its first key; that of the first is empty."""
        places, room = self._places(page)
        if len(places) < 2:
            raise Damage("it has one branch only")
        children = []
        for index, place in enumerate(places):
            low, high, highest, key_size = _NODE.unpack_from(page, place)
            stop = place + _NODE.size + key_size
            if key_size > _KEY_BYTES_MAX or (index and not key_size) or stop > self.file.page_size:
                raise Damage("a node is too long")
            room -= (stop - place + 1) & ~1
            key = page[place + _NODE.size : stop] if index else b""
            children.append((low | high << 16 | highest << 32, key))
        if room:
            raise Damage(f"{room} bytes are left between its nodes")
        return children

    def check_order(self, keys: list[bytes], low: bytes | None, high: bytes | None) -> None:
        """Make sure that `keys` are in order, from `low` on and below `high`."""
        if self.is_sorted_by_number and sys.byteorder == "little":
            keys = [key[::-1] for key in keys]
            low, high = low and low[::-1], high and high[::-1]
        if not keys:
            return
        if any(one >= after for one, after in pairwise(keys)):
            raise Damage("its keys are not in order")
        if (low and keys[0] < low) or (high and keys[-1] >= high):
            raise Damage("its keys are not where they belong")


def _take_free(pages: bytearray, numbers: tuple[int, ...]) -> bool:
    """Mark `numbers` if they are in order and not in use; otherwise leave it to a closer look."""
    if not numbers:
        return True
    if numbers[-1] < META_PAGES or numbers[0] >= len(pages):
        return False
    if list(numbers) != sorted(set(numbers), reverse=True):
        return False
    if any(map(pages.__getitem__, numbers)):
        return False
    for number in numbers:
        pages[number] = 1
    return True
