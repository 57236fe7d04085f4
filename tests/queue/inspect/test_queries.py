from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model.errors import QueueError, QueueFull
from relay.model.seq import SeqRange
from relay.queue.inspect.queries import (
    QUERIES,
    Check,
    Checked,
    Nothing,
    Page,
    Period,
    Read,
    ReadEntries,
    Tally,
    accounts,
    check,
    read,
    read_entries,
    tally,
)
from relay.queue.store import QueueStore
from relay.queue.transaction import Refusal, SetAside, Transaction
from relay.queue.view import TransactionView
from tests.queue_files import (
    append,
    damage,
    environment,
    kept,
    looked_at,
    opened,
    put,
    remove,
    set_aside,
)


def ask(store: QueueStore, name: str, arguments: Any) -> Any:
    return store.look(lambda view: QUERIES[name][1](view, arguments))


def page(store: QueueStore, start: int = 0, **options: Any) -> Page:
    found = store.look(lambda view: read(view, Read("a", start=start, **options)))
    assert isinstance(found, Page)
    return found


def checked(store: QueueStore, **options: Any) -> Checked:
    return store.look(lambda view: check(view, Check("a", **options)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[QueueStore]:
    with opened(tmp_path) as store:
        yield store


# Accounts.


def test_every_account_is_there_with_its_oldest(tmp_path: Path) -> None:
    with opened(tmp_path, "a", "b", sources=["in"]) as store:
        append(store, at=5.5, a=[b"1", b"22"])
        remove(store, "a", 2)
        a, b, source = store.look(lambda view: accounts(view, Nothing()))
    assert (a.id, a.received, a.delivered, a.queued, a.oldest_at) == ("a", 2, 1, 1, 5.5)
    assert (b.id, b.queued, b.oldest_at) == ("b", 0, None)
    assert source.id == "source/in"


# Records.


def test_records_come_with_number_and_time(store: QueueStore) -> None:
    append(store, at=1.5, a=[b"1", b"2"])
    append(store, at=2.5, a=[b"3"])
    remove(store, "a", 2)
    found = page(store)
    assert [(each.seq, each.at, each.payload) for each in found.records] == [
        (2, 1.5, b"2"),
        (3, 2.5, b"3"),
    ]
    assert (found.next_seq, found.end_seq) == (4, 4)
    assert page(store, 3).records == found.records[1:]
    assert page(store, 4) == Page([], 4, 4)
    assert page(store, 9) == Page([], 9, 9)


def test_a_page_ends_in_the_middle_of_a_block(store: QueueStore) -> None:
    append(store, a=[b"%d" % seq for seq in range(1, 8)])
    found = page(store, records_max=3)
    assert ([each.seq for each in found.records], found.next_seq) == ([1, 2, 3], 4)
    assert [each.seq for each in page(store, 4, records_max=99_999).records] == [4, 5, 6, 7]
    assert len(page(store, records_max=0).records) == 1


def test_a_page_has_about_a_mebibyte(store: QueueStore) -> None:
    append(store, a=[b"x" * 400_000] * 9)
    found = page(store)
    assert ([each.seq for each in found.records], found.next_seq) == ([1, 2, 3], 4)


def test_old_blocks_can_be_skipped(store: QueueStore) -> None:
    for at in (10.0, 20.0, 30.0):
        append(store, at=at, a=[b"%d" % at])
    assert [each.payload for each in page(store, period=Period(20.0)).records] == [b"20", b"30"]
    found = page(store, period=Period(99.0))
    assert (found.records, found.next_seq) == ([], 4)


def test_a_damaged_block_is_one_record_that_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for pair in ([b"1", b"2"], [b"3", b"4"], [b"5"]):
            append(store, a=pair)
    damage(tmp_path, "a", 3)
    with opened(tmp_path) as store:
        records = page(store).records
        assert [(each.seq, each.damaged) for each in records] == [
            (1, ""),
            (2, ""),
            (3, "checksum mismatch"),
            (5, ""),
        ]
        assert page(store, 4).records[0].seq == 4


def test_what_is_not_there_is_said_with_what_is(store: QueueStore) -> None:
    for name, arguments in (
        ("queue-read", Read("c")),
        ("queue-check", Check("c")),
        ("quarantine-read", ReadEntries("c")),
        ("quarantine-tally", ReadEntries("c")),
    ):
        with pytest.raises(QueueError, match=r"there is no .* 'c'; there is: a, b"):
            ask(store, name, arguments)


@settings(max_examples=25)
@given(
    blocks=st.lists(st.lists(st.binary(max_size=9), min_size=1, max_size=5), max_size=6),
    records_max=st.integers(1, 7),
    gone=st.integers(0, 9),
    start=st.integers(0, 12),
)
def test_pages_are_all_records_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[bytes]],
    records_max: int,
    gone: int,
    start: int,
) -> None:
    everything = [payload for block in blocks for payload in block]
    with opened(tmp_path_factory.mktemp("queue")) as store:
        for block in blocks:
            append(store, a=block)
        gone = min(gone, len(everything))
        remove(store, "a", 1 + gone)
        first = max(start, 1 + gone)
        found: list[bytes] = []
        at = start
        while True:
            one = page(store, at, records_max=records_max)
            assert len(one.records) <= records_max
            found += [record.payload for record in one.records]
            if one.next_seq >= one.end_seq:
                break
            assert one.next_seq > at
            at = one.next_seq
        assert found == everything[first - 1 :]
        assert checked(store).problems == checked(store, checksums=True).problems == []


def last_page(path: Path) -> int:
    with environment(path) as found:
        return int(found.info()["last_pgno"])


def churn(store: QueueStore) -> None:
    """Keep the queue as long as it is, for many commits."""
    ledger = store.ledgers["b"]
    append(store, b=[b"x" * 30_000])
    if ledger.queued > 3:
        remove(store, "b", ledger.acknowledged_seq + 1)


@pytest.mark.slow
def test_who_reads_page_by_page_does_not_make_the_file_grow(tmp_path: Path) -> None:
    paged, pinned = tmp_path / "paged", tmp_path / "pinned"
    with opened(paged) as store:
        append(store, a=[b"1"] * 300)
        for start in range(1, 300):
            page(store, start, records_max=1)
            churn(store)
    with opened(pinned, map_bytes=16 * 1024**2) as store:
        append(store, a=[b"1"] * 300)

        def read_all_at_once(view: TransactionView) -> None:
            for start in range(1, 300):
                read(view, Read("a", start=start, records_max=1))
                churn(store)

        with pytest.raises(QueueFull):  # what the pages are for: nothing is used again
            store.look(read_all_at_once)
    assert last_page(paged) < 150


# Checks.


def test_a_whole_queue_has_no_problems(store: QueueStore) -> None:
    assert checked(store) == Checked()
    append(store, a=[b"1", b"2"])
    append(store, a=[b"3", b"4"])
    remove(store, "a", 2)
    found = checked(store, checksums=True)
    assert (found.blocks, found.records, found.problems, found.next_seq) == (2, 3, [], 0)
    assert found.size > 0


def test_damage_is_found_by_checksums_only(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
        append(store, a=[b"3"])
    damage(tmp_path, "a", 1)
    with opened(tmp_path) as store:
        assert checked(store).problems == []
        assert checked(store, checksums=True).problems == [
            "records 1 to 2 cannot be read: checksum mismatch"
        ]


def test_blocks_that_are_missing_are_found(tmp_path: Path) -> None:
    for first, text in (
        (1, ["records 1 to 2 in no block"]),
        (3, ["the block of record 1 has 2 records, the numbers around it leave room for 4"]),
        (5, ["the block of record 3 has 2 records, the numbers around it leave room for 3"]),
    ):
        with opened(tmp_path / str(first)) as store:
            for block in ([b"1", b"2"], [b"3", b"4"], [b"5"]):
                append(store, a=block)
        put(tmp_path / str(first), "blocks/a", first, None)
        with looked_at(tmp_path / str(first)) as store:
            assert checked(store).problems == text


def test_a_queue_without_any_block_is_found(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
    put(tmp_path, "blocks/a", 1, None)
    with looked_at(tmp_path) as store:
        assert checked(store).problems == ["records 1 to 2 in no block"]


def test_a_header_that_lies_is_found(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1"])
    put(tmp_path, "blocks/a", 1, b"short")
    with opened(tmp_path) as store:
        assert "has 0 records" in checked(store).problems[0]


def test_checking_goes_on_where_it_ended_though_the_head_moves(store: QueueStore) -> None:
    for _ in range(20):
        append(store, a=[b"x" * 500_000])
    first = checked(store, checksums=True)
    assert 15 <= first.blocks < 20
    remove(store, "a", first.next_seq - 2)
    rest = checked(store, start=first.next_seq, checksums=True)
    assert (first.blocks + rest.blocks, rest.next_seq) == (20, 0)
    remove(store, "a", 20)
    overtaken = checked(store, start=first.next_seq, checksums=True)
    assert (overtaken.blocks, overtaken.problems) == (1, [])


# Quarantines.


def test_entries_come_in_pages_with_their_beginning(store: QueueStore) -> None:
    append(store, a=[b"one", b"two", b"three"])
    set_aside(store, "a", 3, reason="500 no")
    found = store.look(
        lambda view: read_entries(view, ReadEntries("a", entries_max=2, payload_bytes_max=2))
    )
    assert [(each.seq, each.payload, each.size) for each in found.entries] == [
        (1, b"on", 3),
        (2, b"tw", 3),
    ]
    assert found.next_seq == 3
    entry = found.entries[0]
    assert (entry.reason, entry.at, entry.kind, entry.peer) == ("500 no", 9.0, "record", "")
    rest = store.look(lambda view: read_entries(view, ReadEntries("a", start=3)))
    assert ([each.payload for each in rest.entries], rest.next_seq) == ([b"three"], 0)


def test_what_is_in_a_quarantine_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2", b"3"])
        append(store, a=[b'4 "records": x'])
    damage(tmp_path, "a", 1)
    with opened(tmp_path, sources=["in"]) as store:
        remove(store, "a", 5, SetAside(SeqRange(1, 4), "checksum"), SetAside(SeqRange(4, 5), "no"))
        size = store.ledgers["a"].quarantine_bytes
        assert ask(store, "quarantine-tally", ReadEntries("a")) == Tally(4, size, 4)
        refusal = Refusal("in", "x", "p", [b"1", b"2"], 10_000)
        store.commit(Transaction(0.0, refusals=[refusal]))
        assert store.look(lambda view: tally(view, ReadEntries("source/in"))).records == 2
    put(tmp_path, "quarantine/a", struct.pack(">Q", 4), None)
    with opened(tmp_path) as store:
        found = ask(store, "quarantine-tally", ReadEntries("a"))
        assert (found.records, found.accounted_records) == (3, 4)


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_each_is_answered_in_what_is_fit_for_json(tmp_path: Path, name: str) -> None:
    given = {"queue": "a"} if name.startswith(("queue", "history")) else {"account": "a"}
    kind, function = QUERIES[name]
    arguments = msgspec.convert(
        {} if name in ("queue-accounts", "queue-copy") else given, type=kind
    )
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, a=[b"1", b"2"])
        remove(store, "a", 2)
        found = store.look(lambda view: function(view, arguments))
    assert msgspec.json.decode(msgspec.json.encode(found))
