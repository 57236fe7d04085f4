"""Look a queue's file through before LMDB gets it: its pages, names and ledgers.

A damaged *block* is no damage of the file: it has a checksum, and the drain sets it
aside.  What is looked for here is what would take the process down, or leave the queue
standing still: pages that LMDB would stumble over, ledgers that do not add up, and
ledgers that do not fit their blocks.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from relay.queue.ledger import Ledger
from relay.queue.pages import Entry, PageFile, Snapshot
from relay.queue.transaction import is_of_source

__all__ = [
    "BLOCKS",
    "HISTORY",
    "KEY",
    "LEDGER",
    "QUARANTINE",
    "find_damage",
    "opened_file",
    "sound_ledger",
]

KEY = struct.Struct(">Q")
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


def find_damage(path: str) -> list[str]:
    """What is wrong with the queue in directory `path`, a line each.

    A file of an unknown version, or of another program, is no damage; nor is none.
    All of the file's pages are visited, their headers alone where they hold a block.
    """
    data = os.path.join(path, "data.mdb")
    if struct.calcsize("P") != 8 or not os.path.exists(data):
        return []  # of 32-bit files nothing is known here
    with opened_file(path) as file:
        if not file.snapshots:
            return [] if _is_foreign(data) else file.problems
        problems = list(file.problems)
        formats = []
        for snapshot in file.snapshots[:1] if not problems else ():
            problems += _problems(file, snapshot)
        for snapshot in file.snapshots if not problems else ():
            formats.append(_format(file, snapshot))
        if len(formats) == 2 and _is_spoilt(*formats):
            problems.append(f"the format is {formats[0]!r}, and was {formats[1]!r}")
        return problems


def sound_ledger(value: bytes, *, any_version: bool = False) -> Ledger | None:
    """The ledger in `value`, if it adds up.

    Args:
        any_version: Pass over fields that are unknown here.
    """
    try:
        fields = msgspec.json.decode(value, type=dict[str, Any])
        known = {name: fields[name] for name in Ledger.__struct_fields__ if name in fields}
        ledger = msgspec.convert(known if any_version else fields, Ledger)
    except msgspec.MsgspecError:
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


def _problems(file: PageFile, snapshot: Snapshot) -> list[str]:
    audit = file.audit(snapshot)
    ends: dict[str, tuple[bytes, bytes] | None] = {}
    ledgers: dict[str, Ledger] = {}
    formats = 0
    names = list(file.walk(snapshot.names, "names", audit))
    is_ours = any(name.key.startswith(_OURS) for name in names)
    for name in names:
        what = name.key.decode("utf-8", "replace")
        tree = file.tree(name)
        if tree is None or tree.flags or tree.page_size:
            if is_ours:
                audit.problems.append(f"{what}: it is no queue")
            continue
        first = last = b""
        for entry in file.walk(tree, what, audit):
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
    if not audit.problems:
        audit.problems += _misfits(ends, ledgers)
    return audit.problems


def _is_spoilt(now: bytes | None, before: bytes | None) -> bool:
    """Whether the format was changed by no version: what a newer one makes of it is its own."""
    if not now or not before:
        return False
    return now not in (before, b"2") and len(now) == len(before)


def _format(file: PageFile, snapshot: Snapshot) -> bytes | None:
    audit = file.audit(snapshot)
    for name in file.walk(snapshot.names, "names", audit):
        tree = file.tree(name) if name.key == b"meta" else None
        for entry in file.walk(tree, "meta", audit) if tree else ():
            if entry.key == b"format":
                return file.value(entry)
    return None


def _read_ledger(file: PageFile, entry: Entry, ledgers: dict[str, Ledger]) -> list[str]:
    key = entry.key.decode("utf-8", "replace")
    value = file.value(entry)
    ledger = sound_ledger(value) if entry.key.startswith(LEDGER) else None
    if ledger is None:
        return [f"meta: {key} does not add up: {value[:300]!r}"]
    ledgers[key.removeprefix(LEDGER.decode())] = ledger
    return []


def _misfits(
    ends: Mapping[str, tuple[bytes, bytes] | None], ledgers: Mapping[str, Ledger]
) -> Iterator[str]:
    """A line for each queue whose blocks are not where its ledger says."""
    for id in sorted({*ends, *ledgers}):
        if is_of_source(id):
            continue
        ledger = ledgers.get(id, Ledger())
        first, last = ends.get(id) or (b"", b"")
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
