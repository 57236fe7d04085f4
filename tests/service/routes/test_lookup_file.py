from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger

from relay.service.routes.lookup_file import LookupFile, LookupFiles
from relay.transport.notices import Notices


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "teams.csv"
    path.write_bytes(
        b'\xef\xbb\xbf# host,team\r\nweb,shop\r\n\r\n"a,b","x ""y"""\r\nweb,blog\r\n\xc3\x85,1\n'
    )
    return path


def replace(path: Path, octets: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(octets)
    os.replace(new, path)  # another inode: a change whatever the clock says


def test_keys_and_values(table: Path) -> None:
    lookup = LookupFile(str(table))
    assert len(lookup) == 3
    assert lookup.get(b"web") == b"blog"
    assert lookup.get(b"a,b") == b'x "y"'
    assert lookup.get("Å".encode()) == b"1"
    assert lookup.get(b"none") is None


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        (b"a,b\nc\n", "line 2: expected a key and a value .* found 1 columns"),
        (b"a,b,c\n", "line 1: .*found 3 columns"),
        (b'a,"b\n', "line 1: unexpected end of data"),
    ],
)
def test_what_is_no_table_is_said_with_its_line(table: Path, octets: bytes, problem: str) -> None:
    table.write_bytes(octets)
    with pytest.raises(ValueError, match=problem):
        LookupFile(str(table))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the table .*none\.csv: No such file"):
        LookupFile(str(tmp_path / "none.csv"))


def test_a_changed_file_is_used_and_a_broken_one_is_not(table: Path, capture: list[str]) -> None:
    clock = Clock()
    files = LookupFiles(
        notices=Notices(clock=clock, log=Logger(namespace="relay", observer=_to(capture))),
        clock=clock,
    )
    lookup = files.open(str(table))
    assert files.open(str(table)) is lookup
    files.startService()
    replace(table, b"web,new\n")
    clock.advance(60)
    assert lookup.get(b"web") == b"new"
    assert files.report() == []
    replace(table, b"web\n")
    clock.advance(60)
    assert lookup.get(b"web") == b"new"
    ((path, problem),) = (report.values() for report in files.report())
    assert (path, "line 1: expected a key and a value" in problem) == (str(table), True)
    assert any("what was read before is still used" in line for line in capture)
    table.unlink()
    clock.advance(60)
    assert lookup.get(b"web") == b"new"
    replace(table, b"web,last\n")
    files.look()
    assert lookup.get(b"web") == b"last"
    assert files.report() == []
    files.stopService()
    clock.advance(60)  # the interval of a warning ends
    assert not clock.getDelayedCalls()


@pytest.fixture
def capture() -> list[str]:
    return []


def _to(lines: list[str]) -> object:
    def observe(event: dict[str, object]) -> None:
        lines.append(str(event))

    return observe
