"""Copy the queues for a backup, a bounded step at a time.

Each step is a short read transaction, as any query.  New keys of a tree are beyond all others and
the value of a key never changes, so a backup that has copied up to a key asks for those behind it.
The last step returns all that is left, with accounts and positions, from one transaction: the copy
is then what that transaction could see.  The other side is `relay/queue/backup/writing.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from relay.queue.files.trees import Database
from relay.queue.files.values import Unreadable
from relay.queue.view import TransactionView

STEP_BYTES, STEP_BYTES_MAX = 1024 * 1024, 4 * 1024 * 1024
"""Of values in one answer, beside one that is longer.  The relay encodes it between two batches, so
the larger steps, which cost less in all, are for those who would not keep up otherwise."""
_ENTRY_BYTES = 64  # what an entry costs beside its bytes, about


class CopyFrom(msgspec.Struct, forbid_unknown_fields=True):
    """The part that has been copied already."""

    copied: dict[str, bytes] = {}
    """The last key that was copied, by the name of the tree; a tree without is copied from its
    beginning."""
    bytes_max: int = STEP_BYTES


class CopiedTree(msgspec.Struct):
    """The next part of a tree of an account, such as ``blocks/central``."""

    entries: int
    """In the tree now."""
    first: bytes = b""
    """Its first key now: those before it have left.  Empty = it is empty."""
    added: list[tuple[bytes, bytes]] = []
    """Keys and values in order."""
    unreadable: list[str] = []
    """A line for each value that the disk does not return; `added` has what could be read of it,
    which counts as damaged."""


class CopyPage(msgspec.Struct):
    """One step."""

    trees: dict[str, CopiedTree] = {}
    whole: dict[str, list[tuple[bytes, bytes]]] = {}
    """Accounts and positions; only in the last step."""
    is_complete: bool = True
    """This was the last step."""


def copy_step(view: TransactionView, wanted: CopyFrom) -> CopyPage:
    """The entries behind the copied ones."""
    page = CopyPage()
    left = max(1, min(wanted.bytes_max, STEP_BYTES_MAX))
    for name, tree in _trees(view):
        if left <= 0:
            page.is_complete = False
            return page
        page.trees[name], left, has_more = _copy(view, tree, wanted.copied.get(name, b""), left)
        if has_more:
            page.is_complete = False
            return page
    for name, tree in (("meta", view.meta), ("positions", view.positions)):
        entries = [(bytes(key), bytes(value)) for key, value in view.txn.cursor(db=tree)]
        page.whole[name] = entries
    return page


def _trees(view: TransactionView) -> Iterator[tuple[str, Database]]:
    kinds = (("blocks", view.blocks), ("quarantine", view.quarantine), ("history", view.history))
    for kind, trees in kinds:
        for id in sorted(trees):
            yield f"{kind}/{id}", trees[id]


def _copy(
    view: TransactionView, tree: Database, after: bytes, left: int
) -> tuple[CopiedTree, int, bool]:
    """The entries behind the key `after`, how much room is left, and whether there are more."""
    copied = CopiedTree(view.txn.stat(tree)["entries"])
    cursor = view.txn.cursor(db=tree)
    if not cursor.first():
        return copied, left, False
    copied.first = bytes(cursor.key())
    more = True
    if after:
        more = cursor.set_range(after)
        if more and bytes(cursor.key()) == after:
            more = cursor.next()
    while more and left > 0:
        key, value = bytes(cursor.key()), cursor.value()
        if isinstance(value, Unreadable):
            number = int.from_bytes(key, "big")
            copied.unreadable.append(f"what is stored from {number} on: {value.reason}")
        copied.added.append((key, bytes(value)))
        left -= len(value) + _ENTRY_BYTES
        more = cursor.next()
    return copied, left, more
