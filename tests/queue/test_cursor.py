from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred

from relay.model.errors import DamagedRange, QueueError
from relay.model.seq import SeqRange
from relay.queue.cursor import (
    AHEAD_BYTES_MAX,
    READ_BYTES_MAX,
    READ_RECORDS_MAX,
    Batch,
    Cursor,
)
from relay.queue.transaction import RECORD_BYTES

RECORDS = [b"%d" % seq for seq in range(10)]  # record n holds n
BLOCK = 4


class Store:
    """Records 0 to 9 in blocks of four, one a read; reads end when told, or at once."""

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
        return RECORDS[start : start // BLOCK * BLOCK + BLOCK]

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
        Batch(SeqRange(0, 4), RECORDS[:4]),
        Batch(SeqRange(4, 8), RECORDS[4:8]),
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
    assert store.reads == [("d", 0, READ_RECORDS_MAX, READ_BYTES_MAX)]
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
    take(cursor)
    cursor.rewind(1)
    assert take(cursor, records_max=2) == [Batch(SeqRange(1, 3), RECORDS[1:3])]


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


# What commits leave in memory.


def stored(cursor: Cursor, start: int, stop: int) -> None:
    """A commit has stored the records from `start` to before `stop`."""
    cursor.stored(stop, RECORDS[start:stop])


def test_what_was_just_stored_is_not_read(store: Store, cursor: Cursor) -> None:
    cursor.rewind(3)
    stored(cursor, 3, 5)
    stored(cursor, 5, 8)
    assert take(cursor, records_max=4) == [Batch(SeqRange(3, 7), RECORDS[3:7])]
    assert take(cursor) == [Batch(SeqRange(7, 8), RECORDS[7:8])]
    assert store.reads == []
    assert take(cursor) == [Batch(SeqRange(8, 10), RECORDS[8:])]
    assert len(store.reads) == 1


@pytest.mark.parametrize(("records_max", "bytes_max", "count"), [(3, 9, 3), (9, 3, 3), (9, 0, 1)])
def test_limits_hold_across_commits(
    cursor: Cursor, records_max: int, bytes_max: int, count: int
) -> None:
    stored(cursor, 0, 2)
    stored(cursor, 2, 4)
    (batch,) = take(cursor, records_max=records_max, bytes_max=bytes_max)
    assert batch.payloads == RECORDS[:count]
    (batch,) = take(cursor)
    assert batch.payloads == RECORDS[count:4]


def test_a_commit_beyond_what_is_next_is_not_kept(store: Store, cursor: Cursor) -> None:
    stored(cursor, 4, 8)
    assert take(cursor, records_max=4) == [Batch(SeqRange(0, 4), RECORDS[:4])]
    assert len(store.reads) == 1


def test_a_commit_that_was_read_already_is_not_kept_twice(store: Store, cursor: Cursor) -> None:
    take(cursor, records_max=1)  # the rest of a block of four stays in memory
    stored(cursor, 2, 4)
    assert take(cursor) == [Batch(SeqRange(1, 4), RECORDS[1:4])]


def test_a_commit_during_a_read_is_not_lost_and_not_doubled(store: Store, cursor: Cursor) -> None:
    store.slow = True
    results = take(cursor, records_max=1)
    stored(cursor, 0, 6)
    store.finish()
    assert results == [Batch(SeqRange(0, 1), RECORDS[:1])]
    assert take(cursor) == [Batch(SeqRange(1, 4), RECORDS[1:4])]


def test_a_rewind_drops_what_commits_left(store: Store, cursor: Cursor) -> None:
    stored(cursor, 0, 4)
    cursor.rewind(2)
    assert take(cursor, records_max=2) == [Batch(SeqRange(2, 4), RECORDS[2:4])]
    assert len(store.reads) == 1


def test_a_cursor_that_falls_behind_keeps_only_the_oldest(store: Store, cursor: Cursor) -> None:
    cursor.rewind(10)
    record = b"x" * (AHEAD_BYTES_MAX // 2 - RECORD_BYTES)
    cursor.stored(12, [record, record])
    cursor.stored(13, [b"y"])  # it is full
    assert take(cursor, records_max=1)[0].payloads == [record]
    cursor.stored(14, [b"z"])  # something is missing before it
    assert take(cursor)[0].payloads == [record]
    assert take(cursor) == [Batch(SeqRange(12, 12), [])]
    assert [start for _, start, _, _ in store.reads] == [12]


OPERATIONS = st.one_of(
    st.tuples(st.just("commit"), st.integers(0, 9)),
    st.tuples(st.just("operate"), st.integers(1, 5)),  # an append that cursors do not see
    st.tuples(st.just("take"), st.integers(1, 12)),
    st.tuples(st.just("finish"), st.just(0)),
    st.tuples(st.just("rewind"), st.integers(0, 60)),
)


@given(operations=st.lists(OPERATIONS, max_size=60), slow=st.booleans())
def test_memory_and_disk_hold_the_same_records(
    operations: list[tuple[str, int]], slow: bool
) -> None:
    records: list[bytes] = []
    store = Store()
    store.read = (
        lambda _, *, start, records_max, bytes_max: records[  # type: ignore[method-assign]
            start : start // BLOCK * BLOCK + BLOCK
        ]
    )
    store.slow = slow
    cursor = Cursor(store, "d", position=0, run_in_thread=store.run_in_thread)
    batches: list[Batch] = []
    taking: list[Any] = [None]
    for operation, number in operations:
        if operation in ("commit", "operate"):
            new = [b"%d" % seq for seq in range(len(records), len(records) + number)]
            records += new
            cursor.stored(len(records), new if operation == "commit" else ())
        elif operation == "take" and taking:  # one at a time
            taking = take(cursor, records_max=number)
            batches += taking
        elif operation == "finish" and not taking:
            store.finish()
            batches += taking
        elif operation == "rewind":
            cursor.rewind(min(number, len(records)))
    for batch in batches:
        assert batch.payloads == [b"%d" % seq for seq in range(batch.seqs.start, batch.seqs.stop)]
