from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.transport.tls.endpoints import (
    TlsListener,
    TlsMaterial,
    TlsOptions,
    TlsUpstream,
    verified_certificate,
)
from relay.transport.tls.failure import tls_failure
from relay.transport.tls.peer_check import (
    Fingerprint,
    PeerPolicy,
    identity_of,
    parse_fingerprint,
)
from tests.connections import Pair, Wire, lose
from tests.odd_certificates import make_certificate, make_crl

NAME = "central.example.com"
NAMES = f"{NAME}, 127.0.0.1, ::1"

OURS = "Test authority"
CA_FILE = "/etc/relay/ca.pem"
OWN_FILE = "/etc/relay/own.pem"
CRL_FILE = "/etc/relay/crl.pem"

_ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # SSL_OP_..., which pyOpenSSL does not name


@cache
def authority(name: str) -> Issued:
    return make_authority(name, days=2)


@cache
def server(*names: str, days: int = 1) -> Issued:
    return make_leaf(
        authority(OURS), names or (NAME, "127.0.0.1", "::1"), purpose="server", days=days
    )


@cache
def client(signed_by: str = OURS, days: int = 1) -> Issued:
    return make_leaf(authority(signed_by), ["web-1.example.com"], purpose="client", days=days)


@implementer(IHandshakeListener)
class Side(Protocol):
    """One end: what it was told, and the text on how it ended."""

    transport: Any

    def __init__(self) -> None:
        self.done = False
        self.received = b""
        self.text = ""
        self.identity: str | None = None

    def handshakeCompleted(self) -> None:
        self.done = True
        certificate = verified_certificate(self.transport)
        if certificate is not None:
            self.identity = identity_of(certificate)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert reason.value is not None
        self.kind, self.text = tls_failure(self.transport, reason.value)


class Sides:
    """A handshake between a listener and an upstream, as far as it went."""

    def __init__(self, listener: Any, upstream: Any) -> None:
        self.server, self.client = Side(), Side()
        self.pair = Pair(
            _only(self.server), _only(self.client), listener=listener, upstream=upstream
        )


def _only(side: Side) -> Factory:
    factory = Factory()
    factory.buildProtocol = lambda addr: side  # type: ignore[method-assign]
    return factory


def material(
    issued: Issued | None = None, trusts: str | None = None, crl: bytes = b""
) -> TlsMaterial:
    return TlsMaterial(
        certificate_pem=issued.certificate_pem() if issued else b"",
        private_key_pem=issued.private_key_pem() if issued else b"",
        trusted_ca_pem=authority(trusts).certificate_pem() if trusts else b"",
        crl_pem=crl,
        certificate=OWN_FILE if issued else "",
        trusted_ca=CA_FILE if trusts else "",
        crl=CRL_FILE if crl else "",
    )


def listener(
    issued: Issued | None = None,
    *,
    peer_verify: str = "none",
    trusts: str | None = OURS,
    crl: bytes = b"",
    **keywords: Any,
) -> TlsListener:
    return TlsListener(
        material(issued or server(), trusts, crl), peer_verify=peer_verify, **keywords
    )


def upstream(
    issued: Issued | None = None,
    *,
    server_name: str = NAME,
    trusts: str | None = OURS,
    crl: bytes = b"",
    **keywords: Any,
) -> TlsUpstream:
    return TlsUpstream(material(issued, trusts, crl), server_name=server_name, **keywords)


def fingerprint(issued: Issued, flipped_bits: int = 0) -> Fingerprint:
    """That of `issued`, or one near it."""
    digest = issued.certificate.fingerprint(SHA256())
    return Fingerprint("SHA-256", digest[:-1] + bytes([digest[-1] ^ flipped_bits]))


@pytest.mark.parametrize("server_name", [NAME, "127.0.0.1", "::1", NAME + "."])
def test_a_name_or_address_of_the_certificate_is_accepted(server_name: str) -> None:
    sides = Sides(listener(), upstream(server_name=server_name))
    assert (sides.server.done, sides.client.done) == (True, True)
    assert (sides.server.identity, sides.client.identity) == (None, NAME)
    sides.client.transport.write(b"hello")
    sides.pair.pump()
    assert sides.server.received == b"hello"


def test_wildcards() -> None:
    sides = Sides(listener(server("*.example.com")), upstream())
    assert sides.client.done


def test_the_name_is_sent_and_an_address_is_not() -> None:
    name = NAME.encode()
    for server_name, sent in ((NAME, name), (NAME + ".", name), ("127.0.0.1", None), ("::1", None)):
        sides = Sides(listener(), upstream(server_name=server_name))
        assert sides.server.transport.getHandle().get_servername() == sent


@pytest.mark.parametrize("server_name", ["other.example.com", "127.0.0.2"])
def test_another_name(server_name: str) -> None:
    sides = Sides(listener(), upstream(server_name=server_name))
    assert not sides.client.done
    assert sides.server.text.startswith(f"the sender does not accept the certificate in {OWN_FILE}")
    assert sides.client.text == f"the certificate is for {NAMES}, expected {server_name}"


def test_an_authority_that_is_not_trusted() -> None:
    sides = Sides(listener(), upstream(trusts="Somebody else"))
    assert not sides.client.done
    assert sides.server.text.startswith("the sender's trusted_ca does not know the issuer of ")
    assert sides.client.text == (
        f"certificate 'CN={NAME}' (for {NAMES}) is not accepted: "
        f"its issuer 'CN={OURS}' is not among the trusted CAs in {CA_FILE}"
    )


def test_a_certificate_that_has_expired() -> None:
    old = server(NAME, days=-1)
    sides = Sides(listener(old), upstream())
    assert "(CN=central.example.com) has expired; it is valid until " in sides.server.text
    end = f"{old.certificate.not_valid_after_utc:%Y-%m-%d %H:%M}"
    assert sides.client.text == (
        f"certificate 'CN={NAME}' (for {NAME}) is not accepted: "
        f"it has expired at {end} UTC (check the clocks)"
    )


def test_a_certificate_that_is_not_valid_yet() -> None:
    early = make_certificate(
        "x", [x509.DNSName(NAME)], signed_by=authority(OURS), days_from=0.5, days_to=1
    )
    sides = Sides(listener(early), upstream())
    assert "it is not valid before 2" in sides.client.text
    sides = Sides(listener(peer_verify="required"), upstream(early))
    assert not sides.server.done
    assert "it is not valid before 2" in sides.server.text


def test_a_certificate_for_something_else() -> None:
    sides = Sides(listener(client()), upstream(server_name="web-1.example.com"))
    assert "its extended key usage is for something else" in sides.client.text


def test_no_verification_accepts_whatever_answers() -> None:
    sides = Sides(
        listener(server(NAME, days=-1)),
        upstream(server_name="other", trusts="Somebody else", peer_verify="none"),
    )
    assert sides.client.done


# Whom the system trusts.


def system_trusts(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    (folder / "system.pem").write_bytes(authority(name).certificate_pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "system.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder / "none"))


def test_without_authorities_those_of_the_system_are_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system_trusts(monkeypatch, tmp_path, OURS)
    assert Sides(listener(), upstream(trusts=None)).client.done
    sides = Sides(listener(), upstream(trusts=None, server_name="other.example.com"))
    assert sides.client.text == f"the certificate is for {NAMES}, expected other.example.com"
    system_trusts(monkeypatch, tmp_path, "Somebody else")
    sides = Sides(listener(), upstream(trusts=None))
    assert not sides.client.done
    assert sides.client.text.endswith(
        f"its issuer 'CN={OURS}' is not among the trusted CAs of the system"
    )


def test_with_authorities_or_fingerprints_those_of_the_system_are_not_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system_trusts(monkeypatch, tmp_path, OURS)
    for trusts, known in (
        ("Somebody else", ()),
        ("Somebody else", (fingerprint(alone()),)),
        (None, (fingerprint(alone()),)),
    ):
        sides = Sides(listener(), upstream(trusts=trusts, fingerprints=known))
        assert not sides.client.done
    ours = listener(peer_verify="required", trusts="Somebody else")
    assert not Sides(ours, upstream(client())).server.done


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_system_store_that_is_of_no_use_refuses_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    system_trusts(monkeypatch, tmp_path, OURS)
    if content is None:
        (tmp_path / "system.pem").unlink()
    else:
        (tmp_path / "system.pem").write_bytes(content)
    sides = Sides(listener(), upstream(trusts=None))
    assert not sides.client.done
    assert sides.client.text.endswith(" is not among the trusted CAs of the system")


# The other way.


def test_a_client_with_a_certificate() -> None:
    sides = Sides(listener(peer_verify="required"), upstream(client()))
    assert sides.server.done
    assert sides.server.identity == "web-1.example.com"


def test_a_client_without_a_certificate() -> None:
    sides = Sides(listener(peer_verify="required"), upstream())
    assert not sides.server.done
    assert sides.server.text == (
        f"the peer sent no certificate, expected one signed by a CA in {CA_FILE}"
    )
    assert sides.client.text == (
        "the receiver requires a client certificate: set `certificate` and `private_key`"
    )


def test_a_certificate_is_optional_but_has_to_be_valid() -> None:
    optional = listener(peer_verify="optional")
    assert Sides(optional, upstream()).server.done
    assert Sides(optional, upstream()).server.identity is None
    assert Sides(optional, upstream(client())).server.identity == "web-1.example.com"
    for invalid in (client("Somebody else"), client(days=-1), alone()):
        sides = Sides(optional, upstream(invalid))
        assert (sides.server.done, sides.server.identity) == (False, None)
        assert " is not accepted: " in sides.server.text


def test_nobody_is_known_by_a_certificate_that_was_not_verified() -> None:
    sides = Sides(listener(peer_verify="none"), upstream(client()))
    assert (sides.server.done, sides.server.identity) == (True, None)
    sides = Sides(listener(), upstream(peer_verify="none"))
    assert (sides.client.done, sides.client.identity) == (True, None)
    assert sides.client.transport.getPeerCertificate() is not None
    sides.client.transport.certificate_refusal = "it was revoked"
    assert verified_certificate(sides.client.transport) is None


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (
            client("Somebody else"),
            f"its issuer 'CN=Somebody else' is not among the trusted CAs in {CA_FILE}",
        ),
        (client(days=-1), "it has expired at "),
    ],
)
def test_a_client_with_a_bad_certificate(issued: Issued, why: str) -> None:
    sides = Sides(listener(peer_verify="required"), upstream(issued))
    assert not sides.server.done
    assert sides.server.text.startswith(
        "certificate 'CN=web-1.example.com' (for web-1.example.com) is not accepted: " + why
    )
    assert sides.client.text.startswith("the receiver")


# Names and fingerprints of clients.


def test_a_client_has_to_have_one_of_the_names() -> None:
    for wanted in ("web-1.example.com", "*.example.com"):
        policy = PeerPolicy(names=("other.example.com", wanted))
        sides = Sides(listener(peer_verify="required", policy=policy), upstream(client()))
        assert sides.server.done


def test_a_client_with_another_name() -> None:
    policy = PeerPolicy(names=("web-2.example.com", "*.web-1.example.com"))
    for peer_verify in ("required", "optional"):
        sides = Sides(listener(peer_verify=peer_verify, policy=policy), upstream(client()))
        assert not sides.server.done
        assert sides.server.text == (
            "the certificate is for web-1.example.com, "
            "expected web-2.example.com or *.web-1.example.com"
        )
        assert sides.client.text.startswith("the receiver")


def test_a_name_is_no_excuse_for_an_authority() -> None:
    policy = PeerPolicy(names=("web-1.example.com",))
    sides = Sides(
        listener(peer_verify="required", policy=policy), upstream(client("Somebody else"))
    )
    assert not sides.server.done


def alone() -> Issued:
    return make_certificate("alone.example.com", [x509.DNSName("alone.example.com")])


@pytest.mark.parametrize("trusts", [OURS, None])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_fingerprint_needs_no_authority(trusts: str | None, version: int) -> None:
    issued = alone()
    policy = PeerPolicy(fingerprints=(fingerprint(issued),), names=("other.example.com",))
    ours = listener(peer_verify="required", trusts=trusts, policy=policy)
    ours._context.set_max_proto_version(version)
    sides = Sides(ours, upstream(issued))
    assert sides.server.done
    assert sides.server.identity == "alone.example.com"


def test_a_fingerprint_in_the_spelling_of_rsyslog() -> None:
    issued = alone()
    text = "SHA1:" + issued.certificate.fingerprint(SHA1()).hex(":").upper()
    policy = PeerPolicy(fingerprints=(parse_fingerprint(text),))
    ours = listener(peer_verify="required", trusts=None, policy=policy)
    assert Sides(ours, upstream(issued)).server.done


@pytest.mark.parametrize("trusts", [OURS, None])
def test_a_fingerprint_that_is_off_by_one_bit(trusts: str | None) -> None:
    issued = alone()
    policy = PeerPolicy(fingerprints=(fingerprint(issued, flipped_bits=1),))
    ours = listener(peer_verify="required", trusts=trusts, policy=policy)
    sides = Sides(ours, upstream(issued))
    assert not sides.server.done
    where = f" in {CA_FILE}" if trusts else ""
    assert sides.server.text == (
        "certificate 'CN=alone.example.com' (for alone.example.com) is not accepted: it is "
        f"self-signed and not among the trusted CAs{where}; nor is its fingerprint "
        f"{fingerprint(issued)} in peer_fingerprints"
    )


def test_without_a_fingerprint_authority_and_name_have_to_hold() -> None:
    policy = PeerPolicy(fingerprints=(fingerprint(alone()),), names=("web-1.example.com",))
    ours = listener(peer_verify="required", policy=policy)
    assert Sides(ours, upstream(client())).server.done
    assert not Sides(ours, upstream(client("Somebody else"))).server.done
    other = make_leaf(authority(OURS), ["web-2.example.com"], purpose="client", days=1)
    assert not Sides(ours, upstream(other)).server.done
    known = "one of peer_fingerprints"
    assert Sides(ours, upstream()).server.text == (
        f"the peer sent no certificate, expected one signed by a CA in {CA_FILE} or {known}"
    )
    ours = listener(peer_verify="required", trusts=None, policy=policy)
    assert Sides(ours, upstream()).server.text.endswith(f"no certificate, expected {known}")


def test_a_fingerprint_does_not_hold_for_ever() -> None:
    issued = make_certificate("alone", days_from=-2, days_to=-1)
    policy = PeerPolicy(fingerprints=(fingerprint(issued),))
    sides = Sides(listener(peer_verify="required", trusts=None, policy=policy), upstream(issued))
    assert not sides.server.done
    assert "it has expired" in sides.server.text


def test_the_chain_of_a_known_certificate_may_be_incomplete() -> None:
    issued = client("Somebody else")
    chain = issued.certificate_pem() + authority("Somebody else").certificate_pem()
    with_root = TlsUpstream(
        TlsMaterial(certificate_pem=chain, private_key_pem=issued.private_key_pem()),
        server_name=NAME,
        peer_verify="none",
    )
    for known, done in ((issued, True), (alone(), False)):
        policy = PeerPolicy(fingerprints=(fingerprint(known),))
        sides = Sides(listener(peer_verify="required", policy=policy), with_root)
        assert sides.server.done is done


def test_the_fingerprint_of_a_server() -> None:
    issued = alone()
    for bits, done in ((0, True), (1, False)):
        known = (fingerprint(issued, bits),)
        for trusts in (OURS, None):
            sides = Sides(listener(issued), upstream(trusts=trusts, fingerprints=known))
            assert sides.client.done is done
    sides = Sides(listener(), upstream(fingerprints=(fingerprint(issued),)))
    assert sides.client.done  # by authority and name


# Revocation.


def test_a_client_that_was_revoked() -> None:
    crl = make_crl(authority(OURS), [client()])
    ours = listener(peer_verify="required", crl=crl)
    sides = Sides(ours, upstream(client()))
    assert not sides.server.done
    assert sides.server.text.endswith(f" is not accepted: it was revoked in {CRL_FILE}")
    assert "was revoked" in sides.client.text
    other = make_leaf(authority(OURS), ["web-2.example.com"], purpose="client", days=1)
    assert Sides(ours, upstream(other)).server.done


def test_a_known_fingerprint_that_was_revoked() -> None:
    policy = PeerPolicy(fingerprints=(fingerprint(client()),))
    crl = make_crl(authority(OURS), [client()])
    ours = listener(peer_verify="required", crl=crl, policy=policy)
    assert "it was revoked" in Sides(ours, upstream(client())).server.text


def test_a_server_that_was_revoked() -> None:
    sides = Sides(listener(), upstream(crl=make_crl(authority(OURS), [server()])))
    assert sides.client.text.endswith(f" is not accepted: it was revoked in {CRL_FILE}")
    assert Sides(listener(), upstream(crl=make_crl(authority(OURS)))).client.done


@pytest.mark.parametrize(
    ("crl", "why"),
    [
        (
            make_crl(authority(OURS), days=-1),
            f"the revocation list of its issuer 'CN={OURS}' in {CRL_FILE} has expired",
        ),
        (
            make_crl(authority("Somebody else")),
            f"there is no revocation list of its issuer 'CN={OURS}' in {CRL_FILE}",
        ),
    ],
)
def test_a_revocation_list_has_to_be_there_and_valid(crl: bytes, why: str) -> None:
    sides = Sides(listener(peer_verify="required", crl=crl), upstream(client()))
    assert not sides.server.done
    assert sides.server.text.endswith(why)


# New material.


def test_new_material_is_for_new_connections() -> None:
    ours = listener(peer_verify="required")
    before = Sides(ours, upstream(client()))
    fresh = make_leaf(authority("Somebody else"), [NAME], purpose="server", days=1)
    ours.renew(material(fresh, "Somebody else"))
    after = Sides(ours, upstream(client("Somebody else"), trusts="Somebody else"))
    assert after.server.done and after.client.done
    assert not Sides(ours, upstream(client(), trusts="Somebody else")).server.done
    before.client.transport.write(b"still here")
    before.pair.pump()
    assert before.server.received == b"still here"


def test_an_upstream_with_new_material() -> None:
    ours = upstream(client(), trusts="Somebody else")
    assert not Sides(listener(peer_verify="required"), ours).client.done
    ours.renew(material(client(), OURS))
    assert Sides(listener(peer_verify="required"), ours).server.done


def test_material_that_cannot_be_used_changes_nothing() -> None:
    ours = listener()
    mixed = TlsMaterial(
        certificate_pem=server().certificate_pem(), private_key_pem=client().private_key_pem()
    )
    with pytest.raises(SSL.Error):
        ours.renew(mixed)
    with pytest.raises(ValueError):
        ours.renew(TlsMaterial(certificate_pem=b"nothing"))
    assert Sides(ours, upstream()).client.done


@implementer(IOpenSSLClientConnectionCreator)
class Odd:
    """A client that does with its connection what ours never does."""

    def __init__(self, context: SSL.Context, session: Any = None) -> None:
        self._context = context
        self._session = session

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._session is not None:
            connection.set_session(self._session)
        return connection


def odd_context(version: int = SSL.TLS1_2_VERSION) -> SSL.Context:
    """With everything that OpenSSL does by itself."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.use_certificate(client().certificate)
    context.use_privatekey(client().private_key)
    return context


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_no_session_goes_on_without_a_certificate(version: int) -> None:
    """A peer whose session were resumed would not be verified again."""
    ours = listener(peer_verify="required")
    theirs = odd_context(version)
    first = Sides(ours, Odd(theirs))
    first.server.transport.write(b"tickets come before this")
    first.pair.pump()
    assert first.client.received
    session = first.client.transport.getHandle().get_session()
    second = Sides(ours, Odd(theirs, session))
    assert second.server.done
    assert second.server.transport.certificate_refusal == ""  # so it was looked at again
    ours.renew(material(server(), "Somebody else"))
    assert not Sides(ours, Odd(theirs, session)).server.done


@pytest.mark.parametrize(("allowed", "text"), [(False, "TLS failed: no renegotiation"), (True, "")])
def test_nothing_is_negotiated_again(allowed: bool, text: str) -> None:
    """Each time would cost us a handshake and the peer nothing."""
    ours = listener()
    if allowed:  # by another context, so that the test can fail
        ours._context = odd_context()
        ours._context.set_options(_ALLOW_CLIENT_RENEGOTIATION)
    sides = Sides(ours, Odd(odd_context()))
    assert sides.server.done
    handle = sides.client.transport.getHandle()
    assert handle.renegotiate()
    with pytest.raises(SSL.WantReadError):
        handle.do_handshake()
    sides.client.transport._flushSendBIO()
    sides.pair.pump()
    assert sides.client.text == text


def test_the_least_version() -> None:
    strict = TlsOptions(version_min="1.3")
    theirs = upstream()
    theirs._context.set_max_proto_version(SSL.TLS1_2_VERSION)
    sides = Sides(listener(options=strict), theirs)
    assert not sides.server.done
    assert Sides(listener(options=strict), upstream()).server.done
    ours = listener()
    ours._context.set_max_proto_version(SSL.TLS1_2_VERSION)
    assert not Sides(ours, upstream(options=strict)).client.done


# Peers that do not speak TLS.

NOT_TLS = "the peer does not speak TLS, which this port requires: configure it to send to tls:// or relp+tls://"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the peer speaks HTTP, not TLS"),
        (b"<13>1 - - - - - - plain syslog\n", NOT_TLS),
        (b"1 open 21 relp_version=0\ncommands=syslog\n", NOT_TLS),
    ],
)
def test_a_client_that_does_not_speak_tls(data: bytes, text: str) -> None:
    server = Side()
    below = TLSMemoryBIOFactory(listener(), False, _only(server), clock=Clock())
    protocol = below.buildProtocol(None)
    protocol.makeConnection(Wire())
    protocol.dataReceived(data)
    lose(protocol)
    assert server.text == text


class Transport:
    """All that is needed of a TLS transport."""


def test_errors_that_have_nothing_to_do_with_tls() -> None:
    assert tls_failure(None, ConnectionResetError()).text == ""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SSL.Error([("SSL", "", "something new")]), "TLS failed: something new"),
        (SSL.Error([]), "TLS failed: the connection ended during the handshake"),
        (SSL.SysCallError(-1, "broken"), "TLS failed: the connection ended during the handshake"),
    ],
)
def test_errors_that_nobody_knows(error: Exception, text: str) -> None:
    assert tls_failure(Transport(), error).text == text


# Contexts and names.


def test_old_protocols_are_not_spoken() -> None:
    old = SSL.Context(SSL.TLS_METHOD)
    old.set_max_proto_version(SSL.TLS1_1_VERSION)
    sides = Sides(listener(), Odd(old))
    assert not sides.server.done


def test_intermediates_are_sent_along() -> None:
    chain = server().certificate_pem() + client().certificate_pem()
    sent = TlsListener(
        TlsMaterial(certificate_pem=chain, private_key_pem=server().private_key_pem()),
        peer_verify="none",
    )
    sides = Sides(sent, upstream())
    received = sides.client.transport.getHandle().get_peer_cert_chain()
    assert [certificate.to_cryptography() for certificate in received] == [
        server().certificate,
        client().certificate,
    ]
