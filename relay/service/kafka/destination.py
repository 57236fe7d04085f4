"""Topics of Kafka: kafka:// and, with TLS, kafka+tls://."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from relay.flow.exactly_once.numbering import Numbering
from relay.flow.publishing import PublisherEvents
from relay.model.clock import Clock
from relay.model.output import KeyTemplate
from relay.model.template import macros_of
from relay.rewrite.forms.record_key import PART_SEPARATOR
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import DestinationConfiguration, Where
from relay.service.configuration.reading import Template
from relay.service.configuration.table import Choice, Flag, Seconds, Text, Whole, shown
from relay.service.configuration.tables.format import SD_NUMBER, sd_number_problem
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalSession, Outlet
from relay.service.kafka.keys import (
    BROKERS,
    TLS_BROKERS,
    TLS_WITHOUT,
    TOPIC,
    TOPIC_ALLOWED,
    BrokerCertificates,
    ClientKeys,
    client_settings,
    sasl_warnings,
)
from relay.service.log.link import PublisherLink
from relay.service.log.tls import ClientTls, keep_certificates
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe

if TYPE_CHECKING:  # the client is imported where a configuration has such a destination
    from relay.transport.kafka.producer import KafkaPublisher
    from relay.transport.kafka.records import Placing
    from relay.transport.kafka.session import KafkaSession
    from relay.transport.kafka.topics import TopicFacts

LINEAGE = "lineage"
"""The value of `key` that means the lineage of the queue, and exactly once."""

_NOT_IN_PART = re.compile(rb"[\x00\n\x1f]")
_TOPIC = re.compile(TOPIC.encode())
_US = PART_SEPARATOR.decode()
_HEADER_NAME = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class RecordHeaders:
    """A table of names and templates."""

    allowed: ClassVar[str] = 'a table such as { host = "$HOST" }'

    def read(self, value: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise ValueError(f"expected {self.allowed}, found {shown(value)}")
        for name in value:
            if not _HEADER_NAME.fullmatch(name) or name == "syslogrelay":
                raise ValueError(
                    f"{shown(name)} cannot be a header; expected printable ASCII without spaces, "
                    "and not syslogrelay, which has the number of the record"
                )
        return tuple((name, Template().read(text)) for name, text in value.items())


@dataclass(frozen=True, slots=True)
class KafkaConfiguration(DestinationConfiguration):
    topic: str = key(
        Template(),
        "",
        "topic of a message, with macros, such as `logs-${.app}`",
        default_text="that of the URL",
    )
    topic_fallback: str = key(
        Text(f"a topic of {TOPIC_ALLOWED}", TOPIC),
        "",
        "topic of messages for which `topic` gives no legal name, or one that does not exist",
    )
    key_text: str = key(
        Template(),
        LINEAGE,
        "key of a record with macros, such as `$HOST`, which decides on the partition, at least "
        "once; `lineage` = all of the queue in one partition, exactly once",
        named="key",
    )
    headers: tuple[tuple[str, str], ...] = key(
        RecordHeaders(),
        (),
        'headers of a record, with macros, such as `{ host = "$HOST" }`',
        default_text="none but the number of the record",
    )
    sd_number: bool = key(Flag(), False, SD_NUMBER)
    compression: str = key(
        Choice(("none", "lz4", "zstd", "snappy", "gzip")), "lz4", "compression of batches"
    )
    linger_seconds: float = key(
        Seconds(0, 60), 0.005, "how long a record waits for others to fill its batch"
    )
    replicas_min: int = key(
        Whole(0, 100),
        2,
        "replicas that have to have a record when it is acknowledged: a topic that promises less "
        "(`min.insync.replicas`) is refused; 0 = any topic is taken",
    )
    answer_seconds_max: float = key(
        Seconds(0.1, 3600), 60.0, "longest wait for an answer before reconnecting"
    )
    connect_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time limit for the first answer of the brokers"
    )
    client: ClientKeys = group(ClientKeys)
    refusals_max: int = 1
    """Brokers say of one record what they will say of it the next time."""

    @property
    def stall_seconds(self) -> float:
        return 2 * self.answer_seconds_max

    @property
    def record_key(self) -> KeyTemplate | None:
        """Topic, key and headers in one template, where they depend on the message."""
        if self.placing.is_simple:
            return None
        parts = [self.topic if self._has_topics else "", self.key_text if self._has_keys else ""]
        parts += [text for _, text in self.headers if macros_of(text)]
        return KeyTemplate(_US.join(parts), escape=_clean_part, finish=self._finished)

    def _finished(self, rendered: bytes) -> bytes:
        topic, separator, rest = rendered.partition(PART_SEPARATOR)
        if self._has_topics and not _TOPIC.fullmatch(topic):
            topic = self.topic_fallback.encode()
        return topic + separator + rest

    @property
    def _has_topics(self) -> bool:
        return bool(macros_of(self.topic))

    @property
    def _has_keys(self) -> bool:
        return self.key_text != LINEAGE

    @property
    def placing(self) -> Placing:
        """Where its records go."""
        from relay.transport.kafka.records import Placing

        fixed = [(name, text) for name, text in self.headers if not macros_of(text)]
        return Placing(
            self.topic_fallback if self._has_topics else self.topic or self.connect.path[1:],
            has_topics=self._has_topics,
            has_keys=self._has_keys,
            fixed_headers=tuple((name, text.replace("$$", "$").encode()) for name, text in fixed),
            header_names=tuple(name for name, text in self.headers if macros_of(text)),
        )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if self.topic and self.connect.path:
            yield f"{where('topic')}: the URL names a topic already; remove one of them"
        elif not self.topic and not self.connect.path:
            url = f"{self.connect}/logs"
            yield f"{where('topic')}: is missing; write it into the URL, as in {url}"
        elif self.topic and not self._has_topics and not re.fullmatch(TOPIC, self.topic):
            yield f"{where('topic')}: found {shown(self.topic)}; a topic has {TOPIC_ALLOWED}"
        if self.sd_number and (problem := sd_number_problem(self.format)):
            yield f"{where('sd_number')}: {problem}"
        elif self.sd_number and self._has_keys:
            yield f'{where("sd_number")}: has no effect unless key is "{LINEAGE}"; remove it'
        if self._has_topics and not self.topic_fallback:
            yield (
                f"{where('topic_fallback')}: is missing; write the topic of messages for which "
                f"topic = {shown(self.topic)} gives no name of a topic"
            )
        elif self.topic_fallback and not self._has_topics:
            yield f"{where('topic_fallback')}: has no effect without macros in topic; remove it"

    def warnings(self, where: Where) -> Iterable[str]:
        if self._has_keys:
            yield (
                f'{where("key")}: with another key than "{LINEAGE}" records are not numbered, and '
                "may come twice after a failure"
            )
        yield from sasl_warnings(self.connect, self.client, self.tls, where("sasl"))

    @property
    def producer_settings(self) -> dict[str, str]:
        """librdkafka's, of producers only."""
        return {
            "linger.ms": f"{self.linger_seconds * 1000:g}",
            "compression.type": self.compression,
        }


@dataclass(frozen=True, slots=True)
class KafkaTlsConfiguration(KafkaConfiguration):
    tls: ClientTls = group(ClientTls, without=TLS_WITHOUT)


def _clean_part(value: bytes) -> bytes:
    return _NOT_IN_PART.sub(b"_", value)


class KafkaLink(PublisherLink["KafkaPublisher"]):
    """To a topic.

    Args:
        on_topic: Called with the facts of the topic when brokers have answered.
    """

    def __init__(
        self,
        outlet: Outlet,
        new_publisher: Callable[[PublisherEvents], KafkaPublisher],
        configuration: KafkaConfiguration,
        on_topic: Callable[[TopicFacts], None],
        clock: Clock,
    ) -> None:
        how = f"sending to {outlet.state.target}, delivered when all replicas in sync have it"
        super().__init__(outlet, new_publisher, how=how, clock=clock)
        self._configuration = configuration
        self._on_topic = on_topic

    async def _begin(
        self, publisher: KafkaPublisher, on_failure: Callable[[str], None]
    ) -> tuple[KafkaSession, bool]:
        from relay.transport.kafka.session import KafkaSession, SessionParts

        facts = await publisher.when_opened()
        lineage = await self._lineage(facts)
        self._on_topic(facts)
        parts = SessionParts(
            drain=self._outlet.drain,
            state=self._state,
            lineage=lineage,
            sender=self._configuration.id,
            how=self._how,
            trouble_seconds_max=self._configuration.stall_seconds,
            on_failure=on_failure,
        )
        return KafkaSession(publisher, parts, clock=self._clock), bool(lineage)

    def _follow(self, session: LocalSession, text: str, is_well: bool) -> None:
        from relay.transport.kafka.session import KafkaSession

        assert isinstance(session, KafkaSession)
        session.follow(text, is_well)

    async def _lineage(self, facts: TopicFacts) -> str:
        """The id of the lineage of the records; empty = they are not numbered."""
        numbering: Numbering | None = self._outlet.numbering
        placing = self._configuration.placing
        if numbering is None or placing.has_keys:
            return ""
        place = f"topic {facts.name} of {facts.partitions} partitions"
        await numbering.keep_place("" if placing.has_topics else place)
        offer = numbering.offer()
        return "" if offer is None else offer.id


class _Topics:
    """The topic of one destination as last seen, for status."""

    def __init__(self) -> None:
        self._facts: TopicFacts | None = None

    def note(self, facts: TopicFacts) -> None:
        self._facts = facts

    def details(self) -> Iterator[str]:
        """Lines for status."""
        facts = self._facts
        if facts is not None:
            unknown = facts.in_sync_min is None
            more = ", the brokers do not tell min.insync.replicas" if unknown else ""
            more += ", unclean.leader.election.enable = true" if facts.is_unclean else ""
            yield facts.text + more


def _make(configuration: KafkaConfiguration, parts: DestinationParts) -> Delivery:
    from relay.transport.kafka.producer import KafkaPublisher
    from relay.transport.kafka.producing import Care, ProducerOptions

    files = Prerequisite("its messages are queued until the files are right")
    subject, reactor = f"destination {configuration.id}", parts.reactor
    certificates = keep_certificates(
        BrokerCertificates, subject, configuration.tls, parts.certificates, files
    )

    def settings() -> Mapping[str, str]:
        found = client_settings(configuration.connect, configuration.client, certificates)
        return {**found, **configuration.producer_settings}

    options = ProducerOptions(
        settings=settings,
        placing=configuration.placing,
        has_numbers_in_text=configuration.sd_number,
        care=Care(),
        connect_seconds_max=configuration.connect_seconds_max,
        replicas_min=configuration.replicas_min,
    )
    topics = _Topics()

    def new_publisher(events: PublisherEvents) -> KafkaPublisher:
        return KafkaPublisher(options, name=configuration.id, reactor=reactor, events=events)

    def new_link(outlet: Outlet) -> KafkaLink:
        return KafkaLink(outlet, new_publisher, configuration, topics.note, reactor)

    topic = configuration.topic or configuration.connect.path[1:]
    return Delivery(
        new_link=new_link,
        target=f"{configuration.connect.authority}/{topic}",
        is_confirmed=True,
        prerequisites=(files,),
        details=lambda: [*topics.details()],
        new_publisher=new_publisher,
    )


def _probe(configuration: KafkaConfiguration, probe: Probe) -> None:
    from relay.service.kafka.probe import probe_topic
    from relay.transport.kafka.topics import weak_topic

    topic = configuration.placing.topic
    facts = probe_topic(
        probe, configuration.connect, configuration.client, configuration.tls, topic
    )
    if facts is None:
        return
    if problem := weak_topic(facts, configuration.replicas_min):
        remedy = "change the topic, or replicas_min"
        probe.fail("topic", "kafka-weak-topic", problem, remedy)
    if facts.in_sync_min is None:
        text = "the brokers do not tell min.insync.replicas, so replicas_min is half checked"
        probe.warn("topic", "kafka-no-settings", text, "give the user DescribeConfigs on the topic")


_KAFKA_DELIVERED = "the brokers have acknowledged it: all replicas in sync have it, in memory"

KAFKA = DestinationKind(
    scheme="kafka",
    address=BROKERS,
    configuration=KafkaConfiguration,
    delivered=_KAFKA_DELIVERED,
    medium="kafka",
    shared=True,
    publishes=True,
    make=_make,
    probe=_probe,
)
KAFKA_TLS = replace(
    KAFKA,
    scheme="kafka+tls",
    address=TLS_BROKERS,
    configuration=KafkaTlsConfiguration,
    delivered="the same",
)
