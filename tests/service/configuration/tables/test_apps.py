from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from relay.model.token import Token
from relay.service.configuration.model import AppConfiguration
from relay.service.configuration.reading import Reading
from relay.service.configuration.tables.apps import read_apps
from tests.certificate_files import make_certificate_files

SECRET = "web-token-0123456789"
FINGERPRINT = "SHA-256:" + "AB:" * 31 + "CD"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "same").write_text(SECRET)
    (tmp_path / "new").write_text("web-token-9876543210")
    make_certificate_files(tmp_path)
    return tmp_path


def apps(folder: Path, values: object) -> tuple[tuple[AppConfiguration, ...], list[str]]:
    reading = Reading(str(folder))
    return read_apps(values, reading), reading.problems


def test_everything_that_authorises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_TOKEN", "env-token-0123456789")
    read, problems = apps(
        folder,
        {
            "web": {
                "token_file": "token",
                "token_files": ["same", "new"],
                "token_env": "APP_TOKEN",
                "networks": ["10.1.0.0/16", "::1"],
                "tls_names": ["*.web.example.com"],
                "tls_fingerprints": [FINGERPRINT],
            }
        },
    )
    assert problems == []
    assert read == (
        AppConfiguration(
            "web",
            tuple(map(Token, (SECRET.encode(), b"web-token-9876543210", b"env-token-0123456789"))),
            (ip_network("10.1.0.0/16"), ip_network("::1")),
            ("*.web.example.com",),
            (FINGERPRINT,),
        ),
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([], "apps: expected tables [apps.ID], found a list of 0"),
        ({"a b": {"networks": ["::1"]}}, 'apps."a b": expected an id of at most 63'),
        ({"a": 5}, "apps.a: expected a table, found 5"),
        ({"a": {}}, "apps.a: nothing authorises a message for it; add at least one of token_file,"),
        ({"a": {"tokenfile": "x"}}, "apps.a.tokenfile: unknown key, did you mean 'token_file'?"),
        ({"a": {"token_file": "absent"}}, "apps.a.token_file: cannot read the token file"),
        ({"a": {"token_files": ["token", "no"]}}, "apps.a.token_files: cannot read the token file"),
        ({"a": {"token_env": "NOT_SET_"}}, "apps.a.token_env: the environment variable NOT_SET_"),
        ({"a": {"networks": ["10.1"]}}, "apps.a.networks: expected an address or a network"),
        ({"a": {"tls_names": []}}, "apps.a.tls_names: expected a list of names, found an empty"),
    ],
)
def test_what_is_no_app(folder: Path, values: object, problem: str) -> None:
    _, (said,) = apps(folder, values)
    assert said.startswith(problem)
