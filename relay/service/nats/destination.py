"""Destinations of NATS JetStream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from twisted.logger import Logger

from relay.flow.publishing import Publisher, PublisherEvents
from relay.model.clock import Clock
from relay.model.output import KeyTemplate
from relay.model.template import macros_of
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import DestinationConfiguration, TlsConfiguration, Where
from relay.service.configuration.table import Flag, Seconds, Whole, shown
from relay.service.configuration.tables.format import SD_NUMBER, sd_number_problem
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalSession, Outlet
from relay.service.log.link import PublisherLink
from relay.service.log.tls import ClientTls, keep_certificates
from relay.service.nats.keys import (
    SERVERS,
    TLS_WITHOUT,
    LoginKeys,
    ServerCertificates,
    common_problems,
    login_warnings,
    new_login,
    stream_of,
)
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe
from relay.wire.nats.subjects import clean_subject, clean_value, is_subject

if TYPE_CHECKING:  # the client is imported where a configuration has such a destination
    from relay.transport.nats.client import Login, NatsClient
    from relay.transport.nats.publisher import NatsPublisher
    from relay.transport.nats.senders import PublishingPlan
    from relay.transport.nats.session import NatsSession
    from relay.transport.nats.stream import StreamInfo

_log = Logger(namespace="relay")

LINEAGE = "$LINEAGE"
_ATTEMPT_SECONDS_MAX = 5.0  # for one answer; an election takes longer, and then it is asked again


@dataclass(frozen=True, slots=True)
class SubjectTemplate:
    """A subject, in which macros of messages or `$LINEAGE` may stand."""

    allowed: ClassVar[str] = 'a subject such as "logs.$LINEAGE" or "logs.$HOST"'

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"expected {self.allowed}, found {shown(value)}")
        macros = macros_of(value.replace(LINEAGE, "x"))
        if macros and LINEAGE in value:
            raise ValueError(
                f"{shown(value)} has {LINEAGE} and macros of messages: a lineage goes to one "
                "subject. Write one of them"
            )
        if not macros and not is_subject(value.replace(LINEAGE, "x")):
            raise ValueError(
                f"{shown(value)} is no subject: tokens with dots between them, without spaces, "
                "'*' and '>'"
            )
        return value


@dataclass(frozen=True, slots=True)
class NatsConfiguration(DestinationConfiguration):
    subject: str = key(
        SubjectTemplate(),
        "",
        "subject of the messages; with `$LINEAGE` in it exactly once, with macros of messages, "
        "such as `logs.$HOST`, at least once",
        default_text="the stream's name in lower case, and `.$LINEAGE`",
    )
    pack: bool = key(
        Flag(), False, "write many records into one message, which only relays can read"
    )
    sd_number: bool = key(Flag(), False, SD_NUMBER)
    atomic: bool = key(
        Flag(),
        True,
        "publish batches that are stored as a whole or not at all (nats-server 2.12, a stream "
        "with `allow_atomic`); without them one message at a time, which is slow unless `pack`",
    )
    replicas_min: int = key(Whole(0, 5), 2, "refuse a stream with fewer replicas; 0 = take any")
    answer_seconds_max: float = key(
        Seconds(0.1, 3600), 60.0, "longest wait for an answer before reconnecting"
    )
    connect_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time limit for the connection to one server"
    )
    refusals_max: int = key(
        Whole(1, 1_000_000),
        1,
        "refusals of one message, which the stream finds too large, before it is quarantined",
    )
    login: LoginKeys = group(LoginKeys)

    @property
    def stall_seconds(self) -> float:
        return 2 * self.answer_seconds_max

    @property
    def subject_text(self) -> str:
        """The template of the subject."""
        return self.subject or f"{stream_of(self.connect).lower()}.{LINEAGE}"

    @property
    def _varies(self) -> bool:
        return bool(macros_of(self.subject_text.replace(LINEAGE, "x")))

    @property
    def record_key(self) -> KeyTemplate | None:
        """The subject, where it depends on the message."""
        if not self._varies:
            return None
        return KeyTemplate(self.subject_text, escape=clean_value, finish=clean_subject)

    @property
    def plan(self) -> PublishingPlan:
        """The stream, the subjects and the form of messages."""
        from relay.transport.nats.sender import Encoding
        from relay.transport.nats.senders import PublishingPlan
        from relay.transport.nats.stream import Demands

        subject, is_exact = self.subject_text, LINEAGE in self.subject_text
        subjects = () if self._varies else (subject.replace(LINEAGE, "*"),)
        return PublishingPlan(
            stream_of(self.connect),
            f"{stream_of(self.connect).lower()}.unnamed" if self._varies else subject,
            Demands(subjects, self.replicas_min, self.atomic and not self.pack, is_exact),
            Encoding(
                is_packed=self.pack, has_keys=self._varies, has_numbers_in_text=self.sd_number
            ),
            self.atomic,
        )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        yield from common_problems(self.connect, where, "connect")
        if self.sd_number and (problem := sd_number_problem(self.format)):
            yield f"{where('sd_number')}: {problem}"
        elif self.sd_number and LINEAGE not in self.subject_text:
            yield f"{where('sd_number')}: has no effect without {LINEAGE} in subject; remove it"
        if self.pack and self._varies:
            yield (
                f"{where('pack')}: has no meaning with a subject of each message; remove pack, or "
                f'write subject = "logs.{LINEAGE}"'
            )

    def warnings(self, where: Where) -> Iterator[str]:
        yield from login_warnings(self.connect, self.login, where, "connect")
        if LINEAGE not in self.subject_text:
            yield (
                f"{where('subject')}: without {LINEAGE} messages may come twice after a lost "
                "connection"
            )


@dataclass(frozen=True, slots=True)
class NatsTlsConfiguration(NatsConfiguration):
    tls: TlsConfiguration = group(ClientTls, without=TLS_WITHOUT)


class NatsLink(PublisherLink["NatsPublisher"]):
    """To a stream.

    Args:
        on_stream: Called with what the stream promises.
    """

    cause = "nats"

    def __init__(
        self,
        outlet: Outlet,
        new_publisher: Callable[[PublisherEvents], NatsPublisher],
        *,
        target: str,
        on_stream: Callable[[StreamInfo], None],
        clock: Clock,
    ) -> None:
        how = f"publishing to {target}, delivered when the stream has stored it"
        super().__init__(outlet, new_publisher, how=how, clock=clock)
        self._on_stream = on_stream

    async def _begin(
        self, publisher: NatsPublisher, on_failure: Callable[[str], None]
    ) -> tuple[NatsSession, bool]:
        from relay.transport.nats.session import NatsSession, begin

        self._on_stream(await publisher.open())
        lineage = await begin(publisher, self._outlet.numbering)
        return NatsSession(self._outlet.drain, publisher, lineage, on_failure), bool(lineage)

    def _follow(self, session: LocalSession, text: str, is_well: bool) -> None:
        if is_well:
            self._state.became_ready(self._how)
        else:
            self._state.held_up(f"{self._state.target}: {text}", cause=self.cause)


def _new_login(configuration: NatsConfiguration, certificates: ServerCertificates | None) -> Login:
    return new_login(
        configuration.id,
        configuration.connect,
        configuration.login,
        configuration.tls,
        certificates,
        connect_seconds_max=configuration.connect_seconds_max,
        answer_seconds_max=min(configuration.answer_seconds_max, _ATTEMPT_SECONDS_MAX),
    )


def _make(configuration: NatsConfiguration, parts: DestinationParts) -> Delivery:
    from relay.transport.nats.client import NatsClient
    from relay.transport.nats.publisher import DirectPublisher, NatsPublisher
    from relay.transport.nats.stream import SYNC_REMARK

    subject = f"destination {configuration.id}"
    files = Prerequisite("its messages are queued until the files are right")
    certificates = keep_certificates(
        ServerCertificates, subject, configuration.tls, parts.certificates, files
    )
    plan = configuration.plan
    login = _new_login(configuration, certificates)
    target = f"{login.target}/{plan.stream}"
    details: list[str] = []

    def note_stream(stream: StreamInfo) -> None:
        if not details:
            _log.info("{subject}: {remark}", subject=subject, remark=SYNC_REMARK)
        details[:] = [stream.text]

    def new_client(on_lost: Callable[[str], None]) -> NatsClient:
        return NatsClient(login, reactor=parts.reactor, on_lost=on_lost)

    def new_publisher(events: PublisherEvents) -> NatsPublisher:
        return NatsPublisher(plan, new_client=new_client, clock=parts.reactor, events=events)

    def new_direct(events: PublisherEvents) -> Publisher:
        publisher = DirectPublisher(plan, new_client=new_client, clock=parts.reactor, events=events)
        return publisher.start()

    return Delivery(
        new_link=lambda outlet: NatsLink(
            outlet, new_publisher, target=target, on_stream=note_stream, clock=parts.reactor
        ),
        target=target,
        is_confirmed=True,
        prerequisites=(files,),
        details=lambda: details,
        new_publisher=new_direct,
    )


def _probe(configuration: NatsConfiguration, probe: Probe) -> None:
    from relay.service.nats.probe import probe_demands

    tls = configuration.tls
    certificates = None if tls is None else ServerCertificates(None, tls=tls)
    login = replace(_new_login(configuration, certificates), connect_seconds_max=probe.seconds_max)
    plan = configuration.plan
    probe_demands(login, plan.stream, plan.demands, probe)


NATS = DestinationKind(
    scheme="nats",
    address=SERVERS,
    configuration=NatsConfiguration,
    delivered="the stream has answered that it has stored it",
    medium="nats",
    shared=True,
    make=_make,
    publishes=True,
    probe=_probe,
)
NATS_TLS = replace(
    NATS,
    scheme="nats+tls",
    configuration=NatsTlsConfiguration,
    delivered="the same",
)
