"""TLS for listeners and upstreams: contexts from PEM, verification with explanations.

Verification is on by default in both directions; the minimum is TLS 1.2.
The connection creators replace Twisted's `CertificateOptions`, which cannot tell an
administrator *why* a certificate was refused: its subject, the names that it carries and
the name that was expected.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

from relay.transport.tls.context import (
    TlsMaterial,
    TlsOptions,
    new_context,
    revoke,
    trust,
)
from relay.transport.tls.failure import TlsEnd
from relay.transport.tls.peer_check import (
    CertificateCheck,
    Fingerprint,
    PeerPolicy,
    TlsTransport,
    identity_of,
    is_address,
    names_of,
)

__all__ = [
    "TlsListener",
    "TlsUpstream",
    "identity_of",
    "names_of",
    "verified_certificate",
]

_ANY_PEER = PeerPolicy()
_USUAL = TlsOptions()


@implementer(IOpenSSLServerConnectionCreator)
class TlsListener:
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
        self._policy = policy
        self._options = options
        self._flags = SSL.VERIFY_NONE
        if peer_verify != "none":
            self._flags = SSL.VERIFY_PEER
            if peer_verify == "required":
                self._flags |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        if material is not None:
            self.renew(material)

    def renew(self, material: TlsMaterial) -> None:
        """Use `material` for connections from now on; those that exist stay as they are.

        Raises:
            ValueError, SSL.Error: It cannot be used; the one before still is.
        """
        context = new_context(material, self._options)
        if self._flags != SSL.VERIFY_NONE:
            authorities = trust(context, material.trusted_ca_pem) if material.trusted_ca_pem else []
            # Peers choose their certificate by these names, and would not send a self-signed one.
            for authority in authorities if not self._policy.fingerprints else []:
                context.add_client_ca(authority)
            if material.crl_pem:
                revoke(context, material.crl_pem)
        self._context = context
        self._new_check = _new_check(self._policy, material)
        place = f" in {material.trusted_ca}" if material.trusted_ca else ""
        wanted = [f"one signed by a CA{place}"] if material.trusted_ca_pem else []
        if self._policy.fingerprints:
            wanted.append("one of peer_fingerprints")
        self._end = _end("sender", material, self._options, wanted=" or ".join(wanted))

    def serverConnectionForTLS(self, tlsProtocol: TlsTransport) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_verify(self._flags, self._new_check(tlsProtocol))
        tlsProtocol.tls_end = self._end  # for `tls_failure`
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class TlsUpstream:
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
        self._verifies = peer_verify != "none"
        self._policy = PeerPolicy(server_name=self._server_name, fingerprints=fingerprints)
        self._options = options
        if material is not None:
            self.renew(material)

    def renew(self, material: TlsMaterial) -> None:
        """Use `material` for connections from now on; those that exist stay as they are.

        Raises:
            ValueError, SSL.Error: It cannot be used; the one before still is.
        """
        context = new_context(material, self._options)
        if self._verifies and material.trusted_ca_pem:
            trust(context, material.trusted_ca_pem)
        elif self._verifies and not self._policy.fingerprints:
            context.set_default_verify_paths()
        if self._verifies and material.crl_pem:
            revoke(context, material.crl_pem)
        self._context = context
        place = "" if self._policy.fingerprints else " of the system"
        self._new_check = _new_check(self._policy, material, otherwise=place)
        self._end = _end("receiver", material, self._options)

    def clientConnectionForTLS(self, tlsProtocol: TlsTransport) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not is_address(self._server_name):
            connection.set_tlsext_host_name(self._server_name.encode("idna"))
        if self._verifies:
            connection.set_verify(SSL.VERIFY_PEER, self._new_check(tlsProtocol))
        tlsProtocol.tls_end = self._end  # for `tls_failure`
        return connection


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


def _end(peer: str, material: TlsMaterial, options: TlsOptions, *, wanted: str = "") -> TlsEnd:
    return TlsEnd.of(
        peer,
        material.certificate_pem,
        material.certificate,
        version_min=options.version_min,
        wanted=wanted,
    )


def _new_check(
    policy: PeerPolicy, material: TlsMaterial, *, otherwise: str = ""
) -> Callable[[TlsTransport], CertificateCheck]:
    """What makes the check of one connection, with the files of `material` in its words."""
    place = f" in {material.trusted_ca}" if material.trusted_ca else ""
    return partial(
        CertificateCheck,
        policy=policy,
        authorities=place if material.trusted_ca_pem else otherwise,
        crl=f" in {material.crl}" if material.crl else "",
    )
