"""Look into queues and quarantines: bounded steps in short transactions.

A read transaction keeps pages from being used again for as long as it is open.  So a
reading returns a page of what there is and where the next one begins, and the queue
may change in between: records leave at the head and come at the end, but a record never
changes its seq.

`inspect/questions.py` has them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from relay.model.errors import QueueError
from relay.model.words import counted, span
from relay.queue.block import BlockDamaged, decode_block, header_of
from relay.queue.books import KEY, Books, database_bytes, seq_of, to_block_with
from relay.queue.history.keep import oldest_in
from relay.queue.quarantine import read_entry

__all__ = [
    "Account",
    "Check",
    "Checked",
    "Entry",
    "EntryPage",
    "Nothing",
    "Page",
    "Read",
    "ReadEntries",
    "Record",
    "Tally",
    "account_of",
    "accounts",
    "check",
    "read",
    "read_entries",
    "tally",
]

_RECORDS_MAX = 1000
_BYTES_MAX = 1024 * 1024
_BLOCKS_MAX = 5000  # whose headers one page may look at
_CHECKED_BYTES_MAX = 8 * 1024 * 1024
_PROBLEMS_MAX = 100  # that one page may have


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """What a question without arguments has for arguments."""


class Account(msgspec.Struct):
    """One ledger, and what is said to be in its queue."""

    id: str
    received: int
    delivered: int
    queued: int
    quarantined: int
    dropped: dict[str, int]
    gap: int
    queued_bytes: int
    quarantine_bytes: int
    acknowledged_seq: int
    next_seq: int
    oldest_at: float | None = None
    """When the oldest record came in (seconds since 1970-01-01 UTC); None = there is none."""
    history_bytes: int = 0
    """What its history takes of the map."""
    history_since: float | None = None
    """When the oldest record in its history was acknowledged; None = there is none."""


def accounts(books: Books, _: Nothing) -> list[Account]:
    """All accounts, those of sources and orphans included."""
    return [account_of(books, id) for id in sorted({*books.blocks, *books.quarantine})]


def account_of(books: Books, id: str) -> Account:
    """The account of one destination, orphan or source."""
    ledger = books.ledger(id)
    oldest_at = None
    if ledger.queued and id in books.blocks:
        cursor = books.txn.cursor(db=books.blocks[id])
        if cursor.first():
            oldest_at = header_of(cursor)[0]
    history = books.history.get(id)
    return Account(
        id,
        ledger.received,
        ledger.delivered,
        ledger.queued,
        ledger.quarantined,
        dict(ledger.dropped),
        ledger.gap,
        ledger.queued_bytes,
        ledger.quarantine_bytes,
        ledger.acknowledged_seq,
        ledger.next_seq,
        oldest_at,
        history_bytes=0 if history is None else database_bytes(books.txn, history),
        history_since=None if history is None else oldest_in(books.txn, history),
    )


# Records.


class Read(msgspec.Struct, forbid_unknown_fields=True):
    """Which records to read.  Higher limits than the built-in ones do not count."""

    queue: str
    start: int = 0
    """Seq to begin with; before the head of the queue, the head."""
    since: float = 0.0
    """Skip blocks that came in before this (seconds since 1970-01-01 UTC)."""
    records_max: int = _RECORDS_MAX


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


def read(books: Books, wanted: Read) -> Page:
    """Consecutive records, one at least if there is one; fewer if many are skipped.

    Raises:
        QueueError: There is no such queue.
    """
    blocks = _database(books.blocks, wanted.queue, "queue")
    ledger = books.ledger(wanted.queue)
    start = max(wanted.start, ledger.acknowledged_seq)
    page = Page([], start, max(start, ledger.next_seq))
    limit = max(1, min(wanted.records_max, _RECORDS_MAX))
    size = 0
    cursor = books.txn.cursor(db=blocks)
    found = to_block_with(cursor, start)
    for _ in range(_BLOCKS_MAX):
        if not found:
            page.next_seq = page.end_seq
            return page
        first = seq_of(cursor.key())
        at, _count = header_of(cursor)
        value = cursor.value() if at >= wanted.since else b""
        found = cursor.next()
        stop = seq_of(cursor.key()) if found else page.end_seq
        if stop > start and value:
            for record in _records(value, first, start):
                if len(page.records) == limit or size > _BYTES_MAX:
                    page.next_seq = record.seq
                    return page
                page.records.append(record)
                size += len(record.payload)
        page.next_seq = max(start, stop)
    return page


def _records(value: bytes, first: int, start: int) -> list[Record]:
    """The records of a block, from `start` on if that lies in it."""
    try:
        block = decode_block(value)
    except BlockDamaged as damage:
        return [Record(max(first, start), 0.0, damaged=str(damage))]
    skip = max(0, start - first)
    return [
        Record(seq, block.received_at, payload)
        for seq, payload in enumerate(block.payloads[skip:], first + skip)
    ]


# What is there, held against what is accounted for.


class Check(msgspec.Struct, forbid_unknown_fields=True):
    """What to check of a queue."""

    queue: str
    start: int = 0
    """Where the page before this one said; 0 = at the head."""
    checksums: bool = False
    """Read every octet, too; otherwise the headers of the blocks."""


class Checked(msgspec.Struct):
    """What a page of blocks came to."""

    blocks: int = 0
    records: int = 0
    octets: int = 0
    problems: list[str] = []
    next_seq: int = 0
    """Where the next page begins; 0 = this was the last."""


def check(books: Books, wanted: Check) -> Checked:
    """Whether blocks follow each other as the account says, with that many records.

    Raises:
        QueueError: There is no such queue.
    """
    blocks = _database(books.blocks, wanted.queue, "queue")
    ledger = books.ledger(wanted.queue)
    page = Checked()
    cursor = books.txn.cursor(db=blocks)
    head = ledger.acknowledged_seq
    if wanted.start > head:
        expected, found = wanted.start, cursor.set_range(KEY.pack(wanted.start))
    else:
        expected, found = head, cursor.first()
        if found and seq_of(cursor.key()) <= head:
            expected = seq_of(cursor.key())  # of a block that has partly left
    while found:
        first = seq_of(cursor.key())
        if page.blocks == _BLOCKS_MAX or (wanted.checksums and page.octets > _CHECKED_BYTES_MAX):
            page.next_seq = first
            break
        if len(page.problems) == _PROBLEMS_MAX:
            page.problems.append("there may be more: checking ended here")
            return page
        if first != expected:
            page.problems.append(f"{span('record', expected, first - 1)} in no block")
        size, _ = cursor.head(0)
        page.octets += size
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
    if not page.next_seq and expected != ledger.next_seq:
        page.problems.append(f"{span('record', expected, ledger.next_seq - 1)} in no block")
    return page


def _damage(value: bytes) -> str:
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


class Entry(msgspec.Struct):
    seq: int
    reason: str
    at: float
    """When it was set aside: seconds since 1970-01-01 UTC."""
    kind: str
    peer: str
    records: int
    octets: int
    payload: bytes
    """Its beginning, or all of it."""
    original_bytes: int = 0
    """Octets that it had before it was cut; 0 = it was not."""


class EntryPage(msgspec.Struct):
    entries: list[Entry]
    next_seq: int = 0
    """Where the next page begins; 0 = this was the last."""


def read_entries(books: Books, wanted: ReadEntries) -> EntryPage:
    """Entries of a quarantine, oldest first.

    Raises:
        QueueError: There is no such quarantine.
    """
    database = _database(books.quarantine, wanted.account, "quarantine")
    page = EntryPage([])
    limit = max(1, min(wanted.entries_max, _RECORDS_MAX))
    cursor = books.txn.cursor(db=database)
    found = cursor.set_range(KEY.pack(max(0, wanted.start)))
    size = 0
    while found:
        seq = seq_of(cursor.key())
        if len(page.entries) == limit or size > _BYTES_MAX:
            page.next_seq = seq
            break
        label, octets = read_entry(bytes(cursor.value()))
        payload = octets[: max(0, wanted.payload_bytes_max)]
        size += len(payload) + len(label.reason)
        page.entries.append(
            Entry(
                *(seq, label.reason, label.at, label.kind, label.peer, label.records),
                *(len(octets), payload, label.original_bytes),
            )
        )
        found = cursor.next()
    return page


class Tally(msgspec.Struct):
    """What is in a quarantine, and what its account says."""

    records: int
    octets: int
    accounted_records: int


def tally(books: Books, wanted: ReadEntries) -> Tally:
    """Count a quarantine in one transaction: its size has a limit of its own.

    Raises:
        QueueError: There is no such quarantine.
    """
    database = _database(books.quarantine, wanted.account, "quarantine")
    records = octets = 0
    cursor = books.txn.cursor(db=database)
    for _, value in cursor:
        octets += len(value)
        head = bytes(value[:4096])
        # Only the label of a damaged block counts for more than one.
        whole = b'"records":' in head
        records += read_entry(bytes(value))[0].records if whole else 1
    return Tally(records, octets, books.ledger(wanted.account).quarantined)


def _database(databases: Mapping[str, Any], id: str, what: str) -> Any:
    if id not in databases:
        known = ", ".join(sorted(databases)) or "none"
        raise QueueError(f"there is no {what} {id!r}; there is: {known}")
    return databases[id]
