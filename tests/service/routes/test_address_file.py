from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from relay.service.routes.address_file import COLUMNS, AddressFile
from relay.service.routes.lookup_file import LookupFile, LookupFiles
from relay.transport.notices import Notices

BERLIN = {
    "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    "city": {"names": {"en": "Berlin", "de": "Berlin"}},
    "location": {"latitude": 52.5, "longitude": 13.25},
}
OWNER = {"autonomous_system_number": 64496, "autonomous_system_organization": "Café AG"}
ALL = (b"DE", b"Germany", b"Berlin", b"52.5,13.25", None, None)


def write(path: Path, networks: dict[str, dict[str, Any]], version: int = 6) -> None:
    writer = MMDBWriter(version, "GeoLite2-City", ipv4_compatible=version == 6)
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    new = path.with_suffix(".new")
    writer.to_db_file(str(new))
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "city.mmdb"
    write(path, {"192.0.2.0/24": BERLIN, "2001:db8::/32": OWNER, "198.51.100.0/24": {"city": 1}})
    return path


def test_what_is_known_of_an_address(path: Path) -> None:
    file = AddressFile(str(path), ())
    assert file.columns == tuple(COLUMNS)
    assert list(file.get(b"192.0.2.7") or ()) == list(ALL)
    owner = AddressFile(str(path), ("organization", "asn")).get(b"2001:db8::1")
    assert list(owner or ()) == ["Café AG".encode(), b"64496"]
    assert list(file.get(b"198.51.100.1") or ()) == [None] * 6  # of another layout
    for unknown in (b"203.0.113.1", b"", b"web", b"192.0.2.7:514", b"\xff", b"2001:db9::1"):
        assert file.get(unknown) is None
    assert file.damage == ""


def test_ipv6_is_unknown_to_a_file_of_ipv4(path: Path) -> None:
    write(path, {"192.0.2.0/24": BERLIN}, version=4)
    file = AddressFile(str(path), ("country",))
    assert list(file.get(b"192.0.2.1") or ()) == [b"DE"]
    assert file.get(b"2001:db8::1") is None
    assert file.damage == ""


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (None, 'columns have names; write prefix = ".geo." in the place of into'),
        (("citi",), "there is no column 'citi', did you mean 'city'"),
    ],
)
def test_columns_that_it_does_not_have(
    path: Path, columns: tuple[str, ...] | None, problem: str
) -> None:
    with pytest.raises(ValueError, match=f"the table {path}: {problem}"):
        LookupFile(str(path), columns)


def test_a_file_that_is_none_or_not_there(path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the table .*none\.mmdb: No such file"):
        LookupFile(str(path.with_name("none.mmdb")), ())
    for data in (b"", b"x" * 1000, path.read_bytes()[:-40]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"the table {path}: is no MMDB"):
            LookupFile(str(path), ())


def test_a_new_file_is_used_and_a_broken_one_is_not(path: Path) -> None:
    clock = Clock()
    files = LookupFiles(
        notices=Notices(clock=clock, log=Logger()), run_in_thread=maybeDeferred, clock=clock
    )
    file = files.open(str(path), ("country",))
    write(path, {"192.0.2.0/24": {"country": {"iso_code": "AT"}}})
    files.look()
    assert list(file.get(b"192.0.2.1") or ()) == [b"AT"]
    assert file.extent.endswith(" nodes")
    path.write_bytes(b"x" * 1000)
    files.look()
    assert list(file.get(b"192.0.2.1") or ()) == [b"AT"]
    ((_, problem),) = (report.values() for report in files.report())
    assert problem.endswith("what was read before is still used")


def test_damage_inside_is_reported_and_no_row_is_made_up(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"country")
    data[at - 2 : at + 40] = b"\xff" * 42
    path.write_bytes(data)
    clock = Clock()
    files = LookupFiles(
        notices=Notices(clock=clock, log=Logger()), run_in_thread=maybeDeferred, clock=clock
    )
    file = files.open(str(path), ())
    assert file.get(b"192.0.2.1") is None
    files.look()
    ((_, problem),) = (report.values() for report in files.report())
    assert "is damaged: " in problem and problem.endswith(" at 192.0.2.1")


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_harms_nothing(at: int, data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "city.mmdb"
        write(path, {"192.0.2.0/24": BERLIN, "2001:db8::/32": OWNER})
        content = bytearray(path.read_bytes())
        at %= len(content)
        content[at : at + len(data)] = data
        path.write_bytes(content)
        try:
            file = LookupFile(str(path), ())
        except ValueError:
            return
        for address in (b"192.0.2.1", b"2001:db8::1", b"203.0.113.1"):
            row = file.get(address)
            assert row is None or len(row) == len(COLUMNS)
