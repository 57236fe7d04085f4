from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
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


def replace(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.replace(new, path)  # another inode: a change whatever the clock says


def test_keys_and_values(table: Path) -> None:
    lookup = LookupFile(str(table))
    assert lookup.columns == ("value",)
    assert lookup.get(b"web") == (b"blog",)
    assert lookup.get(b"a,b") == (b'x "y"',)
    assert lookup.get("Å".encode()) == (b"1",)
    assert lookup.get(b"none") is None


NAMED = b"host,team,site\nweb,shop,\n# none\ndb,ops,b2\n"


def test_columns_with_names(table: Path) -> None:
    table.write_bytes(NAMED)
    every = LookupFile(str(table), ())
    assert every.columns == ("team", "site")
    assert every.get(b"web") == (b"shop", b"")
    assert every.get(b"db") == (b"ops", b"b2")
    assert every.get(b"host") is None
    some = LookupFile(str(table), ("site", "host"))
    assert (some.columns, some.get(b"db")) == (("site", "host"), (b"b2", b"db"))


def test_columns_stay_where_they_were(table: Path) -> None:
    table.write_bytes(NAMED)
    lookup = LookupFile(str(table), ())
    replace(table, b"host,more,site,team\nweb,x,a1,blog\n")
    assert lookup.read_again()
    assert (lookup.columns, lookup.get(b"web")) == (("team", "site"), (b"blog", b"a1"))
    replace(table, b"host,team\nweb,new\n")
    with pytest.raises(ValueError, match="line 1: there is no column 'site'"):
        lookup.read_again()
    assert lookup.get(b"web") == (b"blog", b"a1")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "line 0: expected the names of two columns or more"),
        (b"host\n", "line 1: expected the names of two columns or more, .* found 'host'"),
        (b"host,a,a\n", "line 1: expected the names"),
        (b"host,,a\n", "line 1: expected the names"),
        (b"host,temas\n", "line 1: there is no column 'team', did you mean 'temas'"),
        (b"host,team\nweb\n", "line 2: expected 2 columns as in the first line, found 1"),
    ],
)
def test_what_is_no_table_with_names(table: Path, data: bytes, problem: str) -> None:
    table.write_bytes(data)
    with pytest.raises(ValueError, match=problem):
        LookupFile(str(table), ("team",))


def test_a_file_is_read_once_for_each_choice_of_columns(table: Path) -> None:
    table.write_bytes(NAMED)
    clock = Clock()
    files = LookupFiles(
        notices=Notices(clock=clock, log=Logger()), run_in_thread=maybeDeferred, clock=clock
    )
    every = files.open(str(table), ())
    assert files.open(str(table), ()) is every
    assert files.open(str(table), ("site",)) is not every
    replace(table, b"host,team,site\nweb,new,a\n")
    files.look()
    assert every.get(b"web") == (b"new", b"a")
    assert files.open(str(table), ("site",)).get(b"web") == (b"a",)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a,b\nc\n", "line 2: expected a key and a value .* found 1 columns"),
        (b"a,b,c\n", "line 1: .*found 3 columns"),
        (b'a,"b\n', "line 1: unexpected end of data"),
    ],
)
def test_what_is_no_table_is_said_with_its_line(table: Path, data: bytes, problem: str) -> None:
    table.write_bytes(data)
    with pytest.raises(ValueError, match=problem):
        LookupFile(str(table))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the table .*none\.csv: No such file"):
        LookupFile(str(tmp_path / "none.csv"))


def test_a_changed_file_is_used_and_a_broken_one_is_not(table: Path, capture: list[str]) -> None:
    clock = Clock()
    files = LookupFiles(
        notices=Notices(clock=clock, log=Logger(namespace="relay", observer=_to(capture))),
        run_in_thread=maybeDeferred,
        clock=clock,
    )
    lookup = files.open(str(table), None)
    assert files.open(str(table), None) is lookup
    files.startService()
    replace(table, b"web,new\n")
    clock.advance(60)
    assert lookup.get(b"web") == (b"new",)
    assert files.report() == []
    replace(table, b"web\n")
    clock.advance(60)
    assert lookup.get(b"web") == (b"new",)
    ((path, problem),) = (report.values() for report in files.report())
    assert (path, "line 1: expected a key and a value" in problem) == (str(table), True)
    assert any("what was read before is still used" in line for line in capture)
    table.unlink()
    clock.advance(60)
    assert lookup.get(b"web") == (b"new",)
    replace(table, b"web,last\n")
    files.look()
    assert lookup.get(b"web") == (b"last",)
    assert files.report() == []
    files.stopService()
    clock.advance(60)  # the interval of a warning ends
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("data", [b"", b"\n# nothing\n"])
def test_an_empty_file_takes_nothing_away(table: Path, data: bytes) -> None:
    """As after an export that failed; a table may begin empty."""
    lookup = LookupFile(str(table))
    replace(table, data)
    with pytest.raises(ValueError, match=r"teams\.csv: is empty, and was not before"):
        lookup.read_again()
    assert lookup.get(b"web") == (b"blog",)
    empty = LookupFile(str(table))
    replace(table, b"web,shop\n")
    for each in (lookup, empty):
        assert each.read_again()
        assert each.get(b"web") == (b"shop",)


@pytest.mark.parametrize("name", ["teams.csv", "teams.mmdb"])
def test_a_named_pipe_in_its_place_stops_nobody(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=r"cannot read the table .*: it is not a regular file"):
        LookupFile(str(tmp_path / name), ())


@pytest.fixture
def capture() -> list[str]:
    return []


def _to(lines: list[str]) -> object:
    def observe(event: dict[str, object]) -> None:
        lines.append(str(event))

    return observe


def test_a_file_that_takes_its_time_is_waited_for_once(table: Path) -> None:
    clock = Clock()
    calls: list[tuple[Callable[[], bool], Deferred[bool]]] = []

    def run_in_thread(call: Callable[[], bool]) -> Deferred[bool]:
        calls.append((call, Deferred()))
        return calls[-1][1]

    files = LookupFiles(
        notices=Notices(clock=clock, log=Logger()), run_in_thread=run_in_thread, clock=clock
    )
    lookup = files.open(str(table), None)
    replace(table, b"web,new\n")
    for _ in range(3):
        files.look()
    ((call, done),) = calls
    assert lookup.get(b"web") == (b"blog",)
    done.callback(call())
    assert lookup.get(b"web") == (b"new",)
    files.look()
    assert len(calls) == 2
