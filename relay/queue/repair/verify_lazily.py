"""Verify a long queue lazily: each part before LMDB reads it.

Millions of records that arrived one by one fill millions of leaves, and reading them all
takes longer than a start may take; so do the first pages of a hundred thousand large
values.  Of such a queue the start reads the branches, which are hundreds
of times fewer: they say which pages are leaves, and between which numbers their keys lie.
A leaf, and where its values lie, is verified before the first cursor comes near it.

LMDB reads not only the leaf that a cursor is on.  Deleting fills a leaf, or a branch, that
is less than a quarter full from the one beside it, and asks for the lowest key below what
it moves.  So a leaf is safe once these are verified: the leaf before it, as many leaves after it as
a branch can have, and the first ones below as many branches after it.  Values
are only read where a cursor is, or one step further.

All this concerns only the pages of the start, which do not change: a value never
moves, and a leaf is written only by ourselves, after it was verified.  So one mark for
each page, from the start on, suffices to find values that lie in free pages, in pages of
trees or in each other.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from operator import lt
from typing import NamedTuple

from relay.model.errors import QueueError
from relay.queue.block import KEY
from relay.queue.repair.pages import (
    BRANCH,
    LEAF,
    META_PAGES,
    NO_PAGE,
    Audit,
    Damage,
    PageFile,
    Snapshot,
    Tree,
    Walk,
)

KEYS_STOP = 2**64
"""No key is this or above."""
_AHEAD = 228  # leaves; a branch of 4096 bytes has 227 nodes at most, with keys of 8 bytes
_STEP = 512  # leaves that are verified in one go
_BRANCHES_AHEAD = 60  # of those that are a quarter full, 57 nodes
_VALUES_AHEAD, _VALUES_STEP = 1, 4  # leaves
_PLACE_BYTES, _HEADER_BYTES, _FIRST_NODE_BYTES, _NODE_BYTES = 2, 16, 8, 16
_LOWER, _LOWER_AT = struct.Struct("=H"), 12


class FileDamaged(QueueError):
    """The queue's file is damaged where LMDB was about to read it."""


class Leaf(NamedTuple):
    number: int
    """Of its page."""
    low: int
    """No key of it is below; 0 for the first."""
    high: int
    """All keys of it are below; `KEYS_STOP` for the last."""


@dataclass(slots=True)
class _Span:
    """Consecutive leaves that have been verified."""

    low: int
    high: int
    safe_low: int
    """From here on, and before `safe_high`, a cursor may be."""
    safe_high: int


@dataclass(slots=True)
class _Progress:
    """Which leaves of one queue have been verified, or their values."""

    ahead: int
    """How many leaves after a safe one have been verified."""
    spans: list[_Span] = field(default_factory=list)
    """In order, and none beside another."""

    @property
    def is_done(self) -> bool:
        return len(self.spans) == 1 and (self.spans[0].low, self.spans[0].high) == (0, KEYS_STOP)

    def safe_span(self, seq: int) -> _Span | None:
        """The span in which a cursor may be at `seq`."""
        span = self.span_of(seq)
        return span if span is not None and span.safe_low <= seq < span.safe_high else None

    def span_of(self, seq: int) -> _Span | None:
        index = bisect_right(self.spans, seq, key=lambda span: span.low) - 1
        return self.spans[index] if index >= 0 and seq < self.spans[index].high else None

    def next_low(self, seq: int) -> int:
        """Where the first span after `seq` begins."""
        return min((span.low for span in self.spans if span.low > seq), default=KEYS_STOP)

    def add(self, run: list[Leaf]) -> None:
        """Note that the leaves of `run`, which lie beside each other, have been verified."""
        if not run:
            return
        low, high = run[0].low, run[-1].high
        safe_high = run[-self.ahead].low if len(run) > self.ahead else low  # none is
        if high == KEYS_STOP:
            safe_high = high
        span = _Span(low, high, run[0].high if low else 0, safe_high)
        joined: list[_Span] = []
        for span in sorted([*self.spans, span], key=lambda span: span.low):
            if joined and joined[-1].high == span.low:
                before = joined[-1]
                before.high = span.high
                if span.safe_high > span.low:
                    before.safe_high = span.safe_high
            else:
                joined.append(span)
        self.spans = joined


@dataclass(slots=True)
class _Queue:
    leaves: _Progress = field(default_factory=lambda: _Progress(_AHEAD))
    values: _Progress = field(default_factory=lambda: _Progress(_VALUES_AHEAD))

    def bounds(self, seq: int) -> tuple[int, int] | None:
        """The safe keys around `seq`; None = it is not safe."""
        leaves, values = self.leaves.safe_span(seq), self.values.safe_span(seq)
        if leaves is None or values is None:
            return None
        return max(leaves.safe_low, values.safe_low), min(leaves.safe_high, values.safe_high)


@dataclass(slots=True, kw_only=True)
class _QueueWalk(Walk):
    """The way through the blocks of one queue, whose keys are seqs, by its branches."""

    tree: Tree

    @property
    def _root(self) -> Leaf:
        return Leaf(self.tree.root, 0, KEYS_STOP)

    def keys_of(self, leaf: Leaf, *, values: bool) -> list[bytes]:
        """The keys of `leaf`, which is verified.

        Args:
            values: Verify values on pages of their own, too.
        """
        try:
            page = self.page(leaf.number, LEAF)
            entries = self.leaf(page, leaf.number, values=values)
            keys = [entry.key for entry in entries]
            if any(len(key) != KEY.size for key in keys) or any(
                each.is_subtree for each in entries
            ):
                raise Damage("there is something else in it")
            high = KEY.pack(leaf.high) if leaf.high < KEYS_STOP else None
            self.check_order(keys, KEY.pack(leaf.low), high)
        except Damage as damage:
            raise Damage(f"{self.name}: page {leaf.number}: {damage}") from damage
        if self.audit.problems:
            raise Damage(self.audit.problems[0])
        return keys

    def leaves(self, start: int) -> Iterator[Leaf]:
        """The leaves from the one on where `start` belongs."""
        return self._below(self._root, self.tree.depth, start)

    def branch_lows(self, seq: int) -> list[int]:
        """Where the branches begin that come after `seq`, as far as they have to be verified."""
        if self.tree.depth < 2:
            return []
        branches = self._below(self._root, self.tree.depth - 1, seq)
        return [branch.low for branch in islice(branches, 1, 1 + _BRANCHES_AHEAD)]

    def _below(
        self, page: Leaf, levels: int, start: int, *, will_need: bool = False
    ) -> Iterator[Leaf]:
        """The pages that many levels below `page`, which count as one, from `start` on."""
        if levels == 1:
            yield page
            return
        numbers, lows = self._children(page)
        if will_need and levels == 2:
            self.file.will_need(numbers)  # all at once: a disk is faster that way
        stops = [*lows[1:], page.high]
        for index in range(bisect_right(stops, start), len(numbers)):
            child = Leaf(numbers[index], lows[index], stops[index])
            yield from self._below(child, levels - 1, start, will_need=will_need)

    def _children(self, branch: Leaf) -> tuple[list[int], list[int]]:
        """The pages below a branch, and where the keys of each begin."""
        try:
            page = self.page(branch.number, BRANCH)
            numbers, keys = _regular(page) or self._irregular(page)
            self.branch_pages += 1
            in_order = all(map(lt, keys, islice(keys, 1, None)))
            if not in_order or keys[0] < branch.low or keys[-1] >= branch.high:
                raise Damage("its keys are not in order, or not where they belong")
        except Damage as damage:
            raise Damage(f"{self.name}: page {branch.number}: {damage}") from damage
        return numbers, [branch.low, *keys]

    def _irregular(self, page: bytes) -> tuple[list[int], list[int]]:
        children = self.branch(page)
        if any(len(key) != KEY.size for _, key in children[1:]):
            raise Damage("there is a key of another size")
        return [number for number, _ in children], [KEY.unpack(key)[0] for _, key in children[1:]]

    def take_branches(self) -> None:
        """Verify and mark all branches, and mark all leaves.

        Raises:
            Damage: A branch is damaged, or their number is not what the tree says.
        """
        if self.tree.depth < 2 or self.tree.root == NO_PAGE:
            raise Damage(f"{self.name}: {self.tree.leaf_pages} leaves and no branch")
        for branch in self._below(self._root, self.tree.depth - 1, 0, will_need=True):
            numbers, _ = self._children(branch)
            self.leaf_pages += len(numbers)
            self._mark(numbers)
        found = (self.branch_pages, self.leaf_pages)
        if found != (self.tree.branch_pages, self.tree.leaf_pages):
            raise Damage(f"{self.name}: there is {found} in it, it says {self.tree[3:5]}")

    def _mark(self, numbers: list[int]) -> None:
        marks = self.audit.pages
        if min(numbers) < META_PAGES or max(numbers) >= len(marks):
            raise Damage(f"{self.name}: a leaf is not in the file")
        for number in numbers:
            if marks[number]:
                raise Damage(f"{self.name}: page {number}: it is used twice")
            marks[number] = 1


def _regular(page: bytes) -> tuple[list[int], list[int]] | None:
    """Pages and keys of a branch that was filled in order; None if it looks otherwise.

    Its nodes, of 16 bytes but for the first one's 8, lie one below the other from the
    end of the page on.  So they can be taken apart all at once.
    """
    (lower,) = _LOWER.unpack_from(page, _LOWER_AT)
    count = (lower - _HEADER_BYTES) // _PLACE_BYTES
    upper = len(page) - _FIRST_NODE_BYTES - (count - 1) * _NODE_BYTES
    if sys.byteorder != "little" or count < 2 or upper < lower or upper & 7:
        return None
    beginning, heads_above = _regular_parts(count, len(page))
    words = array("I", page[upper:])  # four a node: its page, flags and key's size, the key
    if page[_LOWER_AT:lower] != beginning or words[1::4] != heads_above:
        return None
    keys = array("Q", page[upper:-_FIRST_NODE_BYTES])[-1::-2]
    keys.byteswap()
    return words[-2::-4].tolist(), keys.tolist()


@cache
def _regular_parts(count: int, size: int) -> tuple[bytes, array[int]]:
    """Bounds and places, and the second words of the nodes, of a branch with `count` nodes."""
    places = [size - _FIRST_NODE_BYTES - index * _NODE_BYTES for index in range(count)]
    bounds = (_HEADER_BYTES + count * _PLACE_BYTES, places[-1])
    second_words = [KEY.size << 16] * (count - 1) + [0]
    return array("H", (*bounds, *places)).tobytes(), array("I", second_words)


class LazyVerification:
    """Verifies the rest of the file in the directory `path`.

    Args:
        audit: The marks of all pages, but for the values of the queues that begin here.
    """

    def __init__(self, path: str, audit: Audit) -> None:
        self._fd = os.open(os.path.join(path, "data.mdb"), os.O_RDONLY | os.O_CLOEXEC)
        self._file = PageFile(self._fd)
        self._marks = audit.pages
        self._queues: dict[bytes, _Queue] = {}
        self._lock = threading.Lock()
        self._value_pages = 0  # that were marked here
        self.on_damage: Callable[[str], None] = lambda problem: None
        """Called with the damage that was found, from any thread."""

    def close(self) -> None:
        with self._lock:
            self._queues = {}
            os.close(self._fd)

    @property
    def marked(self) -> int:
        """Pages that are marked, but for those of values that were verified here."""
        return self._marks.count(1) - self._value_pages

    @property
    def names(self) -> list[bytes]:
        """The trees of which something is left to verify."""
        return list(self._queues)

    def begin(self, name: bytes, tree: Tree, audit: Audit) -> tuple[bytes, bytes]:
        """Verify the branches of `tree` and both of its ends, before LMDB reads the file.

        Returns:
            Its first and its last key, empty if something is wrong, which is in `audit`.
        """
        what = name.decode("utf-8", "replace")
        try:
            _QueueWalk(self._file, what, audit, tree=tree).take_branches()
            self._queues[name] = queue = _Queue()
            pages = len(self._marks)
            for seq in (0, KEYS_STOP - 1):
                self._advance(what, queue, tree, seq, pages)
            unmarked = Audit(bytearray(pages), values_only_before=pages)
            walk = _QueueWalk(self._file, what, unmarked, tree=tree)
            ends = [next(walk.leaves(seq)) for seq in (0, KEYS_STOP - 1)]
            first, last = (walk.keys_of(leaf, values=False) for leaf in ends)
        except Damage as damage:
            audit.problems.append(str(damage))
            return b"", b""
        return first[0], last[-1]

    def ensure(self, name: bytes, seq: int) -> tuple[int, int]:
        """Make sure that a cursor may go to `seq`, and one step further in either direction.

        Called inside a transaction, so that no page is used again meanwhile.

        Returns:
            From where on, and before where, that is so.

        Raises:
            FileDamaged: It may not.
        """
        queue = self._queues.get(name)
        if queue is None:
            return 0, KEYS_STOP
        if (safe := queue.bounds(seq)) is not None:
            return safe
        with self._lock:
            try:
                while name in self._queues and queue.bounds(seq) is None:
                    snapshot = self._file.newest()
                    tree = self._tree(snapshot, name)
                    what = name.decode("utf-8", "replace")
                    self._advance(what, queue, tree, seq, snapshot.last_page + 1)
                    if queue.leaves.is_done and queue.values.is_done:
                        self._queues.pop(name)
            except Damage as damage:
                self.on_damage(str(damage))
                raise FileDamaged(f"the queue's file is damaged: {damage}") from damage
        return queue.bounds(seq) or (seq, seq + 1)

    def rest(self, name: bytes) -> int | None:
        """A key in a part of the tree `name` that is not verified yet, or None."""
        queue = self._queues.get(name)
        if queue is None:
            return None
        progress = queue.values if queue.leaves.is_done else queue.leaves
        return progress.spans[0].high if progress.spans[0].low == 0 else 0

    def _tree(self, snapshot: Snapshot, name: bytes) -> Tree:
        audit = Audit(self._marks, values_only_before=snapshot.last_page + 1)
        for entry in self._file.walk(snapshot.names, "names", audit):
            if entry.key == name:
                tree = self._file.tree(entry)
                if tree is not None and tree.root != NO_PAGE:
                    return tree
        raise Damage(f"{name.decode('utf-8', 'replace')}: its queue cannot be found")

    def _advance(self, what: str, queue: _Queue, tree: Tree, seq: int, pages_stop: int) -> None:
        """Verify more leaves and values around `seq`, so that it is safe."""
        audit = Audit(self._marks, values_only_before=pages_stop)
        walk = _QueueWalk(self._file, what, audit, tree=tree)
        here = next(walk.leaves(seq))
        start = max(0, here.low - 1)
        if queue.leaves.safe_span(seq) is None:
            self._verify(queue, walk, start, _STEP, seq)
            for low in walk.branch_lows(seq):
                if queue.leaves.span_of(low) is None:
                    self._verify(queue, walk, low, 1)
        if queue.values.safe_span(seq) is None:
            self._verify(queue, walk, start, _VALUES_STEP, seq, values=True)

    def _verify(
        self,
        queue: _Queue,
        walk: _QueueWalk,
        start: int,
        leaves_max: int,
        wanted: int = -1,
        *,
        values: bool = False,
    ) -> None:
        progress = queue.values if values else queue.leaves
        for run in self._unseen(progress, walk, start, leaves_max, wanted):
            walk.overflow_pages = 0
            for leaf in run:
                walk.keys_of(leaf, values=values)
            progress.add(run)
            if values:
                self._value_pages += walk.overflow_pages
            elif not walk.overflow_pages:
                queue.values.add(run)

    def _unseen(
        self, progress: _Progress, walk: _QueueWalk, start: int, leaves_max: int, wanted: int
    ) -> Iterator[list[Leaf]]:
        """Runs of adjacent leaves, from `start` on, that are not in `progress`.

        Args:
            leaves_max: How many in all.
            wanted: A key; the walk ends when it is safe.
        """
        while leaves_max > 0 and start < KEYS_STOP and progress.safe_span(wanted) is None:
            span = progress.span_of(start)
            if span is not None:
                start = span.high
                continue
            stop = progress.next_low(start)
            run: list[Leaf] = []
            for leaf in walk.leaves(start):
                if leaf.low >= stop or len(run) == leaves_max:
                    break
                run.append(leaf)
            start = run[-1].high
            leaves_max -= len(run)
            yield run
