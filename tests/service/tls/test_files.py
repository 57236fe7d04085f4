from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from relay.service.configuration.model import TlsConfiguration
from relay.service.tls.certificates import make_authority, make_leaf
from relay.service.tls.files import (
    file_problems,
    listener_problems,
    read_material,
    read_options,
    read_policy,
    upstream_problems,
)
from relay.transport.tls.endpoints import TlsListener, TlsMaterial, TlsOptions
from tests.odd_certificates import make_crl

PATH_KEYS = ("trusted_ca", "crl", "certificate", "private_key", "private_key_passphrase_file")

AUTHORITY = make_authority("test authority")
SERVER = make_leaf(AUTHORITY, ["localhost"], purpose="server")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem())
    chain = SERVER.certificate_pem() + AUTHORITY.certificate_pem()
    (tmp_path / "server.pem").write_bytes(chain)
    (tmp_path / "server-key.pem").write_bytes(SERVER.private_key_pem())
    return tmp_path


FINGERPRINT = "SHA-256:" + "AB:" * 31 + "CD"


def tls(
    files: Path, peer_verify: str = "required", server_name: str = "", **names: Any
) -> TlsConfiguration:
    paths = {"trusted_ca": "ca.pem", "certificate": "server.pem", "private_key": "server-key.pem"}
    paths |= {key: names.pop(key) for key in PATH_KEYS if key in names}
    paths = {key: str(files / name) for key, name in paths.items() if name}
    return TlsConfiguration(peer_verify=peer_verify, server_name=server_name, **paths, **names)


def on_listener(configuration: TlsConfiguration) -> list[str]:
    return all_problems(listener_problems, configuration, "s")


def on_upstream(configuration: TlsConfiguration) -> list[str]:
    return all_problems(upstream_problems, configuration, "d")


def all_problems(of_keys: Any, configuration: TlsConfiguration, id: str) -> list[str]:
    """Those of the keys and those of the files."""
    return [
        *of_keys(configuration, lambda key: f"{id}.{key}"),
        *file_problems(configuration, lambda key: f"{id}.{key}"),
    ]


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
        data = (files / name).read_bytes()
        (files / name).write_bytes(data[:60] + b"!!!!" + data[64:])
    assert on_upstream(tls(files)) == [
        f"d.certificate: the certificate in {files}/server.pem is damaged or of an unknown kind",
        f"d.private_key: the private key in {files}/server-key.pem is damaged or of an unknown "
        "kind",
    ]


def encrypt_key(files: Path) -> None:
    data = SERVER.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim")
    )
    (files / "server-key.pem").write_bytes(data)


def test_an_encrypted_key(files: Path) -> None:
    encrypt_key(files)
    assert on_upstream(tls(files)) == [
        f"d.private_key: the private key in {files}/server-key.pem is encrypted; name the file "
        "with its passphrase in private_key_passphrase_file"
    ]
    (files / "phrase").write_bytes(b"geheim\r\nand more\n")
    with_passphrase = tls(files, private_key_passphrase_file="phrase")
    assert on_upstream(with_passphrase) == []
    TlsListener(read_material(with_passphrase))


def test_a_passphrase_that_does_not_help(files: Path) -> None:
    with_passphrase = tls(files, private_key_passphrase_file="phrase")
    (files / "phrase").write_bytes(b"\n")
    assert on_upstream(with_passphrase) == [
        f"d.private_key_passphrase_file: {files}/phrase holds no passphrase; expected it in the "
        "first line"
    ]
    (files / "phrase").write_bytes(b"anderes\n")
    assert on_upstream(with_passphrase) == [
        f"d.private_key: the private key in {files}/server-key.pem is not encrypted; remove "
        "private_key_passphrase_file"
    ]
    encrypt_key(files)
    assert on_upstream(with_passphrase) == [
        f"d.private_key: the private key in {files}/server-key.pem cannot be decrypted: the "
        "passphrase is another, or the key is damaged"
    ]
    keyless = tls(files, private_key_passphrase_file="phrase", certificate="", private_key="")
    assert on_upstream(keyless) == [
        "d.private_key_passphrase_file: has no meaning without private_key; remove one of them"
    ]


def test_a_key_that_openssl_would_refuse(files: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (files / "server-key.pem").write_bytes(data)
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


# Who is accepted.


def test_peers_by_name_and_fingerprint(files: Path) -> None:
    names = ("web-1.example.com", "*.example.com", "10.0.0.5", "2001:db8::1", "localhost")
    assert on_listener(tls(files, peer_names=names)) == []
    rsyslog = "sha1:" + "ab" * 20
    both = tls(files, peer_fingerprints=(FINGERPRINT, rsyslog), trusted_ca="")
    assert (on_listener(both), on_upstream(both)) == ([], [])
    policy = read_policy(tls(files, peer_names=names, peer_fingerprints=(FINGERPRINT,)))
    assert policy.names == names
    assert list(map(str, policy.fingerprints)) == [FINGERPRINT]


@pytest.mark.parametrize(
    "name", ["*", "w*.example.com", "a.*.com", "*.*.com", "*.10.0.0.5", "a b", "", "*.", "x@y"]
)
def test_what_is_no_name_of_a_peer(files: Path, name: str) -> None:
    assert on_listener(tls(files, peer_names=("good.example", name))) == [
        "s.peer_names: expected host names, addresses and wildcards such as *.example.com (the "
        f"whole left-most label), found {name!r}"
    ]


def test_what_is_no_fingerprint(files: Path) -> None:
    assert on_upstream(tls(files, peer_fingerprints=("AB:CD", FINGERPRINT[:-3]))) == [
        "d.peer_fingerprints: expected SHA-256: or SHA-1: and the digest in hexadecimal, found "
        "'AB:CD'; openssl x509 -noout -fingerprint -sha256 -in FILE shows it",
        "d.peer_fingerprints: a SHA-256 digest has 32 bytes, this one 31, found "
        f"{FINGERPRINT[:-3]!r}; openssl x509 -noout -fingerprint -sha256 -in FILE shows it",
    ]


def test_keys_that_contradict_each_other(files: Path) -> None:
    (files / "crl.pem").write_bytes(make_crl(AUTHORITY))
    policy: dict[str, Any] = {"peer_fingerprints": (FINGERPRINT,), "crl": "crl.pem"}
    anybody = tls(files, peer_verify="none", peer_names=("a",), **policy)
    why = 'has no meaning with peer_verify = "none", which accepts every peer; remove one of them'
    assert on_listener(anybody) == [
        f"s.{key}: {why}" for key in ("peer_names", "peer_fingerprints", "crl")
    ]
    assert on_listener(tls(files, trusted_ca="", peer_names=("a",), **policy)) == [
        f"s.{key}: has no meaning without trusted_ca; remove one of them"
        for key in ("peer_names", "crl")
    ]
    assert on_upstream(tls(files, trusted_ca="", **policy)) == [
        "d.crl: has no meaning with peer_fingerprints and without trusted_ca; remove one of them"
    ]
    assert on_upstream(tls(files, trusted_ca="", crl="crl.pem")) == []


def test_revocation_lists(files: Path) -> None:
    (files / "crl.pem").write_bytes(make_crl(AUTHORITY, [SERVER]))
    assert on_listener(tls(files, crl="crl.pem")) == []
    assert on_listener(tls(files, crl="ca.pem")) == [
        f"s.crl: {files}/ca.pem holds no revocation list; expected PEM with a line -----BEGIN "
        "X509 CRL-----"
    ]
    assert on_listener(tls(files, crl="none.pem")) == [
        f"s.crl: cannot read {files}/none.pem: No such file or directory"
    ]
    data = (files / "crl.pem").read_bytes()
    (files / "crl.pem").write_bytes(data[:60] + b"!!!!" + data[64:])
    assert on_listener(tls(files, crl="crl.pem")) == [
        f"s.crl: the revocation list in {files}/crl.pem is damaged or of an unknown kind"
    ]


def test_ciphers_and_versions(files: Path) -> None:
    chosen = tls(files, tls_ciphers="ECDHE+AESGCM", tls_version_min="1.3")
    assert on_listener(chosen) == []
    assert read_options(chosen) == TlsOptions(version_min="1.3", ciphers="ECDHE+AESGCM")
    assert on_listener(tls(files, tls_ciphers="ROT13")) == [
        "s.tls_ciphers: OpenSSL supports no cipher in 'ROT13'; openssl ciphers lists them"
    ]


def test_what_the_files_hold(files: Path) -> None:
    (files / "crl.pem").write_bytes(make_crl(AUTHORITY))
    material = read_material(tls(files, crl="crl.pem"))
    assert material.certificate_pem == (files / "server.pem").read_bytes()
    assert material.private_key_pem == SERVER.private_key_pem()
    assert material.trusted_ca_pem == AUTHORITY.certificate_pem()
    assert material.crl_pem == (files / "crl.pem").read_bytes()
    assert read_material(TlsConfiguration()) == TlsMaterial()
    with pytest.raises(ValueError, match="cannot read"):
        read_material(tls(files, trusted_ca="nowhere"))
