"""Queues in directories: filled, damaged and forged for tests."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from relay.model.seq import SeqRange
from relay.queue.block import encode_block
from relay.queue.history.keep import Histories, HistoryLimit
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, SetAside, Transaction

__all__ = [
    "MAP_BYTES",
    "append",
    "damage",
    "environment",
    "is_unverified",
    "kept",
    "looked_at",
    "make_long_queue",
    "opened",
    "put",
    "remove",
    "set_aside",
]

MAP_BYTES = 16 * 1024**2


@contextmanager
def opened(
    path: Path,
    *destinations: str,
    sources: Sequence[str] = (),
    map_bytes: int = 0,
    histories: Histories | None = None,
) -> Iterator[QueueStore]:
    store = QueueStore.open(
        str(path),
        destinations=destinations or ("a", "b"),
        sources=sources,
        map_bytes=map_bytes or MAP_BYTES,
        histories=histories,
    )
    try:
        yield store
    finally:
        store.close()


def make_long_queue(path: Path, payloads: Sequence[bytes], destination: str = "a") -> None:
    """A queue with `payloads`, each as if it had come alone."""
    with opened(path, destination):
        pass
    size = sum(map(len, payloads))
    ledger = Ledger(next_seq=len(payloads) + 1, queued_bytes=size)
    with environment(path) as found:
        blocks, meta = found.open_db(b"blocks/" + destination.encode()), found.open_db(b"meta")
        with found.begin(write=True) as txn:
            for seq, payload in enumerate(payloads, 1):
                block = encode_block([payload], received_at=0.0)
                txn.put(struct.pack(">Q", seq), block, db=blocks, append=True)
            txn.put(b"ledger/" + destination.encode(), msgspec.json.encode(ledger), db=meta)


@contextmanager
def looked_at(path: Path) -> Iterator[QueueStore]:
    """The queue as it is, even if it does not add up."""
    store = QueueStore.open_read_only(str(path))
    try:
        yield store
    finally:
        store.close()


def is_unverified(store: QueueStore) -> bool:
    """Whether something of the file is verified lazily, and was not yet."""
    lazy = store._handles.guard.lazy
    return lazy is not None and bool(lazy.names)


def kept(*destinations: str, bytes_max: int = 2**30, room_bytes: int = 0) -> Histories:
    """Histories of `destinations`, for an hour each."""
    limits = {id: HistoryLimit(3600.0, bytes_max) for id in destinations}
    return Histories(limits, room_bytes=room_bytes)


def append(store: QueueStore, *, at: float = 0.0, **payloads: list[bytes]) -> None:
    store.commit(Transaction(at, payloads))


def remove(
    store: QueueStore, destination: str, upto: int, *asides: SetAside, at: float = 9.0
) -> Ledger:
    changed = store.commit(Transaction(at, {}, {destination: Removal(upto, list(asides))}))
    return changed[destination]


def set_aside(store: QueueStore, destination: str, count: int = 1, reason: str = "refused") -> None:
    """Move the `count` oldest records to the quarantine, one by one."""
    for _ in range(count):
        seq = store.ledgers[destination].acknowledged_seq
        remove(store, destination, seq + 1, SetAside(SeqRange(seq, seq + 1), reason))


@contextmanager
def environment(path: Path) -> Iterator[Any]:
    """The LMDB environment of a queue that nobody has open."""
    found = lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=16)
    try:
        yield found
    finally:
        found.close()


def put(path: Path, database: str, key: bytes | int, value: bytes | None) -> bytes | None:
    """Replace a value, or remove it; return what was there."""
    key = struct.pack(">Q", key) if isinstance(key, int) else key
    with environment(path) as found:
        db = found.open_db(database.encode())
        with found.begin(write=True, db=db) as txn:
            before: bytes | None = txn.get(key)
            txn.delete(key) if value is None else txn.put(key, value)
    return before


def damage(path: Path, destination: str, first: int) -> None:
    """Flip a bit in the last byte of the block that begins with record `first`."""
    value = bytearray(put(path, f"blocks/{destination}", first, None) or b"")
    value[-1] ^= 1
    put(path, f"blocks/{destination}", first, bytes(value))
