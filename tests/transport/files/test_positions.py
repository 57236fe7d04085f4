from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.model.clock import WallClock
from relay.transport.files.positions import FilePositions
from relay.wire.file_position import FilePosition, parse_position

DAY = 86400.0


def position_of(path: Path, offset: int = 5, size: int = 1) -> FilePosition:
    status = os.stat(path)
    fingerprint = "f" if size else ""
    return FilePosition(str(path), status.st_dev, status.st_ino, offset, fingerprint, size)


def stored(*positions: FilePosition) -> dict[str, bytes]:
    return {**FilePositions.mark(), **{each.name: each.encode() for each in positions}}


def test_the_first_use_is_known_even_if_there_were_no_files() -> None:
    assert FilePositions({}).is_first_use
    assert not FilePositions(FilePositions.mark()).is_first_use


def test_a_file_is_known_by_its_identity_or_after_a_reboot_by_inode_and_path() -> None:
    position = FilePosition("/a", 1, 2, 3, "f", 1)
    positions = FilePositions(stored(position, FilePosition("/b", 1, 5, 3)))
    assert positions.find((1, 2), "/other") == position
    assert positions.find((9, 2), "/a") == position
    assert positions.find((9, 2), "/other") is None
    assert positions.find((1, 9), "/a") is None
    positions.forget(position.name)
    assert positions.find((9, 2), "/a") is None


def test_what_is_damaged_is_ignored() -> None:
    position = FilePosition("/a", 1, 2, 3)
    positions = FilePositions({position.name: b"{", "1-9": position.encode()})
    assert positions.find((1, 2), "/a") is None
    assert positions.find((1, 9), "/a") is None


def test_moved_files_are_found_in_their_directory(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.log"):
        (tmp_path / name).write_text(name)
    known = [position_of(tmp_path / name) for name in ("a.log", "b.log", "c.log")]
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    (tmp_path / "c.log").rename(tmp_path / "c.new.log")
    paths = {str(tmp_path / name) for name in ("b.log", "c.new.log")}
    positions = FilePositions(stored(*known))
    assert list(positions.moved(paths)) == [(known[0], str(tmp_path / "a.log.1"))]


@pytest.mark.parametrize(
    ("new_name", "is_found"), [("a.log.1", True), ("a.log.1.gz", False), ("b", False)]
)
def test_of_an_empty_file_the_name_has_to_fit(
    tmp_path: Path, new_name: str, is_found: bool
) -> None:
    (tmp_path / "a.log").touch()
    known = position_of(tmp_path / "a.log", offset=0, size=0)
    (tmp_path / "a.log").rename(tmp_path / new_name)
    assert bool(list(FilePositions(stored(known)).moved(set()))) == is_found


def at(now: float) -> WallClock:
    return WallClock(now=lambda: now, elapsed=float)


def test_what_is_gone_for_a_week_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "open").touch()
    gone = FilePosition(str(tmp_path / "gone"), 1, 2, 3)
    opened = FilePosition(str(tmp_path / "other"), 1, 4, 3)
    positions = FilePositions(stored(position_of(tmp_path / "a"), gone, opened))
    changes = positions.tidy({opened.name}, wall=at(100.0))
    assert {name: parse_position(data) for name, data in changes.items()} == {
        gone.name: gone._replace(gone_at=100.0)
    }
    assert positions.tidy({opened.name}, wall=at(100.0 + 7 * DAY)) == {}
    assert positions.tidy({opened.name}, wall=at(101.0 + 7 * DAY)) == {gone.name: b""}
    assert positions.tidy({opened.name}, wall=at(102.0 + 7 * DAY)) == {}


def test_what_comes_back_is_not_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    position = position_of(tmp_path / "a")._replace(gone_at=1.0)
    positions = FilePositions(stored(position))
    changes = positions.tidy(set(), wall=at(100 * DAY))
    assert changes == {position.name: position._replace(gone_at=0.0).encode()}


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.transport.files.positions._POSITIONS_MAX", 2)
    known = [FilePosition("/none/x", 1, inode, 3, gone_at=9.0 - inode) for inode in (1, 2, 3)]
    positions = FilePositions(stored(*known))
    assert positions.tidy(set(), wall=at(10.0)) == {known[2].name: b""}


def test_damaged_positions_are_none_but_no_first_use() -> None:
    """A file is then read from its beginning, whatever is said of the first use."""
    positions = FilePositions({"used": b"", "804-2f": b""})
    assert not positions.is_first_use
    assert positions.find((0x804, 0x2F), "/var/log/a.log") is None
