"""Make the signed revocation list of a private authority (RFC 5280 §5)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from relay.service.tls.certificates import Issued
from relay.service.tls.issued_index import Entry

_NO_REASON = "unspecified"  # is told by leaving it out (RFC 5280 §5.3.1)
_BACKDATE = timedelta(hours=1)
_REASONS = {flag.value: flag for flag in x509.ReasonFlags}


def make_crl(
    authority: Issued, entries: Iterable[Entry], *, number: int, now: datetime, days: float
) -> bytes:
    """The revocation list of `authority` in PEM, with those of `entries` that are revoked.

    Args:
        number: Above that of the list before.
        days: From now until the next list has to be there; until then peers use this one, and
            afterwards relays accept no certificate of this authority.
    """
    now = now.replace(microsecond=0)
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - _BACKDATE)  # for peers whose clock is behind
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(signer, critical=False)
    )
    for entry in entries:
        if entry.revoked_at is None:
            continue
        revoked = (
            x509.RevokedCertificateBuilder()
            .serial_number(entry.serial)
            .revocation_date(entry.revoked_at)
        )
        reason = _REASONS.get(entry.reason)
        if reason is not None and entry.reason != _NO_REASON:
            revoked = revoked.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(revoked.build())
    return builder.sign(authority.private_key, SHA256()).public_bytes(Encoding.PEM)
