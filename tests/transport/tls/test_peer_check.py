from __future__ import annotations

import ipaddress
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.transport.tls.peer_check import (
    CertificateCheck,
    Fingerprint,
    PeerPolicy,
    fingerprints_of,
    identity_of,
    name_matches,
    names_of,
    parse_fingerprint,
    vouched_names_of,
)
from tests.odd_certificates import make_certificate

SHA_1 = "0A:1B:2C:3D:4E:5F:60:71:82:93:A4:B5:C6:D7:E8:F9:00:11:22:33"
SHA_256 = "AB:" * 31 + "CD"


@cache
def leaf(*names: str) -> Issued:
    return make_leaf(make_authority("Test authority", days=2), names, purpose="client", days=1)


# Fingerprints.


@pytest.mark.parametrize(
    ("text", "algorithm", "digest"),
    [
        (f"SHA-256:{SHA_256}", "SHA-256", SHA_256),
        (f"sha-256:{SHA_256.lower()}", "SHA-256", SHA_256),
        (f"SHA256:{SHA_256}", "SHA-256", SHA_256),
        (f"sha256:{SHA_256.replace(':', '')}", "SHA-256", SHA_256),
        (f"SHA1:{SHA_1}", "SHA-1", SHA_1),
        (f"sha-1:{SHA_1.lower()}", "SHA-1", SHA_1),
    ],
)
def test_both_spellings_of_a_fingerprint(text: str, algorithm: str, digest: str) -> None:
    fingerprint = parse_fingerprint(text)
    assert fingerprint == (algorithm, bytes.fromhex(digest.replace(":", "")))
    assert str(fingerprint) == f"{algorithm}:{digest}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected SHA-256: or SHA-1: and the digest in hexadecimal"),
        (SHA_256, "expected SHA-256: or SHA-1:"),
        (f"MD5:{SHA_1[:47]}", "expected SHA-256: or SHA-1:"),
        (f"SHA256={SHA_256}", "expected SHA-256: or SHA-1:"),
        (f"SHA-256:{SHA_256}:", "expected SHA-256: or SHA-1:"),
        ("SHA-256:" + "XY:" * 31 + "XY", "expected SHA-256: or SHA-1:"),
        (f"SHA-256:{SHA_1}", "a SHA-256 digest has 32 bytes, this one 20"),
        (f"SHA1:{SHA_256}", "a SHA-1 digest has 20 bytes, this one 32"),
    ],
)
def test_what_is_no_fingerprint(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_fingerprint(text)


def test_a_fingerprint_is_of_one_certificate() -> None:
    found = leaf("a.example").certificate
    for name, algorithm in (("SHA-256", hashes.SHA256()), ("SHA-1", hashes.SHA1())):
        digest = found.fingerprint(algorithm)
        assert PeerPolicy(fingerprints=(Fingerprint(name, digest),)).pins(found)
        for bit in (1, 128):
            off = bytes([digest[0] ^ bit]) + digest[1:]
            assert not PeerPolicy(fingerprints=(Fingerprint(name, off),)).pins(found)
    assert not PeerPolicy().pins(found)


# Names.


@pytest.mark.parametrize(
    ("wanted", "found", "matches"),
    [
        ("web-1.example.com", "web-1.example.com", True),
        ("web-1.example.com", "WEB-1.Example.Com.", True),
        ("web-1.example.com", "web-2.example.com", False),
        ("web-1.example.com", "example.com", False),
        ("*.example.com", "web-1.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "a.web-1.example.com", False),
        ("*.example.com", "web-1.example.com.evil.org", False),
        ("*.example.com", "*.example.com", True),
        ("web-1.example.com", "*.example.com", True),
        ("a.web-1.example.com", "*.example.com", False),
        ("web-1.example.com", "w*.example.com", False),
        ("web-1.example.com", "web-1.*.com", False),
        ("example.com", "*.com", False),
        ("localhost", "*", False),
        ("localhost", "localhost", True),
        ("*", "localhost", False),
        ("", "", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("*.0.0.5", "10.0.0.5", False),
        ("10.0.0.5", "*.0.0.5", False),
        ("2001:db8::1", "2001:0DB8:0::1", True),
    ],
)
def test_names_match_label_by_label(wanted: str, found: str, matches: bool) -> None:
    assert name_matches(wanted, found) is matches


def test_one_name_of_the_certificate_is_enough() -> None:
    found = leaf("a.example", "b.example", "10.0.0.5").certificate
    for wanted in ("b.example", "10.0.0.5"):
        assert PeerPolicy(names=("other.example", wanted)).name_refusal(found) == ""
    assert PeerPolicy(names=("c.example", "*.d.example")).name_refusal(found) == (
        "the certificate is for a.example, b.example, 10.0.0.5, expected c.example or *.d.example"
    )
    assert PeerPolicy().name_refusal(found) == ""


def test_the_common_name_counts_only_without_other_names() -> None:
    policy = PeerPolicy(names=("web-1",))
    assert policy.name_refusal(make_certificate("web-1").certificate) == ""
    mail = make_certificate("web-1", [x509.RFC822Name("root@example.com")])
    assert policy.name_refusal(mail.certificate) == ""
    for other in (x509.DNSName("b"), x509.IPAddress(ipaddress.ip_address("10.0.0.5"))):
        found = make_certificate("web-1", [other]).certificate
        assert policy.name_refusal(found).endswith(", expected web-1")


def test_a_server_needs_a_subject_alternative_name() -> None:
    found = make_certificate("central").certificate
    assert PeerPolicy(server_name="central").name_refusal(found) == (
        "the certificate is for no subjectAltName at all, expected central"
    )


def test_names_and_identities() -> None:
    found = leaf("a.example", "127.0.0.1", "::1").certificate
    assert names_of(found) == ["a.example", "127.0.0.1", "::1"]
    authority = make_authority("Hálózat", days=1).certificate
    assert names_of(authority) == []
    assert identity_of(authority) == "Hálózat"  # a common name may be in any script


# As OpenSSL's callback.


class Transport:
    certificate_refusal = ""
    certificate_vouched = False


def check(policy: PeerPolicy, *calls: tuple[Issued, int, int]) -> tuple[list[bool], str]:
    """What OpenSSL hears when it calls with certificate, X.509 error and depth; the words."""
    transport = Transport()
    callback: Any = CertificateCheck(transport, policy)
    heard = []
    for issued, code, depth in calls:
        certificate = X509(issued)
        heard.append(callback(None, certificate, code, depth, 0 if code else 1))
    return heard, transport.certificate_refusal


class X509:
    def __init__(self, issued: Issued) -> None:
        self._issued = issued

    def to_cryptography(self) -> x509.Certificate:
        return self._issued.certificate


def pinned(issued: Issued) -> PeerPolicy:
    digest = issued.certificate.fingerprint(hashes.SHA256())
    return PeerPolicy(fingerprints=(Fingerprint("SHA-256", digest),))


def test_trouble_without_fingerprints_is_refused_at_once() -> None:
    peer, issuer = leaf("a.example"), leaf("issuer.example")
    assert check(PeerPolicy(), (peer, 20, 0))[0] == [False]
    assert check(PeerPolicy(), (issuer, 19, 1))[0] == [False]
    _, text = check(PeerPolicy(), (peer, 999, 0))
    assert text == ("certificate 'CN=a.example' (for a.example) is not accepted: X.509 error 999")


@pytest.mark.parametrize("code", [2, 3, 18, 20, 21])
def test_a_fingerprint_makes_up_for_issuers(code: int) -> None:
    peer = leaf("a.example")
    assert check(pinned(peer), (peer, code, 0), (peer, 0, 0)) == ([True, True], "")


@pytest.mark.parametrize("code", [9, 10, 23, 26, 66])
def test_a_fingerprint_does_not_make_up_for_the_certificate_itself(code: int) -> None:
    peer = leaf("a.example")
    assert check(pinned(peer), (peer, code, 0))[0] == [False]


def test_trouble_with_an_issuer_waits_for_the_fingerprint() -> None:
    peer, issuer = leaf("a.example"), leaf("issuer.example")
    calls = ((issuer, 19, 1), (issuer, 0, 1), (peer, 0, 0))
    assert check(pinned(peer), *calls) == ([True, True, True], "")
    heard, text = check(pinned(issuer), *calls)
    assert heard == [True, True, False]
    assert "its root is not among the trusted CAs; nor is its fingerprint SHA-256:" in text


def test_trouble_that_comes_after_the_decision() -> None:
    peer, issuer = leaf("a.example"), leaf("issuer.example")
    calls = ((issuer, 0, 1), (peer, 0, 0), (issuer, 46, 1))
    assert check(pinned(issuer), *calls)[0] == [True, True, False]


def test_a_certificate_that_cannot_be_read_is_refused_in_words() -> None:
    class Unreadable:
        def to_cryptography(self) -> None:
            raise ValueError("invalid version")

    transport = Transport()
    callback: Any = CertificateCheck(transport, PeerPolicy())
    assert callback(None, Unreadable(), 0, 0, 1) is False
    assert transport.certificate_refusal == "the certificate cannot be read: invalid version"


@pytest.mark.parametrize(
    "policy",
    [PeerPolicy(server_name="wanted"), PeerPolicy(names=("wanted",)), PeerPolicy()],
    ids=["name of a server", "names", "chain"],
)
def test_names_in_a_certificate_move_no_cursor(policy: PeerPolicy) -> None:
    hostile = "\x1b[2J\x07\r\nall is well\u202e" + "x" * 40
    names = [x509.DNSName(f"\x1b[31m\r\n{number}.example") for number in range(200)]
    for issued in (make_certificate(hostile, names), make_certificate(hostile)):
        code = 0 if policy.names or policy.server_name else 2
        heard, refusal = check(policy, (issued, code, 0))
        assert heard == [False]
        assert refusal.isprintable(), repr(refusal)
        assert len(refusal) <= 500


def vouched(policy: PeerPolicy, *calls: tuple[Issued, int, int]) -> bool:
    """Whether the names of the certificate count, after the same calls."""
    transport = Transport()
    callback: Any = CertificateCheck(transport, policy)
    for issued, code, depth in calls:
        callback(None, X509(issued), code, depth, 0 if code else 1)
    return bool(transport.certificate_vouched)


def test_names_count_when_an_authority_vouches_for_them() -> None:
    peer, issuer = leaf("a.example"), leaf("issuer.example")
    good = ((issuer, 0, 1), (peer, 0, 0))
    assert vouched(PeerPolicy(), *good)
    assert vouched(pinned(peer), *good)
    assert not vouched(PeerPolicy(), (issuer, 0, 1))
    assert not vouched(PeerPolicy(names=("b.example",)), *good)


def test_a_fingerprint_does_not_vouch_for_names() -> None:
    peer, issuer = leaf("a.example"), leaf("issuer.example")
    assert not vouched(pinned(peer), (peer, 18, 0), (peer, 0, 0))
    assert not vouched(pinned(peer), (issuer, 19, 1), (issuer, 0, 1), (peer, 0, 0))


def test_a_common_name_counts_where_there_is_no_other() -> None:
    assert vouched_names_of(leaf("a.example", "10.0.0.5").certificate) == ["a.example", "10.0.0.5"]
    assert vouched_names_of(make_certificate("plain").certificate) == ["plain"]


def test_every_fingerprint_is_written_as_it_is_read() -> None:
    certificate = leaf("a.example").certificate
    assert [parse_fingerprint(text) for text in fingerprints_of(certificate)] == [
        Fingerprint("SHA-256", certificate.fingerprint(hashes.SHA256())),
        Fingerprint("SHA-1", certificate.fingerprint(hashes.SHA1())),
    ]
