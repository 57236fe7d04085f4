from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from relay.cli.main import main
from relay.service.tls.certificates import Issued, load_issued
from relay.service.tls.issued_index import serial_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = certs("all", "--out", tmp_path, "--name", "c.example", "--client-name", "web-1")
    assert made.exit_code == 0, made.output
    return tmp_path


def certs(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["certs", *map(str, arguments)])


def load(folder: Path, name: str) -> Issued:
    return load_issued(
        (folder / f"{name}.pem").read_bytes(), (folder / f"{name}-key.pem").read_bytes()
    )


def serial(folder: Path, name: str) -> str:
    return serial_text(load(folder, name).certificate.serial_number)


def index_of(folder: Path) -> list[dict[str, Any]]:
    return list(msgspec.json.decode(certs("issued", "--json", "--out", folder).stdout))


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def extensions(issued: Issued) -> list[object]:
    kinds = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage, x509.KeyUsage)
    return [issued.certificate.extensions.get_extension_for_class(kind).value for kind in kinds]


def test_renewed_with_the_same_names_and_another_key(folder: Path) -> None:
    before = load(folder, "server")
    (folder / "server-key.pem").chmod(0o640)
    renewed = certs("renew", folder / "server.pem")
    assert renewed.exit_code == 0, renewed.output
    after = load(folder, "server")
    assert after.certificate.serial_number != before.certificate.serial_number
    assert after.private_key.public_key() != before.private_key.public_key()
    assert after.certificate.subject == before.certificate.subject
    assert extensions(after) == extensions(before)
    assert (folder / "server-key.pem").stat().st_mode & 0o777 == 0o640
    assert serial(folder, "server") in renewed.output
    checked = openssl(
        "verify", "-CAfile", folder / "ca.pem", "-purpose", "sslserver", folder / "server.pem"
    )
    assert checked.returncode == 0, checked.stderr
    assert [row["file"] for row in index_of(folder)] == ["server.pem", "client.pem", "server.pem"]


def test_renewed_with_the_same_key(folder: Path) -> None:
    key = (folder / "client-key.pem").read_bytes()
    before = load(folder, "client")
    renewed = certs("renew", folder / "client.pem", "--keep-key", "--days", "5")
    assert "with the same key" in renewed.output
    assert (folder / "client-key.pem").read_bytes() == key
    after = load(folder, "client")
    assert after.certificate != before.certificate
    left = after.certificate.not_valid_after_utc - after.certificate.not_valid_before_utc
    assert left.days == 5


def test_an_rsa_key_is_renewed_by_one(tmp_path: Path) -> None:
    certs("all", "--out", tmp_path, "--rsa")
    assert certs("renew", tmp_path / "client.pem").exit_code == 0
    assert type(load(tmp_path, "client").private_key).__name__ == "RSAPrivateKey"


def test_what_follows_the_certificate_stays(folder: Path) -> None:
    path = folder / "server.pem"
    path.write_bytes(path.read_bytes() + (folder / "ca.pem").read_bytes())
    assert certs("renew", path).exit_code == 0
    own, authority = x509.load_pem_x509_certificates(path.read_bytes())
    own.verify_directly_issued_by(authority)


def test_what_is_not_renewed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    certs("all", "--out", other)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    for arguments, words in (
        ((folder / "server.pem", "--out", other), "not by the authority in"),
        ((folder / "server.pem", "--key", other / "server-key.pem"), "does not belong"),
        ((folder / "server.pem", "--key", folder / "none.pem"), "none.pem is missing"),
        ((folder / "none.pem",), "cannot read"),
        ((folder / "ca-key.pem",), "holds no certificate in PEM"),
        ((folder / "ca.pem",), "it is an authority"),
    ):
        refused = certs("renew", *arguments)
        assert refused.exit_code == 2
        assert words in refused.stderr, refused.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content


def test_a_revoked_certificate_is_in_the_list(folder: Path) -> None:
    first = certs("crl", "--out", folder)
    assert "list 1, 0 revoked" in first.output
    revoked = certs("revoke", folder / "client.pem", "--reason", "keyCompromise", "--out", folder)
    assert f"serial {serial(folder, 'client')}, /CN=web-1, is revoked since" in revoked.output
    assert f"syslogrelay certs crl --out {folder}" in revoked.output
    assert "list 2, 1 revoked" in certs("crl", "--out", folder, "--days", "7").output
    again = certs("revoke", serial(folder, "client").lower(), "--out", folder)
    assert "is already revoked" in again.output
    assert "(keyCompromise)" in again.output
    verified = openssl("crl", "-in", folder / "crl.pem", "-CAfile", folder / "ca.pem", "-noout")
    assert "verify OK" in verified.stderr
    (folder / "both.pem").write_bytes(
        (folder / "ca.pem").read_bytes() + (folder / "crl.pem").read_bytes()
    )
    common = ("verify", "-crl_check", "-CAfile", folder / "both.pem")
    assert openssl(*common, folder / "server.pem").returncode == 0
    refused = openssl(*common, folder / "client.pem")
    assert "certificate revoked" in refused.stderr + refused.stdout
    states = {row["file"]: row["state"] for row in index_of(folder)}
    assert states == {"server.pem": "valid", "client.pem": "revoked"}


def test_a_certificate_that_another_version_made(folder: Path) -> None:
    (folder / "ca-index.txt").unlink()  # as before there was one
    assert certs("revoke", folder / "client.pem", "--out", folder).exit_code == 0
    assert "1 revoked" in certs("crl", "--out", folder).output


def test_what_is_not_revoked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    certs("all", "--out", other)
    for target, words in (
        (other / "client.pem", "only that authority can revoke it"),
        (folder / "ca.pem", "is the authority itself"),
        ("ABCD", "no certificate with serial ABCD is in the index"),
        ("client.pem?", "expected a file, or a serial number"),
    ):
        refused = certs("revoke", target, "--out", folder)
        assert refused.exit_code == 2
        assert words in refused.stderr, refused.stderr
    assert certs("revoke", "ab:cd", "--force", "--out", folder).exit_code == 0
    assert index_of(folder)[-1]["serial"] == "ABCD"


def test_a_new_authority_begins_another_index(folder: Path) -> None:
    certs("revoke", folder / "client.pem", "--out", folder)
    certs("crl", "--out", folder)
    made = certs("all", "--out", folder, "--force")
    assert f"{folder}/crl.pem is of another authority" in made.output
    assert [row["state"] for row in index_of(folder)] == ["valid", "valid"]
    assert "0 revoked" in certs("crl", "--out", folder).output


def test_the_list_of_what_was_issued(folder: Path) -> None:
    shown = certs("issued", "--out", folder).output.splitlines()
    assert shown[0].split() == ["serial", "state", "until", "file", "subject"]
    assert len(shown) == 3
    assert "/CN=c.example" in shown[1]


def test_a_damaged_index_is_named(folder: Path) -> None:
    (folder / "ca-index.txt").write_text("nonsense\n")
    for arguments in (
        ("issued", "--out", folder),
        ("crl", "--out", folder),
        ("renew", folder / "server.pem"),
        ("server", "--out", folder, "--force"),
    ):
        refused = certs(*arguments)
        assert refused.exit_code == 2
        assert f"{folder}/ca-index.txt:1: expected V, R or E" in refused.stderr


def test_an_index_that_cannot_be_read(folder: Path) -> None:
    (folder / "ca-index.txt").unlink()
    os.mkfifo(folder / "ca-index.txt")  # nobody writes into it
    refused = certs("issued", "--out", folder)
    assert refused.exit_code == 2
    assert f"cannot read {folder}/ca-index.txt: it is not a regular file" in refused.stderr


def test_a_list_that_cannot_be_written(folder: Path) -> None:
    (folder / "crl.pem").mkdir()
    refused = certs("crl", "--out", folder)
    assert refused.exit_code == 2
    assert "cannot write" in refused.stderr
