"""An open transaction, as those see it who look into the queue or change it by hand.

A reading (`inspect/queries.py`) gets one in a short read transaction; an operation
(`inspect/commands.py`, `quarantine.py`) in a write transaction of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.queue.block import payload_bytes_of
from relay.queue.ledger import Ledger

__all__ = [
    "KEY",
    "OPERATOR",
    "TransactionView",
    "Command",
    "RemovesOnly",
    "count_dropped",
    "count_never_queued",
    "database_bytes",
    "forget",
    "seq_of",
    "to_block_with",
]

KEY = struct.Struct(">Q")
"""A seq as a key."""

OPERATOR = "operator"
"""Why records were dropped that somebody gave up."""


class _Append(Protocol):
    def __call__(
        self, destination: str, payloads: Sequence[bytes], *, received_at: float
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class TransactionView:
    """All that one transaction can see.  Valid for as long as it is open."""

    txn: Any
    """LMDB's, with buffers: what it returns has to be copied before the end."""
    blocks: Mapping[str, Any]
    """The database of blocks of each destination, orphans included."""
    quarantine: Mapping[str, Any]
    """The quarantine of each account, those of sources included."""
    ledger: Callable[[str], Ledger]
    """The account; what an operation changes in it is stored with its transaction."""
    append: _Append
    """Stores payloads at the end of a queue; for operations only."""
    at: float
    """Seconds since 1970-01-01 UTC."""
    history: Mapping[str, Any] = field(default_factory=dict)
    """The history of each destination that has one or had one."""


class Command(Protocol):
    """A change that somebody asked for.  It sees all earlier ones and is done whole or not."""

    def apply(self, view: TransactionView) -> Any:
        """Do it.  A QueueError says why not; nothing is changed then."""


class RemovesOnly:
    """An operation of this kind may use the room that is kept for removals."""

    __slots__ = ()


def seq_of(key: Any) -> int:
    """The seq that `key` stands for."""
    return int(KEY.unpack(key)[0])


def to_block_with(cursor: Any, seq: int) -> bool:
    """Set `cursor` on the last block that begins at `seq` or before, or else on the first.

    Returns:
        False if there is no block at all.
    """
    if not cursor.set_range(KEY.pack(seq)):
        return bool(cursor.last())
    if seq_of(cursor.key()) != seq and not cursor.prev():
        return bool(cursor.first())
    return True


def forget(txn: Any, database: Any, ledger: Ledger, upto: int) -> None:
    """Let the records before `upto` leave the queue, and blocks that have none left."""
    ledger.acknowledged_seq = upto
    cursor = txn.cursor(db=database)
    while cursor.first():
        size = payload_bytes_of(cursor)
        stop = seq_of(cursor.key()) if cursor.next() else ledger.next_seq
        if stop > upto:
            break
        ledger.queued_bytes -= size
        cursor.first()
        cursor.delete()
    if ledger.queued == 0:
        ledger.queued_bytes = 0  # whatever a damaged block claimed


def count_dropped(ledger: Ledger, reason: str, count: int) -> None:
    """Add `count` records that were given up for `reason`."""
    if count:
        ledger.dropped[reason] = ledger.dropped.get(reason, 0) + count


def count_never_queued(ledger: Ledger, reasons: Mapping[str, int]) -> None:
    """Add records that were dropped before they got a number: how many by reason."""
    for reason, count in reasons.items():
        count_dropped(ledger, reason, count)
        ledger.never_queued += count


def database_bytes(txn: Any, database: Any) -> int:
    """What `database` takes of the map, in whole pages."""
    stat = txn.stat(database)
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return int(pages * stat["psize"])
