from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.cli.views import top


def test_it_needs_a_terminal(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["top", "-d", str(tmp_path)])
    assert done.exit_code == 2
    assert "top needs a terminal; `syslogrelay status --watch` works without one" in done.stderr


def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["top", "-d", str(tmp_path)])
    assert done.exit_code == 2
    assert "pip install 'syslogrelay[top]'" in done.stderr
    assert importlib.util.find_spec("textual") is not None


@pytest.mark.parametrize("seconds", ["0.1", "100"])
def test_the_interval_has_bounds(tmp_path: Path, seconds: str) -> None:
    done = CliRunner().invoke(main, ["top", "--interval", seconds, "-d", str(tmp_path)])
    assert (done.exit_code, "0.5<=x<=60" in done.stderr) == (2, True)


class Terminal:
    def isatty(self) -> bool:
        return True


def test_the_screen_is_of_this_relay_and_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay.cli.views import top_app

    asked: list[object] = []

    class Recorded:
        def __init__(self, *arguments: object) -> None:
            asked.append(arguments)

        def run(self) -> None:
            asked.append("run")

    monkeypatch.setattr(top_app, "TopApp", Recorded)
    monkeypatch.setattr(top, "sys", SimpleNamespace(stdin=Terminal(), stdout=Terminal()))
    done = CliRunner().invoke(main, ["top", "--interval", "3", "-d", str(tmp_path)])
    assert (done.exit_code, asked) == (0, [(str(tmp_path), 3.0), "run"])
