"""How entries leave a quarantine: purged, sent again, or trimmed to its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from relay.model.errors import QueueError
from relay.model.text import size as in_words
from relay.queue.block import KEY, seq_of
from relay.queue.changes import OPERATOR, Changes, RemovesOnly
from relay.queue.ledger import Ledger
from relay.queue.quarantine import Label, read_entry

__all__ = ["PurgeQuarantined", "ReplayQuarantined", "TakenOut", "TrimQuarantine", "Trimmed"]

_BYTES_PER_STEP_MAX = 4 * 1024 * 1024


class TakenOut(msgspec.Struct):
    """What one step of a command did."""

    records: int = 0
    skipped: int = 0
    """Entries that were left there, because they are damaged and have nothing to send."""
    next_seq: int = 0
    """Where the next step goes on; 0 = there is nothing more to do."""


@dataclass(frozen=True, slots=True)
class PurgeQuarantined(RemovesOnly):
    """Give up entries of a quarantine; they are counted as dropped, under `reason`.

    Args:
        seqs: Which; none = all from `start` on and before `upto`, step by step.
    """

    account: str
    seqs: Sequence[int] = ()
    start: int = 0
    upto: int = 0
    entries_max: int = 1000
    bytes_max: int = _BYTES_PER_STEP_MAX
    reason: str = OPERATOR

    def apply(self, changes: Changes) -> TakenOut:
        ledger = changes.ledger(self.account)
        done = TakenOut()
        for seq, label, _, size in _chosen(changes, self, done):
            _take_out(changes, self.account, ledger, seq, label, size)
            ledger.drop(self.reason, label.records)
            done.records += label.records
        return done


@dataclass(frozen=True, slots=True)
class ReplayQuarantined:
    """Put entries of a quarantine at the end of the queue of `to`, as records of their own.

    They are counted as received there, and no longer in `account` (`Ledger.moved`).
    """

    account: str
    to: str
    seqs: Sequence[int] = ()
    start: int = 0
    upto: int = 0
    entries_max: int = 1000
    bytes_max: int = _BYTES_PER_STEP_MAX
    """What one step moves, about; `seqs` are moved whole or not at all."""

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
                f"these are {in_words(size)}, and {in_words(self.bytes_max)} may be moved to the "
                f"queue of {self.to} at a time now; name fewer, or say --all"
            )
        changes.append(self.to, payloads, received_at=changes.at)
        return done


class Trimmed(msgspec.Struct):
    """Records that a limit of the quarantine removed, by limit."""

    full: int = 0
    aged: int = 0


@dataclass(frozen=True, slots=True)
class TrimQuarantine(RemovesOnly):
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
