"""Commands for whole queues: discard a backlog, move it to another destination, or send
delivered records again.

Each step is a transaction with an upper limit, so that nothing waits long behind it, and returns
where the next one begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.block import Block, BlockDamaged, decode_block, seq_of
from relay.queue.changes import OPERATOR, Changes, RemovesOnly
from relay.queue.history.keep import block_in, oldest_in, records_in
from relay.queue.inspect.queries import Period, entries_of, history_of
from relay.queue.ledger import Ledger
from relay.queue.transaction import SetAside

__all__ = ["Adopt", "Adopted", "Purge", "ReplayHistory", "Replayed"]

_ENTRIES_PER_STEP_MAX = 5000


@dataclass(frozen=True, slots=True)
class Purge(RemovesOnly):
    """Discard the records from `start`, the head of the queue, to before `upto`.

    They are counted as dropped, under `reason`.  Nobody may be sending them: the
    caller holds the drain.
    """

    queue: str
    start: int
    upto: int
    reason: str = OPERATOR

    def apply(self, changes: Changes) -> int:
        """Returns: how many records left."""
        ledger = changes.ledger(self.queue)
        if ledger.acknowledged_seq != self.start or self.upto > ledger.next_seq:
            raise QueueError(f"queue of {self.queue}: it has moved on meanwhile; ask again")
        count = max(0, self.upto - self.start)
        if count:
            ledger.drop(self.reason, count)
            changes.forget(self.queue, self.upto)
        return count


class Adopted(msgspec.Struct):
    """What one step of an adoption did."""

    records: int = 0
    set_aside: int = 0
    """Records in damaged blocks, which are in the quarantine of the orphan now."""
    left: int = 0
    """Records that are still in the orphan's queue."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Move the oldest records of the queue `orphan` to the end of that of `to`.

    They leave one queue and come into the other in one transaction: whatever
    happens, each is in exactly one of them, and the next step goes on.  The time of
    receipt stays with them.

    Args:
        upto: Where to end, the beginning of a block; 0 = at the end.
    """

    orphan: str
    to: str
    bytes_max: int = 4 * 1024 * 1024
    upto: int = 0

    def apply(self, changes: Changes) -> Adopted:
        ledger = changes.ledger(self.orphan)
        done = Adopted()
        upto = ledger.acknowledged_seq
        for seqs, block in self._head(changes, ledger):
            upto = seqs.stop
            if isinstance(block, BlockDamaged):
                changes.set_aside(self.orphan, SetAside(seqs, str(block)))
                done.set_aside += len(seqs)
            else:
                payloads = block.payloads[-len(seqs) :]
                changes.append(self.to, payloads, received_at=block.received_at)
                ledger.moved += len(seqs)
                done.records += len(seqs)
        changes.forget(self.orphan, upto)
        done.left = ledger.queued
        return done

    def _head(
        self, changes: Changes, ledger: Ledger
    ) -> Iterator[tuple[SeqRange, Block | BlockDamaged]]:
        """What is left of the oldest blocks, one at least."""
        cursor = changes.txn.cursor(db=changes.blocks[self.orphan])
        found = cursor.first()
        size = 0
        while found and size < self.bytes_max:
            start = max(seq_of(cursor.key()), ledger.acknowledged_seq)
            if 0 < self.upto <= start:
                return
            value = bytes(cursor.value())
            found = cursor.next()
            seqs = SeqRange(start, seq_of(cursor.key()) if found else ledger.next_seq)
            size += len(value)
            try:
                yield seqs, decode_block(value)
            except BlockDamaged as damage:
                yield seqs, damage


class Replayed(msgspec.Struct):
    """What one step of a replay did."""

    records: int = 0
    damaged: int = 0
    """Records that cannot be read."""
    gone: int = 0
    """Records, at most, that left the history after the step before this one."""
    begins_at: float | None = None
    """When the oldest record in the history was acknowledged; None = it is empty."""
    next_seq: int = 0
    """Where the next step goes on; 0 = there is nothing more to do."""


@dataclass(frozen=True, slots=True)
class ReplayHistory:
    """Put records that `queue` has delivered at the end of the queue of `to`, once more.

    They stay in the history, and are received anew where they are now.  They came in
    now as far as limits of age are concerned.

    Args:
        start: Seq of the entry to begin with; 0 = the oldest.
        upto: Seq of the first record to leave out.
    """

    queue: str
    to: str
    period: Period
    start: int
    upto: int
    bytes_max: int = 4 * 1024 * 1024

    def apply(self, changes: Changes) -> Replayed:
        history = history_of(changes, self.queue)
        done = Replayed(begins_at=oldest_in(changes.txn, history))
        size = entries = 0
        before = self.start
        runs: list[list[bytes]] = []
        for first, entry in entries_of(changes, history, self.start):
            if first >= self.upto:
                break
            if first < self.start:
                continue
            if size >= self.bytes_max or entries == _ENTRIES_PER_STEP_MAX:
                done.next_seq = first
                break
            if before:  # the entry that a step goes on with was there when it was named
                done.gone, before = first - before, 0
            entries += 1
            if self.period.has(entry):
                size += len(entry)
                try:
                    runs.append(decode_block(block_in(entry)).payloads)
                except BlockDamaged:
                    done.damaged += min(records_in(entry), self.upto - first)
        if before:  # nothing of the rest is there any more
            done.gone = self.upto - before
        payloads = [payload for run in runs for payload in run]
        done.records = len(payloads)
        if payloads:
            changes.append(self.to, payloads, received_at=changes.at)
        return done
