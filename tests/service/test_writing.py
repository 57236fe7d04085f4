from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.service.writing import PUBLIC_MODE, SECRET_MODE, Written, write_files


def pair(folder: Path, text: bytes = b"new") -> list[Written]:
    return [
        Written(folder / "key.pem", text, SECRET_MODE),
        Written(folder / "own.pem", text, PUBLIC_MODE),
    ]


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_new_files_have_their_permissions(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_files(pair(tmp_path), replace=False)
    finally:
        os.umask(before)
    assert (mode_of(tmp_path / "key.pem"), mode_of(tmp_path / "own.pem")) == (0o600, 0o644)
    assert sorted(os.listdir(tmp_path)) == ["key.pem", "own.pem"]


def test_nothing_is_overwritten_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_files(pair(tmp_path), replace=False)
    assert os.listdir(tmp_path) == ["own.pem"]
    assert (tmp_path / "own.pem").read_bytes() == b"old"


def test_a_replaced_key_keeps_its_group_and_shuts_others_out(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(b"old")
    key.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(key, 0, 12345)
    write_files(pair(tmp_path), replace=True)
    assert key.read_bytes() == b"new"
    assert mode_of(key) == 0o640
    if os.geteuid() == 0:
        assert key.stat().st_gid == 12345


def test_the_key_has_its_name_before_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    real = os.replace

    def replace(new: Path, place: Path) -> None:
        assert Path(new).read_bytes() == b"new"  # whole before it has its name
        names.append(Path(place).name)
        real(new, place)

    monkeypatch.setattr(os, "replace", replace)
    write_files(pair(tmp_path), replace=True)
    assert names == ["key.pem", "own.pem"]


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/key1.pem").write_bytes(b"old")
    (tmp_path / "key.pem").symlink_to("archive/key1.pem")
    write_files(pair(tmp_path), replace=True)
    assert (tmp_path / "key.pem").is_symlink()
    assert (tmp_path / "archive/key1.pem").read_bytes() == b"new"


def test_a_failure_leaves_the_old_pair(tmp_path: Path) -> None:
    write_files(pair(tmp_path, b"old"), replace=False)
    files = [*pair(tmp_path), Written(tmp_path / "missing/ca.pem", b"", PUBLIC_MODE)]
    with pytest.raises(FileNotFoundError):
        write_files(files, replace=True)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}


def test_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", link)
    write_files(pair(tmp_path), replace=False)
    assert sorted(os.listdir(tmp_path)) == ["key.pem", "own.pem"]


def test_a_device_or_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own.pem")
    with pytest.raises(OSError, match=r"not a regular file: '.*/own\.pem'"):
        write_files(pair(tmp_path), replace=True)
    assert os.listdir(tmp_path) == ["own.pem"]
    assert (tmp_path / "own.pem").is_fifo()


def test_an_error_names_the_file_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_files([Written(tmp_path / "none" / "key.pem", b"", SECRET_MODE)], replace=True)
    assert caught.value.filename == str(tmp_path / "none" / "key.pem")
