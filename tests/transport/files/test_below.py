from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from relay.transport.files import below
from relay.transport.files.below import (
    Access,
    Unsafe,
    directory_of,
    make_file,
    make_root,
    open_file,
)

ACCESS = Access(mode=0o604, directory_mode=0o705)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_and_files_are_made_with_their_permissions(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with directory_of(str(tmp_path), "a/b/c.log", ACCESS) as directory:
            os.close(make_file(directory, "c.log", ACCESS))
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a" / "b") == mode_of(tmp_path / "a") == 0o705
    assert mode_of(tmp_path / "a" / "b" / "c.log") == 0o604
    with directory_of(str(tmp_path), "a/b/c.log") as directory:
        fd = open_file(directory, "c.log")
        os.write(fd, b"x")
        os.close(fd)
        with pytest.raises(FileExistsError):
            make_file(directory, "c.log", ACCESS)
    assert (tmp_path / "a" / "b" / "c.log").read_bytes() == b"x"


def test_a_missing_directory_is_an_error_for_those_who_only_look(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), directory_of(str(tmp_path), "a/b"):
        pass
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("where", ["a", "a/b"])
def test_no_link_is_followed_below_the_root(tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    root = tmp_path / "root"
    (root / where).parent.mkdir(parents=True)
    (root / where).symlink_to(outside)
    with pytest.raises(Unsafe), directory_of(str(root), "a/b/c.log", ACCESS):
        pass
    assert [*outside.iterdir()] == [outside / "b"]


def test_a_link_that_leads_to_the_root_is_the_administrators(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with directory_of(str(tmp_path / "link"), "a/c.log", ACCESS):
        assert (tmp_path / "real" / "a").is_dir()


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    (tmp_path / "link").symlink_to("outside")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with directory_of(str(tmp_path), "x") as directory:
        for name in ("link", "directory", "pipe"):
            with pytest.raises(Unsafe, match="is a link, or not what"):
                open_file(directory, name)
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(Unsafe, match="is no regular file"):
            open_file(directory, "pipe")
        os.close(reader)
        with pytest.raises(FileNotFoundError):
            open_file(directory, "missing")


def test_the_root_is_made_and_has_to_be_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_root(str(tmp_path / "a" / "b"), ACCESS)
    assert mode_of(tmp_path / "a" / "b") == 0o705
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(PermissionError):
        make_root(str(tmp_path / "a" / "b"), ACCESS)


def test_owner_and_group_are_set_and_a_refusal_says_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(os, "fchown", lambda fd, owner, group: given.append((owner, group)))
    with directory_of(str(tmp_path), "x") as directory:
        os.close(make_file(directory, "x", Access(owner=7, group=8)))
        assert given == [(7, 8)]

        def refuse(*_: Any) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "fchown", refuse)
        monkeypatch.setattr(below, "user_name", lambda uid: "syslogrelay")
        with pytest.raises(OSError, match="user syslogrelay may not give files to another owner"):
            make_file(directory, "y", Access(group=8))
    assert not (tmp_path / "y").exists()
