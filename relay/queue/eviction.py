"""Let the oldest records of a queue leave undelivered.

Only a prefix leaves, and only whole blocks: what is on its way to the upstream lies at
the head, so it is among the first to go.  It may arrive all the same, and an answer
that comes later moves it from the dropped ones to the delivered ones (`Removal.late`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from relay.queue.block import payload_bytes, received_at
from relay.queue.ledger import Ledger
from relay.queue.transaction import Eviction

__all__ = ["count_late", "evict"]

_KEY = struct.Struct(">Q")


def evict(
    cursor: Any, ledger: Ledger, eviction: Eviction, *, used_bytes: Callable[[], int]
) -> None:
    """Delete blocks from the head on and count their records.

    Args:
        cursor: An LMDB cursor for the blocks of the destination, in a write transaction.
        ledger: Changed in place.
        used_bytes: What the blocks take of the map now.
    """
    for _ in range(eviction.blocks_max):
        if not cursor.first() or not _is_due(cursor.value(), eviction, used_bytes):
            break
        size = payload_bytes(cursor.value())
        stop = _KEY.unpack(cursor.key())[0] if cursor.next() else ledger.next_seq
        count = stop - ledger.acknowledged_seq
        ledger.dropped[eviction.reason] = ledger.dropped.get(eviction.reason, 0) + count
        ledger.acknowledged_seq = stop
        ledger.queued_bytes -= size
        cursor.first()
        cursor.delete()
    if ledger.queued == 0:
        ledger.queued_bytes = 0  # whatever a damaged block claimed


def count_late(ledger: Ledger, late: Mapping[str, int]) -> None:
    """Records that had been dropped, by reason, have arrived after all."""
    for reason, count in late.items():
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
