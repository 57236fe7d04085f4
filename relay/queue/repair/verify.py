"""Verify a queue's file before LMDB reads it: its pages, names and ledgers.

A damaged *block* is no damage of the file: it has a checksum, and the drain sets it aside.  A
verification finds what would crash the process or block the queue: pages that LMDB would stumble
over, ledgers that do not add up, and ledgers that do not fit their blocks.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from relay.model.text import Document
from relay.queue.block import KEY
from relay.queue.files.format import FORMAT
from relay.queue.ledger import Ledger
from relay.queue.repair.pages import META_PAGES, Audit, Entry, PageFile, Snapshot, Tree
from relay.queue.repair.verify_lazily import LazyVerification
from relay.queue.transaction import is_of_source

READS_MAX = 10_000
"""Leaves and beginnings of values that a start reads at most, but for ends."""
LAZY_READS_MIN = 1000

BLOCKS, QUARANTINE, LEDGER = b"blocks/", b"quarantine/", b"ledger/"
HISTORY = b"history/"
_OURS = (BLOCKS, QUARANTINE)
_FOREIGN_HEADERS = (16, 24)  # where versions of LMDB have their magic number
_MAGIC_AND_VERSION = struct.Struct("=II")
_MAGIC, _VERSION = 0xBEEFC0DE, 1


@contextmanager
def opened_file(path: str) -> Iterator[PageFile]:
    """The queue's file in the directory `path`."""
    fd = os.open(os.path.join(path, "data.mdb"), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield PageFile(fd)
    finally:
        os.close(fd)


class Verified(NamedTuple):
    """The result of a verification."""

    problems: list[str]
    """The problems that were found, one line each."""
    lazy: LazyVerification | None = None
    """Verifies the rest while the queue is in use."""


def verify(
    path: str,
    *,
    fully: bool,
    pages_only: bool = False,
    reads_max: int = READS_MAX,
    lazy_reads_min: int = LAZY_READS_MIN,
) -> Verified:
    """Verify the file of the queue in directory `path`, before LMDB reads it.

    A file of an unknown version, or of another program, is no damage; nor is a missing one.  Of a
    queue of another format only the pages are verified.

    Args:
        fully: Visit every page, if only the header where it holds a block; otherwise
            leave that of long queues for later.
        pages_only: Do not judge accounts.
        reads_max: Pages that may have to be read before anything is left for later.
        lazy_reads_min: Such pages that make a queue a long one.
    """
    data = os.path.join(path, "data.mdb")
    if struct.calcsize("P") != 8 or not os.path.exists(data):
        return Verified([])  # of 32-bit files nothing is known here
    with opened_file(path) as file:
        if not file.snapshots:
            return Verified([] if _is_foreign(data) else file.problems)
        if file.problems:
            return Verified(file.problems)
        formats = [_format(file, snapshot) for snapshot in file.snapshots]
        is_spoilt = _is_spoilt(*formats)
        is_known = not pages_only and (is_spoilt or formats[0] in (None, FORMAT))
        trees = _trees(file, file.snapshots[0])
        if fully or not (is_known or pages_only) or sum(map(_reads, trees.values())) <= reads_max:
            lazy = None
        else:
            long = {name for name, tree in trees.items() if _reads(tree) >= lazy_reads_min}
            names = {name for name in long if name.startswith(BLOCKS)}
            lazy = _verify_long(path, file, names, is_known=is_known)
        problems = [] if lazy is not None else _problems(file, is_known=is_known)
        if not problems and is_spoilt and not pages_only:
            problems.append(f"the format is {formats[0]!r}, and was {formats[1]!r}")
        return Verified(problems, lazy)


def _trees(file: PageFile, snapshot: Snapshot) -> dict[bytes, Tree]:
    """The named trees, as far as they can be read."""
    names = file.walk(snapshot.names, "names", file.audit(snapshot))
    found = ((name.key, file.tree(name)) for name in names)
    return {key: tree for key, tree in found if tree is not None}


def _reads(tree: Tree) -> int:
    """How many pages have to be read to know that it is sound, branches left out."""
    return tree.leaf_pages + (tree.entries if tree.overflow_pages else 0)


def _verify_long(
    path: str, file: PageFile, names: Collection[bytes], *, is_known: bool
) -> LazyVerification | None:
    """Begin with the trees `names`, and do all others; None if there is anything suspicious.

    Where each page is either free or in use, and the branches lead to as many leaves as
    there should be, the numbers of what was left out are right, too.
    """
    snapshot = file.snapshots[0]
    audit = file.audit(snapshot)
    lazy = LazyVerification(path, audit)
    left_out = sum(
        tree.overflow_pages for key, tree in _trees(file, snapshot).items() if key in names
    )
    problems = _problems(file, is_known=is_known, audit=audit, lazy=lazy, long=names)
    if problems or not lazy.names or lazy.marked + left_out != snapshot.last_page + 1 - META_PAGES:
        lazy.close()
        return None
    return lazy


def sound_ledger(value: bytes, *, any_version: bool = False) -> Ledger | None:
    """The ledger in `value`, if it adds up.

    Args:
        any_version: Pass over fields that are unknown here.
    """
    try:
        fields = msgspec.json.decode(value, type=Document)
        known = {name: fields[name] for name in Ledger.__struct_fields__ if name in fields}
        ledger = msgspec.convert(known if any_version else fields, Ledger)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    counts = (ledger.delivered, ledger.quarantined, ledger.never_queued, *ledger.dropped.values())
    if ledger.gap or ledger.queued < 0 or ledger.acknowledged_seq < 1 or min(counts) < 0:
        return None
    return ledger


def _is_foreign(data: str) -> bool:
    with open(data, "rb") as file:
        head = file.read(64)
    for offset in _FOREIGN_HEADERS:
        if len(head) >= offset + _MAGIC_AND_VERSION.size:
            magic, version = _MAGIC_AND_VERSION.unpack_from(head, offset)
            if magic == _MAGIC and (offset, version) != (_FOREIGN_HEADERS[0], _VERSION):
                return True
    return False


def _problems(
    file: PageFile,
    *,
    is_known: bool,
    audit: Audit | None = None,
    lazy: LazyVerification | None = None,
    long: Collection[bytes] = (),
) -> list[str]:
    """Problems of the newest snapshot; of the trees `long`, those that `lazy` begins with."""
    snapshot = file.snapshots[0]
    audit = audit or file.audit(snapshot)
    ends: dict[str, tuple[bytes, bytes]] = {}
    ledgers: dict[str, Ledger] = {}
    formats = 0
    names = list(file.walk(snapshot.names, "names", audit))
    is_ours = is_known and any(name.key.startswith(_OURS) for name in names)
    for name in names:
        what = name.key.decode("utf-8", "replace")
        tree = file.tree(name)
        if tree is None or tree.flags or tree.page_size:
            if is_ours:
                audit.problems.append(f"{what}: it is no queue")
            continue
        first = last = b""
        if lazy is not None and name.key in long:
            first, last = lazy.begin(name.key, tree, audit)
            entries: Iterator[Entry] = iter(())
        else:
            entries = file.walk(tree, what, audit)
        for entry in entries:
            first, last = first or entry.key, entry.key
            if entry.is_subtree and is_ours:
                audit.problems.append(f"{what}: there is something else in it")
            elif name.key == b"meta" and entry.key == b"format":
                formats += 1
            elif name.key == b"meta" and is_ours:
                audit.problems += _read_ledger(file, entry, ledgers)
        if name.key.startswith(BLOCKS):
            ends[name.key[len(BLOCKS) :].decode("utf-8", "replace")] = (first, last)
        elif is_ours and not name.key.startswith((QUARANTINE, HISTORY, b"meta", b"positions")):
            audit.problems.append(f"{what}: unknown")
    file.check_free(snapshot, audit)
    if is_ours and not formats:
        audit.problems.append("meta: the format is missing")
    if is_ours and not audit.problems:
        audit.problems += _misfits(ends, ledgers)
    return audit.problems


def is_format_spoilt(file: PageFile) -> bool:
    """Whether the disk changed the format of the queue's file: no version writes such a change."""
    return _is_spoilt(*(_format(file, snapshot) for snapshot in file.snapshots))


def _is_spoilt(now: bytes | None, before: bytes | None = None) -> bool:
    """Whether the format was changed by no version: those go from one to the next."""
    if not now or not before or now == before or len(now) != len(before):
        return False
    return not (now.isdigit() and before.isdigit() and int(now) == int(before) + 1)


def _format(file: PageFile, snapshot: Snapshot) -> bytes | None:
    tree = _trees(file, snapshot).get(b"meta")
    entries = file.walk(tree, "meta", file.audit(snapshot)) if tree else ()
    return next((file.value(each) for each in entries if each.key == b"format"), None)


def _read_ledger(file: PageFile, entry: Entry, ledgers: dict[str, Ledger]) -> list[str]:
    key = entry.key.decode("utf-8", "replace")
    value = file.value(entry)
    ledger = sound_ledger(value) if entry.key.startswith(LEDGER) else None
    if ledger is None:
        return [f"meta: {key} does not add up: {value[:300]!r}"]
    ledgers[key.removeprefix(LEDGER.decode())] = ledger
    return []


def _misfits(
    ends: Mapping[str, tuple[bytes, bytes]], ledgers: Mapping[str, Ledger]
) -> Iterator[str]:
    """A line for each queue whose blocks are not where its ledger says."""
    for id in sorted({*ends, *ledgers}):
        if is_of_source(id):
            continue
        ledger = ledgers.get(id, Ledger())
        first, last = ends.get(id, (b"", b""))
        if not ledger.queued and not first:
            continue
        fits = (
            len(first) == len(last) == KEY.size
            and first <= KEY.pack(ledger.acknowledged_seq)
            and last < KEY.pack(ledger.next_seq)
        )
        if not fits or not ledger.queued:
            yield (
                f"blocks/{id}: from {first.hex() or 'none'} to {last.hex() or 'none'}, "
                f"its ledger says {ledger.acknowledged_seq} to {ledger.next_seq - 1}"
            )
