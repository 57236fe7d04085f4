from __future__ import annotations

from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
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
            '[apps.a]\ntls_names = ["web.*"]' + SOURCE + DESTINATION,
            "apps.a.tls_names: expected host names, addresses and wildcards such as *.example.com "
            "(the whole left-most label), found 'web.*'",
        ),
        (
            '[apps.a]\ntls_fingerprints = ["x"]' + SOURCE + DESTINATION,
            "apps.a.tls_fingerprints: expected SHA-256: or SHA-1: and the digest in hexadecimal, "
            "found 'x'; openssl x509 -noout -fingerprint -sha256 -in FILE shows it",
        ),
        (
            APPS
            + f'[apps.b]\ntls_fingerprints = ["{FINGERPRINT}"]\n'
            + f'[apps.c]\ntls_fingerprints = ["{FINGERPRINT.lower()}"]'
            + SOURCE
            + DESTINATION,
            f"apps.c: the fingerprint {FINGERPRINT} is that of apps.b as well; remove it from one "
            "of them",
        ),
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
            "sources.in.authorise: tls-name has no meaning for tcp, only for dtls and tls and "
            "relp+tls and https; remove it or change the URL",
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
