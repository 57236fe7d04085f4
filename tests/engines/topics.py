"""Records read from a topic and put into it by the plain client, for tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition

__all__ = ["TopicRecord", "produce", "read_topic"]

SECONDS_MAX = 20.0


class TopicRecord(NamedTuple):
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]


def produce(
    address: str,
    topic: str,
    values: Iterable[bytes],
    *,
    partition: int = 0,
    headers: Iterable[Mapping[str, bytes]] | None = None,
) -> None:
    """Put one record for each of `values` into one partition, with its headers if there are any."""
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True})
    failed: list[object] = []

    def report(error: object, _record: object) -> None:
        if error is not None:
            failed.append(error)

    each_headers = iter(headers) if headers is not None else None
    for value in values:
        own = next(each_headers) if each_headers is not None else {}
        producer.produce(
            topic, value, partition=partition, headers=list(own.items()), on_delivery=report
        )
        producer.poll(0)
    left = producer.flush(SECONDS_MAX)
    assert not left and not failed, f"{left} records not answered, {failed[:3]} refused"


def read_topic(
    address: str,
    topic: str,
    partitions: int,
    *,
    count: int,
    seconds_max: float = SECONDS_MAX,
    quiet_seconds: float = 0.5,
) -> list[TopicRecord]:
    """Read all partitions from the beginning; return the records in the order of each partition.

    It reads on until there are `count` and nothing has come for `quiet_seconds`, so that records
    too many are seen as well, and fails after `seconds_max` with fewer.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "test-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    records: list[TopicRecord] = []
    deadline = time.monotonic() + seconds_max
    try:
        while True:
            batch = consumer.consume(1000, quiet_seconds)
            records += [_record(message) for message in batch if message.error() is None]
            if not batch and len(records) >= count:
                return records
            assert time.monotonic() < deadline, f"{len(records)} of {count} records in {topic}"
    finally:
        consumer.close()


def _record(message: object) -> TopicRecord:
    return TopicRecord(
        message.partition(),  # type: ignore[attr-defined]
        message.offset(),  # type: ignore[attr-defined]
        message.key(),  # type: ignore[attr-defined]
        message.value(),  # type: ignore[attr-defined]
        dict(message.headers() or ()),  # type: ignore[attr-defined]
    )
