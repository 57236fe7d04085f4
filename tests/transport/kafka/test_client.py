from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from relay.transport.kafka.client import Client, LibraryError, PartitionOffset
from tests.kafka_fakes import FakeClient


@pytest.mark.parametrize(
    ("protocol", "cls"),
    [
        (Client, Consumer),
        (Client, FakeClient),
        (LibraryError, KafkaError),
        (PartitionOffset, TopicPartition),
    ],
)
def test_the_library_has_what_is_used(protocol: type, cls: type) -> None:
    wanted = {name for name in vars(protocol) if not name.startswith("_")}
    assert wanted
    assert wanted <= set(dir(cls))
