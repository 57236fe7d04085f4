from __future__ import annotations

import ipaddress
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from relay.service.tls.certificates import load_issued, make_authority, make_leaf

AUTHORITY = make_authority("test authority")
SERVER = make_leaf(AUTHORITY, ["central.example", "192.0.2.1", "::1"], purpose="server")
CLIENT = make_leaf(AUTHORITY, ["web-1.example"], purpose="client")


def test_an_authority_signs_leaves_only() -> None:
    extensions = AUTHORITY.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature


def test_a_leaf_is_signed_and_carries_its_names() -> None:
    SERVER.certificate.verify_directly_issued_by(AUTHORITY.certificate)
    extensions = SERVER.certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["central.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_address("::1"),
    ]
    assert SERVER.certificate.subject.rfc4514_string() == "CN=central.example"
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_key_identifiers_link_leaf_and_authority() -> None:
    ski = AUTHORITY.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    aki = SERVER.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert aki.value.key_identifier == ski.value.digest


def test_purposes() -> None:
    for leaf, purpose in (
        (SERVER, ExtendedKeyUsageOID.SERVER_AUTH),
        (CLIENT, ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        usage = leaf.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [purpose]


def test_keys_are_p256_or_rsa_2048() -> None:
    assert isinstance(AUTHORITY.private_key, ec.EllipticCurvePrivateKey)
    assert isinstance(AUTHORITY.private_key.curve, ec.SECP256R1)
    leaf = make_leaf(AUTHORITY, ["a"], purpose="server", rsa_key=True)
    assert isinstance(leaf.private_key, rsa.RSAPrivateKey)
    assert leaf.private_key.key_size == 2048
    usage = leaf.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_encipherment


def test_lifetimes() -> None:
    now = datetime.now(UTC)
    assert timedelta(3649) < AUTHORITY.certificate.not_valid_after_utc - now <= timedelta(3650)
    assert timedelta(396) < SERVER.certificate.not_valid_after_utc - now <= timedelta(397)
    assert SERVER.certificate.not_valid_before_utc < now
    old = make_leaf(AUTHORITY, ["a"], purpose="server", days=-3).certificate
    assert old.not_valid_before_utc < old.not_valid_after_utc < now


def test_a_leaf_does_not_outlive_its_authority() -> None:
    authority = make_authority("short", days=5)
    leaf = make_leaf(authority, ["a"], purpose="client")
    assert leaf.certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


@pytest.mark.parametrize("name", ["", "a b", "a..b", "ä.example", "x" * 64, "*", "a.*"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ValueError, match="expected a DNS name or an IP address, found"):
        make_leaf(AUTHORITY, [name], purpose="server")


def test_names_are_needed() -> None:
    with pytest.raises(ValueError, match="a certificate needs at least one name"):
        make_leaf(AUTHORITY, [], purpose="server")
    with pytest.raises(ValueError, match="a common name cannot be empty"):
        make_authority(" ")


def test_long_and_wild_names() -> None:
    name = "*." + "a" * 60 + ".example"
    leaf = make_leaf(AUTHORITY, [name], purpose="server").certificate
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]


def test_what_was_written_is_read_back() -> None:
    again = load_issued(SERVER.certificate_pem(), SERVER.private_key_pem())
    assert again.certificate == SERVER.certificate
    with pytest.raises(ValueError, match="the private key does not belong to the certificate"):
        load_issued(SERVER.certificate_pem(), CLIENT.private_key_pem())
    with pytest.raises(ValueError):
        load_issued(b"", b"")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
@pytest.mark.parametrize("purpose", ["server", "client"])
def test_openssl_accepts_them_strictly(
    purpose: Literal["server", "client"], tmp_path: Path
) -> None:
    leaf = make_leaf(AUTHORITY, ["localhost"], purpose=purpose)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem())
    (tmp_path / "leaf.pem").write_bytes(leaf.certificate_pem())
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem"]
    command += ["-purpose", f"ssl{purpose}", "-verify_hostname", "localhost", "leaf.pem"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr
