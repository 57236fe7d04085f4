from __future__ import annotations

import importlib.util
from pathlib import Path

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
