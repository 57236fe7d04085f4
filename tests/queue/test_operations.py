from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import QueueError
from relay.queue.operations import Adopt, Adopted, Purge
from relay.queue.store import QueueStore
from tests.queue_files import append, damage, opened, remove


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
