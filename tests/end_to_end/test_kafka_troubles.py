"""The producer of the relay against librdkafka's mock cluster, which fails on request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError

from relay.flow.publishing import PublisherEvents, PublisherFailed, RecordRefused, Run
from relay.transport.kafka.producer import KafkaPublisher
from relay.transport.kafka.producing import Care, ProducerOptions
from relay.transport.kafka.records import Placing
from tests.engines.mock_cluster import PRODUCE, MockCluster
from tests.engines.topics import read_topic
from tests.threads import Reactor

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mock cluster tells none, and takes as long as it is given for that."""
    monkeypatch.setattr("relay.transport.kafka.topics._SETTINGS_SECONDS_MAX", 0.1)


LINEAGE = "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10"
VALUES = [b"%d" % number for number in range(1, 101)]


class Side:
    """Publishers of one destination, one after the other."""

    def __init__(self, cluster: MockCluster) -> None:
        self.cluster = cluster
        self.reactor = Reactor()
        self.care = Care()
        self.states: list[tuple[str, bool]] = []
        self.publisher = self.another()

    def another(self) -> KafkaPublisher:
        self.publisher = KafkaPublisher(
            ProducerOptions(
                settings=lambda: {"bootstrap.servers": self.cluster.address, "linger.ms": "5"},
                placing=Placing("logs"),
                care=self.care,
                connect_seconds_max=10,
                replicas_min=2,
            ),
            name="trouble",
            reactor=self.reactor,
            events=PublisherEvents(
                lambda text, is_well: self.states.append((text, is_well)), lambda text: None
            ),
        )
        return self.publisher

    def publish(self, values: list[bytes], first: int = 1) -> object:
        """The result, or the failure."""
        run = Run(values, LINEAGE, range(first, first + len(values)), first - 1)
        return self.reactor.settle(self.publisher.publish(run))

    def values(self, count: int) -> list[bytes]:
        records = read_topic(self.cluster.address, "logs", 4, count=count)
        assert len({record.partition for record in records}) == 1
        return [record.value for record in records]


@contextmanager
def mock_cluster() -> Iterator[Side]:
    cluster = MockCluster(topics={"logs": 4})
    side = Side(cluster)
    try:
        yield side
    finally:
        side.reactor.settle(side.publisher.close())
        cluster.close()
        left = [each.name for each in threading.enumerate() if each.name.startswith("kafka")]
        assert left == []


@pytest.mark.parametrize(
    "error",
    [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.REQUEST_TIMED_OUT,
    ],
)
def test_what_passes_is_awaited_and_in_order(error: int) -> None:
    with mock_cluster() as side:
        side.cluster.answer_with(PRODUCE, [error] * 3)
        assert side.publish(VALUES) is None
        assert side.values(100) == VALUES


def test_brokers_that_restart_are_found_again() -> None:
    with mock_cluster() as side:
        assert side.publish(VALUES[:50]) is None
        for broker in side.cluster.brokers:
            side.cluster.down(broker)
        run = Run(VALUES[50:], LINEAGE, range(51, 101), 50)
        published = side.publisher.publish(run)
        while not any("brokers away" in text for text, _ in side.states):
            side.reactor.run_next()
        for broker in side.cluster.brokers:
            side.cluster.up(broker)
        assert side.reactor.settle(published) is None
        assert side.states[-1][1], "all is well again"
        assert side.values(100) == VALUES


@pytest.mark.parametrize("error", [KafkaError.INVALID_RECORD, KafkaError.MSG_SIZE_TOO_LARGE])
def test_the_record_that_is_refused_is_found(error: int) -> None:
    with mock_cluster() as side:
        side.cluster.answer_with(PRODUCE, [error])
        failure = side.publish(VALUES[:20])
        assert isinstance(failure, PublisherFailed), failure
        assert "one by one" in str(failure)
        side.another()
        side.cluster.answer_with(PRODUCE, [0, 0, error])
        refused = side.publish(VALUES[:20])
        assert isinstance(refused, RecordRefused), refused
        assert refused.index == 2
        # This cluster does not check sequences: it may store the next one as well.
        assert side.values(2)[:2] == VALUES[:2]
        side.another()
        assert side.publish(VALUES[3:20], first=4) is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "give the user Write and Describe there"),
        (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, ""),
    ],
)
def test_what_does_not_pass_ends_the_producer(error: int, text: str) -> None:
    with mock_cluster() as side:
        assert side.publish(VALUES[:1]) is None
        side.cluster.answer_with(PRODUCE, [error] * 20)
        failure = side.publish(VALUES[1:5], first=2)
        assert isinstance(failure, PublisherFailed)
        assert text in str(failure) and str(failure)
        side.cluster.clear_errors(PRODUCE)
        side.another()
        assert side.publish(VALUES[1:5], first=2) is None


def test_a_topic_that_is_deleted_is_noticed() -> None:
    with mock_cluster() as side:
        assert side.publish(VALUES[:1]) is None
        gone = KafkaError.UNKNOWN_TOPIC_OR_PART
        side.cluster.fail_topic("logs", gone)
        side.cluster.answer_with(PRODUCE, [gone] * 1000)
        failure = side.publish(VALUES[1:5], first=2)
        assert isinstance(failure, PublisherFailed)
        assert "topic logs" in str(failure)
