"""TLS for listeners and upstreams: contexts from PEM, verification in words.

Verification is on unless it is told otherwise, both ways; TLS 1.2 is the least.
The connection creators are our own rather than Twisted's `CertificateOptions`,
because an administrator has to read *why* a certificate was not accepted: whose
it was, what names it carries and which one was wanted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

__all__ = ["TlsListener", "TlsUpstream", "identity_of", "names_of", "tls_failure_words"]

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!PSK"

# Of X509_V_ERR_*, those that administrators meet.
_CHAIN_ERRORS = {
    2: "its issuer is not among the trusted CAs",
    9: "it is not valid yet (check the clocks)",
    10: "it has expired (check the clocks)",
    18: "it is self-signed and not among the trusted CAs",
    19: "its root is not among the trusted CAs",
    20: "its issuer is not among the trusted CAs",
    21: "its issuer is not among the trusted CAs",
    23: "it was revoked",
    24: "its issuer may not sign certificates",
    26: "its extended key usage is for something else",
}


@implementer(IOpenSSLServerConnectionCreator)
class TlsListener:
    """Makes the server's end of TLS connections.

    Args:
        certificate_pem: Own certificate, then its intermediates.
        trusted_ca_pem: Who may sign the certificates of peers; empty only with
            `peer_verify` none.
        peer_verify: required = a peer without a valid certificate is refused;
            optional = it need not have one, but what it has must be valid;
            none = it is not asked.
    """

    def __init__(
        self,
        *,
        certificate_pem: bytes,
        private_key_pem: bytes,
        trusted_ca_pem: bytes = b"",
        peer_verify: str = "required",
    ) -> None:
        self._context = _new_context(certificate_pem, private_key_pem)
        self._flags = SSL.VERIFY_NONE
        if peer_verify != "none":
            self._flags = SSL.VERIFY_PEER
            if peer_verify == "required":
                self._flags |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            for authority in _trust(self._context, trusted_ca_pem):
                self._context.add_client_ca(authority)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_verify(self._flags, _Verification(tlsProtocol, server_name=None))
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class TlsUpstream:
    """Makes the client's end of TLS connections.

    Args:
        server_name: Name or address that the upstream's certificate must carry
            as a subjectAltName (RFC 9525; the common name does not count).  A
            name is also sent as SNI.
        trusted_ca_pem: Who may sign it; empty = whom the system trusts.
        certificate_pem: Own certificate with its intermediates, if any.
        peer_verify: required, or none to accept whatever answers.
    """

    def __init__(
        self,
        *,
        server_name: str,
        trusted_ca_pem: bytes = b"",
        certificate_pem: bytes = b"",
        private_key_pem: bytes = b"",
        peer_verify: str = "required",
    ) -> None:
        self._server_name = server_name.rstrip(".")  # which DNS understands, and nobody else
        self._verifies = peer_verify != "none"
        self._context = _new_context(certificate_pem, private_key_pem)
        if self._verifies and trusted_ca_pem:
            _trust(self._context, trusted_ca_pem)
        elif self._verifies:
            self._context.set_default_verify_paths()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._server_name):
            connection.set_tlsext_host_name(self._server_name.encode("idna"))
        if self._verifies:
            verification = _Verification(tlsProtocol, server_name=self._server_name)
            connection.set_verify(SSL.VERIFY_PEER, verification)
        return connection


class _Verification:
    """OpenSSL's verify callback for one connection.

    OpenSSL itself only says that verification failed; the reason is left with the
    transport, where `tls_failure_words` finds it.  (A connection's application data
    would be the place, but Twisted keeps its own there.)

    Args:
        transport: The TLS transport of the connection.
        server_name: Whom the certificate has to be for; None = anybody.
    """

    def __init__(self, transport: Any, *, server_name: str | None) -> None:
        self._transport = transport
        self._server_name = server_name

    def __call__(
        self, connection: SSL.Connection, certificate: X509, code: int, depth: int, ok: int
    ) -> bool:
        # An exception in here would pass by everything that says why TLS failed.
        try:
            refusal = self._refusal(certificate.to_cryptography(), code, depth, ok)
        except ValueError as error:  # what cryptography says of a certificate that it cannot read
            refusal = f"the certificate cannot be read: {error}"
        self._transport.certificate_refusal = refusal
        return not refusal

    def _refusal(self, found: x509.Certificate, code: int, depth: int, ok: int) -> str:
        if not ok:
            why = _CHAIN_ERRORS.get(code, f"X.509 error {code}")
            return f"certificate {found.subject.rfc4514_string()!r} is not accepted: {why}"
        if depth or self._server_name is None:
            return ""
        try:
            if _is_address(self._server_name):
                verify_certificate_ip_address(found, self._server_name)
            else:
                verify_certificate_hostname(found, self._server_name)
        except (VerificationError, CertificateError):
            names = ", ".join(names_of(found)) or "no subjectAltName at all"
            return f"the certificate is for {names}, wanted is {self._server_name}"
        return ""


def identity_of(certificate: x509.Certificate) -> str:
    """Whose certificate this is: its common name, or the first of its other names."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return next((str(name.value) for name in names), next(iter(names_of(certificate)), ""))


def names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and addresses in the subjectAltName of `certificate`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def tls_failure_words(transport: Any, error: BaseException) -> str:
    """Why TLS ended, in words; empty if `error` has nothing to do with TLS.

    Args:
        transport: The TLS transport, in its protocol's `connectionLost`.
        error: What `connectionLost` was told.
    """
    if not isinstance(error, SSL.Error):
        return ""
    refusal: str = getattr(transport, "certificate_refusal", "")
    if refusal:
        return refusal
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [entry[-1] for entry in queue]
    reason = next((each for each in reasons if each), "the connection ended during the handshake")
    if "wrong version number" in reason or "packet length too long" in reason:
        return "the peer does not speak TLS"
    if "http request" in reason:
        return "the peer speaks HTTP, not TLS"
    if "did not return a certificate" in reason:
        return "the peer sent no certificate"
    if "alert" in reason:
        return f"the peer did not accept us: {reason}"
    return f"TLS failed: {reason}"


def _new_context(certificate_pem: bytes, private_key_pem: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"syslogrelay")
    if certificate_pem:
        own, *chain = x509.load_pem_x509_certificates(certificate_pem)
        key: Any = load_pem_private_key(private_key_pem, password=None)
        context.use_certificate(own)
        for link in chain:
            context.add_extra_chain_cert(link)
        context.use_privatekey(key)
    return context


def _trust(context: SSL.Context, pem: bytes) -> Sequence[x509.Certificate]:
    authorities = x509.load_pem_x509_certificates(pem)
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    return authorities


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
