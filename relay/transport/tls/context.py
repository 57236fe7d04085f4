"""OpenSSL contexts from PEM."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags

__all__ = ["TlsMaterial", "TlsOptions", "load_crls", "new_context", "revoke", "trust"]

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"
# Without these a peer needs no certificate or a connection is unencrypted, silently.
_NEVER = "!aNULL:!eNULL:!PSK:!SRP"
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
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


def new_context(material: TlsMaterial, options: TlsOptions) -> SSL.Context:
    """A context with the relay's own certificate and no trusted CA.

    Raises:
        ValueError: A certificate or key cannot be read, or the ciphers are unknown.
        SSL.Error: OpenSSL does not take them.
    """
    context = SSL.Context(SSL.TLS_METHOD)
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
