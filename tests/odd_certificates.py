"""Certificates and revocation lists that nobody would order, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from relay.service.tls.certificates import Issued

__all__ = ["make_certificate", "make_crl"]


def make_certificate(
    common_name: str,
    names: Sequence[x509.GeneralName] = (),
    *,
    signed_by: Issued | None = None,
    days_from: float = -1,
    days_to: float = 1,
) -> Issued:
    """A certificate for client and server.

    Args:
        names: For the subjectAltName; none = without that extension.
        signed_by: None = by itself.
        days_from, days_to: When it is valid, from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by.certificate.subject if signed_by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days_from))
        .not_valid_after(now + timedelta(days=days_to))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Issued(builder.sign(signed_by.private_key if signed_by else key, SHA256()), key)


def make_crl(
    authority: Issued, revoked: Sequence[Issued] = (), *, days: float = 1, life_days: float = 3
) -> bytes:
    """A revocation list of `authority` in PEM.

    Args:
        days: Until the next one is due, from now; negative = it should have come.
        life_days: From this one to the next.
    """
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now + timedelta(days=days - life_days))
        .next_update(now + timedelta(days=days))
    )
    for issued in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(issued.certificate.serial_number)
            .revocation_date(now - timedelta(days=1))
            .build()
        )
    return builder.sign(authority.private_key, SHA256()).public_bytes(Encoding.PEM)
