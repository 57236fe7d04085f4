from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from relay.model.errors import QueueError, QueueFormatError, QueueInUse
from relay.queue.backup.restoring import restore_queue
from relay.queue.backup.writing import NOTE, BackupNote, BackupWriter, place_for, write_note
from relay.queue.inspect.copying import copy_step
from relay.queue.lineage import SENT, Lineage
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from tests.queue_files import append, opened, put, remove

LINEAGE = Lineage("0b0e4bd6-9d5e-4c7c-8f53-7a3f5c5d5a11", [("00112233445566aa", 1)])
NOTED = BackupNote(1.0, "/state", "syslogrelay", {"a": 2})


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    with opened(tmp_path / "old/queue") as store:
        append(store, a=[b"1", b"2", b"3"])
        remove(store, "a", upto=2)
        positions = {f"{SENT}/a": LINEAGE.encode(), "/relay/id": b"0123456789abcdef"}
        store.commit(Transaction(1.0, positions=positions))
        return made(store, tmp_path / "backup")


def made(store: QueueStore, path: Path) -> Path:
    with place_for(str(path), 0) as place:
        writer = BackupWriter(place.folder, 0)
        while not writer.write(store.look(lambda view: copy_step(view, writer.wanted())))[1]:
            pass
        writer.finish()
        write_note(place.folder, NOTED)
    return path


def test_a_queue_is_as_it_was_with_another_id_of_the_relay(backup: Path, tmp_path: Path) -> None:
    restored = restore_queue(str(backup), str(tmp_path / "new/queue"))
    assert restored.note == NOTED
    assert restored.size == (backup / "data.mdb").stat().st_size
    assert sorted(os.listdir(tmp_path / "new/queue")) == ["data.mdb", "owner.lock"]
    assert (tmp_path / "new/queue/data.mdb").stat().st_mode & 0o777 == 0o600
    with opened(tmp_path / "new/queue") as store:
        assert store.read("a", start=2, records_max=9, bytes_max=99) == [b"2", b"3"]
        assert store.ledgers["a"].gap == 0
        lineage = Lineage.decode(store.positions(SENT)["a"])
        assert lineage == msgspec.structs.replace(LINEAGE, is_copy=True)
        assert lineage.begun(acknowledged_seq=2, next_seq=4).is_copy
        assert store.positions("/relay") == {}
    restore_queue(str(backup), str(tmp_path / "again/queue"))  # it can be used more than once


def test_a_state_directory_with_a_queue_is_left_alone(backup: Path, tmp_path: Path) -> None:
    before = (tmp_path / "old/queue/data.mdb").read_bytes()
    with pytest.raises(QueueError, match=r"is not empty, there is data\.mdb; move the directory"):
        restore_queue(str(backup), str(tmp_path / "old/queue"))
    assert (tmp_path / "old/queue/data.mdb").read_bytes() == before
    with opened(tmp_path / "used"), pytest.raises(QueueInUse):
        restore_queue(str(backup), str(tmp_path / "used"))


def test_what_is_no_backup(tmp_path: Path) -> None:
    with opened(tmp_path / "queue"):
        pass
    with pytest.raises(QueueError, match="is no backup of"):
        restore_queue(str(tmp_path / "queue"), str(tmp_path / "new/queue"))
    (tmp_path / "queue" / NOTE).write_text("{}")
    with pytest.raises(QueueError, match="is no backup of"):
        restore_queue(str(tmp_path / "queue"), str(tmp_path / "new/queue"))
    assert not (tmp_path / "new").exists()


def test_a_backup_of_a_newer_version(backup: Path, tmp_path: Path) -> None:
    for _ in range(2):
        put(backup, "meta", b"format", b"2")
    with pytest.raises(QueueFormatError, match="use the version that made it"):
        restore_queue(str(backup), str(tmp_path / "new/queue"))
    assert not (tmp_path / "new").exists()


def test_a_damaged_backup(backup: Path, tmp_path: Path) -> None:
    data = backup / "data.mdb"
    content = bytearray(data.read_bytes())
    content[2 * 4096 :] = bytes(len(content) - 2 * 4096)
    data.write_bytes(content)
    with pytest.raises(QueueFormatError, match="damaged"):
        restore_queue(str(backup), str(tmp_path / "new/queue"))
    data.unlink()
    with pytest.raises(QueueFormatError, match="there is none"):
        restore_queue(str(backup), str(tmp_path / "new/queue"))


def test_a_full_disk_leaves_no_queue(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("new/data.mdb"):
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QueueError, match="not restored: No space left on device"):
        restore_queue(str(backup), str(tmp_path / "other/queue"))
    assert os.listdir(tmp_path / "other/queue") == ["owner.lock"]
    monkeypatch.undo()
    restore_queue(str(backup), str(tmp_path / "other/queue"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_files_belong_to_the_owner_of_the_state_directory(backup: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 12345, 12346)
    restore_queue(str(backup), str(state / "queue"))
    for path in (state / "queue", *(state / "queue").iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
