from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.model.errors import QueueError, QueueInUse
from relay.queue.compaction.offline import compact_queue
from relay.queue.inspect.commands import PruneHistories
from relay.queue.inspect.queries import Read, read_history
from tests.queue_files import append, kept, opened, remove


def test_the_file_gets_smaller_and_keeps_everything(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for _ in range(50):
            append(store, a=[b"x" * 20_000], b=[b"y"])
        remove(store, "a", 51)
        ledgers = store.ledgers
    mode = (tmp_path / "data.mdb").stat().st_mode
    before, after = compact_queue(str(tmp_path))
    assert after < before / 5
    assert (tmp_path / "data.mdb").stat().st_mode == mode
    assert not (tmp_path / "compacted").exists()
    with opened(tmp_path) as store:
        assert store.ledgers == ledgers
        assert len(store.read("b", start=1, records_max=99, bytes_max=999_999)) == 50
        append(store, a=[b"new"])


def test_a_history_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        for number in range(1, 4):
            append(store, a=[b"%d" % number])
            remove(store, "a", number + 1, at=10.0 * number)
        store.operate(PruneHistories(store.histories, {"a": 20.0}), at=99.0)
    compact_queue(str(tmp_path))
    with opened(tmp_path) as store:
        found = store.look(lambda view: read_history(view, Read("a"))).records
        assert [(each.seq, each.payload) for each in found] == [(2, b"2"), (3, b"3")]


def test_what_an_interrupted_one_left_is_in_nobodys_way(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"x"])
    (tmp_path / "compacted").mkdir()
    (tmp_path / "compacted" / "data.mdb").write_bytes(b"half")
    compact_queue(str(tmp_path))
    with opened(tmp_path) as store:
        assert store.ledgers["a"].queued == 1


def test_a_relay_that_runs_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(QueueInUse, match=f"process {os.getpid()}; stop that"):
        compact_queue(str(tmp_path))


def test_where_no_queue_is_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="there is none"):
        compact_queue(str(tmp_path / "queue"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_made_leaves_the_queue(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"x"])
    (tmp_path / "compacted").write_text("a file in the way")
    with pytest.raises(QueueError, match=r"cannot be compacted: .*; it is as it was"):
        compact_queue(str(tmp_path))
    with opened(tmp_path) as store:
        assert store.ledgers["a"].queued == 1
