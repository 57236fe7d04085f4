from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay.service.configuration.masking import (
    masked,
    masked_arguments,
    masked_named,
    masked_path,
    masked_whole,
)

UUID = "99999999-8888-7777-6666-555555555555"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing to hide", "nothing to hide"),
        ("my-token here", "MASKED here"),
        (f"https://es.example.com/{UUID}/_bulk", "https://es.example.com/MASKED/_bulk"),
        ("https://joe:pw@es.example.com/x", "https://MASKED@es.example.com/x"),
        ("https://es/x?a=1&key=2", "https://es/x?a=MASKED&key=MASKED"),
        ("-----BEGIN PRIVATE KEY-----\nMII", "MASKED"),
        ("user@host is no URL", "user@host is no URL"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert masked(text, ["my-token", "no"]) == expected


def test_tables_and_lists_are_masked_inside() -> None:
    value = {"mode": "cee", "list": [{"x": UUID}, 3, True]}
    assert masked(value, []) == {"mode": "cee", "list": [{"x": "MASKED"}, 3, True]}


def test_a_pasted_token_is_masked_and_the_name_of_a_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pasted = "a1b2c3d4e5f6a7b8c9d0e1f2"
    assert masked_named(pasted, "token_file", []) == "MASKED"
    assert masked_named(f"/etc/{pasted}", "key_file", []) == "/etc/MASKED"
    assert masked_named("/etc/syslogrelay/token", "token_file", []) == "/etc/syslogrelay/token"
    (tmp_path / pasted).write_text("")
    assert masked_named(f"{tmp_path}/{pasted}", "token_file", []) == f"{tmp_path}/{pasted}"
    assert masked_named(pasted, "hostname", []) == pasted
    monkeypatch.setenv(pasted, "secret")
    assert masked_named(pasted, "token_env", []) == pasted


def test_arguments_are_masked_by_the_option_before_them() -> None:
    arguments = ["/usr/bin/told", "--to", "ops", "--password", "p", "--token=t", "key: x"]
    assert masked_arguments(arguments, []) == [
        *("/usr/bin/told", "--to", "ops", "--password", "MASKED", "--token=MASKED", "key: x"),
    ]


def test_whole_values() -> None:
    value = {"Authorization": "x", "list": [1, True]}
    assert masked_whole(value) == {"Authorization": "MASKED", "list": ["MASKED", True]}


def test_the_path_of_a_webhook_is_a_secret() -> None:
    assert masked_path("https://hooks.example.com/T/B/x") == "https://hooks.example.com/MASKED"
    assert masked_path("https://hooks.example.com") == "https://hooks.example.com"
    assert masked_path(3) == 3


def test_masks_are_valid_where_secrets_were() -> None:
    assert isinstance(pattern := masked("a(my-token)+", ["my-token"]), str)
    assert re.search(pattern, "aMASKED")


def test_settings_of_a_library_hold_secrets_themselves() -> None:
    options = {
        "sasl.oauthbearer.assertion.private.key.passphrase": "hunter2",
        "ssl.keystore.password": "hunter2",
        "sasl.oauthbearer.config": "secret=hunter2",
        "socket.keepalive.enable": "true",
    }
    assert "hunter2" not in str(shown := masked(options, []))
    assert isinstance(shown, dict) and shown["socket.keepalive.enable"] == "true"
