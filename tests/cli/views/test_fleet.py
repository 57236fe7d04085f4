from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.main import main

WEB = {
    "host": "web-1",
    "peer": "web-1.example.com",
    "version": "1.2",
    "queued_records": 18211,
    "oldest_seconds": 64,
    "last_seen_seconds": 12.0,
    "state": "ok",
}
HOSTILE = {
    **WEB,
    "host": "x\x1b[2J",
    "queued_records": None,
    "oldest_seconds": None,
    "state": "not seen for 5 m",
}


def invoked(monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], *options: str) -> Any:
    monkeypatch.setattr("relay.cli.views.fleet.ask", lambda *_: document)
    return CliRunner().invoke(main, ["fleet", *options])


def test_it_shows_who_reports_and_what_waits_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = invoked(monkeypatch, {"fleet": [WEB, HOSTILE]}).output.splitlines()
    assert lines[1].split() == ["web-1", "web-1.example.com", "1.2", "18,211", "1m4s", "12s"]
    assert r"x\x1b[2J (web-1.example.com): not seen for 5 m" in map(str.rstrip, lines)
    assert all(line.isprintable() for line in lines)


def test_json_has_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(invoked(monkeypatch, {"fleet": [WEB]}, "--json").output) == [WEB]


def test_without_any_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no relay has reported" in invoked(monkeypatch, {"fleet": []}).output


def test_an_older_relay_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoked(monkeypatch, {})
    assert result.exit_code != 0
    assert "older version" in result.output
