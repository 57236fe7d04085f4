from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from relay.queue.files import environment
from relay.queue.files.environment import reason_of, says_full

EIO = "mdb_txn_commit: Input/output error"


@pytest.fixture
def queue(tmp_path: Path) -> str:
    (tmp_path / "data.mdb").write_bytes(b"x" * 8192)
    return str(tmp_path)


def test_words_that_say_it_stay(queue: str) -> None:
    assert reason_of("mdb_put: No space left on device", queue, 1) == "No space left on device"
    assert reason_of("mdb_txn_begin: Read-only file system", queue, 1) == "Read-only file system"
    assert reason_of(EIO, None, 1) == "Input/output error"
    assert says_full("Disk quota exceeded") and not says_full("Input/output error")


def test_a_disk_that_is_well_by_now_leaves_the_words_as_they_are(queue: str) -> None:
    assert reason_of(EIO, queue, 10_000) == "Input/output error"
    assert os.listdir(queue) == ["data.mdb"]


def test_a_short_write_on_a_full_disk_is_no_error_of_the_disk(
    queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = os.statvfs(queue)
    full = os.statvfs_result((*free[:3], 0, 0, *free[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert reason_of(EIO, queue, 10_000) == "No space left on device"


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC, errno.EROFS])
def test_what_the_next_write_says_is_the_reason(
    queue: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(fd: int, offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert reason_of(EIO, queue, 1_000_000) == os.strerror(number)
    assert asked == [2_000_000]
    assert os.listdir(queue) == ["data.mdb"]


def test_a_limit_on_the_size_of_files_is_found(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_FSIZE
        return 10_000, resource.RLIM_INFINITY

    found: Any = environment.resource
    monkeypatch.setattr(found, "getrlimit", limits)
    assert reason_of(EIO, queue, 1000) == "File too large"


def test_a_directory_that_is_gone_is_the_reason(tmp_path: Path) -> None:
    assert reason_of(EIO, str(tmp_path / "gone"), 1) == "No such file or directory"
