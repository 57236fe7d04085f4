from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.service.tls.inspection import (
    Contents,
    Role,
    check_issuers,
    contents_of,
    is_issuer,
    match_keys,
)
from tests.odd_certificates import make_certificate, make_crl

AUTHORITY = make_authority("test authority")
SERVER = make_leaf(AUTHORITY, ["c.example", "192.0.2.1"], purpose="server", days=100)
CLIENT = make_leaf(AUTHORITY, ["web-1"], purpose="client", rsa_key=True)


def file(folder: Path, name: str, *parts: bytes) -> str:
    path = folder / name
    path.write_bytes(b"".join(parts))
    return str(path)


def only_problem(found: Contents) -> str:
    (problem,) = (problem for one in found.described for problem in one.problems)
    return problem


def test_a_certificate_is_described(tmp_path: Path) -> None:
    path = file(tmp_path, "server.pem", SERVER.certificate_pem())
    (one,) = contents_of(path, role="server").described
    assert (one.kind, one.subject, one.issuer) == (
        *("certificate", "CN=c.example"),
        "CN=test authority",
    )
    assert one.names == ["c.example", "192.0.2.1"]
    assert (one.purposes, one.key, one.problems) == (["server"], "P-256", [])
    assert one.serial == f"{SERVER.certificate.serial_number:X}".rjust(len(one.serial), "0")
    assert one.days_left is not None
    assert 99 < one.days_left <= 100
    assert one.ends_at == f"{SERVER.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert len(one.sha256.split(":")) == 32


@pytest.mark.parametrize(
    ("issued", "role", "words"),
    [
        (CLIENT, "server", "its extended key usage allows client, and it is used as that of a s"),
        (SERVER, "client", "its extended key usage allows server"),
        (AUTHORITY, "server", "it is an authority, expected the certificate of a server"),
        (make_certificate("old", days_from=-9, days_to=-2), "client", "it has expired on "),
        (make_certificate("new", days_from=2, days_to=3), "client", "it is not valid before "),
        (make_certificate("nameless"), "server", "it has no subjectAltName"),
    ],
)
def test_what_is_wrong_with_one(tmp_path: Path, issued: Issued, role: Role, words: str) -> None:
    found = contents_of(file(tmp_path, "own.pem", issued.certificate_pem()), role=role)
    assert words in only_problem(found)


def test_a_chain_out_of_order(tmp_path: Path) -> None:
    other = make_authority("other")
    good = file(tmp_path, "good.pem", SERVER.certificate_pem(), AUTHORITY.certificate_pem())
    bad = file(tmp_path, "bad.pem", SERVER.certificate_pem(), other.certificate_pem())
    assert [one.problems for one in contents_of(good, role="server").described] == [[], []]
    assert "it did not sign the certificate before it" in only_problem(contents_of(bad))


def test_a_bundle_of_authorities_is_no_chain(tmp_path: Path) -> None:
    path = file(tmp_path, "ca.pem", AUTHORITY.certificate_pem(), CLIENT.certificate_pem())
    assert not any(one.problems for one in contents_of(path, role="authority").described)


def test_keys_and_certificates_find_each_other(tmp_path: Path) -> None:
    own = contents_of(file(tmp_path, "server.pem", SERVER.certificate_pem()))
    key = contents_of(file(tmp_path, "key.pem", SERVER.private_key_pem()))
    match_keys([own, key])
    assert own.described[0].key_file == str(tmp_path / "key.pem")
    assert (key.described[0].kind, key.described[0].key) == ("private-key", "P-256")
    other = contents_of(file(tmp_path, "other.pem", CLIENT.private_key_pem()))
    match_keys([own, other])
    assert only_problem(other) == "it belongs to none of these certificates"
    assert other.described[0].key == "RSA 2048"


def test_a_key_alone_is_no_problem(tmp_path: Path) -> None:
    key = contents_of(file(tmp_path, "key.pem", SERVER.private_key_pem()))
    match_keys([key])
    assert not key.described[0].problems


def test_a_pair_in_one_file(tmp_path: Path) -> None:
    path = file(tmp_path, "both.pem", SERVER.private_key_pem(), SERVER.certificate_pem())
    found = contents_of(path, role="server")
    match_keys([found])
    assert [one.kind for one in found.described] == ["certificate", "private-key"]
    assert found.described[0].key_file == path


def test_an_encrypted_key(tmp_path: Path) -> None:
    encrypted = SERVER.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    path = file(tmp_path, "key.pem", encrypted)
    (one,) = contents_of(path).described
    assert (one.key, one.problems) == ("encrypted", [])
    assert contents_of(path, passphrase=b"secret").public_key
    assert "it cannot be read" in only_problem(contents_of(path, passphrase=b"other"))


def test_a_revocation_list(tmp_path: Path) -> None:
    path = file(tmp_path, "crl.pem", make_crl(AUTHORITY, [CLIENT]))
    (one,) = contents_of(path).described
    assert (one.kind, one.issuer, one.problems) == ("crl", "CN=test authority", [])
    assert [int(serial, 16) for serial in one.revoked] == [CLIENT.certificate.serial_number]
    late = file(tmp_path, "late.pem", make_crl(AUTHORITY, days=-1))
    assert "the next list should be there" in only_problem(contents_of(late))


def test_who_signed_it(tmp_path: Path) -> None:
    own = contents_of(file(tmp_path, "own.pem", SERVER.certificate_pem()))
    check_issuers([own], [AUTHORITY.certificate])
    assert not own.described[0].problems
    namesake = make_authority("test authority")
    assert not is_issuer(namesake.certificate, SERVER.certificate)
    check_issuers([own], [namesake.certificate])
    assert "no authority here signed it: CN=test authority is missing" in only_problem(own)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is damaged"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "is damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "it cannot be read"),
        (b"x" * (16 * 2**20 + 1), "it is larger than"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in only_problem(contents_of(file(tmp_path, "f.pem", data)))


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    assert "No such file" in only_problem(contents_of(str(tmp_path / "none")))
    assert "it cannot be read" in only_problem(contents_of(str(tmp_path)))


def test_time_is_an_argument(tmp_path: Path) -> None:
    path = file(tmp_path, "server.pem", SERVER.certificate_pem())
    later = datetime.now(UTC) + timedelta(days=101)
    (one,) = contents_of(path, now=later).described
    assert one.problems
    assert one.days_left is not None
    assert one.days_left < 0


def test_text_of_strangers_moves_no_cursor(tmp_path: Path) -> None:
    odd = make_certificate("a\x1b[2Jb", [x509.DNSName("x\x1b.example")])
    (one,) = contents_of(file(tmp_path, "odd.pem", odd.certificate_pem())).described
    assert "\x1b" not in one.subject + one.issuer + "".join(one.names)
