from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.model.errors import QueueError, QueueFull
from relay.queue.files.reserve_file import ReserveFile
from relay.queue.inspect.commands import Purge
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, Transaction
from tests.queue_files import append, opened

KiB, MiB = 2**10, 2**20


class Disk:
    """Has `free` bytes, as far as a reserve file asks."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.free = 100 * MiB
        self.error = errno.ENOSPC
        self.sizes: list[int] = []
        patch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=self.free, f_frsize=1))
        patch.setattr(os, "posix_fallocate", self.allocate)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        if size > self.free:
            raise OSError(self.error, "full")
        self.sizes.append(size)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def reserve(tmp_path: Path, disk: Disk) -> ReserveFile:
    (tmp_path / "data.mdb").write_bytes(bytes(400 * KiB))
    return ReserveFile(str(tmp_path))


def fails_at_first(times: int = 1, error: type[Exception] = QueueFull) -> Callable[[], str]:
    left = [times]

    def removal() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error("no space")
        return "done"

    return removal


@pytest.mark.parametrize(
    ("free", "size"), [(2**40, MiB), (8 * MiB, 512 * KiB), (MiB, 128 * KiB), (128 * KiB, 128 * KiB)]
)
def test_it_takes_little_of_a_small_disk(
    reserve: ReserveFile, disk: Disk, free: int, size: int
) -> None:
    disk.free = free
    reserve.make()
    reserve.make()
    assert disk.sizes == [size]
    assert reserve.is_there


def test_it_really_takes_room(tmp_path: Path) -> None:
    reserve = ReserveFile(str(tmp_path))
    reserve.make()
    assert (tmp_path / "headroom").stat().st_blocks * 512 == MiB
    assert (tmp_path / "headroom").stat().st_mode & 0o777 == 0o600
    assert reserve.with_room(fails_at_first()) == "done"
    assert not (tmp_path / "headroom").exists()


def test_half_of_one_is_not_kept(reserve: ReserveFile, disk: Disk, tmp_path: Path) -> None:
    disk.free = 100 * KiB
    reserve.make()
    assert not reserve.is_there
    assert not (tmp_path / "headroom").exists()
    disk.free = MiB
    reserve.make()
    assert reserve.is_there


def test_a_removal_that_does_not_fit_gets_the_room(reserve: ReserveFile) -> None:
    reserve.make()
    assert reserve.with_room(fails_at_first(0)) == "done"
    assert reserve.is_there
    assert reserve.with_room(fails_at_first()) == "done"
    assert not reserve.is_there
    with pytest.raises(QueueFull):
        reserve.with_room(fails_at_first())


def test_one_that_fails_for_another_reason_fails(reserve: ReserveFile) -> None:
    reserve.make()
    with pytest.raises(QueueError, match="no space"):
        reserve.with_room(fails_at_first(2, QueueError))


def test_without_it_an_append_leaves_free_pages(reserve: ReserveFile, disk: Disk) -> None:
    disk.free = 0
    reserve.before_growth(wanted_bytes=10 * KiB, used_bytes=252 * KiB)
    with pytest.raises(QueueFull, match="kept for removals"):
        reserve.before_growth(wanted_bytes=10 * KiB + 1, used_bytes=252 * KiB)
    with pytest.raises(QueueFull):
        reserve.before_growth(wanted_bytes=1, used_bytes=300 * KiB)
    reserve.before_growth(wanted_bytes=MiB, used_bytes=0)  # nothing is there to be removed
    disk.free = MiB
    reserve.before_growth(wanted_bytes=1, used_bytes=300 * KiB)
    assert reserve.is_there


def test_where_it_cannot_be_made_at_all_nobody_waits_for_it(
    reserve: ReserveFile, disk: Disk
) -> None:
    disk.free, disk.error = 0, errno.EOPNOTSUPP
    reserve.before_growth(wanted_bytes=MiB, used_bytes=300 * KiB)
    assert not reserve.is_there


# In a queue.


def queue_on_a_full_disk(store: QueueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits fail as long as the reserve file is there."""
    write = store._write

    def refuse() -> None:
        if store.reserve.is_there:
            raise QueueFull("no space")

    monkeypatch.setattr(store, "_write", lambda *rest: (refuse(), write(*rest))[1])


def test_removals_go_on_and_appends_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
        queue_on_a_full_disk(store, monkeypatch)
        with pytest.raises(QueueFull):
            append(store, a=[b"3"])
        with pytest.raises(QueueFull):
            store.commit(Transaction(0.0, {"a": [b"3"]}, {"a": Removal(2)}))
        assert (tmp_path / "headroom").exists()
        store.commit(Transaction(0.0, {}, {"a": Removal(2)}))
        assert store.ledgers["a"].queued == 1
        assert not (tmp_path / "headroom").exists()


def test_a_purge_is_a_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
        queue_on_a_full_disk(store, monkeypatch)
        store.operate(Purge("a", 1, 3), at=0.0)
        assert store.ledgers["a"].queued == 0
