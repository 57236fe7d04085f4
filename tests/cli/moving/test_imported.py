from __future__ import annotations

import pytest

from relay.cli.moving.conditions import NEVER, all_of, any_of, fits
from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.moving.report import Place, Report, Statement, Verdict
from relay.cli.toml_writing import Table


@pytest.fixture
def report() -> Report:
    return Report()


@pytest.fixture
def statement(report: Report) -> Statement:
    return report.statement(Place("x.conf", 7), "*.*  /var/log/x")


@pytest.fixture
def imported(report: Report) -> Imported:
    return Imported("rsyslog", report)


def tables(imported: Imported) -> dict[str, Table]:
    return {".".join(table.path): table for table in imported.tables()}


def test_tables_say_where_they_come_from(imported: Imported, statement: Statement) -> None:
    imported.add_source("udp 514", {"listen": "udp://:514"}, statement)
    imported.add_destination("x", {"connect": "file:///x"}, fits("facility", "mail"), statement)
    found = tables(imported)
    assert list(found) == ["sources.udp-514", "destinations.x"]
    assert found["destinations.x"].values == {
        "connect": "file:///x",
        "match": {"facility": "mail"},
    }
    assert found["destinations.x"].comments == ["x.conf:7: *.* /var/log/x"]


def test_ids_are_unique_and_allowed(imported: Imported, statement: Statement) -> None:
    one = imported.add_source("/a b", {"listen": "udp://:1"}, statement)
    two = imported.add_source("a-b", {"listen": "udp://:2"}, statement)
    odd = imported.add_source("ä…", {"listen": "udp://:3"}, statement)
    long = imported.add_source("x" * 99, {"listen": "udp://:4"}, statement)
    assert [one.id, two.id, odd.id, len(long.id)] == ["a-b", "a-b-2", "unnamed", 60]
    again = imported.add_source("again", {"listen": "udp://:1"}, statement)
    assert again is one


def test_one_file_has_one_destination(imported: Imported, statement: Statement) -> None:
    for facility in ("mail", "cron"):
        keys = {"connect": "file:///x"}
        imported.add_destination("x", keys, fits("facility", facility), statement)
    imported.add_destination("x", {"connect": "udp://a:1"}, fits("facility", "mail"), statement)
    imported.add_destination("x", {"connect": "udp://a:1"}, fits("facility", "mail"), statement)
    assert tables(imported)["destinations.x"].values["match"] == {"facility": ["mail", "cron"]}
    assert len(imported.destinations) == 3


def test_a_test_of_sources_becomes_the_key(imported: Imported, statement: Statement) -> None:
    imported.add_source("a", {"listen": "udp://:1"}, statement)
    imported.add_source("b", {"listen": "udp://:2"}, statement)
    condition = all_of([fits("sources", ["a"]), fits("facility", "mail")])
    imported.add_destination("x", {"connect": "file:///x"}, condition, statement)
    imported.add_destination("never", {"connect": "file:///y"}, NEVER, statement)
    found = tables(imported)
    assert found["destinations.x"].values["sources"] == ["a"]
    assert found["destinations.x"].values["match"] == {"facility": "mail"}
    assert "destinations.never" not in found
    # b feeds nothing, which the relay would refuse
    nowhere = found["destinations.nowhere"].values
    assert nowhere["sources"] == ["b"]
    assert nowhere["rewrite"] == [{"drop": "nowhere"}]
    assert imported.report.verdict == Verdict.APPROXIMATED


def test_without_sources_the_relay_reads_itself(imported: Imported, statement: Statement) -> None:
    imported.add_destination("x", {"connect": "file:///x"}, fits("facility", "mail"), statement)
    assert tables(imported)["sources.internal"].values == {"listen": "internal://"}


def test_a_destination_that_cannot_be_written_is_said(
    imported: Imported, statement: Statement
) -> None:
    many = any_of(fits("pairs", {f".{number}": "x"}) for number in range(3000))
    imported.add_source("a", {"listen": "udp://:1"}, statement)
    imported.add_destination("x", {"connect": "file:///x"}, many, statement)
    assert "destinations.x" not in tables(imported)
    assert "too large" in statement.findings[0].reason


def test_extra_files_have_names_without_folders(imported: Imported) -> None:
    one = imported.add_file("../../etc/passwd.token", ExtraFile("a", is_secret=True))
    same = imported.add_file("b.token", ExtraFile("a", is_secret=True))
    other = imported.add_file("../../etc/passwd.token", ExtraFile("b", is_secret=True))
    assert one == same == "-etc-passwd.token"
    assert other == "-etc-passwd-2.token"
