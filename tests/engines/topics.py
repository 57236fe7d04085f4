"""Records read from a topic and put into it by the plain client, for tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

__all__ = ["TopicRecord", "produce", "read_topic"]

SECONDS_MAX = 20.0
POLL_SECONDS = 0.5
FETCH_WAIT_MS = 50
ONE_TRY = {"max.in.flight.requests.per.connection": 1, "message.send.max.retries": 0}


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
    in_trouble: bool = False,
) -> None:
    """Put one record for each of `values` into one partition, with its headers if there are any.

    One request at a time and no second try keep the order and make no duplicates.  With
    `in_trouble` an idempotent producer tries again, which waits half a second for its id first.
    """
    trying = {"enable.idempotence": True} if in_trouble else ONE_TRY
    producer = Producer({"bootstrap.servers": address, **trying})
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
    address: str, topic: str, partitions: int, *, count: int, seconds_max: float = SECONDS_MAX
) -> list[TopicRecord]:
    """Read all partitions from the beginning; return the records in the order of each partition.

    It reads on until there are `count` and all partitions are at their end, so that records too
    many are seen as well, and fails after `seconds_max` with fewer.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "test-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    records: list[TopicRecord] = []
    ended: set[int] = set()
    deadline = time.monotonic() + seconds_max
    try:
        while len(ended) < partitions or len(records) < count:
            assert time.monotonic() < deadline, f"{len(records)} of {count} records in {topic}"
            message = consumer.poll(POLL_SECONDS)
            if message is None:
                continue
            if (error := message.error()) is None:
                records.append(_record(message))
                ended.discard(message.partition())
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
        return records
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
