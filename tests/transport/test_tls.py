from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.service.certificates import Issued, make_authority, make_leaf
from relay.transport.tls import (
    TlsListener,
    TlsUpstream,
    _Verification,
    identity_of,
    names_of,
    tls_failure_words,
)
from tests.connections import Pair, Wire, lose

NAME = "central.example.com"


OURS = "Test authority"


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
    """One end: what it was told, and the words for how it ended."""

    transport: Any

    def __init__(self) -> None:
        self.done = False
        self.received = b""
        self.words = ""
        self.identity: str | None = None

    def handshakeCompleted(self) -> None:
        self.done = True
        certificate = self.transport.getPeerCertificate()
        if certificate is not None:
            self.identity = identity_of(certificate.to_cryptography())

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert reason.value is not None
        self.words = tls_failure_words(self.transport, reason.value)


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


def listener(issued: Issued | None = None, *, peer_verify: str = "none") -> TlsListener:
    issued = issued or server()
    return TlsListener(
        certificate_pem=issued.certificate_pem(),
        private_key_pem=issued.private_key_pem(),
        trusted_ca_pem=b"" if peer_verify == "none" else authority(OURS).certificate_pem(),
        peer_verify=peer_verify,
    )


def upstream(
    issued: Issued | None = None,
    *,
    server_name: str = NAME,
    trusts: str = OURS,
    peer_verify: str = "required",
) -> TlsUpstream:
    return TlsUpstream(
        server_name=server_name,
        trusted_ca_pem=authority(trusts).certificate_pem(),
        certificate_pem=issued.certificate_pem() if issued else b"",
        private_key_pem=issued.private_key_pem() if issued else b"",
        peer_verify=peer_verify,
    )


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
    for server_name, sent in ((NAME, NAME.encode()), ("127.0.0.1", None)):
        sides = Sides(listener(), upstream(server_name=server_name))
        assert sides.server.transport.getHandle().get_servername() == sent


@pytest.mark.parametrize("server_name", ["other.example.com", "127.0.0.2"])
def test_another_name(server_name: str) -> None:
    sides = Sides(listener(), upstream(server_name=server_name))
    assert not sides.client.done
    assert sides.server.words.startswith("the peer did not accept us: ")
    names = f"{NAME}, 127.0.0.1, ::1"
    assert sides.client.words == f"the certificate is for {names}, wanted is {server_name}"


def test_an_authority_that_is_not_trusted() -> None:
    sides = Sides(listener(), upstream(trusts="Somebody else"))
    assert not sides.client.done
    assert sides.server.words.startswith("the peer did not accept us: ")
    assert "unknown ca" in sides.server.words
    assert sides.client.words == (
        f"certificate 'CN={NAME}' is not accepted: its issuer is not among the trusted CAs"
    )


def test_a_certificate_that_has_expired() -> None:
    sides = Sides(listener(server(NAME, days=-1)), upstream())
    assert "certificate expired" in sides.server.words
    assert sides.client.words == (
        f"certificate 'CN={NAME}' is not accepted: it has expired (check the clocks)"
    )


def test_a_certificate_for_something_else() -> None:
    sides = Sides(listener(client()), upstream(server_name="web-1.example.com"))
    assert "its extended key usage is for something else" in sides.client.words


def test_no_verification_accepts_whatever_answers() -> None:
    sides = Sides(
        listener(server(NAME, days=-1)),
        upstream(server_name="other", trusts="Somebody else", peer_verify="none"),
    )
    assert sides.client.done


# The other way.


def test_a_client_with_a_certificate() -> None:
    sides = Sides(listener(peer_verify="required"), upstream(client()))
    assert sides.server.done
    assert sides.server.identity == "web-1.example.com"


def test_a_client_without_a_certificate() -> None:
    sides = Sides(listener(peer_verify="required"), upstream())
    assert not sides.server.done
    assert sides.server.words == "the peer sent no certificate"
    assert sides.client.words.startswith("the peer did not accept us: ")
    assert "certificate required" in sides.client.words


def test_a_certificate_is_optional_but_has_to_be_valid() -> None:
    optional = listener(peer_verify="optional")
    assert Sides(optional, upstream()).server.done
    assert Sides(optional, upstream(client())).server.identity == "web-1.example.com"
    sides = Sides(optional, upstream(client("Somebody else")))
    assert not sides.server.done


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (client("Somebody else"), "its issuer is not among the trusted CAs"),
        (client(days=-1), "it has expired (check the clocks)"),
    ],
)
def test_a_client_with_a_bad_certificate(issued: Issued, why: str) -> None:
    sides = Sides(listener(peer_verify="required"), upstream(issued))
    assert not sides.server.done
    assert sides.server.words == f"certificate 'CN=web-1.example.com' is not accepted: {why}"
    assert sides.client.words.startswith("the peer did not accept us: ")


class Transport:
    """All that is needed of a TLS transport."""


class Unreadable:
    def to_cryptography(self) -> None:
        raise ValueError("invalid version")


def test_a_certificate_that_cannot_be_read_is_refused_in_words() -> None:
    transport, certificate, connection = Transport(), Unreadable(), Transport()
    verification: Any = _Verification(transport, server_name=NAME)
    assert verification(connection, certificate, 0, 0, 1) is False
    words = "the certificate cannot be read: invalid version"
    assert tls_failure_words(transport, SSL.Error([])) == words


# Peers that do not speak TLS.


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the peer speaks HTTP, not TLS"),
        (b"<13>1 - - - - - - plain syslog\n", "the peer does not speak TLS"),
        (b"1 open 21 relp_version=0\ncommands=syslog\n", "the peer does not speak TLS"),
    ],
)
def test_a_client_that_does_not_speak_tls(octets: bytes, words: str) -> None:
    server = Side()
    below = TLSMemoryBIOFactory(listener(), False, _only(server), clock=Clock())
    protocol = below.buildProtocol(None)
    protocol.makeConnection(Wire())
    protocol.dataReceived(octets)
    lose(protocol)
    assert server.words == words


def test_errors_that_have_nothing_to_do_with_tls() -> None:
    assert tls_failure_words(None, ConnectionResetError()) == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SSL.Error([("SSL", "", "something new")]), "TLS failed: something new"),
        (SSL.Error([]), "TLS failed: the connection ended during the handshake"),
        (SSL.SysCallError(-1, "broken"), "TLS failed: the connection ended during the handshake"),
    ],
)
def test_errors_that_nobody_knows(error: Exception, words: str) -> None:
    assert tls_failure_words(Transport(), error) == words


# Contexts and names.


def test_old_protocols_are_not_spoken() -> None:
    old = SSL.Context(SSL.TLS_METHOD)
    old.set_max_proto_version(SSL.TLS1_1_VERSION)

    class Old:
        def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
            return SSL.Connection(old, None)

    sides = Sides(listener(), implementer(IOpenSSLClientConnectionCreator)(Old)())
    assert not sides.server.done


def test_intermediates_are_sent_along() -> None:
    chain = server().certificate_pem() + client().certificate_pem()
    sent = TlsListener(
        certificate_pem=chain, private_key_pem=server().private_key_pem(), peer_verify="none"
    )
    sides = Sides(sent, upstream())
    received = sides.client.transport.getHandle().get_peer_cert_chain()
    assert [certificate.to_cryptography() for certificate in received] == [
        server().certificate,
        client().certificate,
    ]


def test_names_and_identities() -> None:
    assert names_of(server().certificate) == [NAME, "127.0.0.1", "::1"]
    assert names_of(authority(OURS).certificate) == []
    assert identity_of(authority(OURS).certificate) == OURS


def test_a_common_name_may_be_in_any_script() -> None:
    assert identity_of(make_authority("Hálózat", days=1).certificate) == "Hálózat"
