from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest

from relay.model.seq import SeqRange
from relay.queue.block import encode_block
from relay.queue.history.keep import Histories, HistoryLimit, acknowledged_at, records_in
from relay.queue.inspect.commands import Adopt, Purge
from relay.queue.inspect.queries import Read, read_history
from relay.queue.store import QueueStore
from relay.queue.transaction import Eviction, Removal, SetAside, Transaction
from tests.queue_files import append, damage, environment, kept, looked_at, opened, remove

LEAF_BYTES = 4096


BLOCK = b"x" * 20_000


BLOCK_BYTES = 5 * 4096  # what it takes, beside the leaf


def history(store: QueueStore, id: str = "a") -> dict[int, tuple[float, bytes]]:
    """When each record was acknowledged, and its bytes, by seq."""
    found = store.look(lambda view: read_history(view, Read(id))).records
    assert not any(record.damaged for record in found)
    return {record.seq: (record.acknowledged_at, record.payload) for record in found}


def seqs(store: QueueStore, id: str = "a") -> list[int]:
    return list(history(store, id))


def entries(path: Path, id: str = "a") -> dict[int, bytes]:
    """The values as they are on disk."""
    with environment(path) as found:
        db = found.open_db(f"history/{id}".encode())
        with found.begin(db=db) as txn:
            return {struct.unpack(">Q", key)[0]: value for key, value in txn.cursor()}


def names(path: Path) -> list[bytes]:
    with environment(path) as found, found.begin() as txn:
        return [key for key, _ in txn.cursor()]


def test_what_is_delivered_is_kept_as_it_was_with_the_time_of_its_answer(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, at=5.0, a=[b"1", b"2"], b=[b"x"])
        append(store, at=6.0, a=[b"3"])
        remove(store, "a", 3, at=70.0)
        remove(store, "b", 2)
        assert history(store) == {1: (70.0, b"1"), 2: (70.0, b"2")}
        remove(store, "a", 4, at=80.0)
        assert history(store)[3] == (80.0, b"3")
        ledger = store.ledgers["a"]
        assert (ledger.delivered, ledger.queued, ledger.queued_bytes) == (3, 0, 0)
    assert entries(tmp_path) == {
        1: struct.pack("<d", 70.0) + encode_block([b"1", b"2"], received_at=5.0),
        3: struct.pack("<d", 80.0) + encode_block([b"3"], received_at=6.0),
    }
    assert b"history/b" not in names(tmp_path)


def test_of_a_block_in_part_that_part_is_kept_at_once(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, at=5.0, a=[b"1", b"2", b"3", b"4"])
        append(store, at=5.5, a=[b"5", b"6"])
        remove(store, "a", 3, at=7.0)
        assert history(store) == {1: (7.0, b"1"), 2: (7.0, b"2")}
        remove(store, "a", 6, at=8.0)
        remove(store, "a", 6, at=8.5)
        remove(store, "a", 7, at=9.0)
        assert {seq: at for seq, (at, _) in history(store).items()} == {
            **dict.fromkeys((1, 2), 7.0),
            **dict.fromkeys((3, 4, 5), 8.0),
            6: 9.0,
        }
    assert entries(tmp_path)[3][8:] == encode_block([b"3", b"4"], received_at=5.0)


@pytest.mark.parametrize("aside", [1, 2, 3, 4, 5, 6])
def test_what_was_set_aside_is_not_there(tmp_path: Path, aside: int) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, a=[b"%d" % number for number in range(1, 5)])
        append(store, a=[b"5", b"6"])
        remove(store, "a", 7, SetAside(SeqRange(aside, aside + 1), "refused"))
        expected = {seq: b"%d" % seq for seq in range(1, 7) if seq != aside}
        assert {seq: payload for seq, (_, payload) in history(store).items()} == expected
        assert store.ledgers["a"].delivered == len(expected)


def test_what_left_by_other_ways_is_not_there(tmp_path: Path) -> None:
    with opened(tmp_path, "a", "old", histories=kept("a", "old")) as store:
        for number in range(1, 5):
            append(store, a=[b"%d" % number], old=[b"o%d" % number])
        store.commit(Transaction(9.0, evictions={"a": Eviction("full", received_before=1.0)}))
        assert store.ledgers["a"].dropped == {"full": 4}
        append(store, a=[b"5", b"6"])
        store.operate(Purge("a", 5, 6), at=9.0)
        store.operate(Adopt("old", "a"), at=9.0)
        late = Removal(0, late=Counter({"full": 2}))
        store.commit(Transaction(9.0, {}, {"a": late}))
        assert (seqs(store), seqs(store, "old")) == ([], [])
        remove(store, "a", 11)
        assert [payload for _, payload in history(store).values()] == [
            *(b"6", b"o1", b"o2", b"o3", b"o4")
        ]


def test_a_block_that_was_damaged_since_it_was_sent_does_not_keep_the_rest(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for pair in ([b"1", b"2"], [b"3", b"4"]):
            append(store, a=pair)
    damage(tmp_path, "a", 1)
    with opened(tmp_path, histories=kept("a")) as store:
        remove(store, "a", 2)
        remove(store, "a", 5)
        found = store.look(lambda view: read_history(view, Read("a"))).records
        assert [(record.seq, bool(record.damaged)) for record in found] == [
            *((1, True), (2, True)),
            *((3, False), (4, False)),
        ]
    assert [records_in(entry) for entry in entries(tmp_path).values()] == [1, 1, 2]


def test_seqs_need_not_come_in_order(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, a=[b"1"])
        append(store, a=[b"2"])
        histories = store.histories
        for first in (2, 1):
            with store._handles.environment.begin(write=True, buffers=True) as txn:
                histories.keep(
                    txn,
                    "a",
                    store._handles.blocks["a"],
                    SeqRange(first, first + 1),
                    [],
                    at=4.0 - first,
                )
        assert history(store) == {1: (3.0, b"1"), 2: (2.0, b"2")}


def test_without_a_history_nothing_is_made_and_nothing_changes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1"])
        remove(store, "a", 2)
        assert (store.histories.databases, store.histories.used_bytes) == ({}, 0)
    assert sorted(names(tmp_path)) == [
        *(b"blocks/a", b"blocks/b", b"meta", b"positions", b"quarantine/a", b"quarantine/b")
    ]


def test_a_queue_gets_a_history_and_keeps_it_when_nothing_is_kept_any_more(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2", b"3"])
        remove(store, "a", 2)
    with opened(tmp_path, histories=kept("a")) as store:
        remove(store, "a", 3)
    with opened(tmp_path, histories=kept()) as store:
        remove(store, "a", 4)
        assert seqs(store) == [2]
        assert store.histories.used_bytes > 0
    with looked_at(tmp_path) as store:
        assert seqs(store) == [2]
        assert store.histories.used_bytes > 0


def test_it_counts_neither_as_used_nor_as_queued(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, a=[BLOCK])
        remove(store, "a", 2)
        assert (store.used_bytes, store.destination_bytes["a"]) == (0, 0)
        assert store.histories.used_bytes >= len(BLOCK)
        used = store.histories.used_bytes
    with opened(tmp_path, histories=kept("a")) as store:
        assert (store.used_bytes, store.histories.used_bytes) == (0, used)


def fill(store: QueueStore, count: int, **options: float) -> None:
    """Deliver `count` records of `BLOCK` to a."""
    for _ in range(count):
        append(store, a=[BLOCK])
        remove(store, "a", store.ledgers["a"].next_seq, **options)


def test_its_size_is_kept_to_and_the_oldest_leaves(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a", bytes_max=5 * BLOCK_BYTES)) as store:
        for _ in range(20):
            fill(store, 1)
            assert store.histories.used_bytes <= 5 * BLOCK_BYTES
        assert seqs(store) == [17, 18, 19, 20]  # and a leaf
        assert store.histories.shed_entries == 0  # it is as long as it was meant to be


def test_queues_take_the_room_of_histories(tmp_path: Path) -> None:
    room = 10 * BLOCK_BYTES
    with opened(tmp_path, histories=kept("a", room_bytes=room)) as store:
        fill(store, 8)
        assert seqs(store) == list(range(1, 9))
        for number in range(1, 14):
            append(store, b=[BLOCK])
            assert store.used_bytes + store.histories.used_bytes <= max(room, store.used_bytes)
            assert store.used_bytes >= number * len(BLOCK)
        assert (seqs(store), store.histories.used_bytes) == ([], 0)
        assert store.histories.shed_entries == 8
        fill(store, 1)  # what would have to leave at once is not kept
        assert store.histories.shed_entries == 8
        remove(store, "b", 14)
        fill(store, 2)
        assert seqs(store) == [10, 11]


def test_what_was_delivered_first_leaves_first_whosever_it_is(tmp_path: Path) -> None:
    room = 7 * BLOCK_BYTES + 4 * LEAF_BYTES
    with opened(tmp_path, "a", "b", "c", histories=kept("a", "b", room_bytes=room)) as store:
        for number in range(1, 4):
            append(store, a=[BLOCK], b=[BLOCK])
            remove(store, "a", number + 1, at=10.0 * number)
            remove(store, "b", number + 1, at=10.0 * number + 5)
        left = []
        for _ in range(4):
            append(store, c=[BLOCK])
            left.append((seqs(store, "a"), seqs(store, "b")))
        assert left == [
            ([1, 2, 3], [1, 2, 3]),
            ([2, 3], [1, 2, 3]),
            ([2, 3], [2, 3]),
            ([3], [2, 3]),
        ]


def test_however_much_is_delivered_at_once_the_sizes_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.queue.history.keep.ENTRIES_PER_STEP_MAX", 2)
    with opened(tmp_path, histories=kept("a", bytes_max=3 * BLOCK_BYTES)) as store:
        for number in range(1, 11):
            append(store, a=[BLOCK])
            if number % 5 == 0:
                remove(store, "a", number + 1)
                assert store.histories.used_bytes <= 3 * BLOCK_BYTES


def test_from_a_full_disk_on_nothing_is_kept_until_somebody_says(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        fill(store, 1)
        store.histories.disk_full = True
        fill(store, 1)
        assert seqs(store) == [1]
        store.histories.disk_full = False
        fill(store, 1)
        assert seqs(store) == [1, 3]


def test_a_commit_that_fails_changes_no_history(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, a=[b"1"])
        with pytest.raises(AssertionError):
            store.commit(Transaction(9.0, {}, {"a": Removal(2), "b": Removal(5)}))
        assert (seqs(store), store.ledgers["a"].queued) == ([], 1)


def test_an_entry_that_is_too_short_has_no_time() -> None:
    assert (acknowledged_at(b"short"), records_in(b"short")) == (0.0, 1)


def test_other_limits_hold_from_the_next_commit_on(tmp_path: Path) -> None:
    with opened(tmp_path, "a", "b") as store:
        deliver(store, "a")
        assert store.histories.databases == {}
        wanted = Histories({"a": HistoryLimit(60.0, 2**20), "c": HistoryLimit(60.0, 2**20)})
        store.open_accounts(["a", "b", "c", "source/in"], wanted)
        assert {*store.histories.databases} == {"a", "c"}
        assert {"a", "b", "c", "source/in"} <= store.ledgers.keys()
        deliver(store, "a")
        deliver(store, "c")
        assert (len(seqs(store, "a")), len(seqs(store, "c"))) == (1, 1)
        store.open_accounts([], Histories())
        deliver(store, "a")
        assert len(seqs(store, "a")) == 1  # it leaves by age
    assert {b"blocks/c", b"quarantine/source/in"} < set(names(tmp_path))


def deliver(store: QueueStore, id: str) -> None:
    store.commit(Transaction(1.0, {id: [b"x"]}))
    store.commit(Transaction(2.0, removals={id: Removal(store.ledgers[id].next_seq)}))
