from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.service.tls.certificate_watch import Expiry, expiries_of
from relay.service.tls.certificates import make_authority, make_leaf
from relay.transport.tls.endpoints import TlsMaterial
from tests.odd_certificates import make_crl

HOUR, DAY = 3600.0, 86400.0
AUTHORITY = make_authority("One", days=2)
OTHER = make_authority("Two", days=2)
OWN = make_leaf(AUTHORITY, ["a.example"], purpose="server", days=1)


def of_lists(*lists: bytes) -> list[Expiry]:
    return expiries_of(TlsMaterial(crl_pem=b"".join(lists), crl="/crl.pem"), certificate="")


def test_what_expires_is_our_certificate_and_each_list() -> None:
    material = TlsMaterial(
        certificate_pem=OWN.certificate_pem() + AUTHORITY.certificate_pem(),
        crl_pem=make_crl(AUTHORITY) + make_crl(OTHER),
        crl="/crl.pem",
    )
    own, one, two = expiries_of(material, certificate="/own.pem")
    assert (own.path, own.issuer) == ("/own.pem", "")
    assert own.ends_at == OWN.certificate.not_valid_after_utc.timestamp()
    assert [(each.path, each.issuer) for each in (one, two)] == [
        ("/crl.pem", "CN=One"),
        ("/crl.pem", "CN=Two"),
    ]
    assert expiries_of(TlsMaterial(), certificate="") == []


@pytest.mark.parametrize(
    ("life_days", "warned_seconds"),
    [(30, DAY), (4, DAY), (3, 18 * HOUR), (1, 6 * HOUR), (1 / 24, HOUR / 4)],
)
def test_a_list_is_warned_of_in_the_last_quarter_of_its_life(
    life_days: float, warned_seconds: float
) -> None:
    (expiry,) = of_lists(make_crl(AUTHORITY, days=1, life_days=life_days))
    assert expiry.warnings[-1] == pytest.approx(warned_seconds, abs=1)
    assert expiry.warning(expiry.ends_at - warned_seconds - 2) == ""
    message = expiry.warning(expiry.ends_at - warned_seconds + 2)
    assert message == (
        f"the revocation list of 'CN=One' in /crl.pem expires in {warned_seconds / HOUR:.1f} "
        "hours; put the next one there"
    )
    assert expiry.warning(expiry.ends_at - 1) == ""
    assert expiry.warning(expiry.ends_at) == (
        "the revocation list of 'CN=One' in /crl.pem has expired: every peer whose certificate "
        "this issuer has signed is refused until the next one is there"
    )
    assert expiry.warning(expiry.ends_at + DAY) == ""


def test_of_several_lists_of_an_issuer_the_last_counts() -> None:
    old, new = make_crl(AUTHORITY, days=-1), make_crl(AUTHORITY, days=1)
    ends = [each.ends_at for each in of_lists(new)]
    assert [each.ends_at for each in of_lists(old, new)] == ends
    assert [each.ends_at for each in of_lists(new, old)] == ends


def without_next_update(pem: bytes) -> bytes:
    """The same list, but for its second UTCTime; the signature no longer holds."""
    crl = x509.load_pem_x509_crl(pem)
    tbs = crl.tbs_certlist_bytes
    rest = crl.public_bytes(Encoding.DER)
    rest = rest[rest.index(tbs) + len(tbs) :]
    body = tbs[2:]  # it is short: one octet of length
    first = body.index(b"\x17\x0d")
    body = body[: first + 15] + body[first + 30 :]
    content = b"\x30" + bytes([len(body)]) + body + rest
    der = b"\x30\x81" + bytes([len(content)]) + content
    text = base64.encodebytes(der)
    return b"-----BEGIN X509 CRL-----\n" + text + b"-----END X509 CRL-----\n"


def test_a_list_without_a_next_one_does_not_expire() -> None:
    lasting = without_next_update(make_crl(AUTHORITY))
    assert x509.load_pem_x509_crl(lasting).next_update_utc is None
    assert of_lists(lasting) == []
    for lists in ((lasting, make_crl(AUTHORITY)), (make_crl(AUTHORITY), lasting)):
        assert of_lists(*lists) == []
    assert [each.issuer for each in of_lists(lasting, make_crl(OTHER))] == ["CN=Two"]


def test_reports() -> None:
    (expiry,) = of_lists(make_crl(AUTHORITY, days=1, life_days=2))
    end = datetime.fromtimestamp(expiry.ends_at, UTC)
    assert expiry.report("source in", expiry.ends_at - 13 * HOUR) == {
        "subject": "source in",
        "kind": "crl",
        "crl": "/crl.pem",
        "issuer": "CN=One",
        "next_update": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "days_left": 0.54,
        "is_due": False,
        "problem": "the revocation list of 'CN=One' in /crl.pem expires at "
        f"{end:%Y-%m-%dT%H:%M:%SZ}",
    }
    late = expiry.report("source in", expiry.ends_at + 36 * HOUR)
    assert (late["days_left"], late["is_due"]) == (-1.5, True)
    assert "in /crl.pem should have been replaced by 20" in late["problem"]
