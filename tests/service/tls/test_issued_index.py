from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.service.tls import issued_index
from relay.service.tls.certificates import make_authority, make_leaf
from relay.service.tls.issued_index import CRL_NUMBER, INDEX, Entry, Index, serial_text

AUTHORITY = make_authority("test authority")
LEAF = make_leaf(AUTHORITY, ["c.example"], purpose="server")
AT = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)


def entry(serial: int, *, days: int = 30) -> Entry:
    return Entry(serial, AT + timedelta(days=days), "server.pem", "/CN=c.example")


def test_what_is_added_is_there(tmp_path: Path) -> None:
    index = Index(tmp_path)
    assert index.entries() == []
    index.add([])
    assert list(tmp_path.iterdir()) == []
    index.add([entry(1)])
    index.add([Entry.of(LEAF.certificate, "a\tb.pem")])
    first, second = Index(tmp_path).entries()
    assert first == entry(1)
    assert second.serial == LEAF.certificate.serial_number
    assert (second.file, second.subject) == ("ab.pem", "/CN=c.example")


def test_the_lines_are_those_of_openssl(tmp_path: Path) -> None:
    Index(tmp_path).add([entry(0xABC), entry(2, days=365 * 30)])
    Index(tmp_path).revoke(entry(0xABC), AT, "superseded")
    assert (tmp_path / INDEX).read_text() == (
        "R\t261230120000Z\t261130120000Z,superseded\t0ABC\tserver.pem\t/CN=c.example\n"
        "V\t20561122120000Z\t\t02\tserver.pem\t/CN=c.example\n"
    )


def test_a_revocation_keeps_its_first_time(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add([entry(1), entry(2)])
    index.revoke(entry(2), AT, "keyCompromise")
    again = index.revoke(entry(2), AT + timedelta(days=1), "superseded")
    assert (again.revoked_at, again.reason) == (AT, "keyCompromise")
    assert [each.revoked_at for each in index.entries()] == [None, AT]


def test_a_certificate_from_before_the_index_can_be_revoked(tmp_path: Path) -> None:
    Index(tmp_path).revoke(entry(7), AT, "unspecified")
    (only,) = Index(tmp_path).entries()
    assert (only.serial, only.revoked_at) == (7, AT)


@pytest.mark.parametrize(
    "line",
    ["x", "V\t1\t\t01\tf\t/", "Q\t261230120000Z\t\t01\tf\t/", "V\t261230120000Z\t\tgg\tf\t/"],
)
def test_a_damaged_line_is_named_and_nothing_is_written(tmp_path: Path, line: str) -> None:
    index = Index(tmp_path)
    index.add([entry(1)])
    path = tmp_path / INDEX
    path.write_text(path.read_text() + line + "\n")
    before = path.read_text()
    with pytest.raises(ValueError, match=f"{INDEX}:2: "):
        index.add([entry(3)])
    assert path.read_text() == before


def test_an_index_that_never_ends_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Index(tmp_path).add([entry(1), entry(2)])
    monkeypatch.setattr(issued_index, "INDEX_BYTES_MAX", 60)
    with pytest.raises(ValueError, match=r"ca-index.txt has more than 60 B; move expired"):
        Index(tmp_path).entries()


def test_numbers_of_lists_grow(tmp_path: Path) -> None:
    assert [Index(tmp_path).next_crl_number() for _ in range(17)] == list(range(1, 18))
    (tmp_path / CRL_NUMBER).write_text("x\n")
    with pytest.raises(ValueError, match="ca-crlnumber: expected a hexadecimal number"):
        Index(tmp_path).next_crl_number()


def test_the_index_of_another_authority_is_kept_aside(tmp_path: Path) -> None:
    index = Index(tmp_path)
    index.add([entry(1)])
    index.begin_anew()
    assert index.entries() == []
    assert (tmp_path / f"{INDEX}.old").exists()


def test_two_at_a_time_lose_nothing(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda serial: Index(tmp_path).add([entry(serial)]), range(1, 41)))
    assert {each.serial for each in Index(tmp_path).entries()} == set(range(1, 41))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_can_go_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate_pem())
    (tmp_path / "ca-key.pem").write_bytes(AUTHORITY.private_key_pem())
    index = Index(tmp_path)
    other = make_leaf(AUTHORITY, ["c.example"], purpose="client")
    index.add([Entry.of(each.certificate, "x.pem") for each in (LEAF, other)])
    index.revoke(Entry.of(LEAF.certificate, ""), datetime.now(UTC), "superseded")
    index.next_crl_number()
    (tmp_path / "openssl.cnf").write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndir = {tmp_path}\ndatabase = $dir/{INDEX}\n"
        f"crlnumber = $dir/{CRL_NUMBER}\ncertificate = $dir/ca.pem\n"
        "private_key = $dir/ca-key.pem\ndefault_md = sha256\ndefault_crl_days = 30\n"
    )
    made = subprocess.run(
        ["openssl", "ca", "-gencrl", "-config", str(tmp_path / "openssl.cnf")],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    shown = subprocess.run(
        ["openssl", "crl", "-noout", "-text"],
        input=made.stdout,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert f"Serial Number: {serial_text(LEAF.certificate.serial_number)}" in shown.stdout
    assert shown.stdout.count("Serial Number: ") == 1
