from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.observe.alerts.baseline import Baseline, Level
from relay.observe.alerts.incidents import Alert
from relay.service.alerts.memory import Memory, load, save

MEMORY = Memory(
    baselines={"net": Baseline(every=Level(5, 2.5, 0.5))},
    idle=[("net", "192.0.2.1", 3.5)],
    running=[Alert("down", "destination out", "refused", "error", 1e9)],
    ended=[Alert("drops", "source net", "lost", "error", 1e9, 1e9 + 5)],
    waiting={"webhook x:1": [{"event": "begin", "rule": "down"}]},
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "alerts.json")
    assert load(path) == Memory()
    save(path, Memory())
    save(path, MEMORY)
    assert load(path) == MEMORY
    assert os.listdir(tmp_path) == ["alerts.json"]
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(0, 600, 37))
def test_a_file_that_is_cut_is_damaged(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    save(str(path), MEMORY)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="is damaged"):
        load(str(path))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"version": 2}', "is of version 2, and this relay knows 1"),
        (b'{"version": 1, "idle": [["net", 5, 3.5]]}', "is damaged: Expected `str`"),
        (b'{"running": [{"rule": "x"}]}', "is damaged: Object missing required field"),
        (b"\xff", "is damaged"),
        (b"[" * 100_000, "is damaged"),
    ],
)
def test_another_file_is_named_with_what_is_wrong(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "alerts.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        load(str(path))


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    path.mkdir()
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        load(str(path))
    with pytest.raises(OSError, match="Is a directory"):
        save(str(path), MEMORY)
    assert os.listdir(tmp_path) == ["alerts.json"]


def test_a_named_pipe_holds_nothing_up(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="cannot be read: it is not a regular file"):
        load(str(path))
    os.mkfifo(f"{path}.new")
    save(str(path), MEMORY)
    assert load(str(path)) == MEMORY


def test_a_link_in_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "alerts.json", tmp_path / "other"
    other.write_text("of somebody else")
    os.symlink(other, f"{path}.new")
    save(str(path), MEMORY)
    assert load(str(path)) == MEMORY
    assert other.read_text() == "of somebody else"


@pytest.mark.parametrize("times", ['"since": 1e300', '"since": -5', '"since": 1, "ended": 1e12'])
def test_a_time_that_cannot_be_told_is_damage(times: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    alert = '"rule": "x", "subject": "y", "text": "z", "severity": "error"'
    path.write_text(f'{{"ended": [{{{alert}, {times}}}]}}')
    with pytest.raises(ValueError, match="is damaged: Expected `float`"):
        load(str(path))
