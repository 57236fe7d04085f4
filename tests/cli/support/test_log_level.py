from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main
from relay.cli.support import log_level as module


class Relay:
    """Answers as a relay would, and remembers what it was asked."""

    def __init__(self, **report: object) -> None:
        self.report = {"level": "info", "configured": "info", "namespaces": {}, **report}
        self.asked: list[object] = []

    def ask(self, state_dir: str, command: str, arguments: Any) -> object:
        self.asked.append((state_dir, command, arguments))
        return self.report


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    made = Relay()
    monkeypatch.setattr(module, "ask", made.ask)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["log-level", "-d", "/var/state", *arguments])


def test_the_level_is_shown(relay: Relay) -> None:
    assert (run().exit_code, run().stdout) == (0, "info\n")
    assert relay.asked[0] == ("/var/state", "log-level", {})


def test_what_a_restart_ends_is_said(relay: Relay) -> None:
    relay.report |= {"level": "debug", "namespaces": {"relay.commits": "warn"}}
    until = ", until the relay restarts\n"
    assert run("debug").stdout == f"debug{until}relay.commits: warn{until}"
    assert relay.asked == [("/var/state", "log-level", {"level": "debug", "namespace": ""})]


def test_a_namespace_alone_means_nothing(relay: Relay) -> None:
    done = run("--namespace", "relay")
    assert (done.exit_code, "--namespace is for a LEVEL" in done.stderr) == (2, True)
    assert run("loud").exit_code == 2
    assert relay.asked == []
