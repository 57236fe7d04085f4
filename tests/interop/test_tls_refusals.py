"""Who is refused, by us and by others: authority, name, fingerprint, no certificate at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from tests.certificate_files import (
    CLIENT_NAME,
    SERVER_NAME,
    CertificateFiles,
    make_certificate_files,
)
from tests.interop.lab import Lab
from tests.interop.messages import assert_exactly, messages
from tests.plain_senders import feed_lines, feed_stream
from tests.processes import free_port, wait_until
from tests.relay_process import RelayProcess, received

NO_TRUST = "is not accepted: its issuer 'CN=Test authority' is not among the trusted CAs in "


@pytest.fixture
def strangers(tmp_path: Path) -> CertificateFiles:
    """The same names, signed by an authority that nobody trusts."""
    return make_certificate_files(tmp_path / "strangers")


def say(relay: RelayProcess, words: str) -> None:
    wait_until(lambda: words in relay.log(), f"{words!r} in the log of the relay")


# Senders.

Sender = Callable[[Lab, int, int, bool], None]


def omfwd(lab: Lab, feed: int, port: int, shows_certificate: bool) -> None:
    own = lab.certificates
    certificate = (
        f'streamDriver.CertFile="{own.client_certificate}" streamDriver.KeyFile="{own.client_key}"'
    )
    _rsyslog(
        lab,
        feed,
        f"""
        action(type="omfwd" target="127.0.0.1" port="{port}" template="raw-frame"
          action.resumeRetryCount="-1" action.resumeInterval="1"
          protocol="tcp" TCP_Framing="octet-counted"
          streamDriver="ossl" streamDriverMode="1" streamDriverAuthMode="x509/name"
          streamDriverPermittedPeers="{SERVER_NAME}" streamDriver.CAFile="{own.ca}"
          {certificate if shows_certificate else ""})
        """,
    )


def omrelp(library: str) -> Sender:
    def start(lab: Lab, feed: int, port: int, shows_certificate: bool) -> None:
        _rsyslog(
            lab,
            feed,
            f"""
            module(load="omrelp" tls.tlsLib="{library}")
            action(type="omrelp" target="127.0.0.1" port="{port}" template="raw-frame"
              action.resumeRetryCount="-1" action.resumeInterval="1"
              {lab.rsyslog_relp_tls("client")})
            """,
        )

    return start


def _rsyslog(lab: Lab, feed: int, action: str) -> None:
    lab.rsyslog(
        f"""
        module(load="imptcp" threads="1")
        input(type="imptcp" port="{feed}" address="127.0.0.1")
        {action}
        """,
        tcp=[feed],
    )


def syslog_ng(lab: Lab, feed: int, port: int, shows_certificate: bool) -> None:
    tls = lab.syslog_ng_tls("client")
    if not shows_certificate:
        tls = f'tls(ca-file("{lab.certificates.ca}") peer-verify(required-trusted))'
    lab.syslog_ng(
        f"""
        source s {{ network(ip(127.0.0.1) port({feed}) transport(tcp) flags(syslog-protocol)); }};
        destination d {{ syslog("127.0.0.1" port({port}) transport(tls) {tls}); }};
        log {{ source(s); destination(d); flags(flow-control); }};
        """,
        tcp=[feed],
    )


SENDERS: dict[str, tuple[str, Sender]] = {
    "omfwd": ("tls", omfwd),
    "omrelp-openssl": ("relp+tls", omrelp("openssl")),
    "omrelp-gnutls": ("relp+tls", omrelp("gnutls")),
    "syslog-ng": ("tls", syslog_ng),
}


def listen(lab: Lab, sender: str, port: int, **keys: Any) -> RelayProcess:
    tls = {key: value for key, value in {**lab.server_tls, **keys}.items() if value is not None}
    return lab.relay_from({"listen": f"{SENDERS[sender][0]}://127.0.0.1:{port}", **tls})


def send(lab: Lab, sender: str, port: int, *, shows_certificate: bool = True) -> None:
    """Start the sender and give it something to send."""
    feed = free_port()
    SENDERS[sender][1](lab, feed, port, shows_certificate)
    (feed_lines if sender == "syslog-ng" else feed_stream)(feed, messages(20))


@pytest.mark.parametrize("sender", ["omfwd", "omrelp-openssl", "syslog-ng"])
def test_a_sender_of_another_authority(lab: Lab, strangers: CertificateFiles, sender: str) -> None:
    port = free_port()
    relay = listen(lab, sender, port)
    lab.certificates = replace(
        lab.certificates,
        client_certificate=strangers.client_certificate,
        client_key=strangers.client_key,
    )
    send(lab, sender, port)
    say(relay, NO_TRUST + lab.certificates.ca)
    assert received(lab.arrived) == []


@pytest.mark.parametrize("sender", SENDERS)
def test_a_sender_with_another_name(lab: Lab, sender: str) -> None:
    port = free_port()
    relay = listen(lab, sender, port, peer_names=["web-2.example.com", "*.example.org"])
    send(lab, sender, port)
    say(
        relay,
        f"the certificate is for {CLIENT_NAME}, expected web-2.example.com or *.example.org",
    )
    assert received(lab.arrived) == []


@pytest.mark.parametrize("sender", ["omfwd", "syslog-ng"])
def test_a_sender_without_a_certificate(lab: Lab, sender: str) -> None:
    port = free_port()
    relay = listen(lab, sender, port)
    send(lab, sender, port, shows_certificate=False)
    wanted = f"one signed by a CA in {lab.certificates.ca}"
    say(relay, f"the peer sent no certificate, expected {wanted}")
    assert received(lab.arrived) == []


@pytest.mark.parametrize("sender", SENDERS)
def test_a_sender_that_was_revoked(lab: Lab, sender: str) -> None:
    port, path = free_port(), lab.certificates.crl
    relay = listen(lab, sender, port, crl=path)
    send(lab, sender, port)
    say(relay, f"(for {CLIENT_NAME}) is not accepted: it was revoked in {path}")
    assert received(lab.arrived) == []


@pytest.mark.parametrize("sender", ["omfwd", "omrelp-openssl", "syslog-ng"])
def test_a_revocation_list_whose_time_is_over(lab: Lab, sender: str) -> None:
    port, path = free_port(), lab.certificates.old_crl
    relay = listen(lab, sender, port, crl=path)
    say(
        relay, f"source network: the revocation list of 'CN=Test authority' in {path} has expired: "
    )
    send(lab, sender, port)
    say(
        relay,
        "is not accepted: the revocation list of its issuer 'CN=Test authority' "
        f"in {path} has expired",
    )
    assert received(lab.arrived) == []


@pytest.mark.parametrize("sender", SENDERS)
def test_a_sender_whose_name_matches(lab: Lab, sender: str) -> None:
    port = free_port()
    listen(lab, sender, port, peer_names=["*.example.com"])
    send(lab, sender, port)
    assert_exactly(lab.arrived, messages(20))


@pytest.mark.parametrize("sender", SENDERS)
def test_a_sender_whose_fingerprint_is_known(
    lab: Lab, strangers: CertificateFiles, sender: str
) -> None:
    port = free_port()
    found = x509.load_pem_x509_certificate(Path(strangers.client_certificate).read_bytes())
    fingerprint = "SHA1:" + found.fingerprint(SHA1()).hex(":").upper()
    listen(lab, sender, port, peer_fingerprints=[fingerprint], trusted_ca=None)
    lab.certificates = replace(
        lab.certificates,
        client_certificate=strangers.client_certificate,
        client_key=strangers.client_key,
    )
    send(lab, sender, port)
    assert_exactly(lab.arrived, messages(20))


def test_tls_on_a_plain_text_port(lab: Lab) -> None:
    port = free_port()
    relay = lab.relay_from({"listen": f"tcp://127.0.0.1:{port}"})
    send(lab, "omfwd", port)
    say(relay, "refused: the peer speaks TLS; use a tls:// source for it")
    assert received(lab.arrived) == []


# Receivers.


def imtcp(lab: Lab, port: int) -> str:
    lab.rsyslog(
        f"""
        {lab.rsyslog_stream_tls("server", "ossl")}
        module(load="imtcp" streamDriver.Name="ossl" streamDriver.Mode="1"
          streamDriver.AuthMode="x509/name" permittedPeer=["{CLIENT_NAME}"])
        input(type="imtcp" port="{port}" address="127.0.0.1")
        action(type="omfile" file="{lab.arrived}" template="raw")
        """,
        tcp=[port],
    )
    return "tls"


def imrelp(lab: Lab, port: int) -> str:
    lab.rsyslog(
        f"""
        module(load="imrelp" tls.tlsLib="gnutls")
        input(type="imrelp" port="{port}" address="127.0.0.1" {lab.rsyslog_relp_tls("server")})
        action(type="omfile" file="{lab.arrived}" template="raw")
        """,
        tcp=[port],
    )
    return "relp+tls"


def syslog_ng_source(lab: Lab, port: int) -> str:
    lab.syslog_ng(
        f"""
        source s {{ syslog(ip(127.0.0.1) port({port}) transport(tls) {lab.syslog_ng_tls("server")}
          flags(no-parse)); }};
        destination d {{ file("{lab.arrived}" template("$MSG\\n")); }};
        log {{ source(s); destination(d); flags(flow-control); }};
        """,
        tcp=[port],
    )
    return "tls"


RECEIVERS: dict[str, Callable[[Lab, int], str]] = {
    "imtcp": imtcp,
    "imrelp": imrelp,
    "syslog-ng": syslog_ng_source,
}
each_receiver = pytest.mark.parametrize("receiver", RECEIVERS)


def deliver(lab: Lab, receiver: str, keys: dict[str, Any]) -> RelayProcess:
    """Start the receiver and a relay with something for it."""
    feed, port = free_port(), free_port()
    scheme = RECEIVERS[receiver](lab, port)
    relay = lab.relay_to(feed, {"connect": f"{scheme}://127.0.0.1:{port}", **keys})
    feed_stream(feed, messages(20))
    return relay


@each_receiver
def test_a_receiver_of_another_authority(
    lab: Lab, strangers: CertificateFiles, receiver: str
) -> None:
    keys = lab.client_tls
    lab.certificates = replace(
        lab.certificates,
        server_certificate=strangers.server_certificate,
        server_key=strangers.server_key,
    )
    say(deliver(lab, receiver, keys), NO_TRUST + lab.certificates.ca)
    assert received(lab.arrived) == []


@each_receiver
def test_a_receiver_whose_fingerprint_is_known(lab: Lab, receiver: str) -> None:
    found = x509.load_pem_x509_certificate(Path(lab.certificates.server_certificate).read_bytes())
    keys = {
        **lab.client_tls,
        "server_name": "other.example.com",
        "peer_fingerprints": [f"sha-256:{found.fingerprint(SHA256()).hex(':')}"],
    }
    del keys["trusted_ca"]
    deliver(lab, receiver, keys)
    assert_exactly(lab.arrived, messages(20))


@each_receiver
def test_a_receiver_with_another_name(lab: Lab, receiver: str) -> None:
    relay = deliver(lab, receiver, {**lab.client_tls, "server_name": "other.example.com"})
    say(relay, f"the certificate is for {SERVER_NAME}, 127.0.0.1, expected other.example.com")
    assert received(lab.arrived) == []


@each_receiver
def test_a_receiver_whose_revocation_list_is_missing(
    lab: Lab, strangers: CertificateFiles, receiver: str
) -> None:
    relay = deliver(lab, receiver, {**lab.client_tls, "crl": strangers.crl})
    # Of the same name, but with another's signature.
    say(relay, "is not accepted: the revocation list of its issuer 'CN=Test authority' ")
    say(relay, f"in {strangers.crl} has a wrong signature")
    assert received(lab.arrived) == []


@each_receiver
def test_a_receiver_that_wants_a_certificate(lab: Lab, receiver: str) -> None:
    keys = lab.client_tls
    del keys["certificate"], keys["private_key"]
    relay = deliver(lab, receiver, keys)
    wait_until(lambda: "destination upstream: 127.0.0.1:" in relay.log(), "a refusal")
    assert received(lab.arrived) == []


@each_receiver
def test_a_receiver_that_does_not_trust_us(
    lab: Lab, strangers: CertificateFiles, receiver: str
) -> None:
    keys = {
        **lab.client_tls,
        "certificate": strangers.client_certificate,
        "private_key": strangers.client_key,
    }
    relay = deliver(lab, receiver, keys)
    wait_until(lambda: "destination upstream: 127.0.0.1:" in relay.log(), "a refusal")
    assert received(lab.arrived) == []
