from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import QueueError
from relay.queue.inspect.commands import Adopt, Adopted, Purge, Replayed, ReplayHistory
from relay.queue.inspect.queries import Period
from relay.queue.store import QueueStore
from tests.queue_files import append, damage, kept, opened, put, remove


def do(store: QueueStore, operation: Any) -> Any:
    _, result = store.operate(operation, at=50.0)
    for ledger in store.ledgers.values():
        assert ledger.gap == 0
    return result


def waiting(store: QueueStore, destination: str) -> list[bytes]:
    start = store.ledgers[destination].acknowledged_seq
    return store.read(destination, start=start, records_max=99, bytes_max=9999)


def test_a_backlog_is_given_up_from_its_head(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
        append(store, a=[b"3", b"4"])
        remove(store, "a", 2)
        assert do(store, Purge("a", 2, 4)) == 2
        ledger = store.ledgers["a"]
        assert (ledger.delivered, ledger.queued, ledger.dropped) == (1, 1, {"operator": 2})
        assert waiting(store, "a") == [b"4"]
        assert do(store, Purge("a", 4, 5, reason="asked")) == 1
        assert store.ledgers["a"].dropped == {"operator": 2, "asked": 1}
        assert (store.ledgers["a"].queued_bytes, store.used_bytes) == (0, 0)
        assert do(store, Purge("a", 5, 5)) == 0
    with opened(tmp_path) as store:
        assert store.ledgers["a"].dropped == {"operator": 2, "asked": 1}


@pytest.mark.parametrize(("start", "upto"), [(1, 3), (3, 3), (2, 4)])
def test_a_queue_that_moved_on_is_left_alone(tmp_path: Path, start: int, upto: int) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
        remove(store, "a", 2)
        with pytest.raises(QueueError, match="moved on"):
            store.operate(Purge("a", start, upto), at=0.0)
        assert (waiting(store, "a"), store.ledgers["a"].dropped) == ([b"2"], {})


def test_an_orphan_is_adopted_in_order_with_its_times(tmp_path: Path) -> None:
    with opened(tmp_path, "old", "new") as store:
        append(store, at=10.0, old=[b"1", b"2"], new=[b"x"])
        append(store, at=20.0, old=[b"3"])
        remove(store, "old", 2)
        remove(store, "new", 2)
        assert do(store, Adopt("old", "new")) == Adopted(records=2)
        assert waiting(store, "new") == [b"2", b"3"]
        assert store.oldest_received_at("new") == 10.0
        old, new = store.ledgers["old"], store.ledgers["new"]
        assert (old.received, old.delivered, old.queued, old.moved) == (1, 1, 0, 2)
        assert (new.received, new.delivered, new.queued) == (3, 1, 2)
        assert do(store, Adopt("old", "new")) == Adopted()


def test_adopting_goes_on_after_an_interruption(tmp_path: Path) -> None:
    adopt = Adopt("old", "new", bytes_max=1)  # one block each
    with opened(tmp_path, "old", "new") as store:
        for number in range(4):
            append(store, old=[b"%d" % number, b"-"])
        assert do(store, adopt) == Adopted(records=2, left=6)
        assert do(store, adopt).left == 4
    with opened(tmp_path, "new") as store:
        assert (do(store, adopt).left, do(store, adopt).left) == (2, 0)
        assert waiting(store, "new") == [b"0", b"-", b"1", b"-", b"2", b"-", b"3", b"-"]


def test_a_damaged_block_stays_with_the_orphan(tmp_path: Path) -> None:
    with opened(tmp_path, "old", "new") as store:
        for pair in ([b"1", b"2"], [b"3", b"4"], [b"5"]):
            append(store, old=pair)
    damage(tmp_path, "old", 3)
    with opened(tmp_path, "new") as store:
        assert do(store, Adopt("old", "new")) == Adopted(records=3, set_aside=2)
        assert waiting(store, "new") == [b"1", b"2", b"5"]
        old = store.ledgers["old"]
        assert (old.received, old.quarantined, old.queued) == (2, 2, 0)


# What was delivered, once more.


def deliver(store: QueueStore) -> None:
    """Records 1 to 6 of a in three blocks, received at 1, 2 and 3 s, delivered at 10, 20 and 30."""
    for number in range(1, 4):
        append(store, at=float(number), a=[b"%d" % (2 * number - 1), b"%d" % (2 * number)])
        remove(store, "a", 2 * number + 1, at=10.0 * number)


@pytest.mark.parametrize(
    ("period", "found"),
    [
        (Period(), [b"1", b"2", b"3", b"4", b"5", b"6"]),
        (Period(20.0), [b"3", b"4", b"5", b"6"]),
        (Period(20.1), [b"5", b"6"]),
        (Period(0.0, 20.0), [b"1", b"2"]),
        (Period(20.0, 30.0), [b"3", b"4"]),
        (Period(2.0, 3.0, by_receipt=True), [b"3", b"4"]),
        (Period(40.0), []),
    ],
)
def test_what_was_delivered_in_a_period_is_queued_again(
    tmp_path: Path, period: Period, found: list[bytes]
) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        deliver(store)
        append(store, a=[b"new"])
        done = do(store, ReplayHistory("a", "a", period, 0, 7))
        assert done == Replayed(records=len(found), begins_at=10.0)
        assert waiting(store, "a") == [b"new", *found]
        ledger = store.ledgers["a"]
        assert (ledger.received, ledger.delivered) == (7 + len(found), 6)
        assert not found or store.read("a", start=8, records_max=1, bytes_max=1) == found
        assert do(store, ReplayHistory("a", "b", period, 0, 7)).records == len(found)
        assert waiting(store, "b") == found
        if found:  # received now, or a limit of age would drop it at once
            assert store.oldest_received_at("b") == 50.0


def test_it_is_replayed_in_steps_to_where_it_ended_at_first(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        deliver(store)
        steps = []
        start = 0
        for _ in range(3):
            step = do(store, ReplayHistory("a", "a", Period(), start, 7, bytes_max=1))
            remove(store, "a", store.ledgers["a"].next_seq)  # it is delivered at once
            steps.append(step.records)
            start = step.next_seq
        assert (steps, start) == ([2, 2, 2], 0)
        assert store.ledgers["a"].received == 12


def test_what_is_skipped_takes_steps_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.queue.inspect.commands._HISTORY_ENTRIES_PER_STEP_MAX", 2)
    with opened(tmp_path, histories=kept("a")) as store:
        deliver(store)
        assert do(store, ReplayHistory("a", "b", Period(99.0), 0, 7)).next_seq == 5
        assert do(store, ReplayHistory("a", "b", Period(99.0), 5, 7)).next_seq == 0


def test_what_left_the_history_between_two_steps_is_said(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        deliver(store)
    put(tmp_path, "history/a", 3, None)
    with opened(tmp_path, histories=kept("a")) as store:
        done = do(store, ReplayHistory("a", "b", Period(), 3, 7))
        assert (done.records, done.gone) == (2, 2)
    put(tmp_path, "history/a", 5, None)
    with opened(tmp_path, histories=kept("a")) as store:
        done = do(store, ReplayHistory("a", "b", Period(), 5, 7))
        assert (done.records, done.gone, done.next_seq) == (0, 2, 0)


def test_what_is_damaged_in_the_history_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        deliver(store)
    value = put(tmp_path, "history/a", 3, None) or b""
    put(tmp_path, "history/a", 3, value[:-1] + b"?")
    with opened(tmp_path, histories=kept("a")) as store:
        done = do(store, ReplayHistory("a", "b", Period(), 0, 7))
        assert (done.records, done.damaged) == (4, 2)
        assert waiting(store, "b") == [b"1", b"2", b"5", b"6"]


def test_where_no_history_is_nothing_is_replayed(tmp_path: Path) -> None:
    with (
        opened(tmp_path, histories=kept("a")) as store,
        pytest.raises(QueueError, match="no history of 'b'; there is: a; to keep one, set"),
    ):
        store.operate(ReplayHistory("b", "a", Period(), 0, 7), at=0.0)
