"""The quarantine: what is set aside, and how it leaves again.

An entry is a line of JSON, LF and octets, as `store.py` says.  A damaged block is one
entry for all of its records; their number is in its label.

The line begins with ``"crc"``: CRC-32 of all the rest, as eight hexadecimal digits, the rest
being the entry without that member.  Entries of earlier versions have none.  One that
does not fit is shown as damaged, and is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import msgspec

from relay.model.errors import QueueError
from relay.model.words import size as in_words
from relay.queue.block import BlockDamaged, crc32, decode_block
from relay.queue.ledger import Ledger
from relay.queue.transaction import Refusal, SetAside
from relay.queue.view import (
    KEY,
    OPERATOR,
    RemovesOnly,
    TransactionView,
    count_dropped,
    seq_of,
    to_block_with,
)

__all__ = [
    "DAMAGED",
    "Label",
    "PurgeQuarantined",
    "ReplayQuarantined",
    "TakenOut",
    "TrimQuarantine",
    "Trimmed",
    "read_entry",
    "refuse",
    "set_aside",
    "write_entry",
]

DAMAGED = "damaged"
"""The kind of an entry that a disk has changed; its octets were never sent by anybody."""
_CRC = re.compile(rb'\{"crc":"([0-9a-f]{8})",')
_BYTES_PER_STEP_MAX = 4 * 1024 * 1024


class Label(msgspec.Struct, omit_defaults=True):
    """What is known of an entry beside its octets."""

    reason: str
    at: float
    """When it was set aside, in seconds since 1970-01-01 UTC."""
    kind: str
    """record, block, frame or `DAMAGED`; empty if the label cannot be read."""
    peer: str = ""
    records: int = 1
    """How many records it stands for: more than one for a damaged block only."""
    original_bytes: int = 0
    """Octets that it had before it was cut; 0 = it was not."""


def write_entry(label: Label, octets: bytes) -> bytes:
    """What `read_entry` reads."""
    rest = msgspec.json.encode(label)[1:] + b"\n" + octets
    return b'{"crc":"%08x",%b' % (crc32(rest), rest)


def read_entry(value: bytes) -> tuple[Label, bytes]:
    """Label and octets of an entry.  Total: one that cannot be read, or is damaged, says so."""
    line, _, octets = value.partition(b"\n")
    try:
        label = msgspec.json.decode(line, type=Label)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Label("its label cannot be read", 0.0, ""), value
    crc = _CRC.match(value)
    if crc is None or int(crc[1], 16) == crc32(value[crc.end() :]):
        return label, octets
    label.reason = f"its checksum is wrong; it was set aside for: {label.reason}"
    label.kind = DAMAGED
    return label, octets


# The ways in.


def set_aside(
    txn: Any, blocks: Any, quarantine: Any, ledger: Ledger, aside: SetAside, at: float
) -> None:
    """Copy the records of `aside` into the quarantine, and count them there."""
    cursor = txn.cursor(db=blocks)
    to_block_with(cursor, aside.seqs.start)
    first = seq_of(cursor.key())
    value = bytes(cursor.value())
    count = len(aside.seqs)
    label = Label(aside.reason, at, "record")
    try:
        kept = decode_block(value).payloads[aside.seqs.start - first :][:count]
    except BlockDamaged:
        label, kept = Label(aside.reason, at, "block", records=count), [value]
    for seq, octets in enumerate(kept, aside.seqs.start):
        entry = write_entry(label, octets)
        txn.put(KEY.pack(seq), entry, db=quarantine)
        ledger.quarantine_bytes += len(entry)
    ledger.quarantined += count


def refuse(txn: Any, quarantine: Any, ledger: Ledger, refusal: Refusal, at: float) -> None:
    """Put the frames of `refusal` into the quarantine of their source, as far as there is room."""
    label = Label(refusal.reason, at, "frame", peer=refusal.peer)
    for frame, original_bytes in zip_longest(refusal.frames, refusal.original_bytes):
        label.original_bytes = original_bytes or 0
        value = write_entry(label, frame)
        if ledger.quarantine_bytes + len(value) > refusal.quarantine_bytes_max:
            count_dropped(ledger, "quarantine-full", 1)
        else:
            txn.put(KEY.pack(ledger.next_seq), value, db=quarantine)
            ledger.quarantined += 1
            ledger.quarantine_bytes += len(value)
        ledger.next_seq += 1
    ledger.acknowledged_seq = ledger.next_seq


# The ways out.


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

    def apply(self, view: TransactionView) -> TakenOut:
        ledger = view.ledger(self.account)
        done = TakenOut()
        for seq, label, _, size in _chosen(view, self, done):
            _take_out(view, self.account, ledger, seq, label, size)
            count_dropped(ledger, self.reason, label.records)
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

    def apply(self, view: TransactionView) -> TakenOut:
        ledger = view.ledger(self.account)
        done = TakenOut()
        payloads: list[bytes] = []
        for seq, label, octets, size in _chosen(view, self, done):
            if label.kind not in ("record", "frame") or not octets:
                if self.seqs:
                    raise QueueError(
                        f"quarantine of {self.account}: {seq} is damaged and cannot be sent; it "
                        "can be shown and purged"
                    )
                done.skipped += 1
                continue
            _take_out(view, self.account, ledger, seq, label, size)
            ledger.moved += label.records
            done.records += label.records
            payloads.append(octets)
        if len(self.seqs) > 1 and (size := sum(map(len, payloads))) > self.bytes_max:
            raise QueueError(
                f"these are {in_words(size)}, and {in_words(self.bytes_max)} may be moved to the "
                f"queue of {self.to} at a time now; name fewer, or say --all"
            )
        view.append(self.to, payloads, received_at=view.at)
        return done


class Trimmed(msgspec.Struct):
    """Records that a limit of the quarantine removed, by limit."""

    full: int = 0
    aged: int = 0


@dataclass(frozen=True, slots=True)
class TrimQuarantine(RemovesOnly):
    """Drop the oldest entries while there are too many octets or they are too old.

    Args:
        before: Entries set aside before this go (seconds since 1970-01-01 UTC).
    """

    account: str
    bytes_max: int
    before: float = 0.0
    entries_max: int = 1000

    def apply(self, view: TransactionView) -> Trimmed:
        ledger = view.ledger(self.account)
        done = Trimmed()
        for seq, label, _, size in _entries(view, self.account, 0, self.entries_max):
            if ledger.quarantine_bytes > self.bytes_max:
                reason = "quarantine-full"
                done.full += label.records
            elif label.at < self.before:
                reason = "quarantine-aged"
                done.aged += label.records
            else:
                break
            _take_out(view, self.account, ledger, seq, label, size)
            count_dropped(ledger, reason, label.records)
        return done


_Entry = tuple[int, Label, bytes, int]
"""Seq, label, octets, size of the whole."""


def _chosen(
    view: TransactionView, command: PurgeQuarantined | ReplayQuarantined, done: TakenOut
) -> Iterator[_Entry]:
    """The entries of one step; sets where the next one goes on."""
    account = command.account
    for seq in command.seqs:
        value = view.txn.get(KEY.pack(seq), db=view.quarantine[account])
        if value is None:
            raise QueueError(f"quarantine of {account}: there is no {seq}")
        yield (seq, *read_entry(bytes(value)), len(value))
    if command.seqs:
        return
    size = 0
    for count, entry in enumerate(_entries(view, account, command.start, -1)):
        if entry[0] >= command.upto:
            return
        if count == command.entries_max or size > command.bytes_max:
            done.next_seq = entry[0]
            return
        size += entry[3]
        yield entry


def _entries(view: TransactionView, account: str, start: int, entries_max: int) -> Iterator[_Entry]:
    """Entries from `start` on, oldest first; each may be deleted before the next."""
    cursor = view.txn.cursor(db=view.quarantine[account])
    while entries_max and cursor.set_range(KEY.pack(start)):
        seq, value = seq_of(cursor.key()), bytes(cursor.value())
        yield (seq, *read_entry(value), len(value))
        start = seq + 1
        entries_max -= 1


def _take_out(
    view: TransactionView, account: str, ledger: Ledger, seq: int, label: Label, size: int
) -> None:
    label.records = min(label.records, ledger.quarantined)  # more than there are: damaged
    view.txn.delete(KEY.pack(seq), db=view.quarantine[account])
    ledger.quarantined -= label.records
    ledger.quarantine_bytes = max(0, ledger.quarantine_bytes - size)
