"""Commands of the operator, and of watches, that change a queue, a quarantine or a history.

    queue       discard its records, move them to another destination
    quarantine  discard entries, send them again, trim it to its limits
    history     send delivered records again, let the oldest leave

The control socket decodes these structs from a request; the committer applies them.  Each step
is a transaction of bounded size and returns where the next step begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.model.text import size as size_text
from relay.queue.block import KEY, Block, BlockDamaged, decode_block, seq_of
from relay.queue.changes import OPERATOR, Changes, RemovesOnly
from relay.queue.files.trees import Database, Transaction
from relay.queue.history.keep import (
    ENTRIES_PER_STEP_MAX,
    Histories,
    acknowledged_at,
    block_in,
    oldest_in,
    records_in,
)
from relay.queue.inspect.queries import Period, entries_of, history_of
from relay.queue.ledger import Ledger
from relay.queue.quarantine import Label, read_entry
from relay.queue.transaction import SetAside

STEP_BYTES_MAX = 4 * 1024 * 1024
_HISTORY_ENTRIES_PER_STEP_MAX = 5000
_NO_END = 2**63


class Purge(msgspec.Struct, RemovesOnly, frozen=True, forbid_unknown_fields=True):
    """Discard the records from `start`, the head of the queue, to before `upto`.

    The ledger counts them as dropped, under `reason`.  Nobody may be sending them: the
    caller holds the drain.  In a request 0 stands for the head and for the end of the queue.
    """

    queue: str
    start: int = 0
    upto: int = 0
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
    """The result of one step of an adoption."""

    records: int = 0
    set_aside: int = 0
    """Records in damaged blocks, which are in the quarantine of the orphan now."""
    left: int = 0
    """Records that are still in the orphan's queue."""


class Adopt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Move the oldest records of the queue `orphan` to the end of that of `to`.

    They leave one queue and enter the other in one transaction: whatever happens, each is in
    exactly one of them.  The time of receipt stays with them.

    Args:
        upto: Where to end, the beginning of a block; 0 = at the end.
    """

    orphan: str
    to: str
    bytes_max: int = STEP_BYTES_MAX
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
        """The rest of the oldest blocks, one at least."""
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
    """The result of one step of a replay, or of the steps for one request."""

    records: int = 0
    damaged: int = 0
    """Records that cannot be read."""
    gone: int = 0
    """Records, at most, that left the history after the step before this one."""
    begins_at: float | None = None
    """When the oldest record in the history was acknowledged; None = it is empty."""
    next_seq: int = 0
    """Where the next step goes on; 0 = there is nothing more to do."""
    upto: int = 0
    """For the next request."""
    waits: str = ""
    """Why the replay cannot go on now; the client asks again later."""


class ReplayHistory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Put records that `queue` has delivered at the end of the queue of `to`, once more.

    They stay in the history, and count as received anew in the queue of `to`, also for limits
    of age.

    Args:
        start: Seq of the entry to begin with; 0 = the oldest.
        upto: Seq of the first record to leave out; in a request 0 = none that is delivered now.
    """

    queue: str
    to: str
    period: Period
    start: int = 0
    upto: int = 0
    bytes_max: int = STEP_BYTES_MAX

    def apply(self, changes: Changes) -> Replayed:
        history = history_of(changes, self.queue)
        done = Replayed(begins_at=oldest_in(changes.txn, history))
        size = entries = 0
        before = self.start
        payloads: list[bytes] = []
        for first, entry in entries_of(changes, history, self.start):
            if first >= self.upto:
                break
            if first < self.start:
                continue
            if size >= self.bytes_max or entries == _HISTORY_ENTRIES_PER_STEP_MAX:
                done.next_seq = first
                break
            if before:  # the entry that a step goes on with was there when it was named
                done.gone, before = first - before, 0
            entries += 1
            if self.period.has(entry):
                size += len(entry)
                try:
                    payloads += decode_block(block_in(entry)).payloads
                except BlockDamaged:
                    done.damaged += min(records_in(entry), self.upto - first)
        if before:  # nothing of the rest is there any more
            done.gone = self.upto - before
        done.records = len(payloads)
        if payloads:
            changes.append(self.to, payloads, received_at=changes.at)
        return done


@dataclass(frozen=True, slots=True)
class PruneHistories(RemovesOnly):
    """Let entries leave: those that are too old, and the oldest where room is short.

    Args:
        before: By destination: those acknowledged before that (seconds since 1970-01-01
            UTC) leave; of destinations that are not named all leave.
        excess: Bytes of the map that have to become free, as far as a step gets.
    """

    histories: Histories
    before: Mapping[str, float]
    excess: int = 0

    def apply(self, changes: Changes) -> bool:
        """Returns: whether there is more to do."""
        room = ENTRIES_PER_STEP_MAX
        for id, database in changes.history.items():
            room -= _forget_before(changes.txn, database, self.before.get(id), room)
        if self.excess > 0:
            self.histories.shed(changes.txn, self.excess)
        return room == 0


def _forget_before(
    txn: Transaction, database: Database, before: float | None, entries_max: int
) -> int:
    """Delete entries acknowledged before that, or all; return how many."""
    count = 0
    cursor = txn.cursor(db=database)
    while count < entries_max and cursor.first():
        if before is not None and acknowledged_at(cursor.value()) >= before:
            break
        cursor.delete()
        count += 1
    return count


# Quarantines.


class TakenOut(msgspec.Struct):
    """The result of one step."""

    records: int = 0
    skipped: int = 0
    """Entries that stay, because they are damaged and have nothing to send."""
    next_seq: int = 0
    """Where the next step goes on; 0 = there is nothing more to do."""


class PurgeQuarantined(msgspec.Struct, RemovesOnly, frozen=True, forbid_unknown_fields=True):
    """Discard entries of a quarantine; the ledger counts them as dropped, under `reason`.

    Args:
        seqs: Which; none = all from `start` on and before `upto`, step by step.
    """

    account: str
    seqs: Sequence[int] = ()
    start: int = 0
    upto: int = _NO_END
    entries_max: int = 1000
    bytes_max: int = STEP_BYTES_MAX
    reason: str = OPERATOR

    def apply(self, changes: Changes) -> TakenOut:
        ledger = changes.ledger(self.account)
        done = TakenOut()
        for seq, label, _, size in _chosen(changes, self, done):
            _take_out(changes, self.account, ledger, seq, label, size)
            ledger.drop(self.reason, label.records)
            done.records += label.records
        return done


class ReplayQuarantined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Put entries of a quarantine at the end of the queue of `to`, as records of their own.

    They count as received there, and no longer in `account` (`Ledger.moved`).

    Args:
        seqs: As for `PurgeQuarantined`; these are moved whole or not at all.
        bytes_max: Moved in one step, about.
    """

    account: str
    to: str
    seqs: Sequence[int] = ()
    start: int = 0
    upto: int = _NO_END
    entries_max: int = 1000
    bytes_max: int = STEP_BYTES_MAX

    def apply(self, changes: Changes) -> TakenOut:
        ledger = changes.ledger(self.account)
        done = TakenOut()
        payloads: list[bytes] = []
        for seq, label, payload, size in _chosen(changes, self, done):
            if label.kind not in ("record", "frame") or not payload:
                if self.seqs:
                    raise QueueError(
                        f"quarantine of {self.account}: {seq} is damaged and cannot be sent; it "
                        "can be shown and purged"
                    )
                done.skipped += 1
                continue
            _take_out(changes, self.account, ledger, seq, label, size)
            ledger.moved += label.records
            done.records += label.records
            payloads.append(payload)
        if len(self.seqs) > 1 and (size := sum(map(len, payloads))) > self.bytes_max:
            raise QueueError(
                f"these are {size_text(size)}, and {size_text(self.bytes_max)} may be moved to the "
                f"queue of {self.to} at a time now; name fewer, or say --all"
            )
        changes.append(self.to, payloads, received_at=changes.at)
        return done


class Trimmed(msgspec.Struct):
    """Records that a limit of the quarantine removed, by limit."""

    full: int = 0
    aged: int = 0


class TrimQuarantine(msgspec.Struct, RemovesOnly, frozen=True):
    """Drop the oldest entries while there are too many bytes or they are too old.

    Args:
        before: Entries set aside before this go (seconds since 1970-01-01 UTC).
    """

    account: str
    bytes_max: int
    before: float = 0.0
    entries_max: int = 1000

    def apply(self, changes: Changes) -> Trimmed:
        ledger = changes.ledger(self.account)
        done = Trimmed()
        for seq, label, _, size in _entries(changes, self.account, 0, self.entries_max):
            if ledger.quarantine_bytes > self.bytes_max:
                reason = "quarantine-full"
                done.full += label.records
            elif label.at < self.before:
                reason = "quarantine-aged"
                done.aged += label.records
            else:
                break
            _take_out(changes, self.account, ledger, seq, label, size)
            ledger.drop(reason, label.records)
        return done


_Entry = tuple[int, Label, bytes, int]
"""Seq, label, bytes, size of the whole."""


def _chosen(
    changes: Changes, command: PurgeQuarantined | ReplayQuarantined, done: TakenOut
) -> Iterator[_Entry]:
    """The entries of one step; sets where the next one goes on."""
    account = command.account
    for seq in command.seqs:
        value = changes.txn.get(KEY.pack(seq), db=changes.quarantine[account])
        if value is None:
            raise QueueError(f"quarantine of {account}: there is no {seq}")
        yield (seq, *read_entry(bytes(value)), len(value))
    if command.seqs:
        return
    size = 0
    for count, entry in enumerate(_entries(changes, account, command.start, -1)):
        if entry[0] >= command.upto:
            return
        if count == command.entries_max or size > command.bytes_max:
            done.next_seq = entry[0]
            return
        size += entry[3]
        yield entry


def _entries(changes: Changes, account: str, start: int, entries_max: int) -> Iterator[_Entry]:
    """Entries from `start` on, oldest first; each may be deleted before the next."""
    cursor = changes.txn.cursor(db=changes.quarantine[account])
    while entries_max and cursor.set_range(KEY.pack(start)):
        seq, value = seq_of(cursor.key()), bytes(cursor.value())
        yield (seq, *read_entry(value), len(value))
        start = seq + 1
        entries_max -= 1


def _take_out(
    changes: Changes, account: str, ledger: Ledger, seq: int, label: Label, size: int
) -> None:
    label.records = min(label.records, ledger.quarantined)  # more than there are: damaged
    changes.txn.delete(KEY.pack(seq), db=changes.quarantine[account])
    ledger.quarantined -= label.records
    ledger.quarantine_bytes = max(0, ledger.quarantine_bytes - size)
