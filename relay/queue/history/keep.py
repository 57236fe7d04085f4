"""The history: records that an upstream has acknowledged, kept for a while.

An upstream may lose records that it has acknowledged.  Where a destination has a history, the
commit
that counts records as delivered also copies them from the queue to `history/<id>`: a
block that is delivered as a whole as it is, with its checksum; of others the records
that were delivered, as a block of their own.  So exactly what is counted as delivered
is there.  Records that left by another way (dropped, set aside, purged, adopted) never are; nor
are those that a limit had dropped when their answer came, for they were gone by then.

No account counts the history: its records were delivered, and stay so.  It has limits of
age and size, and it is the first to go when room gets short: queues,
quarantines and histories together stay below `room_bytes`, at which sources would have
to wait, and from a full disk on nothing is kept until there is room again.

Key of an entry: the seq of its first record.  Value:

    offset  size    field
    0       8       when it was acknowledged: IEEE 754 double, little endian, seconds
                    since 1970-01-01 UTC
    8       …       block, see block.py; none if it was damaged in the queue
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from relay.model.seq import SeqRange
from relay.queue.block import (
    KEY,
    BlockDamaged,
    block_header,
    decode_block,
    encode_block,
    seq_of,
    to_block_with,
)
from relay.queue.files.trees import Buffer, Cursor, Database, Environment, Transaction
from relay.queue.repair.guarded import GuardedTransaction
from relay.queue.transaction import SetAside
from relay.queue.view import database_bytes

_PREFIX = b"history/"
_STAMP = struct.Struct("<d")
ENTRIES_PER_STEP_MAX = 2048
_RUN_ENTRIES = 64  # that one history sheds before the others are considered again


@dataclass(frozen=True, slots=True)
class HistoryLimit:
    """The limits of the history of one destination."""

    seconds_max: float
    """Age, since the acknowledgement, at which an entry leaves."""
    bytes_max: int
    """In whole pages on disk."""


def acknowledged_at(entry: Buffer) -> float:
    """When the records of `entry` were acknowledged (seconds since 1970-01-01 UTC)."""
    return float(_STAMP.unpack_from(entry)[0]) if len(entry) >= _STAMP.size else 0.0


def block_in(entry: Buffer) -> bytes:
    """The block of `entry`; empty if there was none that could be read."""
    return bytes(entry[_STAMP.size :])


def records_in(entry: Buffer) -> int:
    """How many records `entry` stands for, by its header alone; 1 if nothing tells."""
    return block_header(memoryview(entry)[_STAMP.size :])[1] or 1


class Histories:
    """The histories in one store.

    Args:
        limits: By destination; what others deliver is not kept.
        room_bytes: What queues, quarantines and histories may take together; 0 = no
            limit.

    Attributes:
        databases: Of each destination that has a history or had one.
        used_bytes: What they took of the map as of the last commit.
        disk_full: The disk may be full; nothing is kept until this is set back.
        shed_entries: How many have left to make room, since the start.
    """

    def __init__(
        self, limits: Mapping[str, HistoryLimit] | None = None, *, room_bytes: int = 0
    ) -> None:
        self.limits = dict(limits or {})
        self.databases: dict[str, Database] = {}
        self.used_bytes = 0
        self.disk_full = False
        self.shed_entries = 0
        self._room_bytes = room_bytes
        self._others_bytes = 0  # what is no history, as of the last commit
        self._kept = 0  # entries in this transaction

    def open(self, environment: Environment, others_bytes: int) -> None:
        """Open the databases that are there, and make those that are missing.

        Args:
            others_bytes: What queues and quarantines take now.
        """
        with environment.begin() as txn:
            names = [bytes(name) for name, _ in txn.cursor()]
        found = [name[len(_PREFIX) :].decode() for name in names if name.startswith(_PREFIX)]
        self._open(environment, {*found, *self.limits})
        self._others_bytes = others_bytes
        with environment.begin() as txn:
            self.used_bytes = self._measured(txn)

    def change(self, environment: Environment, other: Histories) -> None:
        """Keep to the limits of another from now on; in the thread of the commits.

        What a destination has kept that keeps nothing any more leaves by age.
        """
        self._open(environment, other.limits.keys() - self.databases.keys())
        self.limits, self._room_bytes = dict(other.limits), other._room_bytes

    def _open(self, environment: Environment, ids: Iterable[str]) -> None:
        for id in ids:
            self.databases[id] = environment.open_db(_PREFIX + id.encode())

    def keep(
        self,
        txn: GuardedTransaction,
        destination: str,
        blocks: Database,
        seqs: SeqRange,
        asides: Sequence[SetAside],
        *,
        at: float,
    ) -> None:
        """Copy the records `seqs`, which are about to leave, without those set aside.

        Args:
            txn: A write transaction.
            blocks: The queue, with these records and those after them.
            at: When they were acknowledged (seconds since 1970-01-01 UTC).
        """
        if destination not in self.limits or self.disk_full:
            return
        if 0 < self._room_bytes <= self._others_bytes:
            return  # it would have to leave at once
        history, stamp = self.databases[destination], _STAMP.pack(at)
        for run in _delivered(seqs, asides):
            for seq, block in _cut(txn.cursor(db=blocks), run):
                key, value = KEY.pack(seq), b"".join((stamp, block))
                # Appending fills pages, but seqs need not come in order.
                if not txn.put(key, value, db=history, append=True):
                    txn.put(key, value, db=history)
                self._kept += 1

    def trim(self, txn: Transaction, others_bytes: int) -> None:
        """Enforce the limits of size, within a commit; the oldest entries leave.

        Args:
            others_bytes: What queues and quarantines take now.
        """
        self._others_bytes = others_bytes
        entries_max, self._kept = self._kept + ENTRIES_PER_STEP_MAX, 0
        for id, limit in self.limits.items():
            _shrink(txn, self.databases[id], limit.bytes_max, entries_max)
        self.used_bytes = self._measured(txn)
        excess = others_bytes + self.used_bytes - self._room_bytes
        if self._room_bytes and self.used_bytes and excess > 0:
            self.shed(txn, excess, entries_max)

    def shed(self, txn: Transaction, excess: int, entries_max: int = ENTRIES_PER_STEP_MAX) -> None:
        """Let entries leave, those first that were delivered first, until `excess` bytes
        of the map are free."""
        self.used_bytes = self._measured(txn)
        aim = max(0, self.used_bytes - excess)
        while self.used_bytes > aim and entries_max > 0:
            heads = {id: oldest_in(txn, database) for id, database in self.databases.items()}
            filled = {id: at for id, at in heads.items() if at is not None}
            assert filled, (self.used_bytes, aim)  # what is empty takes no pages
            database = self.databases[min(filled, key=lambda id: filled[id])]
            others = self.used_bytes - database_bytes(txn, database)
            shed = _shrink(txn, database, aim - others, min(_RUN_ENTRIES, entries_max))
            self.used_bytes = others + database_bytes(txn, database)
            self.shed_entries += shed
            entries_max -= shed

    def _measured(self, txn: Transaction) -> int:
        return sum(database_bytes(txn, each) for each in self.databases.values())


def _delivered(seqs: SeqRange, asides: Sequence[SetAside]) -> Iterator[SeqRange]:
    """What is left of `seqs` without those set aside."""
    start = seqs.start
    for aside in sorted(asides, key=lambda aside: aside.seqs.start):
        if aside.seqs.start > start:
            yield SeqRange(start, min(aside.seqs.start, seqs.stop))
        start = max(start, aside.seqs.stop)
    if start < seqs.stop:
        yield SeqRange(start, seqs.stop)


def _cut(cursor: Cursor, run: SeqRange) -> Iterator[tuple[int, Buffer]]:
    """The records `run` as blocks, each with the seq of its first record."""
    found = to_block_with(cursor, run.start)
    while found:
        first, value = seq_of(cursor.key()), cursor.value()
        if first >= run.stop:
            return
        found = cursor.next()
        # Where the last block ends only its header says here.
        stop = seq_of(cursor.key()) if found else first + block_header(value)[1]
        start = max(first, run.start)
        if start == first and stop <= run.stop:
            yield start, value
        elif stop > start:
            yield start, _part_of(value, start - first, run.stop - first)


def _part_of(value: Buffer, start: int, stop: int) -> bytes:
    """Some records of a block as a block; nothing if it was damaged since they were sent."""
    try:
        block = decode_block(bytes(value))
    except BlockDamaged:
        return b""
    return encode_block(block.payloads[start:stop], received_at=block.received_at)


def oldest_in(txn: Transaction, database: Database) -> float | None:
    """When the oldest entry of a history was acknowledged (seconds since 1970-01-01 UTC);
    None = it is empty."""
    cursor = txn.cursor(db=database)
    return acknowledged_at(cursor.value()) if cursor.first() else None


def _shrink(txn: Transaction, database: Database, bytes_max: int, entries_max: int) -> int:
    """Delete entries from the oldest on while there is too much; return how many."""
    count = 0
    cursor = txn.cursor(db=database)
    while count < entries_max and database_bytes(txn, database) > bytes_max and cursor.first():
        cursor.delete()
        count += 1
    return count
