"""Sources of NATS JetStream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from relay.model.origin import Origin
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import (
    Retry,
    SourceConfiguration,
    TlsConfiguration,
    Where,
)
from relay.service.configuration.table import Seconds, Text, shown
from relay.service.log.tls import ClientTls, keep_certificates
from relay.service.nats.keys import (
    SERVERS,
    TLS_WITHOUT,
    LoginKeys,
    ServerCertificates,
    common_problems,
    is_same_stream,
    login_warnings,
    new_login,
    stream_of,
)
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import read_from_key, split_problems
from relay.service.sources.service import Receiving
from relay.wire.nats.subjects import is_filter

if TYPE_CHECKING:  # the client is imported where a configuration has such a source
    from relay.service.log.source import LogSource
    from relay.transport.nats.client import Login, NatsClient
    from relay.transport.nats.consumer import ConsumerPlan

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
        """The messages to read, and the name of the consumer."""
        from relay.transport.nats.consumer import ConsumerPlan

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
    tls: TlsConfiguration = group(ClientTls, without=TLS_WITHOUT)


def _make(
    configuration: NatsSourceConfiguration, receiving: Receiving, parts: SourceParts
) -> LogSource:
    from relay.service.log.source import LogSource, new_sieve, retry_policy
    from relay.transport.nats.client import NatsClient
    from relay.transport.nats.reader import StreamReader

    files = Prerequisite("nothing is read until the files are right")
    subject = f"source {configuration.id}"
    certificates = keep_certificates(
        ServerCertificates, subject, configuration.tls, parts.certificates, files
    )
    login = _new_login(configuration, certificates)

    def new_client(on_lost: Callable[[str], None]) -> NatsClient:
        return NatsClient(login, reactor=receiving.reactor, on_lost=on_lost)

    origin = Origin(configuration.id, configuration.transport)
    reception, sieve = new_sieve(configuration, receiving, parts, origin)
    reader = StreamReader(
        reception,
        configuration.plan,
        sieve=sieve,
        new_client=new_client,
        retry_seconds=retry_policy(configuration.retry),
        reactor=receiving.reactor,
    )
    return LogSource(
        configuration, receiving, reader=reader, positions=parts.positions, files=files
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
    from relay.service.nats.probe import probe_consumer

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
