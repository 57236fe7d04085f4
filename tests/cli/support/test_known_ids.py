from __future__ import annotations

from pathlib import Path

import click
import pytest

from relay.cli.control_client import NoRelay
from relay.cli.main import main
from relay.cli.support import known_ids as module
from relay.cli.support.known_ids import completing, known_ids

CONFIGURATION = """
include = ["more.toml"]
[sources.network]
listen = "udp://:514"
[destinations.central]
connect = "tcp://far:514"
"""
STATUS = {"sources": [{"id": "in"}], "destinations": [{"id": "out"}], "orphans": ["old"]}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration; no relay runs."""
    (tmp_path / "relay.toml").write_text(CONFIGURATION)
    (tmp_path / "more.toml").write_text("[destinations.copy]\nconnect = 'tcp://far:1'\n")

    def refuse(*_: object, **__: object) -> object:
        raise NoRelay("no relay")

    monkeypatch.setattr(module, "ask", refuse)
    monkeypatch.delenv("SYSLOGRELAY_STATE_DIR", raising=False)
    return str(tmp_path / "relay.toml")


def test_ids_come_from_the_file_and_those_that_it_includes(path: str) -> None:
    assert known_ids(path, None, ["sources", "destinations"]) == ["network", "central", "copy"]
    assert known_ids(path, None, ["destinations", "orphans"]) == ["central", "copy"]


def test_errors_complete_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEFAULT_PATH", "/none")
    Path(path).write_text("[sources\n")
    assert known_ids(path, None, ["sources"]) == []
    assert known_ids("/none", None, ["sources"]) == []
    assert known_ids(None, "/none", ["orphans"]) == []
    assert known_ids(None, None, ["orphans", "destinations"]) == []
    Path(path).write_text("sources = 3\n")
    assert known_ids(path, None, ["sources"]) == []


def test_a_running_relay_knows_its_orphans(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ask", lambda *_, **__: STATUS)
    assert known_ids(None, "var", ["destinations", "orphans"]) == ["out", "old"]
    assert known_ids(None, None, ["orphans"]) == ["old"]
    monkeypatch.setenv("SYSLOGRELAY_STATE_DIR", "var")
    assert known_ids(None, None, ["sources"]) == ["in"]


def test_only_those_are_offered_that_begin_as_typed(path: str) -> None:
    command = click.Command("x", params=[click.Argument(["id"])])
    context = click.Context(command)
    context.params = {"config": path}
    items = completing("destinations")(context, command.params[0], "co")
    assert [item.value for item in items] == ["copy"]


@pytest.mark.parametrize(
    "words",
    ["pause", "resume", "connect", "tap", "queue peek", "queue adopt", "quarantine show"],
)
def test_commands_with_ids_complete_them(words: str, path: str) -> None:
    context, command = click.Context(main), main
    for word in words.split():
        found = command.get_command(context, word)
        assert found is not None
        context = click.Context(found, parent=context)
        command = found  # type: ignore[assignment]
    context.params = {"config": path}
    items = [
        item.value
        for parameter in context.command.params
        if isinstance(parameter, click.Argument)
        for item in parameter.shell_complete(context, "ce")
    ]
    assert items == ["central"]
