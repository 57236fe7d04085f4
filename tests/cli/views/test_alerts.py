from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main

ALERT = {
    "rule": "silent",
    "subject": "source net, 192.0.2.1",
    "text": "nothing has come for 1 d\x1b[2J",
    "severity": "warning",
    "since": 1_700_000_000.0,
}
OUTLET = {
    "name": "webhook alerts.example.com:443",
    "told": 5,
    "waiting": 0,
    "failures": 0,
    "given_up": 0,
    "dropped": 0,
    "last_error": "",
}
REPORT = {"running": [ALERT], "ended": [], "left_out": {}, "outlets": [OUTLET]}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    def show(report: object, *arguments: str) -> Result:
        asked = []

        def ask(state_dir: str, command: str) -> object:
            asked.append((state_dir, command))
            return json.loads(json.dumps(report))

        monkeypatch.setattr("relay.cli.views.alerts.ask", ask)
        monkeypatch.setattr("relay.cli.views.alerts.time.time", lambda: 1_700_000_090.0)
        result = CliRunner().invoke(main, ["alerts", "--state-dir", "/there", *arguments])
        assert asked == [("/there", "alerts")]
        return result

    return show


def test_what_runs_is_shown_and_nothing_of_it_reaches_the_terminal_raw(shown: Any) -> None:
    result = shown(REPORT)
    assert result.exit_code == 0
    assert result.output == (
        "2023-11-14T22:13:20.000Z, for 1 m 30 s: source net, 192.0.2.1: nothing has come for 1 d"
        "\\x1b[2J (silent)\n"
    )


def test_what_has_ended_is_shown_on_request(shown: Any) -> None:
    report = {**REPORT, "running": [], "ended": [{**ALERT, "ended": 1_700_000_030.0}]}
    assert shown(report).output == "no alert\n"
    none, ended = shown(report, "--all").output.splitlines()
    assert none == "no alert"
    assert ended.startswith("2023-11-14T22:13:20.000Z, ended after 30 s: source net, 192.0.2.1: ")


def test_json_has_all_that_is_asked_for(shown: Any) -> None:
    without = {key: value for key, value in REPORT.items() if key != "ended"}
    assert json.loads(shown(REPORT, "--json").output) == without
    assert json.loads(shown(REPORT, "--json", "--all").output) == REPORT


def test_trouble_with_receivers_and_too_many_alerts_are_shown(shown: Any) -> None:
    outlet = {**OUTLET, "waiting": 3, "dropped": 1200, "last_error": "answers 500"}
    report = {**REPORT, "running": [], "left_out": {"silent": 7}, "outlets": [outlet, OUTLET]}
    assert shown(report).output.splitlines() == [
        "no alert",
        "7 more alerts of silent are not told",
        "webhook alerts.example.com:443: answers 500, waiting 3, dropped 1,200",
    ]


def test_a_relay_without_alerts_says_how_to_have_some(shown: Any) -> None:
    result = shown(None)
    assert result.exit_code == 2
    assert "no table [alerts]" in result.stderr
