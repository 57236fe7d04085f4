from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.moving.acceptance import accepted_tables, open_problems
from relay.cli.moving.conditions import ALWAYS, fits
from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.moving.report import Place, Report, Statement
from relay.cli.toml_writing import write_toml


@pytest.fixture
def imported() -> Imported:
    return Imported("rsyslog", Report(), "x.conf")


def said(imported: Imported, line: int) -> Statement:
    return imported.report.statement(Place("x.conf", line), f"statement {line}")


def names(imported: Imported) -> list[str]:
    return [".".join(table.path) for table in accepted_tables(imported)]


def test_what_the_relay_would_refuse_is_left_out_and_said(imported: Imported) -> None:
    imported.add_source("good", {"listen": "udp://:1"}, said(imported, 1))
    imported.add_source("bad", {"listen": "udp://:x"}, bad := said(imported, 2))
    imported.add_source("twice", {"listen": "udp://127.0.0.1:1"}, twice := said(imported, 3))
    imported.add_destination("a", {"connect": "file:///a"}, ALWAYS, said(imported, 4))
    odd = said(imported, 5)
    imported.add_destination("b", {"connect": "file:///b", "odd": 1}, ALWAYS, odd)
    imported.relay["name"] = "two words"
    imported.relay_statements.append(relay := said(imported, 6))
    assert names(imported) == ["sources.good", "destinations.a"]
    reasons = [each.findings[0].reason for each in (bad, twice, odd, relay)]
    assert all(reason.startswith("the relay would refuse it: ") for reason in reasons)
    assert "expected a port" in reasons[0]
    assert "already taken" in reasons[1]
    assert "/tmp" not in "".join(reasons)


def test_a_limit_is_left_out_alone_and_who_may_send_is_not(imported: Imported) -> None:
    imported.add_source("a", {"listen": "udp://:1", "allow": ["x y"]}, said(imported, 1))
    imported.add_source("b", {"listen": "udp://:2", "frame_bytes_max": 1}, said(imported, 2))
    keys = {"connect": "file:///b", "group": "no-such-group"}
    imported.add_destination("b", keys, ALWAYS, of_group := said(imported, 3))
    assert names(imported) == ["sources.b", "destinations.b"]
    assert imported.sources[0].keys == {"listen": "udp://:2"}
    assert imported.destinations[0].keys == {"connect": "file:///b"}
    assert of_group.findings[0].reason.startswith("without group, which the relay would refuse")


def test_what_loses_its_last_destination_goes_nowhere(imported: Imported) -> None:
    imported.add_source("a", {"listen": "udp://:1"}, said(imported, 1))
    imported.add_destination("b", {"connect": "bogus://"}, ALWAYS, said(imported, 2))
    assert names(imported) == ["sources.a", "destinations.nowhere"]
    assert [each.text for each in imported.report.statements][2:] == ["messages of a go nowhere"]


def test_files_beside_it_are_there_and_certificates_may_be_missing(
    imported: Imported, tmp_path: Path
) -> None:
    tls = {"listen": "tls://:1", "certificate": "/none/c", "private_key": "/none/k"}
    imported.add_source("a", {**tls, "peer_verify": "none"}, said(imported, 1))
    name = imported.add_file("t.csv", ExtraFile("a,b\n"))
    step = {"map": name, "key": "$HOST", "into": ".x"}
    imported.add_destination(
        "b", {"connect": "file:///b", "rewrite": [step]}, fits("msg", "x"), said(imported, 2)
    )
    assert names(imported) == ["sources.a", "destinations.b"]
    (tmp_path / name).write_text("a,b\n")
    path = tmp_path / "relay.toml"
    path.write_text(write_toml(accepted_tables(imported)))
    assert any("/none/c" in problem for problem in open_problems(str(path)))
