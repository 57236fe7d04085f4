from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from relay.service.tls.certificates import make_authority
from relay.service.tls.issued_index import Entry
from relay.service.tls.revocation import make_crl

AUTHORITY = make_authority("test authority")
NOW = datetime(2026, 11, 30, 12, 0, 0, 500, tzinfo=UTC)


def entry(serial: int, reason: str = "", *, revoked: bool = True) -> Entry:
    at = NOW.replace(microsecond=0) - timedelta(days=1)
    return Entry(serial, NOW, "f", "/", at if revoked else None, reason)


def test_the_list_has_what_is_revoked_and_is_signed() -> None:
    entries = [entry(1, "keyCompromise"), entry(2, revoked=False), entry(3, "unspecified")]
    pem = make_crl(AUTHORITY, entries, number=5, now=NOW, days=7)
    crl = x509.load_pem_x509_crl(pem)
    public = AUTHORITY.certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(public)
    assert crl.next_update_utc == NOW.replace(microsecond=0) + timedelta(days=7)
    assert crl.last_update_utc < NOW
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 5
    first, second = crl
    assert (first.serial_number, second.serial_number) == (1, 3)
    reason = first.extensions.get_extension_for_class(x509.CRLReason).value
    assert reason.reason is x509.ReasonFlags.key_compromise
    assert len(second.extensions) == 0  # RFC 5280 §5.3.1: unspecified is left out
    assert first.revocation_date_utc == NOW.replace(microsecond=0) - timedelta(days=1)


def test_an_empty_list_and_a_reason_that_is_not_known() -> None:
    assert len(x509.load_pem_x509_crl(make_crl(AUTHORITY, [], number=1, now=NOW, days=1))) == 0
    (only,) = x509.load_pem_x509_crl(
        make_crl(AUTHORITY, [entry(1, "holdInstruction")], number=1, now=NOW, days=1)
    )
    assert len(only.extensions) == 0
