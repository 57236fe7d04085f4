from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.inspect.commands import (
    PurgeQuarantined,
    ReplayQuarantined,
    TakenOut,
    Trimmed,
    TrimQuarantine,
)
from relay.queue.inspect.queries import ReadEntries, read_entries
from relay.queue.quarantine import DAMAGED, Label
from relay.queue.store import QueueStore
from relay.queue.transaction import Refusal, SetAside, Transaction
from tests.queue_files import append, damage, opened, put, remove, set_aside


@pytest.fixture
def store(tmp_path: Path) -> Iterator[QueueStore]:
    """Five records of a in quarantine, and two that wait."""
    with opened(tmp_path, sources=["in"]) as store:
        append(store, a=[b"%d" % seq for seq in range(1, 8)])
        set_aside(store, "a", 5)
        yield store


def do(store: QueueStore, operation: Any, at: float = 100.0) -> Any:
    _, result = store.operate(operation, at=at)
    for ledger in store.ledgers.values():
        assert ledger.gap == 0
    return result


def entries(store: QueueStore, account: str = "a") -> list[int]:
    page = store.look(lambda view: read_entries(view, ReadEntries(account)))
    return [entry.seq for entry in page.entries]


def waiting(store: QueueStore, destination: str = "a") -> list[bytes]:
    start = store.ledgers[destination].acknowledged_seq
    return store.read(destination, start=start, records_max=99, bytes_max=9999)


def test_purging_counts_what_it_drops(store: QueueStore) -> None:
    assert do(store, PurgeQuarantined("a", seqs=[2, 4])) == TakenOut(records=2)
    ledger = store.ledgers["a"]
    assert (entries(store), ledger.quarantined, ledger.dropped) == ([1, 3, 5], 3, {"operator": 2})
    assert (ledger.received, ledger.queued) == (7, 2)
    do(store, PurgeQuarantined("a", upto=99, reason="known"))
    ledger = store.ledgers["a"]
    assert ledger.dropped == {"operator": 2, "known": 3}
    assert (ledger.quarantined, ledger.quarantine_bytes) == (0, 0)


def test_replaying_gives_a_record_a_new_number_and_counts_it_once(store: QueueStore) -> None:
    assert do(store, ReplayQuarantined("a", "a", seqs=[4, 1])) == TakenOut(records=2)
    ledger = store.ledgers["a"]
    assert waiting(store) == [b"6", b"7", b"4", b"1"]
    assert (entries(store), ledger.quarantined) == ([2, 3, 5], 3)
    assert (ledger.next_seq, ledger.moved, ledger.received) == (10, 2, 7)


def test_a_record_can_be_replayed_to_another_destination(store: QueueStore) -> None:
    do(store, ReplayQuarantined("a", "b", seqs=[3]))
    assert waiting(store, "b") == [b"3"]
    assert store.oldest_received_at("b") == 100.0
    assert (store.ledgers["a"].received, store.ledgers["b"].received) == (6, 1)


def test_what_a_source_set_aside_can_be_sent_after_all(store: QueueStore) -> None:
    refusal = Refusal("in", "unauthorised", "192.0.2.1:5", [b"x", b"y"], 10_000)
    store.commit(Transaction(7.0, refusals=[refusal]))
    assert do(store, ReplayQuarantined("source/in", "b", upto=99)).records == 2
    account = store.ledgers["source/in"]
    assert (account.received, account.quarantined, account.quarantine_bytes) == (0, 0, 0)
    assert waiting(store, "b") == [b"x", b"y"]


@pytest.mark.parametrize("new", [PurgeQuarantined, lambda a, **k: ReplayQuarantined(a, a, **k)])
def test_all_are_done_in_steps_and_what_comes_later_is_left(store: QueueStore, new: Any) -> None:
    done = do(store, new("a", upto=5, entries_max=3))
    assert done == TakenOut(records=3, next_seq=4)
    assert entries(store) == [4, 5]
    done = do(store, new("a", start=done.next_seq, upto=5, entries_max=3))
    assert done == TakenOut(records=1)
    assert entries(store) == [5]


@pytest.mark.parametrize("new", [PurgeQuarantined, lambda a, **k: ReplayQuarantined(a, a, **k)])
def test_one_that_is_not_there_refuses_all(store: QueueStore, new: Any) -> None:
    before = store.ledgers["a"]
    with pytest.raises(QueueError, match="quarantine of a: there is no 9"):
        store.operate(new("a", seqs=[1, 9]), at=0.0)
    assert (entries(store), store.ledgers["a"]) == ([1, 2, 3, 4, 5], before)
    with pytest.raises(QueueError, match="there is no 1"):
        store.operate(new("a", seqs=[1, 1]), at=0.0)  # twice is once too often


def test_a_damaged_block_counts_for_its_records_and_is_not_sent(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2", b"3"])
        append(store, a=[b"4"])
    damage(tmp_path, "a", 1)
    with opened(tmp_path) as store:
        remove(store, "a", 5, SetAside(SeqRange(1, 4), "checksum"), SetAside(SeqRange(4, 5), "no"))
        assert store.ledgers["a"].quarantined == 4
        with pytest.raises(QueueError, match="1 is damaged and cannot be sent"):
            store.operate(ReplayQuarantined("a", "b", seqs=[1]), at=0.0)
        assert do(store, ReplayQuarantined("a", "b", upto=99)) == TakenOut(records=1, skipped=1)
        assert (store.ledgers["a"].quarantined, waiting(store, "b")) == (3, [b"4"])
        assert do(store, PurgeQuarantined("a", seqs=[1])).records == 3
        assert store.ledgers["a"].dropped == {"operator": 3}


def test_the_oldest_go_while_there_is_too_much(store: QueueStore) -> None:
    each = store.ledgers["a"].quarantine_bytes // 5
    assert do(store, TrimQuarantine("a", 3 * each)) == Trimmed(full=2)
    assert entries(store) == [3, 4, 5]
    assert store.ledgers["a"].dropped == {"quarantine-full": 2}
    assert do(store, TrimQuarantine("a", 3 * each)) == Trimmed()
    assert do(store, TrimQuarantine("a", 0, entries_max=2)) == Trimmed(full=2)
    assert do(store, TrimQuarantine("a", 0)) == Trimmed(full=1)
    assert store.ledgers["a"].quarantined == 0


def test_the_old_go_when_their_time_is_over(store: QueueStore) -> None:
    store.commit(Transaction(0.0, {"b": [b"x", b"y"]}))
    set_aside(store, "b", 2)  # at 9.0, as the others
    assert do(store, TrimQuarantine("a", 10**6, before=9.0)) == Trimmed()
    assert do(store, TrimQuarantine("a", 10**6, before=9.5)) == Trimmed(aged=5)
    assert store.ledgers["a"].dropped == {"quarantine-aged": 5}
    assert entries(store, "b") == [1, 2]


LABEL = Label("refused 5 times: 500 no", 9.0, "record", peer="192.0.2.1")


def spoil(path: Path, seq: int, before: bytes, after: bytes) -> None:
    value = put(path, "quarantine/a", seq, None) or b""
    assert before in value
    put(path, "quarantine/a", seq, value.replace(before, after))


def test_a_damaged_entry_is_shown_and_purged_but_not_sent(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"hello", b"world"])
        set_aside(store, "a", 2)
    spoil(tmp_path, 1, b"hello", b"hullo")
    with opened(tmp_path) as store:
        page = store.look(lambda view: read_entries(view, ReadEntries("a")))
        assert [entry.kind for entry in page.entries] == [DAMAGED, "record"]
        assert "checksum" in page.entries[0].reason
        assert do(store, ReplayQuarantined("a", "b", upto=99)) == TakenOut(records=1, skipped=1)
        assert waiting(store, "b") == [b"world"]
        with pytest.raises(QueueError, match="1 is damaged and cannot be sent"):
            do(store, ReplayQuarantined("a", "b", seqs=[1]))
        assert do(store, PurgeQuarantined("a", seqs=[1])) == TakenOut(records=1)
        assert store.ledgers["a"].quarantined == 0


def test_a_damaged_label_does_not_take_more_records_than_there_are(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
    damage(tmp_path, "a", 1)
    with opened(tmp_path) as store:
        remove(store, "a", 3, SetAside(SeqRange(1, 3), "checksum"))
    spoil(tmp_path, 1, b'"records":2', b'"records":6')
    with opened(tmp_path) as store:
        do(store, PurgeQuarantined("a", seqs=[1]))
        ledger = store.ledgers["a"]
        assert (ledger.quarantined, ledger.dropped) == (0, {"operator": 2})
    with opened(tmp_path) as store:
        assert store.recovery is None
