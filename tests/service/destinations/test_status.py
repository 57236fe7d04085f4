"""What a destination says of itself; `test_service.py` has its report as a whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.model.counters.latencies import Latencies
from relay.model.errors import QueueError
from relay.queue.admission.limits import QueueLimit
from relay.queue.ledger import Ledger
from relay.service.configuration.model import DestinationConfiguration, Url
from relay.service.destinations.service import DestinationStatus
from relay.service.prerequisite import Prerequisite
from tests.clocks import wall_of
from tests.flow_fakes import new_refusals


class State:
    def __init__(self, text: str) -> None:
        self.text = text
        self.ready = self.exactly_once = True
        self.connects, self.failures, self.truncated_records = 2, 1, 3
        self.unexpected_bytes = 4
        self.failures_by_cause = Counter(dns=1)


class Drain:
    in_flight, sent_records, resent_records = 4, 5, 6

    def __init__(self) -> None:
        self.latencies = Latencies(0, seconds=lambda: 1.0)
        self.latencies.stored(3)
        self.latencies.sent(2)


class Progress:
    stalled_seconds: float | None = None


class Lane:
    def __init__(self, queue: str, text: str) -> None:
        self.queue = queue
        self.is_open = True
        self.ledger = Ledger(next_seq=3, queued_bytes=10)
        self.queued = 2
        self.state, self.drain, self.progress = State(text), Drain(), Progress()

    def report(self) -> dict[str, Any]:
        return {"queue": self.queue}


class Queue:
    def __init__(self) -> None:
        self.failing = False
        self.view = self
        self.limits = QueueLimit(destination="out")
        self.seconds_to_full: float | None = None

    def limit(self, destination: str) -> QueueLimit:
        return self.limits

    def oldest_received_at(self, queue: str) -> float | None:
        if self.failing:
            raise QueueError("closed")
        return {"out": 70.0, "lane/out": 90.0}[queue]


class Setup:
    def __init__(self) -> None:
        clock = Clock()
        clock.advance(100)
        self.backlog, self.live = Lane("out", "one"), Lane("lane/out", "two")
        self.lanes = [self.backlog, self.live]
        self.refusals = new_refusals(3)
        self.missing = Prerequisite("its messages are queued")
        self.queue = queue = Queue()
        self.status = DestinationStatus(
            DestinationConfiguration("out", Url("relp", "::1", 514), ("in",)),
            lanes=lambda: self.lanes,  # type: ignore[arg-type,return-value]
            refusals=self.refusals,
            prerequisites=[self.missing],
            details=lambda: ["two targets"],
            queue=queue,  # type: ignore[arg-type]
            wall=wall_of(clock),
        )


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_the_state_of_both_sessions_is_said_and_that_of_a_closed_one_is_not(setup: Setup) -> None:
    assert setup.status.state_text == "live: two; backlog: one"
    setup.backlog.is_open = False
    assert setup.status.state_text == "two"
    setup.lanes = [setup.live]
    assert setup.status.state_text == "two"


def test_what_is_missing_stands_for_the_state(setup: Setup) -> None:
    setup.missing.trouble = "no key"
    assert setup.status.state_text == "no key; its messages are queued"
    report = setup.status.report()
    assert report["details"] == ["two targets"]
    assert report["lanes"]["live"]["state"] == "no key; its messages are queued"


def test_refusals_and_pauses_come_first(setup: Setup) -> None:
    setup.refusals.refused(3, "500 no")
    setup.refusals.hold()
    setup.status.paused_since = 0.0
    text = setup.status.state_text
    assert text.startswith("paused by hand since 1970-01-01 00:00:00 UTC; refuses all that")
    assert text.endswith("; live: two; backlog: one")


def test_counters_are_those_of_both_lanes(setup: Setup) -> None:
    report = setup.status.report()
    assert report["details"] == ["two targets"]
    expected = {
        "received_records": 4,
        "queued_records": 4,
        "queued_bytes": 20,
        "oldest_seconds": 30.0,
        "in_flight_records": 8,
        "sent_records": 10,
        "resent_records": 12,
        "connects": 4,
        "failures": 2,
        "failures_by_cause": {"dns": 2},
        "unexpected_bytes": 8,
        "truncated_records": 6,
        "stalled_seconds": None,
        "ready": True,
        "exactly_once": True,
    }
    assert {key: report[key] for key in expected} == expected
    assert list(report["lanes"]) == ["backlog", "live"]


@pytest.mark.parametrize("name", ["ready", "exactly_once"])
def test_it_is_what_all_open_lanes_are(setup: Setup, name: str) -> None:
    setattr(setup.backlog.state, name, False)
    assert not setup.status.report()[name]
    setup.backlog.is_open = False
    assert setup.status.report()[name]
    setup.live.is_open = False
    assert not setup.status.report()[name]


def test_a_sample_is_of_both_lanes(setup: Setup) -> None:
    setup.live.ledger = Ledger(next_seq=9, acknowledged_seq=5, delivered=3, dropped={"expired": 1})
    assert setup.status.sample(100.0) == (10, 3, 1)
    setup.live.ledger.next_seq += 20
    setup.status.sample(102.0)
    assert setup.status.report()["rates"]["60s"]["received"] == 10.0


def test_the_longest_stall_is_reported(setup: Setup) -> None:
    setup.backlog.progress.stalled_seconds = 60.0
    assert setup.status.report()["stalled_seconds"] == 60.0


def test_an_empty_or_unreadable_queue_has_no_age(setup: Setup) -> None:
    setup.backlog.ledger = Ledger(next_seq=3, acknowledged_seq=3, delivered=2)
    assert setup.status.report()["oldest_seconds"] == 10.0
    setup.queue.failing = True
    assert setup.status.report()["oldest_seconds"] is None


def test_the_rates_of_the_lanes_and_the_time_to_empty_agree(setup: Setup) -> None:
    forecast = setup.queue.limits.forecast
    for second, delivered in ((90, 0), (92, 1000), (94, 2000), (96, 3000)):
        lanes = {"out": delivered, "lane/out": 0}
        forecast.note(second, queued=5000, delivered=lanes, size=0)
    setup.backlog.queued, setup.backlog.ledger = 2900, Ledger(next_seq=2901)
    setup.live.queued, setup.live.ledger = 0, Ledger()
    report = setup.status.report()
    assert report["details"] == ["two targets"]
    rates = {name: lane["delivered_per_second"] for name, lane in report["lanes"].items()}
    assert rates == {"backlog": 500.0, "live": 0.0}
    assert report["limit"]["seconds_to_empty"] == 2900 / 500
    setup.live.is_open = setup.backlog.is_open = False
    report = setup.status.report()
    assert report["limit"]["seconds_to_empty"] is None
    assert report["lanes"]["backlog"]["delivered_per_second"] == 0.0


def test_while_it_is_away_it_is_known_when_its_queue_or_the_relay_s_will_be_full(
    setup: Setup,
) -> None:
    setup.queue.limits = limit = QueueLimit(destination="out", bytes_max=1000)
    for second, size in ((90, 100), (92, 120), (94, 140)):
        limit.settle(0, size)
        limit.forecast.note(second, queued=0, delivered={"out": 0}, size=size)
    setup.backlog.state.ready = False

    def seconds() -> float | None:
        found: float | None = setup.status.report()["limit"]["seconds_to_full"]
        return found

    assert seconds() == 86.0
    setup.queue.seconds_to_full = 50.0
    assert seconds() == 50.0
    setup.backlog.ledger = setup.live.ledger = Ledger()
    assert seconds() is None  # nothing is queued
