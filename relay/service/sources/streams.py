"""Connections: plain syslog over TCP, TLS (RFC 5425) and unix sockets, RELP, and sets of listeners.

RELP answers every message after the commit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from relay import SOFTWARE
from relay.flow.exactly_once.lineages import Leases, LeasesOfOneOfSeveral
from relay.service.configuration.keys import group, key
from relay.service.configuration.kinds import ListenerSet, Member
from relay.service.configuration.model import TlsConfiguration, frame_bytes_key
from relay.service.configuration.table import Text
from relay.service.configuration.url import SOCKET_PATH, HostPort
from relay.service.probes.listener import probe_stream_port, probe_unix_socket
from relay.service.probes.probe import Probe
from relay.service.sources.datagrams import UDP
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import (
    LISTENER_TLS_WITHOUT,
    NetworkSource,
    UnixSource,
    new_stream_source,
    stream_encoding,
)
from relay.service.sources.service import Receiving, StreamSource
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.stream.inbound import SyslogStreamProtocol

STORED = "stored"
"""The `answer` of sources that answer when all is stored."""


@dataclass(frozen=True, slots=True)
class TcpSource(NetworkSource):
    def encoding_problem(self) -> str:
        return stream_encoding(self)


@dataclass(frozen=True, slots=True)
class TlsSource(TcpSource):
    tls: TlsConfiguration = group(TlsConfiguration, without=LISTENER_TLS_WITHOUT)


def _make(
    source: NetworkSource | UnixSource, receiving: Receiving, parts: SourceParts
) -> StreamSource:
    return new_stream_source(source, receiving, parts, SyslogStreamProtocol)


def _probe_port(source: NetworkSource, probe: Probe) -> None:
    probe_stream_port(probe, source.listen, source.tls)


def _probe_unix(source: UnixSource, probe: Probe) -> None:
    probe_unix_socket(probe, source.listen)


TCP = SourceKind(
    scheme="tcp",
    address=HostPort(514),
    configuration=TcpSource,
    delivered="octet counting and lines",
    medium="tcp",
    make=_make,
    probe=_probe_port,
)
TLS = replace(
    TCP,
    scheme="tls",
    address=HostPort(6514),
    configuration=TlsSource,
    delivered="the same, encrypted (RFC 5425)",
    foreign_names=("ssl", "tcp+tls"),
)
UNIX = SourceKind(
    scheme="unix",
    address=SOCKET_PATH,
    configuration=UnixSource,
    delivered="a stream, with the sender's pid, uid and gid",
    medium="unix",
    make=_make,
    probe=_probe_unix,
)


@dataclass(frozen=True, slots=True)
class RelpSource(NetworkSource):
    # What comes from another relay may have grown there, by JSON escapes for example, and cut
    # JSON is no JSON.
    frame_bytes_max: int = frame_bytes_key(256 * 1024)
    answer: str = key(
        Text('"stored" or the id of a destination', r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"),
        STORED,
        "when senders are answered: `stored` = when the message is on disk here; or the id of a "
        "destination, a log such as Kafka, when that has acknowledged it (direct mode)",
    )

    @property
    def answered_by(self) -> str:
        return "" if self.answer == STORED else self.answer


@dataclass(frozen=True, slots=True)
class RelpTlsSource(RelpSource):
    tls: TlsConfiguration = group(TlsConfiguration, without=LISTENER_TLS_WITHOUT)


def _make_relp(source: RelpSource, receiving: Receiving, parts: SourceParts) -> StreamSource:
    if receiving.answering is not None:
        from relay.transport.relp.direct import DirectRelpProtocol  # few sources need it

        new_direct = partial(
            DirectRelpProtocol,
            software=SOFTWARE.encode(),
            contexts=parts.contexts,
            sessions=receiving.answering.sessions,
            hop=parts.hop,
            fleet=parts.fleet,
        )
        return new_stream_source(source, receiving, parts, new_direct, answers=True)
    # A line that waits for the next one is not on disk, and no number says so.
    lineages: Leases | None = None if source.joining.multi_line else parts.lineages
    if lineages is not None and source.peers.connection_seconds_max:
        lineages = LeasesOfOneOfSeveral(lineages)
    new_protocol = partial(
        RelpServerProtocol,
        software=SOFTWARE.encode(),
        contexts=parts.contexts,
        lineages=lineages,
        hop=parts.hop,
        fleet=parts.fleet,
    )
    return new_stream_source(source, receiving, parts, new_protocol, answers=True)


RELP = SourceKind(
    scheme="relp",
    address=HostPort(20514),
    configuration=RelpSource,
    delivered="answers after the commit",
    medium="tcp",
    answers=True,
    make=_make_relp,
    probe=_probe_port,
)
RELP_TLS = replace(
    RELP,
    scheme="relp+tls",
    address=HostPort(20515),
    configuration=RelpTlsSource,
    delivered="the same, encrypted",
    foreign_names=("relps", "relp-tls"),
)


DEFAULT_NETWORK = ListenerSet(
    scheme="default-network",
    members=(
        Member("udp", UDP, 514),
        Member("tcp", TCP, 514),
        Member("rfc5424-tcp", TCP, 601),
        Member("rfc5424-tls", TLS, 6514),
    ),
    delivered="the listeners of syslog-ng's default-network-drivers()",
)
SEMATEXT_RECEIVER = ListenerSet(
    scheme="sematext-receiver",
    members=(
        Member("udp", UDP, 514),
        Member("tcp", TCP, 514),
        Member("tls", TLS, 10514),
        Member("relp", RELP, 20514),
    ),
    delivered="the listeners of Sematext's receivers",
)
