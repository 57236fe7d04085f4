from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.cursor import Batch, Cursor
from relay.queue.store import DamagedRange

RECORDS = [b"%d" % seq for seq in range(10)]  # record n holds n
BLOCK = 4


class Store:
    """Records 0 to 9 in blocks of four, read whole; reads end when told, or at once."""

    def __init__(self) -> None:
        self.slow = False
        self.reads: list[tuple[str, int, int, int]] = []
        self.damage: QueueError | None = None
        self._waiting: list[Deferred[None]] = []

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        self.reads.append((destination, start, records_max, bytes_max))
        if self.damage is not None:
            raise self.damage
        stop = -(-(start + records_max) // BLOCK) * BLOCK
        return RECORDS[start:stop]

    def run_in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        begun: Deferred[None] = Deferred()
        self._waiting.append(begun)
        done = begun.addCallback(lambda _: call())
        if not self.slow:
            self.finish()
        return done

    def finish(self) -> None:
        self._waiting.pop(0).callback(None)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cursor(store: Store) -> Cursor:
    return Cursor(store, "d", position=0, run_in_thread=store.run_in_thread)


def take(cursor: Cursor, *, records_max: int = 100, bytes_max: int = 1000) -> list[Any]:
    """Where the result will be."""
    results: list[Any] = []
    taking = ensureDeferred(cursor.take(records_max=records_max, bytes_max=bytes_max))
    taking.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


def test_records_come_in_order_with_their_numbers(cursor: Cursor) -> None:
    batches = [take(cursor, records_max=6)[0] for _ in range(3)]
    assert batches == [
        Batch(SeqRange(0, 6), RECORDS[:6]),
        Batch(SeqRange(6, 8), RECORDS[6:8]),
        Batch(SeqRange(8, 10), RECORDS[8:]),
    ]
    assert cursor.position == 10


def test_an_empty_queue_gives_an_empty_batch(cursor: Cursor) -> None:
    cursor.rewind(10)
    assert take(cursor) == [Batch(SeqRange(10, 10), [])]
    assert cursor.position == 10


def test_what_did_not_fit_is_kept_and_not_read_again(store: Store, cursor: Cursor) -> None:
    taken = [take(cursor, records_max=1)[0].payloads for _ in range(BLOCK)]
    assert taken == [[b"0"], [b"1"], [b"2"], [b"3"]]
    assert store.reads == [("d", 0, 1, 1000)]
    assert take(cursor, records_max=1)[0].payloads == [b"4"]
    assert len(store.reads) == 2


@pytest.mark.parametrize(
    ("records_max", "bytes_max", "count"), [(3, 100, 3), (100, 2, 2), (2, 3, 2), (100, 0, 1)]
)
def test_the_lower_limit_counts_but_one_record_always_comes(
    cursor: Cursor, records_max: int, bytes_max: int, count: int
) -> None:
    (batch,) = take(cursor, records_max=records_max, bytes_max=bytes_max)
    assert (batch.payloads, batch.seqs) == (RECORDS[:count], SeqRange(0, count))
    assert cursor.position == count


def test_what_was_taken_is_there_again_after_a_rewind(cursor: Cursor) -> None:
    take(cursor, records_max=6)
    cursor.rewind(2)
    assert take(cursor, records_max=3) == [Batch(SeqRange(2, 5), RECORDS[2:5])]


def test_a_rewind_drops_what_was_kept(store: Store, cursor: Cursor) -> None:
    take(cursor, records_max=1)
    cursor.rewind(0)
    assert take(cursor, records_max=1)[0].payloads == [b"0"]
    assert len(store.reads) == 2


def test_a_rewind_during_a_read_throws_the_read_away(store: Store, cursor: Cursor) -> None:
    cursor.rewind(4)
    store.slow = True
    results = take(cursor)
    cursor.rewind(1)
    store.finish()
    assert results == [Batch(SeqRange(1, 1), [])]
    assert cursor.position == 1
    store.slow = False
    assert take(cursor, records_max=2) == [Batch(SeqRange(1, 3), RECORDS[1:3])]


def test_a_rewind_to_where_it_stands_counts_too(store: Store, cursor: Cursor) -> None:
    store.slow = True
    results = take(cursor)
    cursor.rewind(0)
    store.finish()
    assert results == [Batch(SeqRange(0, 0), [])]


@pytest.mark.parametrize(
    "error", [QueueError("cannot read"), DamagedRange("d", SeqRange(0, 4), "checksum mismatch")]
)
def test_a_failed_read_is_told_and_changes_nothing(
    store: Store, cursor: Cursor, error: QueueError
) -> None:
    store.damage = error
    assert take(cursor) == [error]
    assert cursor.position == 0
    store.damage = None
    assert take(cursor, records_max=1)[0].payloads == [b"0"]


def test_a_failed_read_from_before_a_rewind_is_thrown_away(store: Store, cursor: Cursor) -> None:
    cursor.rewind(4)
    store.slow = True
    store.damage = DamagedRange("d", SeqRange(4, 8), "checksum mismatch")
    results = take(cursor)
    cursor.rewind(1)
    store.finish()
    assert results == [Batch(SeqRange(1, 1), [])]
