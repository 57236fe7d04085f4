"""What one LMDB transaction sees of the queues, as queries and commands get it."""

from __future__ import annotations

from collections.abc import Iterable

from relay.model.errors import DamagedRange
from relay.model.seq import SeqRange
from relay.queue.block import KEY, BlockDamaged, decode_block, seq_of
from relay.queue.compaction.handles import Handles
from relay.queue.files.trees import Database, Transaction
from relay.queue.ledger import Ledger, decode_ledger
from relay.queue.positions import unsealed
from relay.queue.repair.guarded import GuardedTransaction

_LEDGER = b"ledger/"


class TransactionView:
    """A transaction with buffers: what it returns has to be copied before it ends.

    Args:
        txn: As `Handles.begin` makes them.

    Attributes:
        blocks: The database of blocks of each destination, orphans included.
        quarantine: The quarantine of each account, those of sources included.
        history: The history of each destination that has one or had one.
    """

    def __init__(self, txn: GuardedTransaction, handles: Handles) -> None:
        self.txn = txn
        self.meta = handles.meta
        self.positions = handles.positions
        self.blocks = handles.blocks
        self.quarantine = handles.quarantine
        self.history = handles.history

    def ledger(self, id: str) -> Ledger:
        """The account as it is stored, whether it adds up or not."""
        value = self.txn.get(_LEDGER + id.encode(), db=self.meta)
        return Ledger() if value is None else decode_ledger(id, bytes(value), checks=False)

    def ledgers(self, *, checks: bool) -> dict[str, Ledger]:
        """All accounts that are stored.

        Args:
            checks: Refuse those that do not add up.

        Raises:
            QueueFormatError: One cannot be read, or does not add up.
        """
        found: dict[str, Ledger] = {}
        for key, value in self.txn.cursor(db=self.meta):
            if bytes(key).startswith(_LEDGER):
                id = bytes(key)[len(_LEDGER) :].decode()
                found[id] = decode_ledger(id, value, checks=checks)
        return found

    def records(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        """Consecutive payloads from record `start` on, whole blocks until a limit is reached.

        Raises:
            DamagedRange: The block with `start` in it is damaged, or cannot be read.
        """
        payloads: list[bytes] = []
        size = 0
        cursor = self.txn.cursor(db=self.blocks[destination])
        found = cursor.set_range(KEY.pack(start))
        if not found or seq_of(cursor.key()) != start:
            found = cursor.prev() if found else cursor.last()
        while found and len(payloads) < records_max and size < bytes_max:
            first = seq_of(cursor.key())
            value = cursor.value()
            found = cursor.next()
            stop = seq_of(cursor.key()) if found else self.ledger(destination).next_seq
            try:
                block = decode_block(value).payloads
                # The checksum does not cover the key, so a changed key shows only here.
                if len(block) != stop - first:
                    raise BlockDamaged(f"{len(block)} records in the place of {stop - first}")
            except BlockDamaged as damage:
                if payloads:
                    break  # deliver what comes before it first
                if start >= stop:
                    break  # it lies before `start`
                raise DamagedRange(destination, SeqRange(start, stop), str(damage)) from damage
            skip = max(0, start - first)
            payloads += block[skip:] if skip else block
            size += len(value)
        return payloads

    def positions_of(self, source: str) -> dict[str, bytes]:
        """How far `source` has read, by name; empty where damaged."""
        start = f"{source}/".encode()
        found: dict[str, bytes] = {}
        cursor = self.txn.cursor(db=self.positions)
        more = cursor.set_range(start)
        while more and (key := bytes(cursor.key())).startswith(start):
            position = unsealed(key, bytes(cursor.value()))
            found[key[len(start) :].decode("utf-8", "replace")] = position or b""
            more = cursor.next()
        return found

    def sources_with_positions(self) -> list[str]:
        """The sources that have read something, in the order of their ids."""
        found: list[str] = []
        cursor = self.txn.cursor(db=self.positions)
        more = cursor.first()
        while more:
            source = bytes(cursor.key()).partition(b"/")[0]
            if source:  # names that begin with a slash are the relay's own
                found.append(source.decode("utf-8", "replace"))
            more = cursor.set_range(source + b"0")  # "0" follows the slash in ASCII
        return found

    def oldest_received_at(self, destination: str) -> float | None:
        """When the oldest block came in (seconds since 1970-01-01 UTC); None if there is none
        that can be read."""
        cursor = self.txn.cursor(db=self.blocks[destination])
        if not cursor.first():
            return None
        try:
            return decode_block(cursor.value()).received_at
        except BlockDamaged:
            return None


class MapUsage:
    """What queues and quarantines take of the map, in whole pages.

    A lone short record takes a page, so this, not the payload, is what has to stay below the
    size of the map.  Values are replaced, never changed in place.
    """

    __slots__ = ("quarantines", "queues", "total")

    def __init__(self, queues: dict[str, int], quarantines: dict[str, int]) -> None:
        self.queues = queues
        """By destination, in bytes."""
        self.quarantines = quarantines
        """By account, in bytes."""
        self.total = sum(queues.values()) + sum(quarantines.values())

    def updated(self, view: TransactionView, ids: Iterable[str]) -> MapUsage:
        """With what `view` sees of the accounts `ids`; the others are as they were."""
        queues, quarantines = dict(self.queues), dict(self.quarantines)
        for id in ids:
            quarantines[id] = database_bytes(view.txn, view.quarantine[id])
            if id in view.blocks:
                queues[id] = database_bytes(view.txn, view.blocks[id])
        return MapUsage(queues, quarantines)


def database_bytes(txn: Transaction, database: Database) -> int:
    """What `database` takes of the map, in whole pages."""
    stat = txn.stat(database)
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return pages * stat["psize"]
