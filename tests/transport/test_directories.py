from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from relay.transport.directories import make_parents


def logged(path: Path) -> list[str]:
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        make_parents(str(path))
    finally:
        globalLogPublisher.removeObserver(observe)
    return lines


def test_each_directory_that_is_made_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "log.sock"
    assert logged(path) == [
        f"made directory {tmp_path}/a for {path}",
        f"made directory {tmp_path}/a/b for {path}",
    ]
    assert path.parent.is_dir() and not path.exists()
    assert logged(path) == []


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError) as failed:
        make_parents(str(tmp_path / "a" / "log.sock"))
    assert failed.value.strerror == (
        f"cannot make the directory {tmp_path}/a: File exists; move away what lies there, or "
        "choose another path"
    )


def test_a_directory_that_cannot_be_made_is_named() -> None:
    with pytest.raises(FileNotFoundError) as failed:
        make_parents("/proc/nope/deep/received.log")
    assert failed.value.strerror == (
        "cannot make the directory /proc/nope: No such file or directory; make it and let the "
        "relay's user write to it, or choose another path"
    )


def test_a_path_without_a_directory_needs_none() -> None:
    make_parents("log.sock")
