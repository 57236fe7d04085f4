from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

import pytest

from relay.cli.views import panes
from relay.cli.views.panes import GOOD, SEVERE, WARNING, PeerRates, Sampled, Table

RATES = {"messages": 5.0, "warnings": 0.0, "errors": 0.25, "drops": 0.0}
SOURCE: dict[str, Any] = {
    "id": "app",
    "address": "tcp://[::]:514",
    "rates": {"10s": RATES},
    "connections_open": 3,
    "dropped_records": {},
    "protocol_errors": 0,
    "framing_errors": 0,
}
DESTINATION: dict[str, Any] = {
    "id": "central",
    "ready": True,
    "state": "connected",
    "rates": {"10s": {"delivered": 12.5, "drops": 0.0}},
    "queued_records": 1234,
    "oldest_seconds": 64.0,
    "in_flight_records": 7,
    "stalled_seconds": None,
    "limit": {"seconds_to_full": None, "seconds_to_empty": 30.0},
}
DOCUMENT: dict[str, Any] = {
    "name": "web-1",
    "uptime_seconds": 3700.0,
    "rates": {"10s": {"messages": 1500.0, "warnings": 2.0, "errors": 0.0, "drops": 0.004}},
    "sources": [SOURCE],
    "destinations": [DESTINATION],
    "degraded": [],
}
EVIL = "\x1b[2J[red]x\u202e"


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.rows]


def with_source(**changed: Any) -> dict[str, Any]:
    return {**DOCUMENT, "sources": [{**SOURCE, **changed}]}


def with_destination(**changed: Any) -> dict[str, Any]:
    return {**DOCUMENT, "destinations": [{**DESTINATION, **changed}]}


def test_the_whole_relay_on_one_line() -> None:
    expected = "web-1  up 1h1m  1,500 msg/s  2.0 warn/s  0 err/s  <.01 drop/s  1,234 queued"
    assert panes.summary(DOCUMENT) == expected


@pytest.mark.parametrize(
    ("degraded", "expected"),
    [
        ([], (GOOD, "healthy")),
        (["a: refused"], (SEVERE, "degraded: a: refused")),
        ([f"a: {EVIL}", "b", "c"], (SEVERE, r"degraded: a: \x1b[2J[red]x\u202e (+2 more)")),
    ],
)
def test_the_worst_comes_first(degraded: list[str], expected: tuple[str, str]) -> None:
    assert panes.health({**DOCUMENT, "degraded": degraded}) == expected


def test_a_source_and_its_state_in_words() -> None:
    assert texts(panes.sources(DOCUMENT)) == [
        ["app", "5.0", "0", "0.2", "0", "3", "ok, tcp://[::]:514"]
    ]


@pytest.mark.parametrize(
    ("changed", "state", "words"),
    [
        ({}, GOOD, "ok, "),
        (
            {"rates": {"10s": {**RATES, "drops": 3.0}}, "dropped_records": {"loop": 3}},
            SEVERE,
            "drops (loop), ",
        ),
        ({"ready": False, "state": "waits for the journal"}, SEVERE, "waits for the journal"),
        ({"framing_errors": 2}, WARNING, "2 faults of peers, "),
    ],
)
def test_states_of_sources(changed: Any, state: str, words: str) -> None:
    (row,) = panes.sources(with_source(**changed)).rows
    assert (row.state, row.cells[-1].text.startswith(words)) == (state, True)


def test_a_destination_and_its_state_in_words() -> None:
    assert texts(panes.destinations(DOCUMENT)) == [
        ["central", "12", "1,234", "1m4s", "30s", "7", "connected"]
    ]


@pytest.mark.parametrize(
    ("changed", "state", "words"),
    [
        ({}, GOOD, "connected"),
        ({"ready": False, "state": "refused by x"}, SEVERE, "refused by x"),
        ({"stalled_seconds": 61.0}, SEVERE, "stalled 1 m 1 s: connected"),
        ({"limit": {"seconds_to_full": 60.0, "seconds_to_empty": None}}, WARNING, "fills up: "),
        ({"rates": {"10s": {"delivered": 0.0, "drops": 1.0}}}, WARNING, "drops: connected"),
        ({"limit": None, "oldest_seconds": None}, GOOD, "connected"),
    ],
)
def test_states_of_destinations(changed: Any, state: str, words: str) -> None:
    (row,) = panes.destinations(with_destination(**changed)).rows
    assert (row.state, row.cells[-1].text.startswith(words)) == (state, True)


def test_when_it_is_full_is_said_and_sorted() -> None:
    limit = {"seconds_to_full": 60.0, "seconds_to_empty": None}
    (row,) = panes.destinations(with_destination(limit=limit)).rows
    assert row.cells[4] == ("full 1m", 60.0)


def peers(records: int, **changed: Any) -> dict[str, Any]:
    severities = dict.fromkeys(("emergency", "alert", "critical", "error", "warning"), 1)
    peer = {"records": records, "severities": severities, "idle_seconds": 5.0, "last_error": ""}
    none = {"records": 0, "severities": severities, "idle_seconds": 0.0, "last_error": ""}
    return {"app": {"peers": {"192.0.2.1": {**peer, **changed}}, "count": 1, "others": none}}


def test_rates_of_peers_are_between_two_looks() -> None:
    rates = PeerRates()
    assert texts(rates.table(peers(100), 10.0)) == [
        ["192.0.2.1", "app", "0", "100", "4", "1", "5s", "none"]
    ]
    assert texts(rates.table(peers(300), 12.0))[0][2:4] == ["100", "300"]
    assert texts(rates.table(peers(50), 14.0))[0][2] == "0"  # the relay has restarted


def test_peers_that_are_counted_together_are_one_row() -> None:
    found = deepcopy(peers(1))
    found["app"]["count"], found["app"]["others"]["records"] = 1000, 5
    assert texts(PeerRates().table(found, 1.0))[1][0] == "(1,000 apart, and others)"


def test_a_peer_with_an_error_is_marked() -> None:
    (row,) = PeerRates().table(peers(1, last_error=f"bad {EVIL}"), 1.0).rows
    assert (row.state, row.cells[-1].text) == (WARNING, r"bad \x1b[2J[red]x\u202e")


def test_programs_by_their_share() -> None:
    sampled = Sampled(Counter({"nginx": 30, "sshd": 10, "": 0}), Counter({"sshd": 2}))
    assert texts(panes.programs(sampled, 1000.0)) == [
        ["nginx", "75.0%", "750", "30", "0", "ok"],
        ["sshd", "25.0%", "250", "10", "2", "errors"],
        ["(none)", "0.0%", "0", "0", "0", "ok"],
    ]
    assert texts(panes.programs(Sampled(Counter(), Counter()), 5.0)) == []


FLEET: list[dict[str, Any]] = [
    {
        "host": "web-1",
        "peer": "web-1.example",
        "version": "0.1.0",
        "state": "ok",
        "queued_records": 1200,
        "oldest_seconds": 64.0,
        "last_seen_seconds": 5.0,
    },
    {
        "host": EVIL,
        "peer": "192.0.2.1",
        "version": "",
        "state": "not seen for 3 m",
        "queued_records": None,
        "oldest_seconds": None,
        "last_seen_seconds": 180.0,
    },
]


def test_relays_that_report() -> None:
    found = panes.relays({**DOCUMENT, "fleet": FLEET})
    assert texts(found) == [
        ["web-1", "web-1.example", "0.1.0", "1,200", "1m4s", "5s", "ok"],
        [r"\x1b[2J[red]x\u202e", "192.0.2.1", "", "-", "-", "3m", "not seen for 3 m"],
    ]
    assert [row.state for row in found.rows] == [GOOD, SEVERE]
    assert panes.relays(DOCUMENT).rows == []


def table() -> Table:
    reports = []
    for id, queued, ready in (("a", 5, True), ("b", 50, False), ("c", 20, True)):
        state = "connected" if ready else "refused by x"
        report = {**DESTINATION, "id": id, "queued_records": queued, "ready": ready}
        reports.append({**report, "state": state})
    return panes.destinations({**DOCUMENT, "destinations": reports})


@pytest.mark.parametrize(
    ("column", "reverse", "expected"),
    [
        (None, False, ["b", "a", "c"]),
        (None, True, ["a", "c", "b"]),
        (0, False, ["a", "b", "c"]),
        (0, True, ["c", "b", "a"]),
        (2, False, ["b", "c", "a"]),
        (2, True, ["a", "c", "b"]),
        (6, False, ["a", "c", "b"]),
    ],
)
def test_sorting(column: int | None, reverse: bool, expected: list[str]) -> None:
    assert [row.key for row in table().chosen("", column, reverse=reverse)] == expected


def test_a_filter_looks_at_every_cell() -> None:
    assert [row.key for row in table().chosen("REFUSED", None)] == ["b"]
    assert [row.key for row in table().chosen("20", None)] == ["c"]
    assert table().chosen("nothing", None) == []


def test_no_text_of_others_is_shown_raw() -> None:
    evil = {"app": {**peers(1)["app"], "peers": {EVIL: peers(1)["app"]["others"]}}}
    tables = [
        panes.sources(with_source(id=EVIL, address=EVIL)),
        panes.destinations(with_destination(id=EVIL, state=EVIL)),
        panes.programs(Sampled(Counter({EVIL: 1}), Counter()), 1.0),
        PeerRates().table(evil, 1.0),
    ]
    for each in tables:
        assert all("".join(cells).isprintable() for cells in texts(each)), each
    assert panes.summary({**DOCUMENT, "name": EVIL}).isprintable()
