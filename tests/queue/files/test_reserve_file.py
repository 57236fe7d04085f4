from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.model.errors import QueueError, QueueFull
from relay.queue.files.reserve_file import Headroom
from relay.queue.inspect.commands import Purge
from relay.queue.store import QueueStore, Removal, Transaction
from tests.queue_files import append, opened

KiB, MiB = 2**10, 2**20


class Disk:
    """Has `free` octets, as far as a headroom asks."""

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
def headroom(tmp_path: Path, disk: Disk) -> Headroom:
    (tmp_path / "data.mdb").write_bytes(bytes(400 * KiB))
    return Headroom(str(tmp_path))


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
    headroom: Headroom, disk: Disk, free: int, size: int
) -> None:
    disk.free = free
    headroom.make()
    headroom.make()
    assert disk.sizes == [size]
    assert headroom.is_there


def test_it_really_takes_room(tmp_path: Path) -> None:
    headroom = Headroom(str(tmp_path))
    headroom.make()
    assert (tmp_path / "headroom").stat().st_blocks * 512 == MiB
    assert (tmp_path / "headroom").stat().st_mode & 0o777 == 0o600
    assert headroom.with_room(fails_at_first()) == "done"
    assert not (tmp_path / "headroom").exists()


def test_half_of_one_is_not_kept(headroom: Headroom, disk: Disk, tmp_path: Path) -> None:
    disk.free = 100 * KiB
    headroom.make()
    assert not headroom.is_there
    assert not (tmp_path / "headroom").exists()
    disk.free = MiB
    headroom.make()
    assert headroom.is_there


def test_a_removal_that_does_not_fit_gets_the_room(headroom: Headroom) -> None:
    headroom.make()
    assert headroom.with_room(fails_at_first(0)) == "done"
    assert headroom.is_there
    assert headroom.with_room(fails_at_first()) == "done"
    assert not headroom.is_there
    with pytest.raises(QueueFull):
        headroom.with_room(fails_at_first())


def test_one_that_fails_for_another_reason_fails(headroom: Headroom) -> None:
    headroom.make()
    with pytest.raises(QueueError, match="no space"):
        headroom.with_room(fails_at_first(2, QueueError))


def test_without_it_an_append_leaves_free_pages(headroom: Headroom, disk: Disk) -> None:
    disk.free = 0
    headroom.before_growth(wanted_bytes=10 * KiB, used_bytes=252 * KiB)
    with pytest.raises(QueueFull, match="kept for removals"):
        headroom.before_growth(wanted_bytes=10 * KiB + 1, used_bytes=252 * KiB)
    with pytest.raises(QueueFull):
        headroom.before_growth(wanted_bytes=1, used_bytes=300 * KiB)
    headroom.before_growth(wanted_bytes=MiB, used_bytes=0)  # nothing is there to be removed
    disk.free = MiB
    headroom.before_growth(wanted_bytes=1, used_bytes=300 * KiB)
    assert headroom.is_there


def test_where_it_cannot_be_made_at_all_nobody_waits_for_it(headroom: Headroom, disk: Disk) -> None:
    disk.free, disk.error = 0, errno.EOPNOTSUPP
    headroom.before_growth(wanted_bytes=MiB, used_bytes=300 * KiB)
    assert not headroom.is_there


# In a queue.


def queue_on_a_full_disk(store: QueueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits fail as long as the headroom is there."""
    begin = store._commit, store._operate

    def refuse() -> None:
        if store._headroom.is_there:
            raise QueueFull("no space")

    monkeypatch.setattr(store, "_commit", lambda *rest: (refuse(), begin[0](*rest))[1])
    monkeypatch.setattr(store, "_operate", lambda *rest: (refuse(), begin[1](*rest))[1])


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
