from __future__ import annotations

import errno
import os
import random
import threading
from pathlib import Path
from types import SimpleNamespace

import lmdb
import pytest

from relay.model.errors import QueueError, QueueFull
from relay.queue.compaction import live
from relay.queue.compaction.live import LiveCompaction
from relay.queue.inspect.queries import Read, read_history
from relay.queue.store import QueueStore
from tests.crash.workload import (
    DESTINATIONS,
    check_history,
    drain,
    ledgers_of,
    open_queue,
    random_transaction,
)
from tests.queue_files import append, kept, opened, remove

NAMES = ["data.mdb", "headroom", "lock.mdb", "owner.lock"]


def fill(store: QueueStore) -> None:
    """50 blocks, of which 49 have left."""
    for _ in range(50):
        append(store, a=[b"x" * 20_000], b=[b"y"])
    remove(store, "a", 50)


def begun(store: QueueStore, path: Path) -> LiveCompaction:
    compaction = LiveCompaction(store, str(path))
    compaction.begin()
    return compaction


def compact(store: QueueStore, path: Path) -> None:
    compaction = begun(store, path)
    while not compaction.step():
        pass
    assert compaction.switch()
    compaction.abandon()


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def test_the_file_gets_smaller_and_is_the_one_in_use(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        fill(store)
        before = (tmp_path / "data.mdb").stat()
        ledgers = store.ledgers
        for _ in range(3):  # one after the other
            compact(store, tmp_path)
        after = (tmp_path / "data.mdb").stat()
        assert after.st_blocks < before.st_blocks / 5
        assert after.st_mode == before.st_mode
        assert names(tmp_path) == NAMES
        assert store.ledgers == ledgers
        assert store.used_bytes < 100_000
        append(store, a=[b"new"])
        remove(store, "b", 51)
    with opened(tmp_path) as store:
        assert store.read("a", start=50, records_max=9, bytes_max=99_999) == [b"x" * 20_000, b"new"]
        assert store.ledgers["b"].queued == 0


def test_what_is_kept_of_deliveries_goes_along_and_needs_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, histories=kept("a")) as store:
        fill(store)
        assert store.in_use_bytes > store.used_bytes + 49 * 20_000
        compact(store, tmp_path)
        append(store, a=[b"new"])
        remove(store, "a", 52)
        found = store.look(lambda view: read_history(view, Read("a", records_max=99)))
        assert [len(record.payload) for record in found.records] == [20_000] * 50 + [3]
        assert store.histories.used_bytes > 50 * 20_000
        disk = SimpleNamespace(f_bavail=store.used_bytes + 9 * 2**20 - 2**18, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda path: disk)
        with pytest.raises(QueueError, match="make room"):
            begun(store, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_meanwhile_is_in_the_new_file(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_STEP_BYTES", 60_000)
    monkeypatch.setattr(live, "_REST_BYTES_MAX", 90_000)
    dice = random.Random(seed)
    store = open_queue(str(tmp_path), keeps=True)
    for _ in range(4):
        for _ in range(8):
            store.commit(random_transaction(store, dice))
        compaction = begun(store, tmp_path)
        while True:
            for _ in range(dice.randrange(3)):
                store.commit(random_transaction(store, dice))
            if compaction.step() and dice.random() < 0.5 and compaction.switch():
                break
    check_history(store)
    ledgers = ledgers_of(store)
    store.close()
    store = open_queue(str(tmp_path), keeps=True)
    assert ledgers_of(store) == ledgers
    check_history(store)
    for destination in DESTINATIONS:
        queued = store.ledgers[destination].queued
        records, damaged = drain(store, destination)
        assert len(records) == queued and not damaged
    store.close()


def test_who_reads_goes_on_in_the_old_file_to_the_end(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        fill(store)
        reading = threading.Event()
        replaced = threading.Event()
        found: list[object] = []

        def read_slowly() -> None:
            def slow(view: object) -> object:
                reading.set()
                assert replaced.wait(20)
                return view.ledger("a").next_seq  # type: ignore[attr-defined]

            found.append(store.look(slow))

        reader = threading.Thread(target=read_slowly)
        reader.start()
        assert reading.wait(20)
        compact(store, tmp_path)
        append(store, a=[b"new"])
        replaced.set()
        reader.join(20)
        assert found == [51]
        assert store.look(lambda view: view.ledger("a").next_seq) == 52


def test_more_than_a_little_that_is_left_is_not_copied_while_commits_wait(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        compaction = begun(store, tmp_path)
        assert compaction.step()
        append(store, a=[b"x" * 2**20] * 9)
        assert not compaction.switch()
        while not compaction.step():
            pass
        assert compaction.switch()
        assert len(store.read("a", start=1, records_max=99, bytes_max=2**30)) == 9


def test_one_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        fill(store)
        inode = (tmp_path / "data.mdb").stat().st_ino
        compaction = begun(store, tmp_path)
        compaction.step()
        assert "compacted" in names(tmp_path)
        compaction.abandon()
        compaction.abandon()
        assert names(tmp_path) == NAMES
        append(store, a=[b"new"])
        assert (tmp_path / "data.mdb").stat().st_ino == inode


def test_what_a_killed_one_left_is_removed_by_the_next_start(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        fill(store)
        compaction = begun(store, tmp_path)
        compaction.step()
    with opened(tmp_path) as store:
        assert names(tmp_path) == NAMES
        assert store.ledgers["a"].queued == 1


def test_a_disk_without_room_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        fill(store)
        disk = SimpleNamespace(f_bavail=2047, f_frsize=4096)
        monkeypatch.setattr(os, "statvfs", lambda path: disk)
        with pytest.raises(QueueError, match=r"up to 8 MiB, and the disk has 8 MiB; make room"):
            begun(store, tmp_path)
        assert names(tmp_path) == NAMES


def test_a_copy_that_does_not_fit_leaves_the_old_file_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"x" * 1000] * 500)

        def small(path: str) -> object:
            return lmdb.open(path, map_size=200_000, max_dbs=16)

        monkeypatch.setattr(store, "new_environment", small)
        compaction = begun(store, tmp_path)
        with pytest.raises(QueueFull):
            compaction.step()
        compaction.abandon()
        assert names(tmp_path) == NAMES
        append(store, a=[b"new"])
    with opened(tmp_path) as store:
        assert store.ledgers["a"].queued == 501


def test_a_rename_that_fails_leaves_the_old_file_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        fill(store)
        inode = (tmp_path / "data.mdb").stat().st_ino
        compaction = begun(store, tmp_path)
        while not compaction.step():
            pass

        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, "broken")

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", refuse)
            with pytest.raises(QueueError, match=r"cannot be replaced: .*broken"):
                compaction.switch()
        compaction.abandon()
        append(store, a=[b"new"])
        assert (tmp_path / "data.mdb").stat().st_ino == inode
        assert names(tmp_path) == NAMES
    with opened(tmp_path) as store:
        assert store.ledgers["a"].queued == 2


def test_names_that_cannot_be_synced_end_all_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        fill(store)
        compaction = begun(store, tmp_path)
        while not compaction.step():
            pass

        def refuse(fd: int) -> None:
            raise OSError(errno.EIO, "broken")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(RuntimeError, match="could not be synced"):
                compaction.switch()
        compaction.abandon()
        with pytest.raises(RuntimeError):  # it might be gone after a power cut
            append(store, a=[b"new"])
        assert store.read("a", start=50, records_max=1, bytes_max=1)
    with opened(tmp_path) as store:
        assert store.ledgers["a"].queued == 1


def test_a_directory_that_cannot_be_synced_at_all_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        fill(store)

        def refuse(fd: int) -> None:
            raise OSError(errno.EINVAL, "not this file system")

        monkeypatch.setattr(os, "fsync", refuse)
        compact(store, tmp_path)
        append(store, a=[b"new"])
