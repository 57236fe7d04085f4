"""Runs become records of librdkafka: topic, partition, key, headers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import repeat
from typing import TYPE_CHECKING, Protocol

from relay.flow.publishing import Run
from relay.model.errors import UpstreamError
from relay.transport.kafka.library import load_library, text_of
from relay.transport.kafka.records import Placing
from relay.transport.kafka.topics import TopicFacts
from relay.wire.murmur2 import partition_of
from relay.wire.record_number import NUMBER_HEADER, format_record_numbers

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

    Report = Callable[[KafkaError | None, object], None]

_LINEAGES_MAX = 10_000
_KEYS_MAX = 10_000
_TOPICS_TOLD_MAX = 1000
_ASK_SECONDS_MIN = 10.0
_ASK_SECONDS_MAX = 5.0

Headers = list[tuple[str, str | bytes | None]]


class Sendable(Protocol):
    """A run and how far it has been handed over."""

    run: Run
    sent: int

    def report(self, error: KafkaError | None, message: object, /) -> None:
        """The next record has a delivery report."""

    def report_of(self, index: int, error: KafkaError | None, message: object, /) -> None:
        """The record at `index` has one."""


class Outgoing:
    """Hands records to one producer.

    Args:
        facts: Of the topic of `placing`.
        remark: Called with what deserves a warning.
    """

    def __init__(
        self,
        producer: Producer,
        placing: Placing,
        facts: TopicFacts,
        remark: Callable[[str], None],
    ) -> None:
        self._producer = producer
        self._placing = placing
        self._remark = remark
        self._fixed: Headers = [*placing.fixed_headers]
        self._partitions = {facts.name: facts.partitions}  # by topic
        self._asked_at: float | None = None
        self._told: set[str] = set()  # topics that are missing
        self._last: dict[
            str, dict[str, int]
        ] = {}  # seqs by lineage and topic, if there are several
        self._partition_of = lru_cache(_KEYS_MAX)(partition_of)

    def produce(self, sending: Sendable, records_max: int) -> bool:
        """Hand over the next records of a run.

        Returns:
            Whether librdkafka had room for them.

        Raises:
            KafkaException: It does not take the record at `sending.sent`.
            UpstreamError: The brokers do not say which topics there are.
        """
        start = sending.sent
        records = self._records(sending, start, start + records_max)
        produce = self._producer.produce
        try:
            for topic, payload, key, partition, report, headers in records:
                produce(topic, payload, key, partition, report, None, 0, headers)
                start += 1
        except BufferError:
            return False
        finally:
            sending.sent = start
        return True

    def _records(
        self, sending: Sendable, start: int, stop: int
    ) -> Iterable[tuple[str, bytes, bytes, int, Report, Headers]]:
        run, placing = sending.run, self._placing
        key = (run.lineage or run.sender).encode("utf-8", "surrogateescape")
        if not placing.is_simple:
            return self._placed(sending, key, start, stop)
        topic = placing.topic
        payloads = run.payloads[start:stop]
        headers: Iterable[Headers] = repeat(self._fixed)
        if run.lineage:
            prev = run.seqs[start - 1] if start else run.prev
            numbers = format_record_numbers(run.lineage, run.seqs[start:stop], prev)
            headers = ([*self._fixed, (NUMBER_HEADER, number)] for number in numbers)
        partition = self._partition_of(key, self._partitions[topic])
        return zip(
            repeat(topic), payloads, repeat(key), repeat(partition), repeat(sending.report), headers
        )

    def _placed(
        self, sending: Sendable, key: bytes, start: int, stop: int
    ) -> Iterable[tuple[str, bytes, bytes, int, Report, Headers]]:
        run, placing = sending.run, self._placing
        is_numbered = bool(run.lineage) and not placing.has_keys
        for index, record in enumerate(run.payloads[start:stop], start):
            place = placing.read(record, self._exists)
            own = place.key or key
            if is_numbered:
                prev = self._prev(run, index, place.topic)
                number = format_record_numbers(run.lineage, (run.seqs[index],), prev)[0]
                place.headers.append((NUMBER_HEADER, number))
            partition = self._partition_of(own, self._partitions[place.topic])
            report = partial(sending.report_of, index) if placing.is_spread else sending.report
            yield place.topic, place.payload, own, partition, report, place.headers

    def _prev(self, run: Run, index: int, topic: str) -> int:
        """The seq before a record in its partition."""
        if not self._placing.has_topics:
            return run.seqs[index - 1] if index else run.prev
        if run.lineage not in self._last and len(self._last) >= _LINEAGES_MAX:
            self._last.clear()
        if not index and not run.prev:
            self._last[run.lineage] = {}
        last, seq = self._last.setdefault(run.lineage, {}), run.seqs[index]
        prev = last.get(topic, 0)
        last[topic] = seq
        return prev if prev < seq else 0  # it is handed over anew, as there was no room

    def _exists(self, topic: str) -> bool:
        if topic in self._partitions:
            return True
        now = time.monotonic()
        if self._asked_at is None or now - self._asked_at >= _ASK_SECONDS_MIN:
            self._asked_at = now
            self._ask()
        if topic in self._partitions:
            return True
        if topic not in self._told and len(self._told) < _TOPICS_TOLD_MAX:
            self._told.add(topic)
            self._remark(
                f"the brokers know no topic {topic}: its records go to {self._placing.topic}"
            )
        return False

    def _ask(self) -> None:
        """Learn of new topics; the number of partitions of known ones stays as it was."""
        library = load_library()
        try:
            metadata = self._producer.list_topics(timeout=_ASK_SECONDS_MAX)
        except library.KafkaException as error:
            raise UpstreamError(text_of(error.args[0])) from None
        for name, topic in metadata.topics.items():
            if topic.partitions:
                self._partitions.setdefault(name, len(topic.partitions))
