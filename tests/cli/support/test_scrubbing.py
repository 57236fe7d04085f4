from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.support.scrubbing import Scrubber, secrets_of, texts_of
from relay.service.configuration.file import examine_file
from relay.service.configuration.model import Configuration
from relay.service.kinds import KINDS

UUID = "99999999-8888-7777-6666-555555555555"
TEXT = """
[sources.in]
listen = "tcp://:514"
[destinations.out]
connect = "https://es.example.com/x?key=query-value"
user = "joe"
password_file = "password"
headers = { X-Scope = "header-value" }
rewrite = [{ hash = true, in = [".a"], key_file = "hash.key" }]
[destinations.run]
connect = "program:///bin/cat"
arguments = ["--password=argument-value"]
[alerts]
webhook = "https://hooks.example.com/hook-path"
[apps.one]
token_env = "APP_TOKEN"
[[tests]]
frame = "<13>1 - - - - - - a message"
expect.out = true
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    (tmp_path / "relay.toml").write_text(TEXT)
    (tmp_path / "password").write_text("hunter22\n")
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END PRIVATE KEY-----\n"
    (tmp_path / "hash.key").write_text(key)
    found = examine_file(str(tmp_path / "relay.toml"), KINDS).configuration
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("but b'the eagle lands' follows", "but [15 characters] follows"),
        ('found "a \\" b", and \'\'', "found [6 characters], and ''"),
        (
            "the relay's queue isn't 'known id' but 'other'",
            "the relay's queue isn't 'known id' but [5 characters]",
        ),
        (
            "destination run: standard error: all of it 'x'",
            "destination run: standard error: [13 characters]",
        ),
        ("refused 3 times: 500 no such field", "refused 3 times: 500 [13 characters]"),
        ("tests[0] (name): out: sends 'x'", "tests[0] (name): out: [9 characters]"),
        (f"token {UUID} and secret-1, secret-12", "token MASKED and MASKED, MASKED"),
        ("two lines\nrefused: one\nlast", "two lines\nrefused: [3 characters]\nlast"),
    ],
)
def test_texts_of_others_are_removed(text: str, expected: str) -> None:
    scrubber = Scrubber(["secret-1", "secret-12", "x"], ["known id"])
    assert scrubber.text(text) == expected


def test_documents_are_scrubbed_inside() -> None:
    scrubber = Scrubber(["secret"])
    found = scrubber.document({"a secret": [{"text": "found 'a message'"}, 3, None, True]})
    assert found == {"a MASKED": [{"text": "found [9 characters]"}, 3, None, True]}


def test_all_secrets_that_a_configuration_leads_to(
    configuration: Configuration, tmp_path: Path
) -> None:
    found = secrets_of(configuration, {"APP_TOKEN": "token-of-the-relay", "OTHER": "x"})
    assert "token-of-the-relay" in found
    assert {"hunter22", "header-value", "query-value", "hook-path", "argument-value"} <= found
    assert "MIIEvQIBADANBgkqhkiG9w0B" in found
    assert not any("BEGIN" in secret for secret in found)


def test_credentials_of_systemd_are_secrets_too(tmp_path: Path) -> None:
    (tmp_path / "web").write_text("web-secret\n")
    text = '[web]\ntoken_file = "$CREDENTIALS_DIRECTORY/web"\nadmin_token_file = "%d/x"\n'
    (tmp_path / "relay.toml").write_text(text)
    configuration = examine_file(str(tmp_path / "relay.toml"), KINDS).configuration
    found = secrets_of(configuration, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == {"web-secret"}


def test_texts_that_may_stay_are_those_of_the_configuration(configuration: Configuration) -> None:
    found = texts_of(configuration)
    assert {"in", "out", "tcp://:514", "joe"} <= found
    assert not any("a message" in text for text in found)


def test_without_a_configuration_nothing_is_known() -> None:
    assert (secrets_of(None), texts_of(None)) == (set(), set())
    assert secrets_of(Configuration()) == set()
