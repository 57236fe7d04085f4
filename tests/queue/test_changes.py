"""What leaves by itself; with records in flight see tests/flow/test_eviction.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.queue.store import QueueStore
from relay.queue.transaction import Eviction, Removal, Transaction

BIG = b"x" * 5000  # two pages


@pytest.fixture
def store(tmp_path: Path) -> Iterator[QueueStore]:
    store = QueueStore.open(str(tmp_path), destinations=["a", "b"], map_bytes=2**24)
    yield store
    store.close()


def fill(store: QueueStore, count: int) -> None:
    """Blocks of two records each, one a second."""
    for second in range(count):
        store.commit(Transaction(float(second), {"a": [BIG, BIG], "b": [b"other"]}))


def evict(store: QueueStore, eviction: Eviction, **keywords: Any) -> None:
    store.commit(Transaction(100.0, evictions={"a": eviction}, **keywords))


def test_the_oldest_blocks_leave_until_the_rest_fits(store: QueueStore) -> None:
    fill(store, 10)
    before = store.destination_bytes["a"]
    evict(store, Eviction("queue-full", bytes_max=before // 2))
    ledger = store.ledgers["a"]
    assert ledger.gap == 0
    assert 8 <= ledger.dropped["queue-full"] <= 12
    assert ledger.queued == 20 - ledger.dropped["queue-full"]
    assert ledger.queued_bytes == ledger.queued * 5000
    assert before // 2 - 4 * 4096 < store.destination_bytes["a"] <= before // 2
    assert store.ledgers["b"].queued == 10
    assert store.used_bytes == sum(store.destination_bytes.values())


def test_what_fits_stays(store: QueueStore) -> None:
    fill(store, 3)
    evict(store, Eviction("queue-full", bytes_max=store.destination_bytes["a"]))
    assert (store.ledgers["a"].queued, store.ledgers["a"].dropped) == (6, {})


def test_old_blocks_leave_and_younger_ones_stay(store: QueueStore) -> None:
    fill(store, 5)
    evict(store, Eviction("too-old", received_before=2.0))
    ledger = store.ledgers["a"]
    assert (ledger.dropped, ledger.queued, ledger.acknowledged_seq) == ({"too-old": 4}, 6, 5)
    assert store.oldest_received_at("a") == 2.0


def test_of_a_block_that_has_left_in_part_only_the_rest_is_dropped(store: QueueStore) -> None:
    fill(store, 2)
    evict(store, Eviction("too-old", received_before=1.0), removals={"a": Removal(2)})
    ledger = store.ledgers["a"]
    assert (ledger.delivered, ledger.dropped, ledger.queued) == (1, {"too-old": 1}, 2)


def test_no_more_blocks_at_a_time_than_stated(store: QueueStore) -> None:
    fill(store, 5)
    evict(store, Eviction("too-old", received_before=99.0, blocks_max=2))
    assert store.ledgers["a"].dropped == {"too-old": 4}


def test_everything_may_leave(store: QueueStore) -> None:
    fill(store, 3)
    evict(store, Eviction("queue-full", bytes_max=0))
    ledger = store.ledgers["a"]
    assert (ledger.queued, ledger.queued_bytes, store.destination_bytes["a"]) == (0, 0, 0)
    evict(store, Eviction("queue-full", bytes_max=0))
    store.commit(Transaction(1.0, {"a": [b"next"]}))
    assert store.read("a", start=7, records_max=9, bytes_max=99) == [b"next"]


def test_what_comes_with_an_eviction_may_be_part_of_it(store: QueueStore) -> None:
    evict(store, Eviction("queue-full", bytes_max=0), appends={"a": [BIG]})
    assert (store.ledgers["a"].received, store.ledgers["a"].dropped) == (1, {"queue-full": 1})


def test_an_answer_that_comes_late_corrects_the_account(store: QueueStore) -> None:
    fill(store, 2)
    evict(store, Eviction("too-old", received_before=99.0))
    store.commit(Transaction(0.0, removals={"a": Removal(0, late=Counter({"too-old": 3}))}))
    ledger = store.ledgers["a"]
    assert (ledger.delivered, ledger.dropped, ledger.gap) == (3, {"too-old": 1}, 0)
    store.commit(Transaction(0.0, removals={"a": Removal(0, late=Counter({"too-old": 1}))}))
    assert store.ledgers["a"].dropped == {}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 9)),
        st.tuples(st.just("acknowledge"), st.integers(0, 9)),
        st.tuples(st.just("reopen"), st.sampled_from([2**16, 2**20, 2**24])),
        st.tuples(st.just("evict"), st.integers(0, 20)),
        st.tuples(st.just("expire"), st.integers(0, 20)),
    ),
    max_size=30,
)


@given(steps=steps)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_limits_are_between_restarts_only_counted_records_leave(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("queue"))
    store = QueueStore.open(path, destinations=["a"], map_bytes=2**24)
    everything: list[bytes] = []
    for now, (what, number) in enumerate(steps):
        ledger = store.ledgers["a"]
        if what == "append":
            payloads = [b"%d " % (len(everything) + index) + BIG for index in range(number)]
            store.commit(Transaction(float(now), {"a": payloads}))
            everything += payloads
        elif what == "acknowledge":
            upto = min(ledger.next_seq, ledger.acknowledged_seq + number)
            store.commit(Transaction(float(now), removals={"a": Removal(upto)}))
        elif what == "reopen":  # with room to delete, as QueueService has it
            size = store.used_bytes
            store.close()
            store = QueueStore.open(path, destinations=["a"], map_bytes=number + 8 * size + 2**20)
        elif what == "evict":
            store.commit(
                Transaction(float(now), evictions={"a": Eviction("full", bytes_max=4096 * number)})
            )
        else:
            before = float(now - number)
            store.commit(
                Transaction(float(now), evictions={"a": Eviction("old", received_before=before)})
            )
        ledger = store.ledgers["a"]
        assert (ledger.gap, ledger.received) == (0, len(everything))
        left = everything[ledger.acknowledged_seq - 1 :]
        found = store.read("a", start=ledger.acknowledged_seq, records_max=10_000, bytes_max=2**30)
        assert found == left
    store.close()
