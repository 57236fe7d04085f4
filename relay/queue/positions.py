"""How far sources have read what they can read again, as `store.py` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["positions_of", "put_positions"]


def positions_of(txn: Any, database: Any, source: str) -> dict[str, bytes]:
    """How far `source` has read, by name."""
    start = f"{source}/".encode()
    found: dict[str, bytes] = {}
    cursor = txn.cursor(db=database)
    more = cursor.set_range(start)
    while more and bytes(cursor.key()).startswith(start):
        found[bytes(cursor.key())[len(start) :].decode()] = bytes(cursor.value())
        more = cursor.next()
    return found


def put_positions(txn: Any, database: Any, positions: Mapping[str, bytes]) -> None:
    """Store `positions` by ``source/name``; empty ones are forgotten."""
    for name, position in positions.items():
        if position:
            txn.put(name.encode(), position, db=database)
        else:
            txn.delete(name.encode(), db=database)
