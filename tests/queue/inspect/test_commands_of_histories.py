from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from relay.model.seq import SeqRange
from relay.queue.history.keep import Histories, HistoryLimit
from relay.queue.inspect.commands import PruneHistories
from relay.queue.inspect.queries import Read, read_history
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from tests.queue_files import append, kept, opened, put, remove

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


def fill(store: QueueStore, count: int, **options: float) -> None:
    """Deliver `count` records of `BLOCK` to a."""
    for _ in range(count):
        append(store, a=[BLOCK])
        remove(store, "a", store.ledgers["a"].next_seq, **options)


def prune(store: QueueStore, before: Mapping[str, float], excess: int = 0) -> object:
    ledgers = dict(store.ledgers)
    changed, more = store.operate(PruneHistories(store.histories, before, excess), at=99.0)
    assert (changed, store.ledgers) == ({}, ledgers)
    return more


def test_what_is_too_old_leaves(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a", "b")) as store:
        for number in range(1, 5):
            append(store, a=[b"x"], b=[b"y"])
            remove(store, "a", number + 1, at=10.0 * number)
            remove(store, "b", number + 1, at=10.0 * number)
        assert prune(store, {"a": 20.0, "b": 40.0}) is False
        assert (seqs(store, "a"), seqs(store, "b")) == ([2, 3, 4], [4])
        assert prune(store, {"a": 0.0}) is False  # and of those not named, all
        assert (seqs(store, "a"), seqs(store, "b")) == ([2, 3, 4], [])
        assert store.histories.shed_entries == 0


def test_much_of_it_leaves_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.queue.inspect.commands.ENTRIES_PER_STEP_MAX", 2)
    with opened(tmp_path, histories=kept("a", "b")) as store:
        for number in range(1, 4):
            append(store, a=[b"x"], b=[b"y"])
            remove(store, "a", number + 1)
            remove(store, "b", number + 1)
        assert [prune(store, {}) for _ in range(4)] == [True, True, True, False]
        assert store.histories.used_bytes == 0


def test_room_is_made_for_somebody_else(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        fill(store, 6)
        prune(store, {"a": 0.0}, excess=2 * BLOCK_BYTES - 100)
        assert (seqs(store), store.histories.shed_entries) == ([3, 4, 5, 6], 2)
        assert store.histories.used_bytes == 4 * BLOCK_BYTES + LEAF_BYTES
        prune(store, {"a": 0.0}, excess=10**9)
        assert (seqs(store), store.histories.used_bytes) == ([], 0)
        prune(store, {"a": 0.0}, excess=10**9)


def test_after_a_commit_that_failed_room_is_made_of_what_there_is(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        fill(store, 2)
        append(store, a=[BLOCK])
        with (
            pytest.raises(ValueError, match="later"),
            store._handles.environment.begin(write=True) as txn,
        ):
            queue = store._handles.blocks["a"]
            store.histories.keep(txn, "a", queue, SeqRange(3, 4), [], at=9.0)
            store.histories.trim(txn, 0)
            raise ValueError("later")
        prune(store, {"a": 0.0}, excess=10**9)
        assert (seqs(store), store.histories.used_bytes) == ([], 0)


def test_values_that_make_no_sense_leave_with_the_others(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        append(store, a=[b"1"])
        remove(store, "a", 2, at=50.0)
    put(tmp_path, "history/a", 1, b"?")
    with opened(tmp_path, histories=Histories({"a": HistoryLimit(9.0, 10**6)})) as store:
        assert store.ledgers["a"] == Ledger(next_seq=2, acknowledged_seq=2, delivered=1)
        prune(store, {"a": 10.0})
        assert seqs(store) == []
