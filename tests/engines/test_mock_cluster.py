from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Producer

from tests.engines.mock_cluster import PRODUCE, MockCluster
from tests.engines.topics import produce, read_topic

pytestmark = pytest.mark.slow

VALUES = [b"%d" % number for number in range(50)]


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with MockCluster(topics={"logs": 2}) as mock:
        yield mock


def values_of(cluster: MockCluster, count: int) -> list[bytes]:
    return [record.value for record in read_topic(cluster.address, "logs", 2, count=count)]


def test_records_come_back(cluster: MockCluster) -> None:
    produce(cluster.address, "logs", VALUES)
    assert values_of(cluster, 50) == VALUES


def test_a_request_gets_the_error_that_was_asked_for(cluster: MockCluster) -> None:
    cluster.answer_with(PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": cluster.address})
    producer.produce("logs", b"refused", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)
    assert [error and error.code() for error in errors] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def test_errors_that_pass_lose_nothing(cluster: MockCluster) -> None:
    cluster.answer_with(
        PRODUCE, [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS]
    )
    produce(cluster.address, "logs", VALUES, in_trouble=True)
    assert values_of(cluster, 50) == VALUES


def test_a_late_answer_stores_twice(cluster: MockCluster) -> None:
    """The mock does not check sequences: what its client repeats is there twice."""
    for broker in cluster.brokers:
        cluster.answer_late(broker, PRODUCE, [(0, 1.5)])
    answered: list[object] = []
    producer = Producer({"bootstrap.servers": cluster.address, "socket.timeout.ms": 500})
    producer.produce(
        "logs", b"late", partition=0, on_delivery=lambda error, _: answered.append(error)
    )
    producer.flush(15)
    assert answered == [None]
    assert values_of(cluster, 2) == [b"late", b"late"]


def test_brokers_go_and_come_and_leaders_move(cluster: MockCluster) -> None:
    cluster.lead("logs", 0, 2)
    for broker in cluster.brokers:
        cluster.down(broker)
    answered: list[object] = []
    producer = Producer({"bootstrap.servers": cluster.address, "reconnect.backoff.max.ms": 200})
    producer.produce(
        "logs", b"waits", partition=0, on_delivery=lambda error, _: answered.append(error)
    )
    assert producer.flush(0.3) == 1
    for broker in cluster.brokers:
        cluster.up(broker)
    cluster.lead("logs", 0, 3)
    producer.flush(15)
    assert answered == [None]
    assert values_of(cluster, 1) == [b"waits"]


def test_retention_takes_the_beginning(cluster: MockCluster) -> None:
    produce(cluster.address, "logs", VALUES[:10])
    produce(cluster.address, "logs", VALUES[10:20])
    cluster.delete_records("logs", 0, 10)
    assert values_of(cluster, 10)[-10:] == VALUES[10:20]


def test_a_broker_that_is_none_is_refused(cluster: MockCluster) -> None:
    with pytest.raises(AssertionError, match="no broker -1"):
        cluster.lead("logs", 0, -1)
    assert cluster.address.count(":") == 3
