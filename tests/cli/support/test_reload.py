from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main

ANSWER: dict[str, Any] = {
    "path": "/etc/relay.toml",
    "dry_run": False,
    "problems": [],
    "changes": [],
    "restart": [],
    "failures": [],
    "warnings": [],
}
CHANGES = [
    {"what": "changed", "table": "sources.app", "keys": ["allow", "deny"]},
    {"what": "added", "table": "destinations.central", "keys": []},
]


def invoked(monkeypatch: pytest.MonkeyPatch, *options: str, **answer: Any) -> tuple[Result, Any]:
    asked: list[Any] = []

    def ask(state_dir: str, command: str, arguments: Any, **_: Any) -> Any:
        asked.append((command, arguments))
        return {**ANSWER, **answer}

    monkeypatch.setattr("relay.cli.support.reload.ask", ask)
    if "-c" not in options:
        options = ("-d", "/state", *options)
    return CliRunner().invoke(main, ["reload", *options]), asked


def test_it_shows_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    done, asked = invoked(monkeypatch, changes=CHANGES)
    assert asked == [("reload", {"dry_run": False})]
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "/etc/relay.toml: 2 changes applied",
        "  sources.app           changed: allow, deny",
        "  destinations.central  added",
    ]


def test_a_dry_run_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    done, asked = invoked(monkeypatch, "--dry-run", changes=CHANGES, dry_run=True)
    assert asked == [("reload", {"dry_run": True})]
    assert done.stdout.startswith("/etc/relay.toml: 2 changes would be applied\n")
    done, _ = invoked(monkeypatch, "--dry-run", problems=["x: y"], dry_run=True)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "x: y\n/etc/relay.toml: would be refused: 1 problem\n"


def test_a_change_that_waits_or_has_failed_is_not_called_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = {"what": "changed", "table": "relay", "keys": ["name", "state_dir"]}
    restart = ["relay.name", "relay.state_dir"]
    done, _ = invoked(
        monkeypatch, changes=[*CHANGES, waits], restart=restart, failures=["source app: in use"]
    )
    first = "/etc/relay.toml: 1 change applied, 1 after a restart, 1 failed"
    assert (done.exit_code, done.stdout.splitlines()[0]) == (1, first)
    assert "until then the old value holds: relay.name, relay.state_dir\n" in done.stderr
    done, _ = invoked(monkeypatch, changes=[waits], restart=["relay.state_dir"])
    assert done.stdout.startswith("/etc/relay.toml: 1 change applied\n")  # the name is in use


def test_nothing_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = invoked(monkeypatch)
    assert (done.exit_code, done.stdout) == (0, "/etc/relay.toml: nothing has changed\n")


def test_all_problems_are_shown_and_the_status_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = ["/etc/relay.toml:3: relay.x: unknown", "/etc/relay.toml:9: \x1b[2J"]
    done, _ = invoked(monkeypatch, problems=problems, warnings=["w"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "warning: w",
        problems[0],
        r"/etc/relay.toml:9: \x1b[2J",
        "/etc/relay.toml: nothing is changed: 2 problems",
    ]


def test_keys_that_need_a_restart_and_failures_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"restart": ["relay.name"], "failures": ["source app: cannot listen"]}
    done, _ = invoked(monkeypatch, changes=CHANGES, **more)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "used after a restart, until then the old value holds: relay.name",
        "failed: source app: cannot listen",
    ]
    done, _ = invoked(monkeypatch, changes=CHANGES, restart=["relay.name"])
    assert done.exit_code == 0


def test_json_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = invoked(monkeypatch, "--json", problems=["x"])
    assert (done.exit_code, json.loads(done.stdout)) == (1, {**ANSWER, "problems": ["x"]})


def test_the_relay_reads_the_file_that_it_was_started_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text('[relay]\nstate_dir = "/state"\n[sources.x]\n')
    done, _ = invoked(monkeypatch, "-c", f"{tmp_path}/other.toml")
    assert done.stderr == "the relay has read /etc/relay.toml, with which it was started\n"
