"""A topic of Kafka as a source that starts and stops with the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from relay.model.origin import Origin, Transport
from relay.model.text import counted
from relay.service.configuration.keys import group as keys
from relay.service.configuration.keys import key
from relay.service.configuration.model import Retry, SourceConfiguration, TlsConfiguration, Where
from relay.service.configuration.table import Text, shown
from relay.service.kafka.keys import (
    BROKERS,
    TLS_BROKERS,
    TLS_WITHOUT,
    BrokerCertificates,
    ClientKeys,
    client_settings,
    sasl_warnings,
)
from relay.service.log.tls import ClientTls, keep_certificates
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import read_from_key, split_problems
from relay.service.sources.service import Receiving

if TYPE_CHECKING:  # the client is imported where a configuration has such a source
    from relay.service.log.source import LogSource
    from relay.transport.kafka.consumer import ConsumerPlan

_SHOWN_MAX = 10
_NAME = ("a name of 1 to 200 ASCII letters, digits, '.', '_' and '-'", r"[A-Za-z0-9._-]{1,200}")
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Partitions:
    """Numbers and ranges of numbers: ``0-5,8``."""

    allowed: ClassVar[str] = 'numbers of partitions from 0 on, such as "0-11" or "0,3,8-11"'

    def read(self, value: object) -> tuple[int, ...]:
        if not isinstance(value, str):
            raise ValueError(f"expected {self.allowed}, found {shown(value)}")
        numbers: set[int] = set()
        for part in value.split(","):
            found = _RANGE.fullmatch(part.strip())
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
            if first > last:
                raise ValueError(f"expected {self.allowed}, found {shown(value)}")
            both = numbers & set(range(first, last + 1))
            if both:
                raise ValueError(f"partition {min(both)} is there twice in {shown(value)}")
            numbers |= set(range(first, last + 1))
        return tuple(sorted(numbers))


@dataclass(frozen=True, slots=True)
class KafkaSourceConfiguration(SourceConfiguration):
    transport: ClassVar = Transport.TCP

    partitions: tuple[int, ...] = key(
        Partitions(),
        (),
        "partitions that this source reads, and nobody else for it: each record once",
        default_text="those that `group` gives",
    )
    group: str = key(
        Text(*_NAME),
        "",
        "consumer group that shares the partitions; records may come twice when one changes hands",
    )
    group_instance: str = key(
        Text(*_NAME),
        "",
        "name of this member of the group, which keeps its partitions over a short restart",
        default_text="name of the relay",
    )
    client_rack: str = key(
        Text("a name of a rack or zone", r"[!-~]{1,200}"),
        "",
        "zone of this relay, so that it reads from brokers there (KIP-392)",
    )
    read_from: str = read_from_key("beginning")
    client: ClientKeys = keys(ClientKeys)
    retry: Retry = keys(Retry)

    @property
    def topic(self) -> str:
        return self.listen.path.removeprefix("/")

    def problems(self, where: Where, given: Collection[str]) -> Iterable[str]:
        yield from split_problems(self, where)
        if not self.topic:
            yield (
                f"{where('listen')}: has no topic; write it behind the hosts, as in "
                f"{self.listen}/logs"
            )
        if bool(self.partitions) == bool(self.group):
            found = "both" if self.group else "neither"
            yield (
                f"{where('partitions')}: expected either `partitions` (exactly once) or `group` "
                f"(shared with other relays), found {found}"
            )
        if self.group_instance and not self.group:
            yield f"{where('group_instance')}: has no meaning without group; remove it"

    def warnings(self, where: Where) -> Iterable[str]:
        return sasl_warnings(self.listen, self.client, self.tls, where("sasl"))


@dataclass(frozen=True, slots=True)
class KafkaTlsSourceConfiguration(KafkaSourceConfiguration):
    tls: TlsConfiguration = keys(ClientTls, without=TLS_WITHOUT)


def _settings(
    configuration: KafkaSourceConfiguration, parts: SourceParts, files: Prerequisite
) -> Callable[[], Mapping[str, str]]:
    """librdkafka's settings, for each consumer anew."""
    listen, client = configuration.listen, configuration.client
    certificates = keep_certificates(
        BrokerCertificates,
        f"source {configuration.id}",
        configuration.tls,
        parts.certificates,
        files,
    )
    own = {}
    if configuration.client_rack:
        own["client.rack"] = configuration.client_rack
    if configuration.group:
        own["group.instance.id"] = configuration.group_instance or parts.relay_name
    return lambda: {**client_settings(listen, client, certificates), **own}


def _plan(
    configuration: KafkaSourceConfiguration, parts: SourceParts, files: Prerequisite
) -> ConsumerPlan:
    from relay.transport.kafka.consumer import ConsumerPlan

    options = dict(configuration.client.options)
    return ConsumerPlan(
        topic=configuration.topic,
        brokers=configuration.listen.authority,
        partitions=configuration.partitions,
        group=configuration.group,
        from_beginning=configuration.read_from == "beginning",
        settings=_settings(configuration, parts, files),
        is_incremental=options.get("group.protocol") == "consumer"
        or options.get("partition.assignment.strategy", "").startswith("cooperative"),
    )


def _make(
    configuration: KafkaSourceConfiguration, receiving: Receiving, parts: SourceParts
) -> LogSource:
    from relay.service.log.source import LogSource, new_sieve, retry_policy
    from relay.transport.kafka.reader import KafkaReader
    from relay.transport.kafka.taking import Taking

    files = Prerequisite("it does not read until the files are right")
    listen = configuration.listen
    origin = Origin(configuration.id, configuration.transport, listen.host, listen.port)
    reception, sieve = new_sieve(configuration, receiving, parts, origin)
    reader = KafkaReader(
        reception,
        _plan(configuration, parts, files),
        taking=Taking(reception, topic=configuration.topic, sieve=sieve),
        retry_seconds=retry_policy(configuration.retry),
        reactor=receiving.reactor,
    )
    return LogSource(
        configuration, receiving, reader=reader, positions=parts.positions, files=files
    )


def _probe(configuration: KafkaSourceConfiguration, probe: Probe) -> None:
    from relay.service.kafka.probe import probe_topic

    topic, numbers = configuration.topic, configuration.partitions
    facts = probe_topic(probe, configuration.listen, configuration.client, configuration.tls, topic)
    if facts is None or not numbers:
        return
    if missing := [number for number in numbers if number >= facts.partitions]:
        probe.fail(
            "topic",
            "kafka-no-partition",
            f"topic {topic} has {counted(facts.partitions, 'partition')}, and not number "
            f"{', '.join(map(str, missing[:_SHOWN_MAX]))}",
            f"write partitions from 0 to {facts.partitions - 1}",
        )
        return
    others = facts.partitions - len(numbers)
    text = f"; {counted(others, 'partition')} left to other sources" if others else ""
    probe.passed("topic", f"reads {counted(len(numbers), 'partition')} of {topic}{text}")


KAFKA = SourceKind(
    scheme="kafka",
    address=BROKERS,
    configuration=KafkaSourceConfiguration,
    delivered="reads a topic of Kafka; relays at both ends make it exactly once",
    medium="kafka",
    shared=True,  # with other partitions, or another group
    make=_make,
    probe=_probe,
)
KAFKA_TLS = replace(
    KAFKA,
    scheme="kafka+tls",
    address=TLS_BROKERS,
    configuration=KafkaTlsSourceConfiguration,
    delivered="the same, encrypted",
)
