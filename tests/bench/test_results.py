from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.measuring import Numbers
from tests.bench.results import BEGIN, END, Results
from tests.bench.subjects import Subject, relay, rsyslog
from tests.bench.workloads import Case, row_name
from tests.interop.packages import PackagesRoot

PACKAGES = PackagesRoot(Path("/nowhere"))
NONE, CEE = relay("none"), relay("cee")
PLAIN, TEMPLATE = rsyslog(PACKAGES, "memory"), rsyslog(PACKAGES, "memory", is_cee=True)
MIXED, DEVICES = ("a", row_name("mixed", 1)), ("a", row_name("devices", 50))


def case(row: tuple[str, str], subject: Subject) -> Case:
    return Case(row[0], row[1], subject, lambda bench, subject: {}, 1.0)


def rates(results: Results, row: tuple[str, str], subject: Subject, *found: float) -> None:
    for number, rate in enumerate(found):
        results.add(case(row, subject), {"messages/s": rate, "CPU µs": 1e6 / rate}, number)


@pytest.fixture
def results() -> Results:
    found = Results(300_000, "peers")
    rates(found, MIXED, NONE, 600, 900, 400)
    rates(found, MIXED, CEE, 300, 450, 200)
    rates(found, MIXED, PLAIN, 300, 300, 200)
    rates(found, MIXED, TEMPLATE, 150, 150, 100)
    rates(found, DEVICES, NONE, 300)
    rates(found, DEVICES, CEE, 30)
    rates(found, DEVICES, PLAIN, 200)
    rates(found, DEVICES, TEMPLATE, 100)
    return found


def lines_of(text: str) -> list[list[str]]:
    """Cells of all tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_ratios_are_to_rsyslog_of_the_same_round(results: Results) -> None:
    assert results.ratios(MIXED) == {
        "relay, none": 2.0,  # of 2, 3 and 2, not of the medians 600 and 300
        "relay, cee": 1.0,
        "rsyslog, memory, CEE": 0.5,
        "cee to CEE": 2.0,
    }


def test_a_round_in_which_one_failed_has_no_ratio() -> None:
    results = Results(1, "peers")
    results.add(case(MIXED, NONE), {"messages/s": 100.0}, 0)
    results.add(case(MIXED, NONE), {"messages/s": 900.0}, 2)
    results.add(case(MIXED, PLAIN), {"messages/s": 10.0}, 1)
    results.add(case(MIXED, PLAIN), {"messages/s": 300.0}, 2)
    assert results.ratios(MIXED) == {"relay, none": 3.0}


def test_without_rsyslog_there_are_rates_and_no_ratios() -> None:
    results = Results(1, "peers")
    rates(results, MIXED, NONE, 100.0)
    assert results.ratios(MIXED) == {}
    assert [line[0] for line in lines_of(results.text())] == [
        *("messages/s", "---", MIXED[1]),
        *("CPU µs", "---", MIXED[1]),
    ]


def test_the_worst_row_comes_first_in_each_table(results: Results) -> None:
    lines = lines_of(results.text())
    names = [line[0] for line in lines]
    both = [DEVICES[1], MIXED[1]]
    assert names == ["", "---", *both, "messages/s", "---", *both, "CPU µs", "---", *both]
    ratios = dict(zip(lines[0], lines[2], strict=True))
    assert ratios["relay, cee"] == "0.15"
    assert ratios["cee to CEE"] == "0.30"


def test_rates_are_medians_with_the_lowest_and_the_highest(results: Results) -> None:
    lines = lines_of(results.text())
    head = next(line for line in lines if line[0] == "messages/s")
    mixed = next(line for line in lines[lines.index(head) :] if line[0] == MIXED[1])
    assert dict(zip(head, mixed, strict=True))["relay, none"] == "600 (400 to 900)"


def test_other_workloads_have_a_line_for_each_subject() -> None:
    results = Results(1, "peers")
    found: Numbers = {"% lost at 30,000/s": 0.0, "% lost at 60,000/s": 12.5}
    results.add(case(("e", "500 peers"), NONE), found, 0)
    results.add(case(("e", "500 peers"), PLAIN), {"% lost at 30,000/s": 1.0}, 0)
    head, _, first, second = lines_of(results.text())
    assert head[3:] == ["% lost at 30,000/s", "% lost at 60,000/s"]
    assert first == ["500 peers", "relay, none", "power cut", "0.00", "12.5"]
    assert second == ["500 peers", "rsyslog, memory", "nothing", "1.00", "-"]


def test_json_has_all_rounds(results: Results) -> None:
    results.fail(case(MIXED, CEE), "3 messages missing")
    found = json.loads(results.json())
    mixed = next(one for one in found["cases"] if one["name"] == MIXED[1])
    assert [numbers["messages/s"] for numbers in mixed["rounds"]] == [600, 900, 400]
    assert (mixed["workload"], mixed["subject"]) == ("a", "relay, none")
    assert list(found["ratios"]) == [DEVICES[1], MIXED[1]]
    assert found["ratios"][MIXED[1]]["cee to CEE"] == 2.0
    assert found["failures"] == [f"a, {MIXED[1]}, relay, cee: 3 messages missing"]


def test_what_failed_is_said(results: Results) -> None:
    results.fail(case(MIXED, CEE), "3 messages missing\nand more")
    assert results.text().endswith(f"* a, {MIXED[1]}, relay, cee: 3 messages missing")


def test_the_rest_of_the_file_stays(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    results.write(path)
    assert path.read_text() == f"before\n{BEGIN}\n\n{results.text()}\n\n{END}\nafter\n"
