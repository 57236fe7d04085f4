"""TLS for listeners and upstreams: contexts from PEM, verification with explanations.

Verification is on by default in both directions; the minimum is TLS 1.2.
The connection creators replace Twisted's `CertificateOptions`, which cannot tell an
administrator *why* a certificate was refused: its subject, the names that it carries and
the name that was expected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from relay.model.clock import Clock
from relay.model.origin import TlsIdentity
from relay.transport.tls.cookies import Cookies
from relay.transport.tls.failure import TlsEnd
from relay.transport.tls.peer_check import (
    CertificateCheck,
    Fingerprint,
    PeerPolicy,
    TlsTransport,
    fingerprints_of,
    identity_of,
    is_address,
    vouched_names_of,
)

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"
# Without these a peer needs no certificate or a connection is unencrypted, silently.
_NEVER = "!aNULL:!eNULL:!PSK:!SRP"
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_DTLS_1_2 = 0xFEFD
_FLAGS = {
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
    "optional": SSL.VERIFY_PEER,
    "none": SSL.VERIFY_NONE,
}
"""How a listener asks for the peer's certificate, by `peer_verify`."""
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Content of the files of one listener or upstream."""

    certificate_pem: bytes = b""
    """Own certificate, then its intermediates."""
    private_key_pem: bytes = field(default=b"", repr=False)
    passphrase: bytes = field(default=b"", repr=False)
    """Of the private key; empty = it is not encrypted."""
    trusted_ca_pem: bytes = b""
    """CAs that may sign the certificates of peers."""
    crl_pem: bytes = b""
    """Revocation lists, one for each authority of a chain; empty = no check."""
    certificate: str = ""
    """The file of `certificate_pem`, for messages."""
    trusted_ca: str = ""
    """The file of `trusted_ca_pem`, for messages."""
    crl: str = ""
    """The file of `crl_pem`, for messages."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Versions and ciphers of TLS."""

    version_min: str = "1.2"
    ciphers: str = ""
    """OpenSSL's cipher list; names that begin with TLS_ are for TLS 1.3.  Empty = ours."""
    datagrams: bool = False
    """DTLS 1.2 (RFC 6347), whatever `version_min`."""


def new_context(material: TlsMaterial, options: TlsOptions) -> SSL.Context:
    """A context with the relay's own certificate and no trusted CA.

    Raises:
        ValueError: A certificate or key cannot be read, or the ciphers are unknown.
        SSL.Error: OpenSSL does not take them.
    """
    context = SSL.Context(SSL.DTLS_METHOD if options.datagrams else SSL.TLS_METHOD)
    if options.datagrams:
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)  # later ones exchange cookies in another way
        context.set_options(SSL.OP_NO_QUERY_MTU)  # BIOs in memory know none
    else:
        context.set_min_proto_version(_VERSIONS[options.version_min])
    _set_ciphers(context, options.ciphers)
    # No tickets: a resumed session would bypass the verification of the peer.
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"syslogrelay")
    if material.certificate_pem:
        own, *chain = x509.load_pem_x509_certificates(material.certificate_pem)
        key: Any = load_pem_private_key(material.private_key_pem, material.passphrase or None)
        context.use_certificate(own)
        for link in chain:
            context.add_extra_chain_cert(link)
        context.use_privatekey(key)
        context.check_privatekey()
    return context


def trust(context: SSL.Context, pem: bytes) -> Sequence[x509.Certificate]:
    """Let the certificates in `pem` sign those of peers."""
    authorities = x509.load_pem_x509_certificates(pem)
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    return authorities


def revoke(context: SSL.Context, pem: bytes) -> None:
    """Refuse certificates revoked by the lists in `pem`, or without a valid list."""
    store = context.get_cert_store()
    assert store is not None
    for crl in load_crls(pem):
        store.add_crl(crl)
    store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)


def load_crls(pem: bytes) -> list[x509.CertificateRevocationList]:
    """Read revocation lists.

    Raises:
        ValueError: There is none, or one is damaged.
    """
    found = [x509.load_pem_x509_crl(text) for text in _CRL.findall(pem)]
    if not found:
        raise ValueError("no revocation list")
    return found


def _set_ciphers(context: SSL.Context, ciphers: str) -> None:
    names = [name for name in re.split(r"[:, ]+", ciphers) if name]
    modern = [name for name in names if name.startswith("TLS_")]
    older = [name for name in names if name not in modern]
    try:
        context.set_cipher_list(":".join([*(older or [_CIPHERS]), _NEVER]).encode())
        if modern:
            context.set_tls13_ciphersuites(":".join(modern).encode())
    except SSL.Error:
        raise ValueError(f"OpenSSL supports no cipher in {ciphers!r}") from None


_ANY_PEER = PeerPolicy()
_USUAL = TlsOptions()
_DATAGRAMS = TlsOptions(datagrams=True)


class _Endpoint:
    """One end of TLS connections.

    Args:
        peer: The role of the other end, for messages.
    """

    def __init__(
        self,
        material: TlsMaterial | None,
        peer: str,
        flags: int,
        policy: PeerPolicy,
        options: TlsOptions,
    ) -> None:
        self._peer = peer
        self._flags = flags
        self._policy = policy
        self._options = options
        if material is not None:
            self.renew(material)

    def renew(self, material: TlsMaterial) -> None:
        """Use `material` for connections from now on; those that exist stay as they are.

        Raises:
            ValueError, SSL.Error: It cannot be used; the one before still is.
        """
        context = new_context(material, self._options)
        if self._flags != SSL.VERIFY_NONE:
            self._trust(context, material)
            if material.crl_pem:
                revoke(context, material.crl_pem)
        place = f" in {material.trusted_ca}" if material.trusted_ca else ""
        wanted = [f"one signed by a CA{place}"] if material.trusted_ca_pem else []
        if self._policy.fingerprints:
            wanted.append("one of peer_fingerprints")
        of_the_system = "" if self._policy.fingerprints else " of the system"
        self._context = context
        self._new_check = partial(
            CertificateCheck,
            policy=self._policy,
            authorities=place if material.trusted_ca_pem else of_the_system,
            crl=f" in {material.crl}" if material.crl else "",
        )
        self._end = TlsEnd.of(
            self._peer,
            material.certificate_pem,
            material.certificate,
            version_min=self._options.version_min,
            wanted=" or ".join(wanted),
        )

    def _trust(self, context: SSL.Context, material: TlsMaterial) -> None:
        raise NotImplementedError

    def _connection(self, transport: TlsTransport) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._flags != SSL.VERIFY_NONE:
            connection.set_verify(self._flags, self._new_check(transport))
        transport.tls_end = self._end  # for `tls_failure`
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class TlsListener(_Endpoint):
    """Makes the server's end of TLS connections.

    Args:
        material: Certificate, key and whom to trust, as PEM; None = they are not known
            yet, and no connection is made before `renew`.
        peer_verify: required = a peer without a valid certificate is refused;
            optional = it need not have one, but what it has must be valid;
            none = it is not asked.
        policy: Which valid certificates are accepted; without fingerprints in it
            `material` has to say who may sign them.
    """

    def __init__(
        self,
        material: TlsMaterial | None,
        *,
        peer_verify: str = "required",
        policy: PeerPolicy = _ANY_PEER,
        options: TlsOptions = _USUAL,
    ) -> None:
        super().__init__(material, "sender", _FLAGS[peer_verify], policy, options)

    def _trust(self, context: SSL.Context, material: TlsMaterial) -> None:
        authorities = trust(context, material.trusted_ca_pem) if material.trusted_ca_pem else []
        # Peers choose their certificate by these names, and would not send a self-signed one.
        for authority in authorities if not self._policy.fingerprints else []:
            context.add_client_ca(authority)

    def serverConnectionForTLS(self, tlsProtocol: TlsTransport) -> SSL.Connection:
        return self._connection(tlsProtocol)


@implementer(IOpenSSLClientConnectionCreator)
class TlsUpstream(_Endpoint):
    """Makes the client's end of TLS connections.

    Args:
        material: Whom to trust (nobody named = whom the system trusts, but only
            the fingerprints if there are any), and our own certificate, if any;
            None = it is not known yet, and no connection is made before `renew`.
        server_name: Name or address that the upstream's certificate must carry
            as a subjectAltName (RFC 9525; the common name does not count).  A
            name is also sent as SNI.
        peer_verify: required, or none to accept whatever answers.
        fingerprints: Of certificates that are accepted in any case.
    """

    def __init__(
        self,
        material: TlsMaterial | None,
        *,
        server_name: str,
        peer_verify: str = "required",
        fingerprints: tuple[Fingerprint, ...] = (),
        options: TlsOptions = _USUAL,
    ) -> None:
        self._server_name = server_name.rstrip(".")  # which only DNS understands
        policy = PeerPolicy(server_name=self._server_name, fingerprints=fingerprints)
        # A server always has a certificate.
        flags = _FLAGS["none"] if peer_verify == "none" else _FLAGS["optional"]
        super().__init__(material, "receiver", flags, policy, options)

    def _trust(self, context: SSL.Context, material: TlsMaterial) -> None:
        if material.trusted_ca_pem:
            trust(context, material.trusted_ca_pem)
        elif not self._policy.fingerprints:
            context.set_default_verify_paths()

    def clientConnectionForTLS(self, tlsProtocol: TlsTransport) -> SSL.Connection:
        connection = self._connection(tlsProtocol)
        if not is_address(self._server_name):
            connection.set_tlsext_host_name(self._server_name.encode("idna"))
        return connection


class DtlsListener(TlsListener):
    """Makes the server's end of DTLS, and knows by cookies whether a client has its address.

    Args:
        cookies: Made and checked for `asking`.

    Attributes:
        asking: The address that a ClientHello has come from; set before `DTLSv1_listen`.
    """

    asking = b""

    def __init__(
        self,
        material: TlsMaterial | None,
        *,
        cookies: Cookies,
        peer_verify: str = "required",
        policy: PeerPolicy = _ANY_PEER,
        options: TlsOptions = _DATAGRAMS,
    ) -> None:
        self._cookies = cookies
        super().__init__(material, peer_verify=peer_verify, policy=policy, options=options)

    def renew(self, material: TlsMaterial) -> None:
        super().renew(material)
        self._context.set_cookie_generate_callback(lambda _: self._cookies.make(self.asking))
        self._context.set_cookie_verify_callback(
            lambda _, cookie: self._cookies.is_valid(self.asking, cookie)
        )

    def is_current(self, connection: SSL.Connection) -> bool:
        """Whether `connection` was made of the material in use."""
        return connection.get_context() is self._context


def verified_certificate(transport: Any) -> x509.Certificate | None:
    """The verified certificate of the peer; None if there is none or it was not verified.

    Args:
        transport: The TLS transport, after the handshake.
    """
    # Set by the check of the certificate, and empty only if it was accepted.
    if getattr(transport, "certificate_refusal", None) != "":
        return None
    certificate = transport.getPeerCertificate()
    return None if certificate is None else certificate.to_cryptography()


def verified_identity(transport: object) -> TlsIdentity | None:
    """What the verified certificate of the peer says; None as for `verified_certificate`."""
    certificate = verified_certificate(transport)
    if certificate is None:
        return None
    # A fingerprint identifies the certificate; it does not vouch for the names in it.
    vouched = getattr(transport, "certificate_vouched", False)
    return TlsIdentity(
        identity_of(certificate),
        tuple(vouched_names_of(certificate)) if vouched else (),
        fingerprints_of(certificate),
    )


def with_tls(listener: TlsListener, inner: Factory, clock: Clock) -> Factory:
    """A factory for a listener whose connections speak TLS below the protocols of `inner`."""
    new: Any = TLSMemoryBIOFactory  # its types know interfaces only
    wrapped: Factory = new(listener, False, inner, clock=clock)
    return wrapped
