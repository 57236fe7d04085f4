"""A topic on Tansu, in memory: where messages of a run arrive, or wait to be read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.load import BenchError
from tests.engines.tansu import Tansu

__all__ = ["TOPIC", "Topic"]

TOPIC = "logs"
"""It has one partition, so that all subjects send in order to the same one."""
POLL_SECONDS = 0.02
REQUEST_SECONDS = 10.0
NEAR_RECORDS = 12_000
"""More than a batch: Tansu says where the last batch begins, not where it ends."""
FETCHED_MAX = 50_000


class Topic:
    """The topic of a broker that runs.

    Args:
        broker: A Tansu with TOPIC.
    """

    def __init__(self, broker: Tansu) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self.broker = broker
        self._place = TopicPartition
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker.address,
                "group.id": "bench",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Topic]:
        """On a broker of its own, which is empty."""
        broker = Tansu(folder, topics={TOPIC: 1})
        broker.log_path.unlink(missing_ok=True)
        try:
            broker.start()
            found = cls(broker)
            try:
                yield found
            finally:
                found.close()
        finally:
            broker.end()

    def close(self) -> None:
        self._consumer.close()

    def fill(self, payloads: Sequence[bytes]) -> None:
        """Put messages into it, compressed as a relay does."""
        from confluent_kafka import Producer

        producer = Producer(
            {
                "bootstrap.servers": self.broker.address,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "queue.buffering.max.messages": len(payloads) + 1,
            }
        )
        for payload in payloads:
            producer.produce(TOPIC, payload, partition=0)
        if producer.flush(60):
            raise BenchError("the topic could not be filled")

    def wait_count(self, count: int, seconds_max: float, check: Callable[[], None]) -> float:
        """When (`time.monotonic()`) record number `count` was there; `check` may give up."""
        deadline = time.monotonic() + seconds_max
        place = self._place(TOPIC, 0)
        while True:
            check()
            _, high = self._consumer.get_watermark_offsets(place, timeout=REQUEST_SECONDS)
            if high > count - NEAR_RECORDS:
                break
            if time.monotonic() > deadline:
                raise BenchError(f"{count - high:,} messages missing after {seconds_max:.0f} s")
            time.sleep(POLL_SECONDS)
        self._consumer.assign([self._place(TOPIC, 0, max(0, high - 1))])
        while time.monotonic() < deadline:
            check()
            for message in self._consumer.consume(FETCHED_MAX, timeout=POLL_SECONDS):
                if message.error() is None and message.offset() + 1 >= count:
                    return time.monotonic()
        raise BenchError(f"the last of {count:,} messages has not come in {seconds_max:.0f} s")

    def payloads(self, quiet_seconds: float = 1.0) -> Counter[bytes]:
        """All that is in it, until nothing has come for a while."""
        found: Counter[bytes] = Counter()
        self._consumer.assign([self._place(TOPIC, 0, 0)])
        last = time.monotonic()
        while time.monotonic() < last + quiet_seconds:
            got = self._consumer.consume(FETCHED_MAX, timeout=0.1)
            values = [message.value() for message in got if message.error() is None]
            if values:
                found.update(values)
                last = time.monotonic()
        return found
