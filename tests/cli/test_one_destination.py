from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path

import pytest

from relay.cli.one_destination import OneDestination, read_setting
from tests.clocks import Clock

MESSAGE = b"<13>1 2026-11-30T10:00:00Z host app 1 - - hello"
TOKEN = "99999999-8888-7777-6666-555555555555"


def new(url: str, **keys: object) -> OneDestination:
    return OneDestination(url, keys, flag=lambda key: f"--{key}", zone=UTC)


def test_messages_pass_as_they_are() -> None:
    assert new("tcp://h:514").payloads([MESSAGE, b"x"]) == [MESSAGE, b"x"]


def test_the_form_of_the_kind_is_written(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    sematext = new("sematext://eu", token_file=str(token))
    (payload,) = sematext.payloads([MESSAGE])
    assert TOKEN.encode() in payload
    (payload,) = new("tcp://h:514", format="json").payloads([MESSAGE])
    assert json.loads(payload)["MESSAGE"] == "hello"


@pytest.mark.parametrize(
    ("url", "keys", "message"),
    [
        ("tcp:", {}, "--connect: "),
        ("tcp://h:514", {"framing": "no"}, "--framing: expected one of octet-counting, newline"),
        ("tcp://h:514", {"framming": "newline"}, "--framming: "),
        ("relp://h:1", {"trusted_ca": "/a"}, "--trusted_ca: has no meaning for relp"),
        ("relp+tls://h:1", {"trusted_ca": "/nowhere"}, "--trusted_ca: cannot read /nowhere"),
    ],
)
def test_what_is_wrong(url: str, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        new(url, **keys)


@pytest.mark.parametrize(
    ("url", "is_confirmed"),
    [
        ("relp://127.0.0.1:1", True),
        ("file:/tmp/x.log", True),
        ("tcp://127.0.0.1:1", False),
        ("udp://127.0.0.1:1", False),
        ("unixgram:/tmp/x.sock", False),
    ],
)
def test_who_confirms(url: str, is_confirmed: bool) -> None:
    destination = new(url)
    assert destination.target.partition(":")[0] == url.partition(":")[0]
    assert destination.delivery(Clock()).is_confirmed == is_confirmed


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("tcp://127.0.0.1:1", "handed to the kernel"),
        ("unixgram:/tmp/x.sock", "handed to the kernel"),
        ("unix:/tmp/x.sock", "read by the program at the other end"),
        ("pipe:/tmp/x.pipe", "read by the program at the other end"),
        ("program:/bin/cat", "read by the program at the other end"),
    ],
)
def test_what_is_known_without_a_confirmation(url: str, taken: str) -> None:
    assert new(url).delivery(Clock()).taken == taken


def test_settings_are_toml_or_text() -> None:
    assert read_setting("window_records=5") == ("window_records", 5)
    assert read_setting('a = ["b"]') == ("a", ["b"])
    assert read_setting("framing=newline") == ("framing", "newline")
    for text in ("framing", "=x"):
        with pytest.raises(ValueError, match="expected KEY=VALUE"):
            read_setting(text)
