from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import QueueError
from relay.queue.inspect.queries import (
    Account,
    Check,
    Checked,
    Nothing,
    Page,
    Period,
    Read,
    accounts,
    check_history,
    read_history,
)
from relay.queue.store import QueueStore
from tests.queue_files import append, kept, opened, put, remove


def fill(store: QueueStore) -> None:
    """Six records in three blocks, received at 1, 2, 3 s and delivered at 10, 20, 30, of which
    the third was dropped."""
    append(store, at=1.0, a=[b"1", b"2"])
    append(store, at=2.0, a=[b"3", b"4"])
    append(store, at=3.0, a=[b"5", b"6"])
    remove(store, "a", 3, at=10.0)
    remove(store, "a", 3, at=11.0)
    from relay.queue.inspect.commands import Purge

    store.operate(Purge("a", 3, 4), at=15.0)
    remove(store, "a", 5, at=20.0)
    remove(store, "a", 7, at=30.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[QueueStore]:
    with opened(tmp_path, histories=kept("a", "b")) as store:
        fill(store)
        yield store


def page(store: QueueStore, start: int = 0, **options: Any) -> Page:
    return store.look(lambda view: read_history(view, Read("a", start, **options)))


def found(page: Page) -> list[int]:
    assert all(record.payload == b"%d" % record.seq for record in page.records)
    return [record.seq for record in page.records]


def test_all_of_it_is_read_with_both_times(store: QueueStore) -> None:
    whole = page(store)
    assert (found(whole), whole.next_seq, whole.end_seq) == ([1, 2, 4, 5, 6], 7, 7)
    assert [(record.at, record.acknowledged_at) for record in whole.records] == [
        *((1.0, 10.0), (1.0, 10.0)),
        (2.0, 20.0),
        *((3.0, 30.0), (3.0, 30.0)),
    ]


@pytest.mark.parametrize(
    ("start", "seqs"),
    [(1, [1, 2, 4, 5, 6]), (2, [2, 4, 5, 6]), (3, [4, 5, 6]), (6, [6]), (7, []), (9, [])],
)
def test_it_is_read_from_anywhere(store: QueueStore, start: int, seqs: list[int]) -> None:
    assert found(page(store, start)) == seqs
    assert page(store, start).next_seq == max(start, 7)


def test_it_is_read_page_by_page(store: QueueStore) -> None:
    seqs: list[int] = []
    start = 0
    while start < 7:
        one = page(store, start, records_max=1)
        seqs += found(one)
        start = one.next_seq
    assert seqs == [1, 2, 4, 5, 6]


def test_a_page_ends_where_much_is_skipped(
    store: QueueStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.queue.inspect.queries._BLOCKS_MAX", 2)
    first = page(store, period=Period(25.0))
    assert (found(first), first.next_seq) == ([], 5)
    assert found(page(store, 5, period=Period(25.0))) == [5, 6]


def test_a_page_ends_with_many_bytes(store: QueueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.queue.inspect.queries._BYTES_MAX", 1)
    assert page(store).next_seq == 4


@pytest.mark.parametrize(
    ("period", "seqs"),
    [
        (Period(20.0), [4, 5, 6]),
        (Period(0.0, 20.0), [1, 2]),
        (Period(20.0, 30.0), [4]),
        (Period(2.0, by_receipt=True), [4, 5, 6]),
        (Period(0.0, 3.0, by_receipt=True), [1, 2, 4]),
        (Period(31.0), []),
    ],
)
def test_periods(store: QueueStore, period: Period, seqs: list[int]) -> None:
    assert found(page(store, period=period)) == seqs


def test_an_empty_history_is_one(store: QueueStore) -> None:
    empty = store.look(lambda view: read_history(view, Read("b")))
    assert (empty.records, empty.next_seq) == ([], 1)
    with pytest.raises(QueueError, match="there is no history of 'c'; there is: a, b; to keep"):
        store.look(lambda view: read_history(view, Read("c")))


def test_accounts_say_what_there_is(store: QueueStore) -> None:
    rows: list[Account] = store.look(lambda view: accounts(view, Nothing()))
    assert [(row.id, row.history_bytes, row.history_since) for row in rows] == [
        ("a", 4096, 10.0),
        ("b", 0, None),
    ]


def checked(store: QueueStore, start: int = 0) -> Checked:
    return store.look(lambda view: check_history(view, Check("a", start, checksums=True)))


def test_a_whole_history_has_no_problems(store: QueueStore) -> None:
    whole = checked(store)
    assert (whole.blocks, whole.records, whole.problems, whole.next_seq) == (3, 5, [], 0)


def test_it_is_checked_page_by_page(store: QueueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.queue.inspect.queries._BLOCKS_MAX", 2)
    assert (checked(store).records, checked(store).next_seq) == (3, 5)
    assert (checked(store, 5).records, checked(store, 5).next_seq) == (2, 0)


@pytest.mark.parametrize("value", [b"", b"x" * 8, b"x" * 100])
def test_damage_is_found_and_read_around(tmp_path: Path, value: bytes) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        fill(store)
    put(tmp_path, "history/a", 4, value)
    with opened(tmp_path, histories=kept("a")) as store:
        (problem,) = checked(store).problems
        assert problem.startswith("what was delivered from 4 on cannot be read: ")
        records = page(store).records
        assert [record.seq for record in records if not record.damaged] == [1, 2, 5, 6]
        assert [record.seq for record in records if record.damaged] == [4]


def test_entries_that_overlap_are_found(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        fill(store)
    value = put(tmp_path, "history/a", 1, None)
    put(tmp_path, "history/a", 3, value)
    with opened(tmp_path, histories=kept("a")) as store:
        assert checked(store).problems == ["the entry of record 4 has records of the one before it"]
