from __future__ import annotations

from pathlib import Path

import pytest

from relay.queue.files.values import Unreadable
from relay.queue.inspect import copying
from relay.queue.inspect.copying import CopyFrom, CopyPage, copy_step
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from tests.queue_files import append, kept, opened, remove, set_aside


def step(store: QueueStore, **wanted: object) -> CopyPage:
    return store.look(lambda view: copy_step(view, CopyFrom(**wanted)))  # type: ignore[arg-type]


def test_a_small_queue_is_one_step(tmp_path: Path) -> None:
    with opened(tmp_path, sources=["in"], histories=kept("a")) as store:
        append(store, a=[b"1", b"2"])
        append(store, a=[b"3"])
        set_aside(store, "a")
        remove(store, "a", upto=3)
        store.commit(Transaction(1.0, positions={"log/file": b"7"}))
        page = step(store)
    assert page.is_complete
    assert {name: tree.entries for name, tree in page.trees.items()} == {
        "blocks/a": 1,
        "blocks/b": 0,
        "history/a": 1,
        "quarantine/a": 1,
        "quarantine/b": 0,
        "quarantine/source/in": 0,
    }
    assert page.trees["blocks/a"].first == (3).to_bytes(8, "big")
    assert page.trees["blocks/b"].first == b""
    assert {key for key, _ in page.whole["meta"]} >= {b"format", b"ledger/a"}
    assert [key for key, _ in page.whole["positions"]] == [b"log/file"]


def test_steps_are_bounded_and_go_on_where_the_last_ended(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for n in range(10):
            append(store, a=[b"%d" % n * 100_000])
            append(store, b=[b"%d" % n * 100_000])
        copied: dict[str, bytes] = {}
        keys: list[tuple[str, bytes]] = []
        for _ in range(20):
            page = step(store, copied=copied, bytes_max=300_000)
            for name, tree in page.trees.items():
                keys += [(name, key) for key, _ in tree.added]
                copied |= {name: tree.added[-1][0]} if tree.added else {}
            if page.is_complete:
                break
            assert not page.whole  # accounts come with all that they are of
            assert sum(len(tree.added) for tree in page.trees.values()) <= 4
        else:
            pytest.fail("it does not end")
    assert keys == [(f"blocks/{name}", n.to_bytes(8, "big")) for name in "ab" for n in range(1, 11)]


def test_nobody_gets_more_than_a_step(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for _ in range(14):
            append(store, a=[b"x" * 400_000])
        page = step(store, bytes_max=2**40)
        assert not page.is_complete
        assert sum(len(value) for _, value in page.trees["blocks/a"].added) < 5 * 2**20
        assert len(step(store, bytes_max=-1).trees["blocks/a"].added) == 1


def test_an_unreadable_value_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad(Unreadable):
        reason = "Input/output error"

    with opened(tmp_path) as store:
        append(store, a=[b"1"])
        monkeypatch.setattr("relay.queue.repair.guarded.GuardedCursor.value", lambda _: Bad(b"\0"))
        monkeypatch.setattr(copying, "Unreadable", Bad)
        tree = step(store).trees["blocks/a"]
    assert tree.unreadable == ["what is stored from 1 on: Input/output error"]
    assert tree.added == [((1).to_bytes(8, "big"), b"\0")]
