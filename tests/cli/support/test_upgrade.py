from __future__ import annotations

import os
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.control_client import AskFailed, NoRelay
from relay.cli.main import main
from relay.cli.support import upgrade as module

BEGUN = {"id": "x", "pid": os.getpid(), "version": "2.0", "version_before": "1.0"}
DONE = {
    **BEGUN,
    "seconds": 1.234,
    "sockets": 3,
    "connections": 1,
    "connections_closed": 0,
    "sockets_closed": [],
}


def invoked(monkeypatch: pytest.MonkeyPatch, *answers: Any, options: Any = ()) -> Any:
    """The outcome of `upgrade` when the relay gives these answers, and then the last for ever."""
    left = list(answers)

    def ask(state_dir: str, command: str, **_: Any) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "ask", ask)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)
    return CliRunner().invoke(main, ["upgrade", "-d", "/state", *options])


def test_it_waits_for_the_new_version_and_says_what_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    earlier = {**DONE, "id": "of an earlier one"}
    outcome = invoked(monkeypatch, BEGUN, earlier, NoRelay("none"), AskFailed("starts"), DONE)
    assert (outcome.exit_code, outcome.output) == (
        0,
        "upgraded from version 1.0 to 2.0 in 1.23 s: 3 sockets and 1 open connection handed over\n",
    )


def test_what_was_not_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    report = {**DONE, "sockets_closed": ["held stream %3A514"], "connections_closed": 2}
    assert invoked(monkeypatch, BEGUN, report).output.splitlines()[1:] == [
        "closed, as no source uses it any more: stream :514",
        "2 connections could not be kept; the log says why",
    ]


def test_a_refusal_has_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = invoked(monkeypatch, AskFailed("refused: no such key"))
    assert (outcome.exit_code, outcome.output) == (1, "syslogrelay: refused: no such key\n")


def test_without_a_relay_the_status_is_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoked(monkeypatch, NoRelay("no relay is running")).exit_code == 2


def test_a_new_version_that_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = invoked(monkeypatch, {**BEGUN, "pid": 2**22 + 1}, NoRelay("none"))
    assert outcome.exit_code == 1
    assert "the new version 2.0 has ended at its start" in outcome.output


def test_a_new_version_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", iter(range(0, 1000, 2)).__next__)
    outcome = invoked(monkeypatch, BEGUN, NoRelay("none"), options=["--timeout", "5"])
    assert outcome.exit_code == 1
    assert "does not answer after 5 s: none" in outcome.output
