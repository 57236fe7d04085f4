"""Let the oldest records of a queue leave undelivered.

Only a prefix leaves, and only whole blocks: what is on its way to the upstream lies at
the head, so it is among the first to go.  It may arrive all the same, and an answer
that comes later moves it from the dropped ones to the delivered ones (`Removal.late`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from relay.queue.block import received_at
from relay.queue.ledger import Ledger
from relay.queue.transaction import Eviction
from relay.queue.view import count_dropped, forget, seq_of

__all__ = ["count_late", "evict"]


def evict(
    txn: Any, database: Any, ledger: Ledger, eviction: Eviction, *, used_bytes: Callable[[], int]
) -> None:
    """Delete blocks from the head on and count their records.

    Args:
        txn: A write transaction of LMDB.
        database: The blocks of the destination.
        ledger: Changed in place.
        used_bytes: What the blocks take of the map now.
    """
    for _ in range(eviction.blocks_max):
        cursor = txn.cursor(db=database)
        if not cursor.first() or not _is_due(cursor.value(), eviction, used_bytes):
            break
        stop = seq_of(cursor.key()) if cursor.next() else ledger.next_seq
        count_dropped(ledger, eviction.reason, stop - ledger.acknowledged_seq)
        forget(txn, database, ledger, stop)


def count_late(ledger: Ledger, late: Mapping[str, int]) -> None:
    """Records that had been dropped, by reason, have arrived after all."""
    for reason, count in late.items():
        if not count:
            continue  # all that would have been late was set aside
        assert ledger.dropped.get(reason, 0) >= count, (reason, count, ledger)
        ledger.dropped[reason] -= count
        ledger.delivered += count
        if not ledger.dropped[reason]:
            del ledger.dropped[reason]


def _is_due(value: Any, eviction: Eviction, used_bytes: Callable[[], int]) -> bool:
    if eviction.bytes_max is not None and used_bytes() > eviction.bytes_max:
        return True
    if eviction.received_before is None:
        return False
    at = received_at(value)
    return at is not None and at < eviction.received_before
