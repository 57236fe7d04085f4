"""Sources of NATS JetStream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.text import Document
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import (
    Retry,
    SourceConfiguration,
    TlsConfiguration,
    Where,
)
from relay.service.configuration.table import Seconds, Text, shown
from relay.service.nats.keys import (
    SERVERS,
    TLS_WITHOUT,
    LoginKeys,
    ServerCertificates,
    ServerTls,
    common_problems,
    is_same_stream,
    keep_certificates,
    login_warnings,
    new_login,
    stream_of,
)
from relay.service.nats.probe import probe_consumer
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe
from relay.service.sources.kind import Positions, SourceKind, SourceParts
from relay.service.sources.listening import read_from_key, split_problems
from relay.service.sources.service import Receiving, SourceService
from relay.transport.nats.client import Login, NatsClient
from relay.transport.nats.consumer import ConsumerPlan
from relay.transport.nats.reader import PLACE, StreamReader
from relay.transport.nats.sieve import Sieve
from relay.transport.reception import OversizePolicy
from relay.wire.nats.subjects import is_filter

_ANSWER_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class SubjectFilter:
    """Subjects that are read."""

    allowed: ClassVar[str] = 'a filter such as "logs.>" or "logs.*"'

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not is_filter(value):
            raise ValueError(f"expected {self.allowed}, found {shown(value)}")
        return value


@dataclass(frozen=True, slots=True)
class NatsSourceConfiguration(SourceConfiguration):
    consumer: str = key(
        Text("a name of 1 to 64 ASCII letters, digits, '_' and '-'", r"[A-Za-z0-9_-]{1,64}"),
        "",
        "durable consumer that this relay reads with, and nobody else; it is made if missing",
        required=True,
        example='"central"',
    )
    subject: str = key(
        SubjectFilter(),
        "",
        "filter of the subjects that are read",
        default_text="all of the stream",
    )
    read_from: str = read_from_key("beginning")
    connect_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time limit for the connection to one server"
    )
    retry: Retry = group(Retry)
    login: LoginKeys = group(LoginKeys)

    @property
    def plan(self) -> ConsumerPlan:
        """What is read, and as whom."""
        stream = stream_of(self.listen)
        return ConsumerPlan(
            f"{self.listen.authority}/{stream}",
            stream,
            self.consumer,
            self.subject,
            self.read_from == "beginning",
        )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        yield from split_problems(self, where)
        yield from common_problems(self.listen, where, "listen")
        if not self.consumer:
            yield f'{where("consumer")}: is missing; write consumer = "central", or another name'

    def warnings(self, where: Where) -> Iterator[str]:
        yield from login_warnings(self.listen, self.login, where, "listen")


@dataclass(frozen=True, slots=True)
class NatsTlsSourceConfiguration(NatsSourceConfiguration):
    tls: TlsConfiguration = group(ServerTls, without=TLS_WITHOUT)


class NatsSource(SourceService):
    """Reads a stream.  There is nothing to bind.

    Args:
        files: Has trouble as long as those of TLS cannot be used.
        positions: How far a source has read, by name; the queue knows once it is open.
    """

    def __init__(
        self,
        configuration: NatsSourceConfiguration,
        receiving: Receiving,
        *,
        reader: StreamReader,
        files: Prerequisite,
        positions: Positions,
    ) -> None:
        super().__init__(configuration, receiving)
        self._reader = reader
        self._files = files
        self._positions = positions
        self._is_begun = False
        files.when_fulfilled(self._begin)

    def startService(self) -> None:
        Service.startService(self)
        self._begin()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._reader.stop()

    def report(self) -> Document:
        reader = self._reader
        return {
            **super().report(),
            "state": self._files.state or reader.state,
            "ready": reader.is_reading,
            "lag_records": reader.lag,
            "held_back_records": reader.sieve.held_back,
        }

    def _begin(self) -> None:
        if self.running and not self._files.trouble and not self._is_begun:
            self._is_begun = True
            self._reader.start(lambda: self._positions(self.id).get(PLACE))
            self._log.info("source {id}: reads {address}", id=self.id, address=self.address)


def _make(
    configuration: NatsSourceConfiguration, receiving: Receiving, parts: SourceParts
) -> NatsSource:
    files = Prerequisite("nothing is read until the files are right")
    subject = f"source {configuration.id}"
    certificates = keep_certificates(subject, configuration.tls, parts.certificates, files)
    login = _new_login(configuration, certificates)

    def new_client(on_lost: Callable[[str], None]) -> NatsClient:
        return NatsClient(login, reactor=receiving.reactor, on_lost=on_lost)

    reader = StreamReader(
        receiving.reception,
        configuration.plan,
        sieve=Sieve(
            receiving.reception,
            lineages=ReadLineages(
                configuration.id,
                load=lambda: parts.positions(configuration.id),
                now=parts.wall.now,
                lineages_max=parts.lineages_max,
            ),
            oversize=OversizePolicy(
                configuration.oversize,
                frame_bytes_max=configuration.frame_bytes_max,
                counters=receiving.reception.counters,
            ),
        ),
        new_client=new_client,
        retry_seconds=backoffPolicy(
            initialDelay=configuration.retry.retry_seconds_min,
            maxDelay=configuration.retry.retry_seconds_max,
            factor=2.0,
        ),
        reactor=receiving.reactor,
    )
    return NatsSource(
        configuration, receiving, reader=reader, files=files, positions=parts.positions
    )


def _new_login(
    configuration: NatsSourceConfiguration, certificates: ServerCertificates | None
) -> Login:
    return new_login(
        configuration.id,
        configuration.listen,
        configuration.login,
        configuration.tls,
        certificates,
        connect_seconds_max=configuration.connect_seconds_max,
        answer_seconds_max=_ANSWER_SECONDS_MAX,
    )


def _probe(configuration: NatsSourceConfiguration, probe: Probe) -> None:
    tls = configuration.tls
    certificates = None if tls is None else ServerCertificates(None, tls=tls)
    login = replace(_new_login(configuration, certificates), connect_seconds_max=probe.seconds_max)
    probe_consumer(login, configuration.plan, probe)


NATS = SourceKind(
    scheme="nats",
    address=SERVERS,
    configuration=NatsSourceConfiguration,
    delivered="a stream of NATS JetStream, exactly once if relays have published to it",
    medium="nats",
    shared=True,  # with other consumers
    arrives=is_same_stream,
    make=_make,
    probe=_probe,
)
NATS_TLS = replace(
    NATS,
    scheme="nats+tls",
    configuration=NatsTlsSourceConfiguration,
    delivered="the same",
)
