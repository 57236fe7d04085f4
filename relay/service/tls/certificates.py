"""Make a private certificate authority, and certificates signed by it.

For relays that trust each other and nobody else.  The extensions are those that
OpenSSL and GnuTLS check (RFC 5280 §4.2.1): which certificate may sign, which may
serve, which may only call, and which authority signed it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
LEAF_DAYS = 397
"""A year and a month, the longest that clients in general accept."""

# Clocks differ: a certificate made now has to be valid on a host that is behind.
_BACKDATE = timedelta(hours=1)

_COMMON_NAME_LENGTH_MAX = 64  # ub-common-name, RFC 5280 appendix A.1

_KEPT_EXTENSIONS = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
)
"""Of a certificate, what its successor has too; the others are about keys."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_Extension = tuple[x509.ExtensionType, bool]  # and whether it is critical


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    private_key: PrivateKey

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def private_key_pem(self) -> bytes:
        """PKCS #8 without a passphrase: keep it where only its owner can read."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_authority(
    common_name: str, *, rsa_key: bool = False, days: int = AUTHORITY_DAYS
) -> Issued:
    """Make a self-signed authority that can sign leaves but no further authorities.

    Args:
        common_name: What people see in the certificate; 1 to 64 characters.
        rsa_key: RSA with 2048 bits instead of P-256.
        days: Lifetime from now; negative = expired already, for tests.

    Raises:
        ValueError: The common name is empty.
    """
    extensions: list[_Extension] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage("key_cert_sign", "crl_sign"), True),
    ]
    return _issued(_subject(common_name), _new_key(rsa_key), days, extensions)


def make_leaf(
    authority: Issued,
    names: Sequence[str],
    *,
    purpose: Literal["server", "client"],
    rsa_key: bool = False,
    days: int = LEAF_DAYS,
) -> Issued:
    """Make a certificate that `authority` signs.

    Args:
        names: DNS names and IP addresses for the subjectAltName; at least one.
            The first is the common name too.
        purpose: What the holder may do with it: serve, or call as a client.
        rsa_key: RSA with 2048 bits instead of P-256.
        days: Lifetime from now, cut where that of the authority ends; negative =
            expired already, for tests.

    Raises:
        ValueError: A name is neither a DNS name nor an address; or there is none.
    """
    alternatives = [_general_name(name) for name in names]
    if not alternatives:
        raise ValueError("a certificate needs at least one name")
    # Key transport (TLS 1.2 without ECDHE) is an RSA matter only: RFC 5246 §7.4.2.
    usages = ("digital_signature", "key_encipherment") if rsa_key else ("digital_signature",)
    extended = {
        "server": ExtendedKeyUsageOID.SERVER_AUTH,
        "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    }[purpose]
    issuer_id = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id.value)
    extensions: list[_Extension] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(*usages), True),
        (x509.ExtendedKeyUsage([extended]), False),
        (x509.SubjectAlternativeName(alternatives), False),
        (signer, False),
    ]
    return _issued(_subject(names[0]), _new_key(rsa_key), days, extensions, by=authority)


def renew_leaf(
    authority: Issued,
    old: x509.Certificate,
    *,
    key: PrivateKey | None = None,
    days: int = LEAF_DAYS,
) -> Issued:
    """Make a certificate with the subject, names and purposes of another one.

    Args:
        old: Its successor is made; it may have expired.
        key: That of the old one; None = a new one of the same kind.
        days: As in `make_leaf`.

    Raises:
        ValueError: The old one is an authority, or has a kind of key that is not made here.
    """
    public = old.public_key()
    if not isinstance(public, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise ValueError(f"expected an RSA or P-256 key, found {type(public).__name__}")
    kept: list[_Extension] = []
    for extension in old.extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise ValueError(
                "it is an authority: make a new one, and let relays trust both for a while"
            )
        if isinstance(extension.value, _KEPT_EXTENSIONS):
            kept.append((extension.value, extension.critical))
    issuer_id = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id.value)
    key = key or _new_key(isinstance(public, rsa.RSAPublicKey))
    return _issued(old.subject, key, days, [*kept, (signer, False)], by=authority)


def load_issued(certificate_pem: bytes, private_key_pem: bytes) -> Issued:
    """Read back what `Issued` wrote.

    Raises:
        ValueError: Not PEM, another kind of key, or the two do not belong together.
    """
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    try:
        key = load_pem_private_key(private_key_pem, password=None)
    except TypeError:
        raise ValueError("the private key is encrypted") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("the private key is neither P-256 nor RSA")
    if key.public_key() != certificate.public_key():
        raise ValueError("the private key does not belong to the certificate")
    return Issued(certificate, key)


def _new_key(rsa_key: bool) -> PrivateKey:
    if rsa_key:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _subject(common_name: str) -> x509.Name:
    text = common_name.strip()[:_COMMON_NAME_LENGTH_MAX]
    if not text:
        raise ValueError("a common name cannot be empty")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(
        label.isascii() and label.replace("-", "").replace("_", "").isalnum() and len(label) <= 63
        for label in labels
    ):
        raise ValueError(f"expected a DNS name or an IP address, found {name!r}")
    return x509.DNSName(name)


def _issued(
    subject: x509.Name,
    key: PrivateKey,
    days: int,
    extensions: Sequence[_Extension],
    *,
    by: Issued | None = None,
) -> Issued:
    """A certificate for `key` that `by` signs, or `key` itself."""
    now = datetime.now(UTC).replace(microsecond=0)
    end = now + timedelta(days=days)
    start = min(now, end) - _BACKDATE
    issuer, signer = subject, key
    if by is not None:
        issuer, signer = by.certificate.subject, by.private_key
        end = min(end, by.certificate.not_valid_after_utc)
    public_key = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Issued(builder.sign(signer, SHA256()), key)


def _key_usage(*wanted: str) -> x509.KeyUsage:
    usages = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{usage: usage in wanted for usage in usages})
