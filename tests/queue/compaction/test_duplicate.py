from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model.errors import QueueError
from relay.queue.compaction.duplicate import Duplicate
from relay.queue.compaction.handles import Handles

QUEUE = b"quarantine/a"
LOTS = 2**30


class Pair:
    """An environment in use and the duplicate of it."""

    def __init__(self, folder: Path, *names: bytes) -> None:
        self.source = lmdb.open(str(folder / "source"), map_size=2**22, max_dbs=8, sync=False)
        for name in (QUEUE, *names):
            self.source.open_db(name)
        handles = Handles(self.source)
        other = lmdb.open(str(folder / "copy"), map_size=2**22, max_dbs=8, sync=False)
        self.duplicate = Duplicate(handles, other)

    def change(self, put: dict[bytes, bytes], *deleted: bytes, name: bytes = QUEUE) -> None:
        with self.source.begin(write=True, db=self.source.open_db(name)) as txn:
            for key in deleted:
                assert txn.delete(key)
            for key, value in put.items():
                txn.put(key, value)

    def catch_up(self, bytes_max: int = LOTS) -> tuple[int, bool]:
        with self.source.begin(buffers=True) as txn:
            return self.duplicate.catch_up(txn, bytes_max)

    def check(self) -> None:
        with self.source.begin(buffers=True) as txn:
            self.duplicate.check(txn)

    def close(self) -> None:
        self.duplicate.environment.close()
        self.source.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def contents(environment: Any, name: bytes = QUEUE) -> dict[bytes, bytes]:
    with environment.begin(db=environment.open_db(name)) as txn:
        return dict(txn.cursor())


def keys(*numbers: int) -> dict[bytes, bytes]:
    return {struct.pack(">Q", number): b"value %d" % number for number in numbers}


def assert_equal(pair: Pair) -> None:
    pair.check()
    for name in (QUEUE, b"meta", b"positions"):
        assert contents(pair.source, name) == contents(pair.duplicate.environment, name)


def test_everything_is_copied(pair: Pair) -> None:
    pair.change(keys(*range(20)))
    pair.change({b"format": b"1"}, name=b"meta")
    pair.change({b"s/file": b"12"}, name=b"positions")
    copied, is_complete = pair.catch_up()
    assert copied > 20 * 8 and is_complete
    assert_equal(pair)
    assert pair.catch_up() == (0, True)


def test_a_step_has_a_limit_and_accounts_come_with_the_last(pair: Pair) -> None:
    pair.change(keys(*range(20)))
    pair.change({b"ledger/a": b"1"}, name=b"meta")
    steps = [pair.catch_up(300)]
    assert contents(pair.duplicate.environment, b"meta") == {}
    while not steps[-1][1]:
        steps.append(pair.catch_up(300))
    assert 3 < len(steps) < 8
    assert_equal(pair)


@pytest.mark.parametrize(
    ("put", "deleted"),
    [
        (keys(30, 31), keys()),
        (keys(), keys(0, 1, 2)),
        (keys(30), keys(0, 7, 19)),
        (keys(), keys(7, 8, 19)),
        (keys(), keys(*range(20))),
        (keys(30, 31), keys(*range(20))),
        (keys(*range(20, 27)), keys(*range(7, 14))),  # as many as before
    ],
)
def test_what_has_changed_since_is_made_up_for(
    pair: Pair, put: dict[bytes, bytes], deleted: dict[bytes, bytes]
) -> None:
    pair.change(keys(*range(20)))
    pair.catch_up()
    pair.change(put, *deleted)
    pair.catch_up()
    assert_equal(pair)


def test_keys_before_others_are_a_reason_to_copy_all_of_them_once_more(pair: Pair) -> None:
    pair.change(keys(*range(10, 20)))
    pair.catch_up()
    pair.change(keys(3, 4))
    assert not pair.catch_up()[1]
    assert pair.catch_up()[1]
    assert_equal(pair)


def test_accounts_and_positions_change_in_place(pair: Pair) -> None:
    pair.change({b"ledger/a": b"1", b"ledger/b": b"1"}, name=b"meta")
    pair.catch_up()
    pair.change({b"ledger/a": b"2", b"ledger/c": b"1"}, b"ledger/b", name=b"meta")
    pair.catch_up()
    assert_equal(pair)


def test_a_copy_that_differs_is_found(pair: Pair) -> None:
    pair.change(keys(*range(5)))
    pair.catch_up()
    pair.change(keys(9))
    with pytest.raises(QueueError, match="quarantine/a differs"):
        pair.check()


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 9)),
        st.tuples(st.just("delete"), st.integers(0, 99)),
        st.tuples(st.just("step"), st.integers(1, 500)),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(actions=actions)
def test_any_order_of_changes_and_steps(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    end = 0
    for action, number in actions:
        there = sorted(contents(pair.source))
        if action == "append":
            pair.change(keys(*range(end, end + number)))
            end += number
        elif action == "delete" and there:
            pair.change({}, there[number * len(there) // 100])
        elif action == "step":
            pair.catch_up(number)
    assert pair.catch_up()[1]
    assert_equal(pair)
    pair.close()
