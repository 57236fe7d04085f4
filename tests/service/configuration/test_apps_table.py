from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.model.token import Token
from relay.service.configuration.apps_table import read_apps
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import AppConfiguration, Configuration
from relay.service.configuration.reading import Reading
from relay.service.kinds import KINDS
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
                "tls_fingerprints": [FINGERPRINT.replace("SHA-256", "sha256").lower()],
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
        ({"a": {"tls_names": ["web.*"]}}, "apps.a.tls_names: expected host names, addresses and"),
        ({"a": {"tls_fingerprints": ["x"]}}, "apps.a.tls_fingerprints: expected SHA-256: or SHA-1"),
    ],
)
def test_what_is_no_app(folder: Path, values: object, problem: str) -> None:
    _, (said,) = apps(folder, values)
    assert said.startswith(problem)


def read(folder: Path, text: str) -> Configuration:
    (folder / "relay.toml").write_text(text)
    return read_configuration(str(folder / "relay.toml"), KINDS)


APPS = """
    [apps.web]
    token_files = ["token", "new"]
    [apps.shop]
    networks = ["10.1.0.0/16"]
    [apps.db]
    tls_names = ["db.example.com"]
"""
SOURCE = """
    [sources.in]
    listen = "tcp://:514"
    authorise = ["token", "network"]
"""
DESTINATION = """
    [destinations.out]
    connect = "tcp://far:514"
"""
TLS = 'certificate = "server.pem"\nprivate_key = "server-key.pem"\n'


def test_a_whole_file(folder: Path) -> None:
    configuration = read(
        folder,
        "[relay]\nquarantine_bytes_max = '1 MiB'\nquarantine_seconds_max = 3600\n"
        + APPS
        + SOURCE
        + 'unauthorised = "quarantine"\nkeep_tokens = true\n'
        + DESTINATION
        + 'apps = ["web", "shop"]',
    )
    assert [app.id for app in configuration.apps] == ["web", "shop", "db"]
    (source,) = configuration.sources
    assert (source.authorise, source.unauthorised, source.keep_tokens) == (
        ("token", "network"),
        "quarantine",
        True,
    )
    assert configuration.destinations[0].apps == ("web", "shop")
    assert configuration.quarantine_bytes_max == 2**20
    assert configuration.quarantine_seconds_max == 3600


def test_a_set_of_listeners_authorises_by_name_if_one_of_them_speaks_tls(folder: Path) -> None:
    text = APPS + DESTINATION + '[sources.in]\nlisten = "default-network://"\n'
    text += 'authorise = ["tls-name", "token"]\ntrusted_ca = "ca.pem"\n' + TLS
    configuration = read(folder, text + "")
    assert {source.authorise for source in configuration.sources} == {("tls-name", "token")}
    with pytest.raises(ConfigurationError, match="tls-name has no meaning for udp, tcp, only for"):
        read(folder, text.replace(TLS, "").replace('trusted_ca = "ca.pem"', "rfc5424_tls_port = 0"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            SOURCE + DESTINATION,
            "sources.in.authorise: there is no app to authorise messages for; add at least one "
            "table [apps.ID]",
        ),
        (
            APPS + SOURCE.replace("authorise", "#") + DESTINATION,
            "apps: no source asks for them, so every message would be taken; add for example "
            'authorise = ["token"] to a source, or remove the apps',
        ),
        (
            APPS + SOURCE + DESTINATION + 'apps = ["shopp"]',
            "destinations.out.apps: there is no app 'shopp', did you mean 'shop'? the apps are: "
            "web, shop, db",
        ),
        (
            APPS + SOURCE + DESTINATION + 'apps = ["web", "shop", "db"]',
            "destinations.out.apps: no message of 'db' can come from in; add what authorises it "
            "there, or remove it here",
        ),
        (
            APPS + SOURCE + DESTINATION + 'apps = ["web"]',
            "sources.in: no destination takes its messages of the app 'shop', so they would be "
            "lost; add it to the apps of one",
        ),
        (
            APPS + SOURCE + '[apps.b]\ntoken_file = "same"' + DESTINATION,
            "apps.b: the token web-…6789 is that of apps.web as well; remove it from one of them",
        ),
        (
            APPS + SOURCE + '[apps.b]\nnetworks = ["10.1.0.0/16", "10.1.2.0/24"]' + DESTINATION,
            "apps.b: the network 10.1.0.0/16 is that of apps.shop as well; remove it from one of "
            "them",
        ),
        (
            APPS + SOURCE.replace('"token", ', '"tls-name", ') + DESTINATION,
            "sources.in.authorise: tls-name has no meaning for tcp, only for tls and relp+tls; "
            "remove it or change the URL",
        ),
        (
            APPS
            + '[sources.in]\nlisten = "tls://:514"\nauthorise = ["tls-name"]\n'
            + 'peer_verify = "none"\n'
            + TLS
            + DESTINATION,
            'sources.in.authorise: tls-name has no meaning with peer_verify = "none", which asks '
            "no peer for a certificate; remove one of them",
        ),
        (
            APPS + SOURCE.replace("tcp://:514", "unix:/x") + DESTINATION,
            "sources.in.authorise: network has no meaning for unix, where senders have no "
            "address; remove it",
        ),
        (
            '[apps.a]\ntls_names = ["a"]\n' + SOURCE + DESTINATION,
            "sources.in.authorise: no app has anything for token, network, so every message would "
            "be refused; add it to an app or authorise in another way",
        ),
        (
            APPS + SOURCE + '[sources.b]\nlisten = "udp://:1"\nkeep_tokens = true' + DESTINATION,
            "sources.b.keep_tokens: has no meaning without authorise; add that or remove this",
        ),
        (
            APPS
            + SOURCE
            + '[sources.b]\nlisten = "udp://:1"'
            + DESTINATION
            + 'apps = ["web", "shop"]',
            "sources.b: it has no authorise and feeds only destinations with apps, so its "
            "messages would be lost; add authorise, or feed a destination without apps",
        ),
        (
            APPS + SOURCE.replace('"token"', '"tokens"') + DESTINATION,
            "sources.in.authorise: expected one of token, tls-name, network; found 'tokens', did "
            "you mean 'token'?",
        ),
    ],
)
def test_what_does_not_fit_together(folder: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    assert [said.partition(": ")[2] for said in caught.value.problems] == [problem]
    assert SECRET not in str(caught.value)


def test_a_network_inside_another_is_no_trouble(folder: Path) -> None:
    text = APPS + SOURCE + '[apps.b]\nnetworks = ["10.1.2.0/24"]' + DESTINATION
    assert len(read(folder, text).apps) == 4
