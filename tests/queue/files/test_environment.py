from __future__ import annotations

import os
from pathlib import Path

import lmdb
import pytest

from relay.model.errors import QueueError, QueueFormatError, QueueFull, StorageFailed
from relay.queue.files.environment import (
    check_format,
    open_environment,
    opening,
    our_errors,
)
from relay.queue.files.format import make_queue
from relay.queue.files.ownership import Ownership


def test_an_empty_environment_becomes_a_queue(tmp_path: Path) -> None:
    environment = open_environment(str(tmp_path), 2**20)
    check_format(environment, str(tmp_path))
    check_format(environment, str(tmp_path), read_only=True)


def test_an_environment_of_somebody_else_is_refused(tmp_path: Path) -> None:
    environment = open_environment(str(tmp_path), 2**20)
    with environment.begin(write=True) as txn:
        txn.put(b"theirs", b"x")
    with pytest.raises(QueueFormatError, match="is not a queue of syslogrelay"):
        check_format(environment, str(tmp_path))


def test_what_lmdb_does_not_know_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no LMDB" * 10_000)
    with pytest.raises(QueueFormatError, match="move it away"):
        open_environment(str(tmp_path), 2**20)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (lmdb.MapFullError("x"), QueueFull),
        (lmdb.DiskError("x"), QueueFull),
        (lmdb.Error("x"), StorageFailed),
        (lmdb.PanicError("x"), lmdb.PanicError),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)
def test_errors_of_lmdb_become_ours(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, our_errors():
        raise error
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (lmdb.Error("x"), QueueError),
        (OSError(5, "broken"), QueueError),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)
def test_what_cannot_be_opened_is_let_go(error: Exception, kind: type[Exception]) -> None:
    fd, other = os.pipe()
    with pytest.raises(kind), opening("queue", Ownership(fd)):
        raise error
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)
    os.close(other)


def test_half_of_a_new_queue_is_none(tmp_path: Path) -> None:
    environment = open_environment(str(tmp_path), 2**20)
    make_queue(environment)
    with environment.begin() as txn:
        assert [bytes(key) for key in txn.cursor().iternext(values=False)] == [b"meta"]
