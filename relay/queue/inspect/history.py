"""Look into the history of a destination, a page in a short transaction each.

As with queues (see `inspect/queries.py`), entries may leave at the head and come at the end
between two pages, and a record never changes its seq.  Seqs need not be consecutive:
what left the queue by another way is not in its history.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from relay.model.errors import QueueError
from relay.queue.block import BlockDamaged, block_header, decode_block
from relay.queue.books import Books, seq_of, to_block_with
from relay.queue.history.keep import acknowledged_at, block_in, records_in
from relay.queue.inspect.queries import Check, Checked, Page, Record

__all__ = ["Period", "ReadHistory", "check_history", "entries_of", "history_of", "read_history"]

_RECORDS_MAX = 1000
_BYTES_MAX = 1024 * 1024
_ENTRIES_MAX = 5000  # that one page may look at
_CHECKED_BYTES_MAX = 8 * 1024 * 1024
_PROBLEMS_MAX = 100
_HEADERS_BYTES = 64  # those of an entry and its block are shorter


class Period(msgspec.Struct, forbid_unknown_fields=True):
    """Records by when they were acknowledged, or by when they came in."""

    since: float = 0.0
    """At this or after (seconds since 1970-01-01 UTC)."""
    to: float = 0.0
    """Before this; 0 = no end."""
    by_receipt: bool = False

    def has(self, entry: Any) -> bool:
        """Whether the records of `entry` belong to it; all have the same times."""
        at = acknowledged_at(entry)
        if self.by_receipt:
            at = block_header(block_in(entry[:_HEADERS_BYTES]))[0]
        return self.since <= at and (not self.to or at < self.to)


class ReadHistory(msgspec.Struct, forbid_unknown_fields=True):
    """Which records to read.  Higher limits than the built-in ones do not count."""

    queue: str
    start: int = 0
    """Seq to begin with."""
    period: Period = msgspec.field(default_factory=Period)
    records_max: int = _RECORDS_MAX


def history_of(books: Books, id: str) -> Any:
    """The database of the history of `id`.

    Raises:
        QueueError: There is none.
    """
    if id not in books.history:
        known = ", ".join(sorted(books.history)) or "none"
        raise QueueError(
            f"there is no history of {id!r}; there is: {known}; to keep one, set `history` for "
            "the destination"
        )
    return books.history[id]


def entries_of(books: Books, database: Any, start: int) -> Iterator[tuple[int, Any]]:
    """Entries with records from `start` on, each with the seq of its first record.

    Valid until the next one is asked for, or something changes.
    """
    cursor = books.txn.cursor(db=database)
    found = to_block_with(cursor, start)
    while found:
        yield seq_of(cursor.key()), cursor.value()
        found = cursor.next()


def read_history(books: Books, wanted: ReadHistory) -> Page:
    """Records that were delivered, oldest first; fewer if many are skipped.

    Raises:
        QueueError: There is no such history.
    """
    database = history_of(books, wanted.queue)
    page = Page([], wanted.start, max(wanted.start, _end_of(books, wanted.queue)))
    limit = max(1, min(wanted.records_max, _RECORDS_MAX))
    size = 0
    for count, (first, entry) in enumerate(entries_of(books, database, wanted.start)):
        if count == _ENTRIES_MAX:
            page.next_seq = max(wanted.start, first)
            return page
        if first + records_in(entry) <= wanted.start or not wanted.period.has(entry):
            continue
        for record in _records(entry, first, wanted.start):
            if len(page.records) == limit or size > _BYTES_MAX:
                page.next_seq = record.seq
                return page
            page.records.append(record)
            size += len(record.payload)
    page.next_seq = page.end_seq
    return page


def _end_of(books: Books, id: str) -> int:
    """Seq after the newest record."""
    cursor = books.txn.cursor(db=books.history[id])
    if not cursor.last():
        return 1
    first = seq_of(cursor.key())
    # A damaged block may claim anything; nothing is here that has not left the queue.
    return min(
        first + records_in(cursor.value()), max(first + 1, books.ledger(id).acknowledged_seq)
    )


def _records(entry: Any, first: int, start: int) -> list[Record]:
    at = acknowledged_at(entry)
    try:
        block = decode_block(block_in(entry))
    except BlockDamaged as damage:
        return [Record(max(first, start), 0.0, damaged=str(damage), acknowledged_at=at)]
    skip = max(0, start - first)
    return [
        Record(seq, block.received_at, payload, acknowledged_at=at)
        for seq, payload in enumerate(block.payloads[skip:], first + skip)
    ]


def check_history(books: Books, wanted: Check) -> Checked:
    """Whether the entries of a history can be read and do not overlap.

    Raises:
        QueueError: There is no such history.
    """
    page = Checked()
    expected = wanted.start
    for first, entry in entries_of(books, history_of(books, wanted.queue), wanted.start):
        if first < wanted.start:
            continue
        if page.blocks == _ENTRIES_MAX or page.octets > _CHECKED_BYTES_MAX:
            page.next_seq = first
            return page
        if len(page.problems) == _PROBLEMS_MAX:
            page.problems.append("there may be more: checking ended here")
            return page
        block = block_in(entry)
        page.octets += len(block)
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
