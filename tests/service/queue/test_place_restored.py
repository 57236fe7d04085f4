from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import QueueMisplaced
from relay.queue.store import QueueStore
from relay.service.queue.place import QueuePlace
from tests.queue_files import append, opened
from tests.threads import Reactor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "queue"


def watched(store: QueueStore, path: Path) -> list[str]:
    """Have the file brought back; returns what was said of it."""
    restoration, said = QueuePlace(store, str(path), lambda: None, Reactor()), list[str]()
    store.placement.bring_back = lambda place: said.append(restoration.restore(place))
    return said


def assert_has(path: Path, *payloads: bytes) -> None:
    with opened(path) as store:
        assert store.read("a", start=1, records_max=99, bytes_max=9999) == list(payloads)
        assert store.recovery is None


@pytest.mark.parametrize("what", ["queue/data.mdb", "queue", "."])
def test_what_is_committed_after_a_removal_is_where_the_next_start_looks(
    path: Path, what: str
) -> None:
    with opened(path) as store:
        said = watched(store, path)
        append(store, a=[b"1"])
        target = path.parent / what
        target.unlink() if target.is_file() else shutil.rmtree(target.resolve())
        append(store, a=[b"2"])
        assert "was removed or moved" in said[0] and "it was written anew" in said[0]
        append(store, a=[b"3"])
        assert len(said) == 1
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert_has(path, b"1", b"2", b"3")


def test_a_removal_while_the_commit_runs_is_found_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as store:
        said = watched(store, path)
        write = store._write

        def write_and_remove(*arguments: Any) -> object:
            changed = write(*arguments)
            (path / "data.mdb").unlink()
            return changed

        with monkeypatch.context() as patch:
            patch.setattr(store, "_write", write_and_remove)
            append(store, a=[b"1"])
        assert (len(said), store.misplaced) == (1, "")
    assert_has(path, b"1")


def test_where_there_is_no_room_nothing_is_answered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as store:
        watched(store, path)
        append(store, a=[b"1"])
        (path / "data.mdb").unlink()
        with monkeypatch.context() as patch:

            def refuse(*arguments: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(os, "mkdir", refuse)
            with pytest.raises(QueueMisplaced, match=r"cannot be written anew: .*No space left"):
                append(store, a=[b"2"])
            assert store.misplaced
        append(store, a=[b"2"])
        assert not store.misplaced
    assert_has(path, b"1", b"2")


def test_somebody_elses_file_stays_and_ours_is_kept_once_and_brought_up_to_date(path: Path) -> None:
    with opened(path) as store:
        append(store, a=[b"1"])
        restoration = QueuePlace(store, str(path), lambda: None, Reactor())
        store.placement.bring_back = lambda place: print(restoration.restore(place))
        theirs = path / "theirs"
        theirs.write_bytes(b"theirs")
        theirs.rename(path / "data.mdb")
        for _ in range(2):
            with pytest.raises(QueueMisplaced, match=r"data.mdb.kept-.*: stop the relay"):
                append(store, a=[b"2"])
        restoration.keep()
        assert (path / "data.mdb").read_bytes() == b"theirs"
    (kept,) = path.glob("data.mdb.kept-*")
    kept.rename(path / "data.mdb")
    assert_has(path, b"1")


def test_a_file_that_was_renamed_is_named(path: Path) -> None:
    with opened(path) as store:
        watched(store, path)
        (path / "data.mdb").rename(path / "mine")
        (path / "data.mdb").write_bytes(b"theirs")
        with pytest.raises(QueueMisplaced, match=f"the queue in use is {path}/mine"):
            append(store, a=[b"1"])
        os.replace(path / "mine", path / "data.mdb")
        append(store, a=[b"1"])
    assert_has(path, b"1")
