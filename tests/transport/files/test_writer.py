from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from relay.transport.files import writer
from relay.transport.files.writer import AppendedFile, FileSession
from tests.connections import RecordingDrain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "received.log"


def test_a_file_is_made_with_its_directory_and_not_for_everybody(path: Path) -> None:
    file = AppendedFile(str(path))
    file.append([b"one"])
    file.append([b"two"])
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0
    file.close()


def test_what_is_there_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"zero\n")
    file = AppendedFile(str(path))
    file.append([b"one"])
    file.close()
    assert path.read_bytes() == b"zero\none\n"


def test_a_renamed_file_is_opened_again_before_the_next_batch(path: Path) -> None:
    file = AppendedFile(str(path))
    assert file.append([b"one"]) == ""
    rotated = path.rename(path.with_suffix(".1"))
    assert file.append([b"two"]) == f"{path} was renamed or replaced; opened it again by its name"
    assert file.append([b"three"]) == ""
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\n", b"two\nthree\n")
    file.close()


def test_a_removed_file_is_made_again_before_the_next_batch(path: Path) -> None:
    file = AppendedFile(str(path))
    file.append([b"one"])
    path.unlink()
    assert file.append([b"two"]) == f"{path} was removed; opened it again by its name"
    assert path.read_bytes() == b"two\n"
    file.close()


def test_a_replaced_file_is_not_what_is_written_to(path: Path) -> None:
    file = AppendedFile(str(path))
    file.append([b"one"])
    other = path.with_suffix(".new")
    other.write_bytes(b"zero\n")
    other.replace(path)
    assert file.append([b"two"]) == f"{path} was renamed or replaced; opened it again by its name"
    assert path.read_bytes() == b"zero\ntwo\n"
    file.close()


@pytest.mark.parametrize("removals", [1, 3, 9])
def test_a_batch_that_went_into_a_file_while_it_was_removed_is_written_again(
    path: Path, removals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AppendedFile(str(path))
    sync, left = os.fdatasync, [removals]

    def removed_meanwhile(fd: int) -> None:
        sync(fd)
        if left[0]:
            left[0] -= 1
            path.unlink()

    monkeypatch.setattr(os, "fdatasync", removed_meanwhile)
    assert file.append([b"one"]) == f"{path} was removed; opened it again by its name"
    assert path.read_bytes() == b"one\n"
    file.close()


def test_a_file_that_is_removed_without_end_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AppendedFile(str(path))
    monkeypatch.setattr(os, "fdatasync", lambda fd: path.unlink())
    with pytest.raises(OSError, match="removed again and again"):
        file.append([b"one"])
    assert file._fd is None


def test_a_full_disk() -> None:
    file = AppendedFile("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        file.append([b"one"])
    assert raised.value.errno == errno.ENOSPC
    assert file._fd is None


def test_no_half_of_a_batch_stays_after_a_failure(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AppendedFile(str(path))
    file.append([b"one"])
    write = os.write

    def full(fd: int, data: Any) -> int:
        if len(data) < 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.append([b"two", b"three"])
    monkeypatch.undo()
    assert path.read_bytes() == b"one\n"
    file.append([b"two", b"three"])
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    file.close()


def test_a_disk_with_little_room_gets_smaller_and_smaller_batches(
    setup: Setup, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, [10]

    def little_room(fd: int, data: Any) -> int:
        if len(data) > room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", little_room)
    sizes = []
    while not path.exists() or not path.stat().st_size:
        session = setup.new_session()
        sizes.append(session.room)
        session.send([b"x"] * session.room)
        setup.write()
    assert sizes == [8192 >> step for step in range(12)]
    assert path.read_bytes() == b"x\n" * 4
    room[0] = 10**6
    for _ in range(12):
        session.send([b"x"])
        setup.write()
    assert session.room == 8192


def test_a_disk_that_cannot_even_cut_says_why_it_failed_first(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = AppendedFile(str(path))
    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(OSError, match="No space left"):
        file.append([b"one"])
    assert file._fd is None


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        AppendedFile(str(tmp_path)).append([b"one"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_lack_of_permission_names_file_user_and_remedy(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir(mode=0o750)
    there = path.with_name("there.log")
    there.touch(mode=0o640)

    def refuse(path: str, *_: Any) -> int:
        raise OSError(number, "refused", path)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(writer, "user_name", lambda uid: "syslogrelay" if uid == 99 else "root")
    monkeypatch.setattr(os, "geteuid", lambda: 99)
    file = AppendedFile(str(path))
    for _ in range(2):
        with pytest.raises(PermissionError) as raised:
            file.append([b"one"])
        assert raised.value.filename == str(path)
        assert raised.value.strerror == (
            f"refused: user syslogrelay may not make files in {path.parent}, owned by root, mode "
            f"0750; let syslogrelay write to {path.parent}, or choose another path"
        )
    with pytest.raises(PermissionError) as raised:
        AppendedFile(str(there)).append([b"one"])
    assert raised.value.strerror == (
        "refused: user syslogrelay may not write to it, owned by root, mode 0640; let syslogrelay "
        f"write to {there}, or choose another path"
    )


def test_what_is_read_only_has_to_be_listed_in_the_unit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="list its directory in ReadWritePaths= of the unit"):
        AppendedFile(str(path)).append([b"one"])


class Setup:
    """A session under test; writes happen when the test says so."""

    def __init__(self, path: str) -> None:
        self.drain: Any = RecordingDrain()
        self.failures: list[str] = []
        self.waiting: list[Callable[[], None]] = []
        self.file = AppendedFile(path)
        self.clock = Clock()
        self.reopened: list[str] = []
        self.session = self.new_session()

    def new_session(self) -> FileSession:
        return FileSession(
            self.file,
            drain=self.drain,
            run_in_thread=self._later,
            clock=self.clock,
            on_failure=self.failures.append,
            on_reopened=self.reopened.append,
        )

    def _later(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: execute(call).chainDeferred(done))
        return done

    def write(self) -> None:
        self.waiting.pop(0)()


@pytest.fixture
def setup(path: Path) -> Setup:
    return Setup(str(path))


def test_records_are_delivered_when_they_are_synced(setup: Setup, path: Path) -> None:
    assert setup.session.room == 8192
    setup.session.send([b"one", b"two\nlines"])
    assert (setup.session.room, setup.drain.acknowledged_records) == (0, 0)
    setup.write()
    assert path.read_bytes() == b"one\ntwo#012lines\n"
    assert (setup.session.room, setup.drain.acknowledged_records) == (8192, 2)
    assert setup.drain.events == ["pump"]


def test_a_failed_write_ends_the_session() -> None:
    setup = Setup("/dev/full")
    setup.session.send([b"one"])
    setup.write()
    assert setup.drain.events == ["detach"]
    assert setup.drain.acknowledged_records == 0
    assert setup.failures == ["/dev/full: No space left on device"]
    assert setup.session.room == 0


def test_reopening_makes_the_new_file_at_once(setup: Setup, path: Path) -> None:
    setup.session.send([b"one"])
    setup.write()
    rotated = path.rename(path.with_suffix(".1"))
    setup.session.reopen()
    assert setup.session.room == 0
    setup.write()
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\n", b"")
    assert setup.drain.acknowledged_records == 1
    assert setup.session.room == 8192


def test_without_traffic_a_removed_file_is_made_again_within_a_second(
    setup: Setup, path: Path
) -> None:
    setup.session.send([b"one"])
    setup.write()
    path.unlink()
    setup.clock.advance(1.0)
    setup.write()
    assert path.read_bytes() == b""
    assert setup.reopened == [f"{path} was removed; opened it again by its name"]
    setup.clock.advance(1.0)
    setup.write()
    assert len(setup.reopened) == 1


def test_a_look_waits_for_the_batch_that_is_being_written(setup: Setup) -> None:
    setup.session.send([b"one"])
    setup.clock.advance(1.0)
    assert len(setup.waiting) == 1
    setup.write()
    setup.clock.advance(1.0)
    assert len(setup.waiting) == 1


def test_reopening_waits_for_the_batch_that_is_being_written(setup: Setup, path: Path) -> None:
    setup.session.send([b"one"])
    setup.write()
    setup.session.send([b"two"])
    rotated = path.rename(path.with_suffix(".1"))
    setup.session.reopen()
    assert len(setup.waiting) == 1
    setup.write()
    setup.write()
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\n", b"two\n")
    assert (setup.waiting, setup.session.room) == ([], 8192)


def test_closing_closes_the_file(setup: Setup) -> None:
    setup.session.send([b"one"])
    setup.write()
    setup.session.close()
    assert setup.file._fd is None
    assert (setup.drain.events, setup.session.room) == (["pump", "detach"], 0)
    setup.session.reopen()
    assert setup.waiting == []
    assert setup.clock.getDelayedCalls() == []


def test_closing_while_a_batch_is_written(setup: Setup, path: Path) -> None:
    setup.session.send([b"one"])
    setup.session.close()
    setup.write()
    assert setup.file._fd is None
    assert setup.drain.acknowledged_records == 0
    assert path.read_bytes() == b"one\n"


def test_a_write_that_fails_after_the_end_is_nobodys_trouble() -> None:
    setup = Setup("/dev/full")
    setup.session.send([b"one"])
    setup.session.close()
    setup.write()
    assert (setup.failures, setup.drain.events) == ([], ["detach"])
