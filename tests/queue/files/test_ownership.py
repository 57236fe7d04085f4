from __future__ import annotations

import fcntl
import os
import pwd
from pathlib import Path

import pytest

from relay.model.errors import QueueError, QueueInUse
from relay.queue.files.ownership import (
    hold_existing,
    owner_of,
    owner_text,
    sync_names,
    take_ownership,
    why_refused,
)


def test_a_directory_has_one_owner_at_a_time_and_names_it(tmp_path: Path) -> None:
    path = str(tmp_path / "state" / "queue")
    first = take_ownership(path)
    with pytest.raises(QueueInUse, match=f"in use by process {os.getpid()};"):
        take_ownership(path)
    assert owner_text(path) == (
        f"queue {path} is in use by process {os.getpid()}; stop that relay or give this one "
        "another state_dir"
    )
    first.release()
    assert owner_text(path) == owner_text(str(tmp_path / "none")) == ""
    take_ownership(path).release()


def test_a_directory_is_for_its_user_only(tmp_path: Path) -> None:
    take_ownership(str(tmp_path / "queue")).release()
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "queue" / "owner.lock").stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        QueueError, match=r"file/queue: .*/file is a file, and has to be a directory: move it away"
    ):
        take_ownership(str(tmp_path / "file" / "queue"))


def test_syncing_names_gives_up_quietly_where_it_cannot(tmp_path: Path) -> None:
    sync_names(str(tmp_path))
    sync_names(str(tmp_path / "missing"))


def test_who_only_looks_keeps_relays_away_and_makes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "queue")
    with pytest.raises(QueueError, match="there is none"):
        hold_existing(path)
    take_ownership(path).release()
    (tmp_path / "queue" / "data.mdb").touch()
    looking = hold_existing(path)
    with pytest.raises(QueueInUse):
        take_ownership(path)
    looking.release()
    owner = take_ownership(path)
    with pytest.raises(QueueInUse, match=f"process {os.getpid()}; stop that relay, or ask it"):
        hold_existing(path)
    owner.release()
    (tmp_path / "queue" / "owner.lock").unlink()
    hold_existing(path).release()
    assert not (tmp_path / "queue" / "owner.lock").exists()


def test_a_lock_whose_file_was_removed_still_keeps_others_away(tmp_path: Path) -> None:
    path = str(tmp_path / "queue")
    owner = take_ownership(path)
    (tmp_path / "queue" / "data.mdb").touch()
    for _ in range(2):
        (tmp_path / "queue" / "owner.lock").unlink(missing_ok=True)
        for take in (take_ownership, hold_existing):
            with pytest.raises(QueueInUse, match=f"in use by process {os.getpid()};"):
                take(path)
    owner.release()
    take_ownership(path).release()


def test_a_lock_of_a_version_that_knows_the_file_only_keeps_us_away(tmp_path: Path) -> None:
    path = str(tmp_path / "queue")
    take_ownership(path).release()
    (tmp_path / "queue" / "data.mdb").touch()
    with (tmp_path / "queue" / "owner.lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for take in (take_ownership, hold_existing):
            with pytest.raises(QueueInUse):
                take(path)
    hold_existing(path).release()
    take_ownership(path).release()


def test_the_owner_is_named_in_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "queue")
    assert owner_of(path) == 0
    take_ownership(path).release()
    assert owner_of(path) == os.getpid()
    for text in ("", "x", "-7", "9" * 30):
        (tmp_path / "queue" / "owner.lock").write_text(text)
        assert owner_of(path) == (int("9" * 20) if text.startswith("9") else 0)


def test_a_directory_that_was_moved_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "state" / "queue"
    owner = take_ownership(str(path))
    assert owner.is_of(str(path))
    path.parent.rename(tmp_path / "moved")
    assert not owner.is_of(str(path))
    path.mkdir(parents=True)
    assert not owner.is_of(str(path))
    owner.release()


def test_who_may_not_write_learns_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state" / "queue"
    path.mkdir(parents=True, mode=0o750)
    assert why_refused(str(path)) == ""
    file = path / "data.mdb"
    file.write_bytes(b"")
    file.chmod(0o600)
    monkeypatch.setattr(os, "access", lambda place, mode, effective_ids: place != str(file))
    me = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert why_refused(str(path)) == (
        f"{file} is owned by {me} (mode 0600), and user 12345 may not write to it: run the "
        f"relay as {me}, or let 12345 own it"
    )
