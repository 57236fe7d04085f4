"""Look into queues, quarantines and histories: bounded steps in short transactions.

A read transaction keeps pages from being used again for as long as it is open.  So a query
returns a page and where the next one begins, and the queue may change in
between: records leave at the head and come at the end, but a record never changes its seq.
The seqs in a history need not be consecutive: what left the queue undelivered is not in it.

`QUERIES` has them by name, for the control socket of a running relay as for the queue of a
stopped one.  All raise QueueError for a queue, quarantine or history that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import asdict

from relay.model.errors import QueueError
from relay.model.text import counted, span
from relay.queue.block import (
    KEY,
    BlockDamaged,
    block_header,
    decode_block,
    header_of,
    seq_of,
    to_block_with,
)
from relay.queue.files.trees import Buffer, Database
from relay.queue.history.keep import acknowledged_at, block_in, oldest_in, records_in
from relay.queue.inspect.copying import CopyFrom, copy_step
from relay.queue.ledger import Ledger
from relay.queue.quarantine import Label, read_entry
from relay.queue.view import TransactionView, database_bytes

T = TypeVar("T")

_RECORDS_MAX = 1000
_BYTES_MAX = 1024 * 1024
_BLOCKS_MAX = 5000  # whose headers one page may read
_CHECKED_BYTES_MAX = 8 * 1024 * 1024
_PROBLEMS_MAX = 100  # that one page may have
_HEADERS_BYTES = 64  # those of an entry of a history and its block are shorter


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a query that takes none."""


class Account(Ledger, kw_only=True):
    """The ledger of an account, with the age of its queue and its history."""

    id: str
    oldest_at: float | None = None
    """When the oldest record came in (seconds since 1970-01-01 UTC); None = there is none."""
    history_bytes: int = 0
    """Size of its history in the map."""
    history_since: float | None = None
    """When the oldest record in its history was acknowledged; None = there is none."""


def accounts(view: TransactionView, _: Nothing) -> list[Account]:
    """All accounts, those of sources and orphans included."""
    return [_account(view, id) for id in sorted({*view.blocks, *view.quarantine})]


def _account(view: TransactionView, id: str) -> Account:
    """The account of one destination, orphan or source."""
    ledger = view.ledger(id)
    oldest_at = None
    if ledger.queued and id in view.blocks:
        cursor = view.txn.cursor(db=view.blocks[id])
        if cursor.first():
            oldest_at = header_of(cursor)[0]
    history = view.history.get(id)
    return Account(
        **asdict(ledger),
        id=id,
        oldest_at=oldest_at,
        history_bytes=0 if history is None else database_bytes(view.txn, history),
        history_since=None if history is None else oldest_in(view.txn, history),
    )


# Records.


class Period(msgspec.Struct, forbid_unknown_fields=True):
    """Records by when they were acknowledged, or by when they came in."""

    since: float = 0.0
    """At this or after (seconds since 1970-01-01 UTC)."""
    to: float = 0.0
    """Before this; 0 = no end."""
    by_receipt: bool = False

    def has(self, entry: Buffer) -> bool:
        """Whether the records of `entry` belong to it; all have the same times."""
        at = acknowledged_at(entry)
        if self.by_receipt:
            at = block_header(block_in(entry[:_HEADERS_BYTES]))[0]
        return self.since <= at and (not self.to or at < self.to)


class Read(msgspec.Struct, forbid_unknown_fields=True):
    """Which records of a queue, or of a history, to read.

    Of a queue only `period.since` counts, and is a time of receipt.
    """

    queue: str
    start: int = 0
    """Seq to begin with; before the head of the queue, the head."""
    period: Period = msgspec.field(default_factory=Period)
    records_max: int = _RECORDS_MAX
    """At most the built-in limit."""


class Record(msgspec.Struct):
    seq: int
    at: float
    """When it came in: seconds since 1970-01-01 UTC."""
    payload: bytes = b""
    damaged: str = ""
    """Why it cannot be read; it then stands for all records of its block."""
    acknowledged_at: float = 0.0
    """Of the history: when it was delivered (seconds since 1970-01-01 UTC)."""


class Page(msgspec.Struct):
    records: list[Record]
    next_seq: int
    """Where the next page begins."""
    end_seq: int
    """Where the queue ended; nothing is left if `next_seq` is there."""


_Block = tuple[int, Buffer | None, float]
"""Seq of the first record; the block, or None to skip it; when it was delivered."""


def read(view: TransactionView, wanted: Read) -> Page:
    """Consecutive records, one at least if there is one; fewer if many are skipped."""
    database = known("queue", wanted.queue, view.blocks)
    ledger = view.ledger(wanted.queue)
    start = max(wanted.start, ledger.acknowledged_seq)

    def blocks() -> Iterator[_Block]:
        cursor = view.txn.cursor(db=database)
        found = to_block_with(cursor, start)
        while found:
            at, _ = header_of(cursor)
            block = (cursor.value() if at >= wanted.period.since else b"") or None
            first = seq_of(cursor.key())
            found = cursor.next()
            stop = seq_of(cursor.key()) if found else ledger.next_seq
            yield first, block if stop > start else None, 0.0

    return _page(blocks(), start, ledger.next_seq, wanted.records_max)


def _page(blocks: Iterator[_Block], start: int, end: int, records_max: int) -> Page:
    """The records of `blocks` from `start` on, within the limits of a page."""
    page = Page([], start, max(start, end))
    limit = max(1, min(records_max, _RECORDS_MAX))
    size = 0
    for count, (first, block, delivered_at) in enumerate(blocks):
        if count == _BLOCKS_MAX:
            page.next_seq = max(start, first)
            return page
        for record in () if block is None else _records(block, first, start, delivered_at):
            if len(page.records) == limit or size > _BYTES_MAX:
                page.next_seq = record.seq
                return page
            page.records.append(record)
            size += len(record.payload)
    page.next_seq = page.end_seq
    return page


def _records(value: Buffer, first: int, start: int, acknowledged_at: float) -> list[Record]:
    """The records of a block, from `start` on if that lies in it."""
    try:
        block = decode_block(value)
    except BlockDamaged as damage:
        reason = str(damage)
        return [Record(max(first, start), 0.0, damaged=reason, acknowledged_at=acknowledged_at)]
    skip = max(0, start - first)
    return [
        Record(seq, block.received_at, payload, acknowledged_at=acknowledged_at)
        for seq, payload in enumerate(block.payloads[skip:], first + skip)
    ]


# Blocks, held against the accounts.


class Check(msgspec.Struct, forbid_unknown_fields=True):
    """The part of a queue, or of a history, to check."""

    queue: str
    start: int = 0
    """`next_seq` of the page before this one; 0 = at the head."""
    checksums: bool = False
    """Read every byte, too; otherwise the headers of the blocks."""


class Checked(msgspec.Struct):
    """The result for one page of blocks."""

    blocks: int = 0
    records: int = 0
    size: int = 0
    problems: list[str] = []
    next_seq: int = 0
    """Where the next page begins; 0 = this was the last."""


def check(view: TransactionView, wanted: Check) -> Checked:
    """Whether blocks follow each other as the account says, with that many records."""
    blocks = known("queue", wanted.queue, view.blocks)
    ledger = view.ledger(wanted.queue)
    page = Checked()
    cursor = view.txn.cursor(db=blocks)
    head = ledger.acknowledged_seq
    if wanted.start > head:
        expected, found = wanted.start, cursor.set_range(KEY.pack(wanted.start))
    else:
        expected, found = head, cursor.first()
        if found and seq_of(cursor.key()) <= head:
            expected = seq_of(cursor.key())  # of a block that has partly left
    while found:
        first = seq_of(cursor.key())
        if _is_full(page, first, checksums=wanted.checksums):
            return page
        if first != expected:
            page.problems.append(f"{span('record', expected, first - 1)} in no block")
        size, _ = cursor.head(0)
        page.size += size
        page.blocks += 1
        _, count = header_of(cursor)
        damage = _damage(cursor.value()) if wanted.checksums else ""
        found = cursor.next()
        expected = seq_of(cursor.key()) if found else ledger.next_seq
        if damage:
            page.problems.append(f"{span('record', first, expected - 1)} cannot be read: {damage}")
        elif count != expected - first:
            page.problems.append(
                f"the block of record {first} has {counted(count, 'record')}, "
                f"the numbers around it leave room for {expected - first}"
            )
        page.records += min(count, max(0, first + count - head))
    if expected != ledger.next_seq:
        page.problems.append(f"{span('record', expected, ledger.next_seq - 1)} in no block")
    return page


def _is_full(page: Checked, first: int, *, checksums: bool = True) -> bool:
    """Whether the page ends before the block of record `first`."""
    if page.blocks == _BLOCKS_MAX or (checksums and page.size > _CHECKED_BYTES_MAX):
        page.next_seq = first
    elif len(page.problems) == _PROBLEMS_MAX:
        page.problems.append("there may be more: checking ended here")
    else:
        return False
    return True


def _damage(value: Buffer) -> str:
    try:
        decode_block(value)
    except BlockDamaged as damage:
        return str(damage)
    return ""


# Quarantines.


class ReadEntries(msgspec.Struct, forbid_unknown_fields=True):
    """Which entries of a quarantine to read."""

    account: str
    start: int = 0
    entries_max: int = _RECORDS_MAX
    payload_bytes_max: int = 200
    """How much of each to return."""


class Entry(Label, kw_only=True):
    """An entry with its label."""

    seq: int
    size: int
    payload: bytes
    """Its beginning, or all of it."""


class EntryPage(msgspec.Struct):
    entries: list[Entry]
    next_seq: int = 0
    """Where the next page begins; 0 = this was the last."""


def read_entries(view: TransactionView, wanted: ReadEntries) -> EntryPage:
    """Entries of a quarantine, oldest first."""
    database = known("quarantine", wanted.account, view.quarantine)
    page = EntryPage([])
    limit = max(1, min(wanted.entries_max, _RECORDS_MAX))
    cursor = view.txn.cursor(db=database)
    found = cursor.set_range(KEY.pack(max(0, wanted.start)))
    size = 0
    while found:
        seq = seq_of(cursor.key())
        if len(page.entries) == limit or size > _BYTES_MAX:
            page.next_seq = seq
            break
        label, whole = read_entry(bytes(cursor.value()))
        payload = whole[: max(0, wanted.payload_bytes_max)]
        size += len(payload) + len(label.reason)
        page.entries.append(
            Entry(**asdict(label), seq=seq, size=len(whole), payload=payload),
        )
        found = cursor.next()
    return page


class Tally(msgspec.Struct):
    """The size of a quarantine, and the number of its records in the account."""

    records: int
    size: int
    accounted_records: int


def tally(view: TransactionView, wanted: ReadEntries) -> Tally:
    """Count a quarantine in one transaction: its size has a limit of its own."""
    database = known("quarantine", wanted.account, view.quarantine)
    records = size = 0
    cursor = view.txn.cursor(db=database)
    for _, value in cursor:
        size += len(value)
        head = bytes(value[:4096])
        # Only the label of a damaged block counts for more than one.
        whole = b'"records":' in head
        records += read_entry(bytes(value))[0].records if whole else 1
    return Tally(records, size, view.ledger(wanted.account).quarantined)


def known(what: str, id: str, entries: Mapping[str, T]) -> T:
    """The entry `id`; QueueError if there is none."""
    if id not in entries:
        raise unknown(what, id, entries)
    return entries[id]


def unknown(what: str, id: str, ids: Collection[str]) -> QueueError:
    """The error for an `id` that is none of `ids`."""
    return QueueError(f"there is no {what} {id!r}; there is: {', '.join(sorted(ids)) or 'none'}")


# Histories.


def history_of(view: TransactionView, id: str) -> Database:
    """The database of the history of `id`."""
    if id not in view.history:
        error = unknown("history of", id, view.history)
        raise QueueError(f"{error}; to keep one, set `history` for the destination")
    return view.history[id]


def entries_of(
    view: TransactionView, database: Database, start: int
) -> Iterator[tuple[int, Buffer]]:
    """Entries with records from `start` on, each with the seq of its first record.

    Each is valid until the next step of the iterator, or a change.
    """
    cursor = view.txn.cursor(db=database)
    found = to_block_with(cursor, start)
    while found:
        yield seq_of(cursor.key()), cursor.value()
        found = cursor.next()


def read_history(view: TransactionView, wanted: Read) -> Page:
    """Records that were delivered, oldest first; fewer if many are skipped."""
    database, start = history_of(view, wanted.queue), wanted.start

    def blocks() -> Iterator[_Block]:
        for first, entry in entries_of(view, database, start):
            fits = first + records_in(entry) > start and wanted.period.has(entry)
            yield first, block_in(entry) if fits else None, acknowledged_at(entry)

    return _page(blocks(), start, _end_of(view, wanted.queue), wanted.records_max)


def _end_of(view: TransactionView, id: str) -> int:
    """Seq after the newest record."""
    cursor = view.txn.cursor(db=view.history[id])
    if not cursor.last():
        return 1
    first = seq_of(cursor.key())
    # A damaged block may claim anything; nothing is here that has not left the queue.
    return min(first + records_in(cursor.value()), max(first + 1, view.ledger(id).acknowledged_seq))


def check_history(view: TransactionView, wanted: Check) -> Checked:
    """Whether the entries of a history can be read and do not overlap."""
    page = Checked()
    expected = wanted.start
    for first, entry in entries_of(view, history_of(view, wanted.queue), wanted.start):
        if first < wanted.start:
            continue
        if _is_full(page, first):
            return page
        block = block_in(entry)
        page.size += len(block)
        page.blocks += 1
        if first < expected:
            page.problems.append(f"the entry of record {first} has records of the one before it")
        expected = first + 1
        try:
            count = len(decode_block(block).payloads)
            page.records += count
            expected = first + count
        except BlockDamaged as damage:
            page.problems.append(f"what was delivered from {first} on cannot be read: {damage}")
    return page


QUERIES: Mapping[str, tuple[type[msgspec.Struct], Callable[[TransactionView, Any], Any]]] = {
    "queue-accounts": (Nothing, accounts),
    "queue-read": (Read, read),
    "queue-check": (Check, check),
    "quarantine-read": (ReadEntries, read_entries),
    "quarantine-tally": (ReadEntries, tally),
    "history-read": (Read, read_history),
    "history-check": (Check, check_history),
    "queue-copy": (CopyFrom, copy_step),
}
"""By name: the arguments of a query, and the function that answers it."""
