from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from relay.cli.main import main
from relay.service.tls.certificates import Issued, load_issued

ALL = {
    *("ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"),
    *("ca-index.txt", "ca-index.txt.attr"),
}


def certs(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["certs", *arguments])


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def load(directory: Path, name: str) -> Issued:
    return load_issued(
        (directory / f"{name}.pem").read_bytes(), (directory / f"{name}-key.pem").read_bytes()
    )


def subject_names(one: Issued) -> list[str]:
    extension = one.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


def test_all(tmp_path: Path) -> None:
    out = tmp_path / "deep/certs"
    result = certs("all", "--out", str(out), "--name", "c.example", "--name", "192.0.2.1")
    assert result.exit_code == 0, result.output
    assert names(out) == ALL
    assert f"{out}/server.pem and server-key.pem, valid until " in result.output
    for name in ("server", "client"):
        leaf = load(out, name)
        leaf.certificate.verify_directly_issued_by(load(out, "ca").certificate)
    assert subject_names(load(out, "server")) == ["c.example", "192.0.2.1"]


def test_one_by_one(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    assert certs("ca", *out, "--rsa").exit_code == 0
    assert certs("server", *out).exit_code == 0
    assert certs("client", *out, "--name", "web-1").exit_code == 0
    assert names(tmp_path) == ALL
    assert {"localhost", "127.0.0.1", "::1"} < set(subject_names(load(tmp_path, "server")))
    assert subject_names(load(tmp_path, "client")) == ["web-1"]


def test_keys_are_for_their_owner_from_the_first_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[str, int] = {}
    real_open = os.open

    def recording_open(path: os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        opened[Path(path).name] = os.fstat(descriptor).st_mode & 0o777
        return descriptor

    monkeypatch.setattr(os, "open", recording_open)
    before = os.umask(0)
    try:
        assert certs("all", "--out", str(tmp_path)).exit_code == 0
        assert certs("client", "--out", str(tmp_path), "--force").exit_code == 0
    finally:
        os.umask(before)
    keys = {name: mode for name, mode in opened.items() if "-key.pem" in name}
    assert keys == dict.fromkeys(
        (".ca-key.pem.new", ".server-key.pem.new", ".client-key.pem.new"), 0o600
    )
    assert (tmp_path / "client-key.pem").stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    assert certs("ca", *out).exit_code == 0
    before = (tmp_path / "ca.pem").read_bytes()
    result = certs("all", *out)
    assert result.exit_code == 2
    assert result.stderr == (
        f"syslogrelay: {tmp_path}/ca-key.pem, {tmp_path}/ca.pem already there; choose "
        "another --out, or replace with --force\n"
    )
    assert names(tmp_path) == {"ca.pem", "ca-key.pem"}
    assert (tmp_path / "ca.pem").read_bytes() == before
    assert certs("all", *out, "--force").exit_code == 0
    assert (tmp_path / "ca.pem").read_bytes() != before
    assert names(tmp_path) == ALL


def test_a_leaf_needs_an_authority(tmp_path: Path) -> None:
    result = certs("server", "--out", str(tmp_path))
    assert (result.exit_code, result.stderr) == (
        2,
        f"syslogrelay: {tmp_path}/ca.pem is missing; name the authority's directory with --out, "
        f"or make a new authority: syslogrelay certs ca --out {tmp_path}\n",
    )


def test_a_foreign_authority(tmp_path: Path) -> None:
    assert certs("all", "--out", str(tmp_path)).exit_code == 0
    (tmp_path / "ca-key.pem").write_bytes((tmp_path / "server-key.pem").read_bytes())
    result = certs("client", "--out", str(tmp_path), "--force")
    assert result.exit_code == 2
    assert "are no authority: the private key does not belong to the certificate" in result.stderr


def test_bad_names(tmp_path: Path) -> None:
    result = certs("all", "--out", str(tmp_path), "--name", "a b")
    assert result.exit_code == 2
    assert (
        result.stderr == "syslogrelay: --name: expected a DNS name or an IP address, found 'a b'\n"
    )
    result = certs("ca", "--out", str(tmp_path), "--common-name", "")
    assert result.stderr == "syslogrelay: --common-name: a common name cannot be empty\n"
    assert names(tmp_path) == set()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = certs("ca", "--out", str(tmp_path / "file/certs"))
    assert result.exit_code == 2
    assert "cannot write" in result.stderr
    assert "Not a directory" in result.stderr


def test_a_new_authority_that_cannot_be_written_leaves_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert certs("all", "--out", str(tmp_path)).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device", "ca.pem")

    monkeypatch.setattr(os, "fsync", full)
    failed = certs("all", "--out", str(tmp_path), "--force")
    assert (failed.exit_code, "No space left on device" in failed.stderr) == (2, True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
