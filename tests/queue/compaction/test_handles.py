from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import pytest

from relay.queue.compaction.handles import Handles


@pytest.fixture
def environment(tmp_path: Path) -> Any:
    return lmdb.open(str(tmp_path), map_size=2**20, max_dbs=8)


def is_open(environment: Any) -> bool:
    try:
        environment.stat()
    except lmdb.Error:
        return False
    return True


def test_what_is_left_is_closed_when_the_last_reader_has_done(environment: Any) -> None:
    handles = Handles(environment)
    assert handles.enter() and handles.enter()
    with handles.transaction() as one:
        with handles.transaction() as two:
            handles.leave()
            assert not handles.enter()
            assert one.get(b"x") is two.get(b"x") is None
        assert is_open(environment)
    assert not is_open(environment)


def test_what_nobody_reads_is_closed_at_once(environment: Any) -> None:
    handles = Handles(environment)
    handles.enter()
    with handles.transaction():
        pass
    assert is_open(environment)
    handles.leave()
    assert not is_open(environment)


def test_a_reading_that_fails_is_over_too(environment: Any) -> None:
    handles = Handles(environment)
    handles.enter()
    with pytest.raises(ZeroDivisionError), handles.transaction():
        raise ZeroDivisionError
    handles.leave()
    assert not is_open(environment)


def test_the_same_databases_of_another_environment(environment: Any, tmp_path: Path) -> None:
    handles = Handles(environment)
    handles.blocks["a"] = environment.open_db(b"blocks/a")
    handles.quarantine["a"] = environment.open_db(b"quarantine/a")
    other = lmdb.open(str(tmp_path / "other"), map_size=2**20, max_dbs=8)
    with pytest.raises(lmdb.NotFoundError):  # it has to have them
        handles.like(other)
    with other.begin(write=True) as txn:
        for name in (b"blocks/a", b"quarantine/a"):
            txn.put(b"key", name, db=other.open_db(name, txn=txn))
    same = handles.like(other)
    with other.begin() as txn:
        assert txn.get(b"key", db=same.blocks["a"]) == b"blocks/a"
        assert txn.get(b"key", db=same.quarantine["a"]) == b"quarantine/a"


def test_who_looks_through_the_databases_is_not_disturbed_by_a_new_one(environment: Any) -> None:
    handles = Handles(environment)
    handles.open_account("a")
    blocks, quarantine = handles.blocks, handles.quarantine
    handles.open_account("b")
    handles.open_account("source/in")
    assert (list(blocks), list(quarantine)) == (["a"], ["a"])
    assert (list(handles.blocks), list(handles.quarantine)) == (["a", "b"], ["a", "b", "source/in"])
    assert {b"blocks/b", b"quarantine/source/in"} < handles.databases().keys()
