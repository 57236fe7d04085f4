from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute

from relay.transport.file_out import AppendedFile, FileSession
from tests.connections import RecordingDrain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "received.log"


def test_a_file_is_made_with_its_directory_and_not_for_everybody(path: Path) -> None:
    file = AppendedFile(str(path))
    file.append(b"one\n", reopen=False)
    file.append(b"two\n", reopen=False)
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0
    file.close()


def test_what_is_there_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"zero\n")
    file = AppendedFile(str(path))
    file.append(b"one\n", reopen=False)
    file.close()
    assert path.read_bytes() == b"zero\none\n"


def test_a_renamed_file_is_written_to_until_it_is_reopened(path: Path) -> None:
    file = AppendedFile(str(path))
    file.append(b"one\n", reopen=False)
    rotated = path.rename(path.with_suffix(".1"))
    file.append(b"two\n", reopen=False)
    assert not path.exists()
    file.append(b"three\n", reopen=True)
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n")
    file.close()


def test_a_full_disk() -> None:
    file = AppendedFile("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        file.append(b"one\n", reopen=False)
    assert raised.value.errno == errno.ENOSPC
    assert file._fd is None


def test_no_half_of_a_batch_stays_after_a_failure(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AppendedFile(str(path))
    file.append(b"one\n", reopen=False)
    write = os.write

    def full(fd: int, octets: Any) -> int:
        if len(octets) < 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, octets[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.append(b"two\nthree\n", reopen=False)
    monkeypatch.undo()
    assert path.read_bytes() == b"one\n"
    file.append(b"two\nthree\n", reopen=False)
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    file.close()


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
        file.append(b"one\n", reopen=False)
    assert file._fd is None


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        AppendedFile(str(tmp_path)).append(b"one\n", reopen=False)


class Setup:
    """A session under test; writes happen when the test says so."""

    def __init__(self, path: str) -> None:
        self.drain: Any = RecordingDrain()
        self.failures: list[str] = []
        self.waiting: list[Callable[[], None]] = []
        self.file = AppendedFile(path)
        self.session = FileSession(
            self.file,
            drain=self.drain,
            run_in_thread=self._later,
            on_failure=self.failures.append,
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


def test_reopening_waits_for_the_batch_that_is_being_written(setup: Setup, path: Path) -> None:
    setup.session.send([b"one"])
    setup.write()
    setup.session.send([b"two"])
    rotated = path.rename(path.with_suffix(".1"))
    setup.session.reopen()
    assert len(setup.waiting) == 1
    setup.write()
    setup.write()
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"")
    assert (setup.waiting, setup.session.room) == ([], 8192)


def test_closing_closes_the_file(setup: Setup) -> None:
    setup.session.send([b"one"])
    setup.write()
    setup.session.close()
    assert setup.file._fd is None
    assert (setup.drain.events, setup.session.room) == (["pump", "detach"], 0)
    setup.session.reopen()
    assert setup.waiting == []


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
