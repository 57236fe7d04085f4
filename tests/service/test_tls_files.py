from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from relay.service.certificates import make_authority, make_leaf
from relay.service.configuration import TlsConfiguration
from relay.service.tls_files import listener_problems, upstream_problems

AUTHORITY = make_authority("test authority")
SERVER = make_leaf(AUTHORITY, ["localhost"], purpose="server")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem())
    chain = SERVER.certificate_pem() + AUTHORITY.certificate_pem()
    (tmp_path / "server.pem").write_bytes(chain)
    (tmp_path / "server-key.pem").write_bytes(SERVER.private_key_pem())
    return tmp_path


def tls(
    files: Path, peer_verify: str = "required", server_name: str = "", **names: str
) -> TlsConfiguration:
    paths = {"trusted_ca": "ca.pem", "certificate": "server.pem", "private_key": "server-key.pem"}
    paths = {key: str(files / name) for key, name in (paths | names).items() if name}
    return TlsConfiguration(peer_verify=peer_verify, server_name=server_name, **paths)


def on_listener(configuration: TlsConfiguration) -> list[str]:
    return listener_problems(configuration, lambda key: f"s.{key}")


def on_upstream(configuration: TlsConfiguration) -> list[str]:
    return upstream_problems(configuration, lambda key: f"d.{key}")


def test_good_files(files: Path) -> None:
    assert on_listener(tls(files)) == []
    assert on_listener(tls(files, peer_verify="optional")) == []
    assert on_listener(tls(files, peer_verify="none", trusted_ca="")) == []
    assert on_upstream(tls(files, server_name="central.example")) == []
    assert on_upstream(TlsConfiguration()) == []


def test_a_listener_needs_a_certificate(files: Path) -> None:
    assert on_listener(tls(files, certificate="", private_key="")) == [
        "s.certificate: is missing; a TLS listener needs certificate and private_key"
    ]


@pytest.mark.parametrize(
    ("peer_verify", "default"), [("required", " (the default)"), ("optional", "")]
)
def test_a_listener_that_verifies_needs_an_authority(
    peer_verify: str, default: str, files: Path
) -> None:
    assert on_listener(tls(files, peer_verify=peer_verify, trusted_ca="")) == [
        f's.trusted_ca: is missing; peer_verify = "{peer_verify}"{default} verifies the senders\' '
        "certificates with it; to accept senders without a certificate write "
        'peer_verify = "none"'
    ]


def test_certificate_and_key_come_together(files: Path) -> None:
    assert on_upstream(tls(files, private_key="")) == [
        "d.private_key: is missing; certificate does not work without it"
    ]
    assert on_upstream(tls(files, certificate="")) == [
        "d.certificate: is missing; private_key does not work without it"
    ]


def test_an_upstream_is_verified_or_not(files: Path) -> None:
    assert on_upstream(tls(files, peer_verify="optional", server_name="a b")) == [
        "d.peer_verify: expected required or none, found 'optional'; an upstream always has a "
        "certificate",
        "d.server_name: expected a host name or an address, found 'a b'",
    ]


def test_all_files_are_looked_at(tmp_path: Path) -> None:
    assert on_listener(tls(tmp_path)) == [
        f"s.trusted_ca: cannot read {tmp_path}/ca.pem: No such file or directory",
        f"s.certificate: cannot read {tmp_path}/server.pem: No such file or directory",
        f"s.private_key: cannot read {tmp_path}/server-key.pem: No such file or directory",
    ]


def test_files_that_are_something_else(files: Path) -> None:
    (files / "empty").write_bytes(b"")
    assert on_upstream(tls(files, trusted_ca="empty", private_key="empty")) == [
        f"d.trusted_ca: {files}/empty holds no certificate; expected PEM with a line "
        "-----BEGIN CERTIFICATE-----",
        f"d.private_key: {files}/empty holds no private key; expected PEM with a line "
        "-----BEGIN PRIVATE KEY-----",
    ]
    swapped = tls(files, certificate="server-key.pem", private_key="server.pem")
    assert [problem.partition("; ")[0] for problem in on_upstream(swapped)] == [
        f"d.certificate: {files}/server-key.pem holds no certificate",
        f"d.private_key: {files}/server.pem holds no private key",
    ]


def test_damaged_files(files: Path) -> None:
    for name in ("server.pem", "server-key.pem"):
        octets = (files / name).read_bytes()
        (files / name).write_bytes(octets[:60] + b"!!!!" + octets[64:])
    assert on_upstream(tls(files)) == [
        f"d.certificate: the certificate in {files}/server.pem is damaged or of an unknown kind",
        f"d.private_key: the private key in {files}/server-key.pem is damaged or of an unknown "
        "kind",
    ]


def test_an_encrypted_key(files: Path) -> None:
    octets = SERVER.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim")
    )
    (files / "server-key.pem").write_bytes(octets)
    assert on_upstream(tls(files)) == [
        f"d.private_key: the private key in {files}/server-key.pem is encrypted; store it without "
        "a passphrase"
    ]


def test_a_key_that_openssl_would_refuse(files: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (files / "server-key.pem").write_bytes(octets)
    assert on_upstream(tls(files)) == [
        f"d.private_key: the RSA key in {files}/server-key.pem has 1024 bits; use 2048 or more"
    ]


def test_a_key_of_another_certificate(files: Path) -> None:
    (files / "server-key.pem").write_bytes(AUTHORITY.private_key_pem())
    assert on_upstream(tls(files)) == [
        f"d.private_key: {files}/server-key.pem does not belong to the first certificate in "
        f"{files}/server.pem"
    ]


def test_an_expired_certificate(files: Path) -> None:
    old = make_leaf(AUTHORITY, ["localhost"], purpose="server", days=-1)
    (files / "server.pem").write_bytes(old.certificate_pem())
    (files / "server-key.pem").write_bytes(old.private_key_pem())
    day = f"{old.certificate.not_valid_after_utc:%Y-%m-%d}"
    assert on_upstream(tls(files)) == [
        f"d.certificate: the certificate in {files}/server.pem expired on {day}; replace it"
    ]
