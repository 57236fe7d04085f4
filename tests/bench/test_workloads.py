from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, cast

import pytest

from relay.service.configuration.tables.rewrite import TOKEN_MODES
from tests.bench.corpora import Corpora
from tests.bench.load import BenchError
from tests.bench.measuring import Bench, Choice, latenesses, verified
from tests.bench.subjects import FORMS, Ports, Subject, relay, rsyslog, syslog_ng
from tests.bench.traffic import messages
from tests.bench.workloads import WORKLOADS, Case, cases_of, estimated_seconds, in_turn
from tests.interop.packages import PackagesRoot

PACKAGES = PackagesRoot(Path("/nowhere"))
PORTS = Ports(("tcp", 1), ("relp", 2))
KINDS = ["mixed", "devices"]
PLAIN, CEE = rsyslog(PACKAGES, "memory"), rsyslog(PACKAGES, "memory", is_cee=True)


def bench(
    folder: Path, packages: PackagesRoot | None = PACKAGES, given: Path | None = None, **more: Any
) -> Bench:
    corpora = Corpora(folder, 100, given=given)
    return Bench(
        tools=cast(Any, None),
        folder=folder,
        certificates=cast(Any, None),
        packages=packages,
        count=300_000,
        queued_count=2_000_000,
        corpora=corpora,
        choice=Choice(corpora.kinds(KINDS), ("none", "cee"), **more),
    )


def names(cases: list[Case]) -> list[tuple[str, str]]:
    return [(case.name, case.subject.name) for case in cases]


def test_each_kind_is_a_row_with_1_and_with_50_connections(tmp_path: Path) -> None:
    cases = cases_of(bench(tmp_path), "a")
    rows = list(dict.fromkeys(case.name for case in cases))
    assert rows == [
        "mixed, 1 connection",
        "mixed, 50 connections",
        "devices, 1 connection",
        "devices, 50 connections",
    ]
    subjects = ["relay, none", "relay, cee", "rsyslog, memory", "rsyslog, memory, CEE"]
    assert names(cases) == [(row, subject) for row in rows for subject in subjects]


@pytest.mark.parametrize("letter", WORKLOADS)
def test_without_packages_the_relay_alone_is_measured(tmp_path: Path, letter: str) -> None:
    cases = cases_of(bench(tmp_path, packages=None), letter)
    assert cases
    assert all(case.subject.name.startswith("relay") for case in cases)


def test_only_some_subjects(tmp_path: Path) -> None:
    cases = cases_of(bench(tmp_path, subjects="CEE"), "".join(WORKLOADS))
    assert {case.subject.name for case in cases} == {"rsyslog, memory, CEE"}


def test_all_subjects_of_a_row_follow_each_other_and_each_begins_once(tmp_path: Path) -> None:
    cases = cases_of(bench(tmp_path), "a")
    rounds = [list(in_turn(cases, number)) for number in range(4)]
    for found in rounds:
        assert sorted(map(id, found)) == sorted(map(id, cases))
        assert [case.name for case in found] == [case.name for case in cases]
    for first in range(0, len(cases), 4):
        assert len({found[first].subject.name for found in rounds}) == 4


def test_what_is_measured_once_is_in_the_first_round_alone(tmp_path: Path) -> None:
    cases = cases_of(bench(tmp_path), "gi")
    assert list(in_turn(cases, 0)) == cases
    assert list(in_turn(cases, 1)) == []
    assert estimated_seconds(cases, 3) == estimated_seconds(cases, 1) > 0


def test_the_default_run_takes_at_most_45_minutes(tmp_path: Path) -> None:
    cases = cases_of(bench(tmp_path), "".join(WORKLOADS))
    mine = [case for case in cases if case.workload == "a"]
    others = [case for case in cases if case.workload != "a"]
    subjects = 5 / 4  # with ewmm
    seconds = estimated_seconds(mine, 3) * 8 / len(KINDS) * subjects + estimated_seconds(others, 3)
    assert seconds < 45 * 60


def test_a_file_takes_the_place_of_all_traffic(tmp_path: Path) -> None:
    given = tmp_path / "mine"
    found = bench(tmp_path, given=given)
    assert list(dict.fromkeys(case.name for case in cases_of(found, "a"))) == [
        "mine, 1 connection",
        "mine, 50 connections",
    ]
    assert found.corpus("mixed") == found.corpus() == given
    assert found.corpora.seconds(1) == 0


def test_uniform_messages_have_numbers_and_need_no_file(tmp_path: Path) -> None:
    found = bench(tmp_path)
    assert found.corpus() is found.corpus("uniform") is None
    assert found.corpus("mixed") == found.corpora.path("mixed")


def test_the_file_of_a_kind_is_made_once(tmp_path: Path) -> None:
    corpora = Corpora(tmp_path, 100, seed=3)
    path = corpora.path("mixed")
    assert path.read_bytes().split(b"\n") == [*messages("mixed", 100, seed=3), b""]
    path.write_bytes(b"still there")
    assert corpora.path("mixed").read_bytes() == b"still there"
    assert corpora.path("devices") != path
    assert corpora.seconds(2) > corpora.seconds(1) > 0


@pytest.mark.parametrize("form", FORMS)
def test_the_relay_is_told_each_form(tmp_path: Path, form: str) -> None:
    relay(form).make(tmp_path, PORTS)
    config = (tmp_path / "relay.toml").read_text()
    upstream = tomllib.loads(config)["destinations"]["upstream"]
    assert form in (upstream.get("format"), upstream.get("rewrite", {}).get("mode"))
    assert ("token_file" in config) == (form in TOKEN_MODES)


def test_rsyslog_gets_the_template(tmp_path: Path) -> None:
    PLAIN.make(tmp_path, PORTS)
    assert 'template="raw-frame"' in (tmp_path / "rsyslog.conf").read_text()
    CEE.make(tmp_path, PORTS)
    config = (tmp_path / "rsyslog.conf").read_text()
    assert 'template="cee"' in config
    assert r'value="@cee: {\"logsene-app-token\": \"' in config
    assert 'property(name="msg" format="json")' in config


def test_lateness_counts_from_when_a_message_was_due() -> None:
    assert latenesses([1_000_500, 1_000_250, 1_000_400], 1_000_000, 5000) == [0, 50, 500]


FOUND = {
    "missing": 0,
    "unknown": 0,
    "duplicates": 0,
    "out_of_order": 0,
    "accepted": 1,
    "checksum": 7,
}
SENT = {"checksum": 7}


@pytest.mark.parametrize("subject", [relay("none"), relay("cee"), PLAIN, CEE])
def test_a_run_in_which_all_came_is_good(subject: Subject) -> None:
    assert verified(subject, FOUND, SENT) == {}
    assert verified(subject, {**FOUND, "duplicates": 2}, SENT) == {"came twice": 2}


@pytest.mark.parametrize("subject", [relay("none"), relay("cee"), PLAIN, CEE])
@pytest.mark.parametrize("fault", ["missing", "unknown"])
def test_a_run_in_which_a_message_is_missing_or_strange_has_failed(
    subject: Subject, fault: str
) -> None:
    with pytest.raises(BenchError, match=fault):
        verified(subject, {**FOUND, fault: 1}, SENT)


@pytest.mark.parametrize("subject", [relay("none"), PLAIN])
def test_who_passes_messages_on_as_they_came_has_to_do_so(subject: Subject) -> None:
    with pytest.raises(BenchError, match="other octets"):
        verified(subject, {**FOUND, "checksum": 8}, SENT)
    assert verified(subject, {**FOUND, "checksum": 0}) == {}  # messages with numbers


@pytest.mark.parametrize("subject", [relay("cee"), CEE, syslog_ng(PACKAGES, reliable=True)])
def test_counting_proves_nothing_over_a_second_connection(subject: Subject) -> None:
    assert verified(subject, {**FOUND, "checksum": 8}, SENT) == {}
    with pytest.raises(BenchError, match="connections"):
        verified(subject, {**FOUND, "accepted": 2}, SENT)
