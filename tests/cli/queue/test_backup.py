from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from relay.cli.control_client import AskFailed
from relay.cli.main import main
from relay.cli.queue import backup as backup_module
from tests import queue_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state directory of a stopped relay with records for a and b, and a history."""
    histories = queue_files.kept("a")
    with queue_files.opened(tmp_path / "state/queue", histories=histories) as store:
        queue_files.append(store, a=[b"1", b"2"], b=[b"x"])
        queue_files.append(store, a=[b"3", b"4", b"5"])
        queue_files.remove(store, "a", 2)
    return tmp_path


def run(*arguments: str | Path, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["queue", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


def test_a_stopped_relays_queue_there_and_back(folder: Path) -> None:
    made = run("backup", folder / "b", "-d", folder / "state")
    assert made.startswith(f"{folder}/b: backup of 20")
    assert ": 5 records queued (4 in a, 1 in b), " in made
    assert made.endswith(", verified\n")
    note = msgspec.json.decode((folder / "b/backup.json").read_bytes())
    assert note["records"] == {"a": 4, "b": 1}
    assert note["state_dir"] == f"{folder}/state"
    restored = run("restore", folder / "b", "-d", folder / "new")
    assert restored.splitlines()[0].startswith(f"{folder}/new/queue: backup of ")
    assert "may be sent once more" in restored
    listed = [run("ls", "--json", "-d", folder / name) for name in ("state", "new")]
    first, second = (msgspec.json.decode(text) for text in listed)
    for each in (*first, *second):
        del each["oldest_seconds"], each["history_seconds"]
    assert first == second
    assert run("export", "a", "--lines", "-d", folder / "new").startswith("2\n3\n4\n5\n")


def test_damage_is_in_the_backup_and_told(folder: Path) -> None:
    queue_files.damage(folder / "state/queue", "a", 3)
    told = run("backup", folder / "b", "-d", folder / "state", status=1)
    assert "records 3 to 5 cannot be read: checksum mismatch" in told
    assert "set aside when their turn comes" in told
    assert (folder / "b/backup.json").exists()


def test_damage_that_came_later_is_told_by_the_restore(folder: Path) -> None:
    run("backup", folder / "b", "-d", folder / "state")
    queue_files.damage(folder / "b", "a", 3)
    told = run("restore", folder / "b", "-d", folder / "new", status=1)
    assert "new/queue: records 3 to 5 cannot be read: checksum mismatch" in told
    assert "set aside when their turn comes" in told
    assert run("export", "b", "--lines", "-d", folder / "new").startswith("x\n")


def test_wrong_input(folder: Path) -> None:
    (folder / "there").mkdir()
    assert "is there already" in run("backup", folder / "there", "-d", folder / "state", status=2)
    assert "make it first" in run("backup", folder / "none/b", "-d", folder / "state", status=2)
    assert "there is no queue" in run("backup", folder / "b", "-d", folder / "none", status=2)
    assert "is no backup" in run("restore", folder / "there", "-d", folder / "new", status=2)
    run("backup", folder / "b", "-d", folder / "state")
    assert "is not empty" in run("restore", folder / "b", "-d", folder / "state", status=2)
    assert "does not exist" in run("restore", folder / "no", "-d", folder / "new", status=2)


def test_a_running_relay_is_not_restored_into(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("backup", folder / "b", "-d", folder / "state")
    monkeypatch.setattr(backup_module, "running_relay", lambda _: 4711)
    refused = run("restore", folder / "b", "-d", folder / "new", status=2)
    assert "a relay (process 4711) runs with state directory" in refused
    assert not (folder / "new").exists()


def test_a_disk_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "write_note", full)
    failed = run("backup", folder / "b", "-d", folder / "state", status=2)
    assert f"{folder}/b: the backup failed: No space left on device" in failed
    assert os.listdir(folder) == ["state"]


def test_a_relay_that_stops_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise AskFailed("no relay is running")

    monkeypatch.setattr("relay.cli.queue.access._Stopped.ask", stopped)
    monkeypatch.setattr("relay.cli.queue.access._Stopped.used_bytes", 0)
    failed = run("backup", folder / "b", "-d", folder / "state", status=2)
    assert "the backup is not complete and was removed: no relay is running" in failed
    assert os.listdir(folder) == ["state"]
