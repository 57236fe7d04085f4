"""A write transaction: what it changes in queues and quarantines, and their accounts with it.

Records and the ledger that counts them change together, in one transaction, so the accounts add
up in whatever a crash leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Protocol, TypeVar

import msgspec

from relay.codec import runs, total_bytes
from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.block import (
    BLOCK_BYTES_TARGET,
    KEY,
    BlockDamaged,
    decode_block,
    encode_block,
    payload_bytes_of,
    received_at,
    seq_of,
    to_block_with,
)
from relay.queue.compaction.handles import Handles
from relay.queue.files.trees import Buffer
from relay.queue.history.keep import Histories
from relay.queue.ledger import Ledger
from relay.queue.positions import sealed
from relay.queue.quarantine import Label, write_entry
from relay.queue.repair.guarded import GuardedTransaction
from relay.queue.transaction import (
    Eviction,
    Refusal,
    Removal,
    SetAside,
    Transaction,
    account_of_source,
)
from relay.queue.view import MapUsage, TransactionView, database_bytes

OPERATOR = "operator"
"""The reason for records that were dropped by hand."""
_QUARANTINE_FULL = "quarantine-full"
_Result = TypeVar("_Result", covariant=True)


class Changes(TransactionView):
    """An open write transaction of the one thread that writes.

    Args:
        ledgers: The accounts as of the last commit; they are copied before they are changed, so
            that a transaction that fails has changed nothing.
        histories: What is kept of delivered records.
        at: Seconds since 1970-01-01 UTC.

    Attributes:
        changed: The accounts that this transaction stores at its end.
    """

    def __init__(
        self,
        txn: GuardedTransaction,
        handles: Handles,
        ledgers: Mapping[str, Ledger],
        histories: Histories,
        *,
        at: float,
    ) -> None:
        super().__init__(txn, handles)
        self.at = at
        self.changed: dict[str, Ledger] = {}
        self._ledgers = ledgers
        self._histories = histories

    def ledger(self, id: str) -> Ledger:
        """The account of `id`, to be changed in place."""
        if id not in self.changed:
            ledger = self._ledgers[id]
            self.changed[id] = msgspec.structs.replace(ledger, dropped=dict(ledger.dropped))
        return self.changed[id]

    def apply(self, transaction: Transaction) -> None:
        """Make all changes of `transaction`."""
        for destination, payloads in transaction.appends.items():
            if payloads:
                self.append(destination, payloads, received_at=transaction.received_at)
        for destination, removal in transaction.removals.items():
            self._remove(destination, removal)
        for destination, reasons in transaction.drops.items():
            self.ledger(destination).drop_unqueued(reasons)
        # After the removals: what has been delivered is not dropped.
        for destination, eviction in transaction.evictions.items():
            self._evict(destination, eviction)
        for refusal in transaction.refusals:
            self._refuse(refusal)
        for name, position in transaction.positions.items():
            key = name.encode()
            if position:
                self.txn.put(key, sealed(key, position), db=self.positions)
            else:
                self.txn.delete(key, db=self.positions)

    def append(self, destination: str, payloads: Sequence[bytes], *, received_at: float) -> None:
        """Store `payloads` at the end of the queue of `destination`."""
        ledger = self.ledger(destination)
        database = self.blocks[destination]
        start = 0
        for stop in runs(payloads, BLOCK_BYTES_TARGET):
            run = payloads[start:stop] if stop - start < len(payloads) else payloads
            start = stop
            block = encode_block(run, received_at=received_at)
            # MDB_APPEND fills pages to the brim instead of splitting them in halves, and refuses
            # a key that is not the highest: a ledger that is behind its blocks ends here.
            if not self.txn.put(KEY.pack(ledger.next_seq), block, db=database, append=True):
                raise QueueError(
                    f"queue of {destination}: there are blocks beyond record {ledger.next_seq}"
                )
            ledger.next_seq += len(run)
            ledger.queued_bytes += total_bytes(run)

    def forget(self, destination: str, upto: int) -> None:
        """Let the records before `upto` leave the queue, and blocks that have none left."""
        ledger = self.ledger(destination)
        ledger.acknowledged_seq = upto
        cursor = self.txn.cursor(db=self.blocks[destination])
        # A block leaves with its last record; where it ends only the next key or the account says.
        while cursor.first():
            size = payload_bytes_of(cursor)
            stop = seq_of(cursor.key()) if cursor.next() else ledger.next_seq
            if stop > upto:
                break
            ledger.queued_bytes -= size
            cursor.first()
            cursor.delete()
        if ledger.queued == 0:
            ledger.queued_bytes = 0  # whatever the header of a damaged block claimed

    def set_aside(self, destination: str, aside: SetAside) -> None:
        """Copy the records of `aside` into the quarantine, and count them there."""
        ledger = self.ledger(destination)
        cursor = self.txn.cursor(db=self.blocks[destination])
        to_block_with(cursor, aside.seqs.start)
        first = seq_of(cursor.key())
        value = bytes(cursor.value())
        count = len(aside.seqs)
        label = Label(aside.reason, self.at, "record")
        try:
            kept = decode_block(value).payloads[aside.seqs.start - first :][:count]
        except BlockDamaged:
            label, kept = Label(aside.reason, self.at, "block", records=count), [value]
        for seq, payload in enumerate(kept, aside.seqs.start):
            entry = write_entry(label, payload)
            self.txn.put(KEY.pack(seq), entry, db=self.quarantine[destination])
            ledger.quarantine_bytes += len(entry)
        ledger.quarantined += count

    def finish(self, usage: MapUsage) -> MapUsage:
        """Store the accounts that changed, and keep the histories within their room.

        Returns:
            What takes how much of the map then.
        """
        for id, ledger in self.changed.items():
            assert ledger.gap == 0, (id, ledger)
            self.txn.put(b"ledger/" + id.encode(), msgspec.json.encode(ledger), db=self.meta)
        usage = usage.updated(self, self.changed)  # the others have not changed
        if self._histories.databases:
            self._histories.trim(self.txn, usage.total)
        return usage

    def _remove(self, destination: str, removal: Removal) -> None:
        ledger = self.ledger(destination)
        assert removal.upto <= ledger.next_seq, (removal, ledger)
        # An eviction that was committed after the answer came may have taken them already.
        upto = max(removal.upto, ledger.acknowledged_seq)
        ledger.deliver_late(removal.late)
        quarantined = ledger.quarantined
        for aside in removal.set_aside:
            self.set_aside(destination, aside)
        left = SeqRange(ledger.acknowledged_seq, upto)
        ledger.delivered += len(left) - (ledger.quarantined - quarantined)
        # Before they leave: the history copies their blocks.
        blocks = self.blocks[destination]
        self._histories.keep(self.txn, destination, blocks, left, removal.set_aside, at=self.at)
        self.forget(destination, upto)

    def _evict(self, destination: str, eviction: Eviction) -> None:
        """Delete blocks from the head on, whole ones, and count their records as dropped.

        What is on its way to the upstream lies at the head, so it is among the first to go.  It
        may arrive all the same: an answer that comes later moves it from the dropped records to
        the delivered ones (`Removal.late`).
        """
        ledger = self.ledger(destination)
        for _ in range(eviction.blocks_max):
            cursor = self.txn.cursor(db=self.blocks[destination])
            if not cursor.first() or not self._is_due(destination, cursor.value(), eviction):
                break
            stop = seq_of(cursor.key()) if cursor.next() else ledger.next_seq
            ledger.drop(eviction.reason, stop - ledger.acknowledged_seq)
            self.forget(destination, stop)

    def _is_due(self, destination: str, block: Buffer, eviction: Eviction) -> bool:
        blocks, bytes_max = self.blocks[destination], eviction.bytes_max
        if bytes_max is not None and database_bytes(self.txn, blocks) > bytes_max:
            return True
        if eviction.received_before is None:
            return False
        at = received_at(block)
        return at is not None and at < eviction.received_before

    def _refuse(self, refusal: Refusal) -> None:
        """Put frames into the quarantine of their source, as far as there is room."""
        account = account_of_source(refusal.source)
        ledger = self.ledger(account)
        label = Label(refusal.reason, self.at, "frame", peer=refusal.peer)
        for frame, original_bytes in zip_longest(refusal.frames, refusal.original_bytes):
            label.original_bytes = original_bytes or 0
            entry = write_entry(label, frame)
            if ledger.quarantine_bytes + len(entry) > refusal.quarantine_bytes_max:
                ledger.drop(_QUARANTINE_FULL, 1)
            else:
                self.txn.put(KEY.pack(ledger.next_seq), entry, db=self.quarantine[account])
                ledger.quarantined += 1
                ledger.quarantine_bytes += len(entry)
            ledger.next_seq += 1
        ledger.acknowledged_seq = ledger.next_seq  # a source has no queue


class Command(Protocol[_Result]):
    """A change made by hand or by a watch, in a transaction of its own."""

    def apply(self, changes: Changes) -> _Result:
        """Make it.

        Raises:
            QueueError: It cannot be made, as a message for people; nothing is changed then.
        """


class RemovesOnly:
    """A command of this kind may use the room that is kept for removals."""

    __slots__ = ()
