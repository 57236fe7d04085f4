from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from relay.flow.publishing import PublisherEvents, PublisherFailed, Run
from relay.transport.kafka.producer import KafkaPublisher
from relay.transport.kafka.producing import Care, ProducerOptions
from relay.transport.kafka.records import Placing
from tests.connections import fired
from tests.fake_kafka import Cluster, FakeError, replace_library
from tests.threads import Reactor

LINEAGE = "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10"


class Setup:
    def __init__(self) -> None:
        self.cluster = Cluster()
        self.reactor = Reactor()
        self.states: list[tuple[str, bool]] = []
        self.remarks: list[str] = []
        self.publishers: list[KafkaPublisher] = []

    def publisher(self, *, has_numbers_in_text: bool = False) -> KafkaPublisher:
        options = ProducerOptions(
            settings=dict,
            placing=Placing("logs"),
            care=Care(),
            connect_seconds_max=0.1,
            replicas_min=2,
            has_numbers_in_text=has_numbers_in_text,
        )
        events = PublisherEvents(lambda *state: self.states.append(state), self.remarks.append)
        publisher = KafkaPublisher(options, name="bus", reactor=self.reactor, events=events)
        self.publishers.append(publisher)
        return publisher

    def settle(self, deferred: Deferred[Any]) -> Any:
        return self.reactor.settle(deferred)


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    made = Setup()
    replace_library(monkeypatch, made.cluster)
    yield made
    for publisher in made.publishers:
        made.settle(publisher.close())
    assert not [each for each in threading.enumerate() if each.name == "kafka bus"]


def failed(error: object) -> str:
    assert isinstance(error, PublisherFailed)
    return str(error)


def a_run(*values: bytes) -> Run:
    return Run(values, LINEAGE, range(1, 1 + len(values)))


def test_a_run_fires_when_it_is_acknowledged(setup: Setup) -> None:
    publisher = setup.publisher()
    facts = setup.settle(publisher.when_opened())
    assert facts.partitions == 4
    assert setup.states == [(facts.text, True)]
    assert publisher.bytes_max > 900_000
    setup.settle(publisher.publish(a_run(b"a", b"b")))
    assert [sent.value for sent in setup.cluster.sent] == [b"a", b"b"]
    assert fired(publisher.publish(Run([]))) == [None]


def test_numbers_are_in_the_text_as_well(setup: Setup) -> None:
    publisher = setup.publisher(has_numbers_in_text=True)
    setup.settle(publisher.publish(Run([b"<13>1 - - - - - - m"], LINEAGE, [3])))
    element = b'[syslogrelay@32473 lineage="%b" seq="3"]' % LINEAGE.encode()
    assert [sent.value for sent in setup.cluster.sent] == [b"<13>1 - - - - - %b m" % element]


def test_an_error_fails_all_runs_and_every_one_after(setup: Setup) -> None:
    setup.cluster.judge = lambda sent: FakeError("NOT_ENOUGH_REPLICAS")
    publisher = setup.publisher()
    runs = [publisher.publish(a_run(b"a")), publisher.publish(a_run(b"b"))]
    for run in [*runs, publisher.publish(a_run(b"c"))]:
        assert "NOT_ENOUGH_REPLICAS" in failed(setup.settle(run))
    assert setup.states[-1] == ("Broker: NOT_ENOUGH_REPLICAS", False)


def test_no_brokers(setup: Setup) -> None:
    setup.cluster.is_away = True
    publisher = setup.publisher()
    assert "_TRANSPORT" in failed(setup.settle(publisher.when_opened()))
    assert "_TRANSPORT" in failed(setup.settle(publisher.when_opened()))
    assert setup.states == [("Broker: _TRANSPORT", False)]


def test_a_close_fails_what_is_in_flight_and_ends_the_thread(setup: Setup) -> None:
    setup.cluster.holds = True
    publisher = setup.publisher()
    run = publisher.publish(a_run(b"a"))
    setup.settle(publisher.when_opened())
    closed = publisher.close()
    assert failed(setup.settle(run)) == "closed"
    setup.settle(closed)
    assert setup.cluster.producers[0].closed
    assert setup.states[-1][1], "a stop is no failure"


def test_a_close_while_nobody_answers(setup: Setup) -> None:
    setup.cluster.is_away = True
    publisher = setup.publisher()
    opened = publisher.when_opened()
    setup.settle(publisher.close())
    assert failed(setup.settle(opened)) == "closed"
