"""What a read transaction finds: records of a queue, positions, accounts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from relay.model.errors import DamagedRange
from relay.model.seq import SeqRange
from relay.queue.block import BlockDamaged, decode_block
from relay.queue.compaction.handles import Handles
from relay.queue.ledger import Ledger, decode_ledger
from relay.queue.positions import unsealed
from relay.queue.view import KEY, database_bytes, seq_of

__all__ = [
    "measured",
    "oldest_block_at",
    "read_positions",
    "read_records",
    "sources_with_positions",
    "stored_ledger",
]


def read_records(
    txn: Any, handles: Handles, destination: str, *, start: int, records_max: int, bytes_max: int
) -> list[bytes]:
    """Consecutive payloads from record `start` on, whole blocks until a limit is reached.

    Args:
        txn: As `Handles.begin` makes them.

    Raises:
        DamagedRange: The block with `start` in it is damaged, or cannot be read.
    """
    payloads: list[bytes] = []
    size = 0
    cursor = txn.cursor(db=handles.blocks[destination])
    found = cursor.set_range(KEY.pack(start))
    if not found or seq_of(cursor.key()) != start:
        found = cursor.prev() if found else cursor.last()
    while found and len(payloads) < records_max and size < bytes_max:
        first = seq_of(cursor.key())
        value = cursor.value()
        found = cursor.next()
        ledger = None if found else stored_ledger(txn, handles, destination)
        stop = ledger.next_seq if ledger else seq_of(cursor.key())
        try:
            block = decode_block(value).payloads
            if len(block) != stop - first:  # its key is not under the checksum
                raise BlockDamaged(f"{len(block)} records in the place of {stop - first}")
        except BlockDamaged as damage:
            if payloads:
                break  # deliver what comes before it first
            if start >= stop:
                break  # it lies before the first record asked for
            raise DamagedRange(destination, SeqRange(start, stop), str(damage)) from damage
        skip = max(0, start - first)
        payloads += block[skip:] if skip else block
        size += len(value)
    return payloads


def read_positions(txn: Any, handles: Handles, source: str) -> dict[str, bytes]:
    """How far `source` has read, by name, empty where damaged."""
    start = f"{source}/".encode()
    found: dict[str, bytes] = {}
    cursor = txn.cursor(db=handles.positions)
    more = cursor.set_range(start)
    while more and (key := bytes(cursor.key())).startswith(start):
        position = unsealed(key, bytes(cursor.value()))
        found[key[len(start) :].decode("utf-8", "replace")] = position or b""
        more = cursor.next()
    return found


def sources_with_positions(txn: Any, handles: Handles) -> list[str]:
    """The sources that have read something, in the order of their ids."""
    found: list[str] = []
    cursor = txn.cursor(db=handles.positions)
    more = cursor.first()
    while more:
        source = bytes(cursor.key()).partition(b"/")[0]
        if source:  # names that begin with a slash are no source's
            found.append(source.decode("utf-8", "replace"))
        more = cursor.set_range(source + b"0")  # the octet that follows the slash
    return found


def oldest_block_at(txn: Any, handles: Handles, destination: str) -> float | None:
    """When the oldest block came in (seconds since 1970), or None."""
    cursor = txn.cursor(db=handles.blocks[destination])
    if not cursor.first():
        return None
    try:
        return decode_block(cursor.value()).received_at
    except BlockDamaged:
        return None


def measured(
    txn: Any, handles: Handles, ids: Iterable[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """What the queue and the quarantine of each of `ids` take of the map."""
    queues, quarantines = {}, {}
    for id in ids:
        quarantines[id] = database_bytes(txn, handles.quarantine[id])
        if id in handles.blocks:
            queues[id] = database_bytes(txn, handles.blocks[id])
    return queues, quarantines


def stored_ledger(txn: Any, handles: Handles, id: str) -> Ledger:
    """The account as the transaction sees it, whether it adds up or not."""
    value = txn.get(b"ledger/" + id.encode(), db=handles.meta)
    return Ledger() if value is None else decode_ledger(id, bytes(value), checks=False)
