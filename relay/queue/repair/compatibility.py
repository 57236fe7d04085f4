"""Tell whether this version can work with a queue, before anything is opened or locked.

The format in `meta` decides (`files/format.py`): all that lies in the environment goes by that one
number, so histories, positions, ledgers, quarantines and lineages need none of their own.  The
pages are read without LMDB, so a relay may work with the queue meanwhile.  `syslogrelay check
--state`, an upgrade and every start ask here.

Beside the number the names of the trees, the fields of the ledgers and the versions of the blocks
at the ends are looked at.  A version that changes one of them has to change the format; if one
differs all the same, the file is damaged, or somebody forgot that.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

import msgspec

from relay.model.errors import QueueError
from relay.model.text import Document, printable
from relay.queue.block import BLOCK_VERSION
from relay.queue.files.format import FORMAT, is_older, refuse_format
from relay.queue.ledger import Ledger
from relay.queue.repair.pages import (
    BRANCH,
    LEAF,
    NO_PAGE,
    Damage,
    Entry,
    PageFile,
    Snapshot,
    Tree,
    Walk,
)
from relay.queue.repair.verify import (
    BLOCKS,
    HISTORY,
    LEDGER,
    QUARANTINE,
    is_format_spoilt,
    opened_file,
)

State = Literal["none", "same", "older", "newer", "foreign", "damaged"]

_READS_MAX = 5  # while a relay writes: it may use the pages of a snapshot again
_HISTORY_STAMP_BYTES = 8
_TREES = (b"meta", b"positions")
_TREES_OF_ACCOUNTS = (BLOCKS, QUARANTINE, HISTORY)
_SHOWN_BYTES = 60


class Compatibility(NamedTuple):
    """How the queue in a directory goes with this version."""

    state: State
    """none = there is no queue; older = a start migrates it; newer and foreign = a start refuses
    it; damaged = a start repairs it, or refuses it with `strict_queue`."""
    format: str
    """Found in the file; empty = none."""
    text: str
    """For people: what was found and, if it cannot be opened, what to do."""

    @property
    def can_open(self) -> bool:
        """Whether a start of this version works with it, without any repair."""
        return self.state in ("none", "same", "older")


def examine(path: str) -> Compatibility:
    """Look at the queue in directory `path`, and change nothing.

    Raises:
        QueueError: The file may not be read.
    """
    try:
        with opened_file(path) as file:
            return _examine_file(path, file)
    except FileNotFoundError:
        return Compatibility("none", "", f"queue {path}: there is none yet; a start makes it")
    except OSError as error:
        raise QueueError(
            f"queue {path}: data.mdb cannot be read: {error.strerror}; look as the relay's user, "
            "or as root"
        ) from error


def refuse_other_version(path: str) -> None:
    """Raise QueueFormatError if the queue in directory `path` is of a newer version.

    A file that is damaged, foreign or may not be read is left to those who open it.
    """
    try:
        found = examine(path)
    except QueueError:
        return
    if found.state == "newer" and found.format.encode() != FORMAT:
        raise refuse_format(path, found.format.encode())


def _examine_file(path: str, file: PageFile) -> Compatibility:
    if struct.calcsize("P") != 8:
        return Compatibility("same", "", f"queue {path}: not examined on a 32-bit machine")
    if not file.snapshots and not file.size:
        return Compatibility("none", "", f"queue {path}: data.mdb is empty; a start fills it")
    damage = ""
    for _ in range(_READS_MAX):
        try:
            found = _Contents.read(file)
            if found.format not in (None, FORMAT) and is_format_spoilt(file):
                raise Damage(f"its format became {found.format!r}")
            return _judged(path, found)
        except Damage as error:
            damage = str(error)
    return Compatibility(
        "damaged",
        "",
        f"queue {path}: data.mdb is damaged, or not an LMDB file of this kind of machine "
        f"({damage}); see `syslogrelay queue verify`",
    )


class _Contents(NamedTuple):
    """The signs of a queue's version."""

    format: bytes | None
    trees: list[bytes]
    fields: set[str]
    """Of all ledgers."""
    block_versions: set[int]

    @classmethod
    def read(cls, file: PageFile) -> _Contents:
        """Raises Damage, also where a page was used again meanwhile."""
        snapshot = file.newest()
        trees = {name.key: file.tree(name) for name in _entries(file, snapshot, snapshot.names)}
        meta = trees.get(b"meta")
        number: bytes | None = None
        fields: set[str] = set()
        for entry in _entries(file, snapshot, meta) if meta else ():
            value = file.value(entry)
            if entry.key == b"format":
                number = value
            elif entry.key.startswith(LEDGER):
                fields.update(_fields(value))
        versions = {
            version
            for name, tree in trees.items()
            if tree is not None and name.startswith((BLOCKS, HISTORY))
            for version in _versions(file, snapshot, name, tree)
        }
        return cls(number, list(trees), fields, versions)


def _judged(path: str, found: _Contents) -> Compatibility:
    if found.format is None and not found.trees:
        return Compatibility("none", "", f"queue {path}: data.mdb is empty; a start fills it")
    if found.format is None:
        text = f"queue {path}: this LMDB environment is not a queue of syslogrelay; move it away"
        return Compatibility("foreign", "", text)
    name = printable(found.format[:_SHOWN_BYTES])
    if found.format == FORMAT:
        if odd := _oddities(found):
            return Compatibility(
                "newer",
                name,
                f"queue {path} has format {name!r} as this version has, but also {odd}; it was "
                "written by a newer version, or is damaged: use the version that made it, or see "
                "`syslogrelay queue verify`",
            )
        return Compatibility("same", name, f"queue {path} has format {name!r}, as this version")
    if is_older(found.format):
        text = (
            f"queue {path} has format {name!r} of an older version; a start of this version "
            f"brings it to format {FORMAT.decode()!r}, and the older one refuses it from then on: "
            "make a backup first (`syslogrelay queue backup`)"
        )
        return Compatibility("older", name, text)
    is_number = found.format.isdigit() and int(found.format) > int(FORMAT)
    text = str(refuse_format(path, found.format[:_SHOWN_BYTES]))
    return Compatibility("newer" if is_number else "foreign", name, text)


def _oddities(found: _Contents) -> str:
    """The features unknown to this version, for people; empty = none."""
    trees = [
        name
        for name in found.trees
        if name not in _TREES and not name.startswith(_TREES_OF_ACCOUNTS)
    ]
    if trees:
        return f"a tree {printable(trees[0])!r}"
    if fields := sorted(found.fields - set(Ledger.__struct_fields__)):
        return f"a ledger with {printable(fields[0].encode())!r}"
    if versions := sorted(found.block_versions - {BLOCK_VERSION}):
        return f"blocks of version {versions[-1]}"
    return ""


def _fields(ledger: bytes) -> list[str]:
    try:
        return list(msgspec.json.decode(ledger, type=Document))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []  # damaged: for a verification


def _entries(file: PageFile, snapshot: Snapshot, tree: Tree) -> list[Entry]:
    audit = file.audit(snapshot)
    entries = list(file.walk(tree, "it", audit))
    if audit.problems:
        raise Damage(audit.problems[0])
    return entries


def _versions(file: PageFile, snapshot: Snapshot, name: bytes, tree: Tree) -> set[int]:
    """The versions of the first and the last block of a tree."""
    if tree.root == NO_PAGE:
        return set()
    found = set()
    for end in (0, -1):
        walk = Walk(file, name.decode("utf-8", "replace"), file.audit(snapshot))
        page, levels = tree.root, tree.depth
        while levels > 1:
            page = walk.branch(walk.page(page, BRANCH))[end][0]
            levels -= 1
        entries = walk.leaf(walk.page(page, LEAF), page, values=False)
        if entries:
            skip = _HISTORY_STAMP_BYTES if name.startswith(HISTORY) else 0
            entry = entries[end]
            if entry.size > skip:
                found.add(file.read(1, entry.offset + skip)[0])
    return found
