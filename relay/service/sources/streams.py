"""Plain syslog over connections: TCP, TLS (RFC 5425) and unix stream sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from relay import SOFTWARE
from relay.service.checks.warnings import directory_warnings
from relay.service.configuration.keys import group
from relay.service.configuration.kinds import ListenerSet, Member
from relay.service.configuration.model import (
    SourceConfiguration,
    TlsConfiguration,
    Where,
    frame_bytes_key,
    reserved_key,
)
from relay.service.configuration.url import SOCKET_PATH, HostPort
from relay.service.prerequisite import Prerequisite
from relay.service.sources.datagrams import UDP
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import (
    LISTENER_TLS_WITHOUT,
    Connections,
    NetworkSource,
    bind_inherited,
    connection_problems,
    converted,
    new_network_source,
    socket_mode_key,
    stream_encoding,
)
from relay.service.sources.service import Receiving, StreamSource
from relay.transport.peers import GateFactory
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.sockets import bind_unix, obstacle_to_socket
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.transport.stream.inbound import SyslogStreamProtocol

_NOTHING_TO_OPEN = 30.0  # seconds for a handshake that there is none of


@dataclass(frozen=True, slots=True)
class TcpSource(NetworkSource):
    def encoding_problem(self) -> str:
        return stream_encoding(self)


@dataclass(frozen=True, slots=True)
class TlsSource(TcpSource):
    tls: TlsConfiguration = group(TlsConfiguration, without=LISTENER_TLS_WITHOUT)


@dataclass(frozen=True, slots=True)
class UnixSource(SourceConfiguration):
    reserved: bool = reserved_key(True)
    connections: Connections = group(Connections)
    socket_mode: int = socket_mode_key()

    @property
    def is_local_socket(self) -> bool:
        return True

    @property
    def connections_and_files(self) -> tuple[int, int]:
        return self.connections.connections_max, 0

    def encoding_problem(self) -> str:
        return stream_encoding(self)

    def problems(self, where: Where, given: object) -> Iterable[str]:
        return connection_problems(self, self.connections, where)

    def warnings(self, where: Where) -> Iterable[str]:
        return directory_warnings(self.listen.path, where("listen"))

    def obstacle(self) -> str:
        return obstacle_to_socket(self.listen.path)


def _make(source: TcpSource, receiving: Receiving, parts: SourceParts) -> StreamSource:
    return new_network_source(source, receiving, parts, SyslogStreamProtocol)


def _make_unix(source: UnixSource, receiving: Receiving, parts: SourceParts) -> StreamSource:
    reception, frame_bytes_max = converted(source, receiving.reception)
    connections = source.connections
    factory = InboundFactory(
        reception=reception,
        transport=source.listen.scheme,
        new_protocol=SyslogStreamProtocol,
        limits=InboundLimits(
            frame_bytes_max=frame_bytes_max,
            connections_max=connections.connections_max,
            idle_seconds_max=connections.idle_seconds_max,
            handshake_seconds_max=_NOTHING_TO_OPEN,
            unfinished_bytes_max=connections.unfinished_bytes_max,
            oversize=source.oversize,
            keep_empty_lines=source.parse.empty_lines,
            block_seconds_max=parts.local_block_seconds_max,
        ),
        clock=receiving.reactor,
        secure=False,
    )
    if source.listen.inherited:
        bind = bind_inherited(source, parts.systemd)
    else:
        path, mode = source.listen.path, source.socket_mode
        bind = partial(bind_unix, path, socket.SOCK_STREAM, mode=mode, receive_buffer_bytes=0)
    return StreamSource(
        source,
        receiving,
        bind=bind,
        factory=factory,
        wrap=lambda factory: GateFactory(factory, admits=factory.admits),
        prerequisite=Prerequisite("it needs no files"),
    )


TCP = SourceKind(
    scheme="tcp",
    address=HostPort(514),
    configuration=TcpSource,
    delivered="octet counting and lines",
    medium="tcp",
    make=_make,
)
TLS = SourceKind(
    scheme="tls",
    address=HostPort(6514),
    configuration=TlsSource,
    delivered="the same, encrypted (RFC 5425)",
    medium="tcp",
    foreign_names=("ssl", "tcp+tls"),
    make=_make,
)
UNIX = SourceKind(
    scheme="unix",
    address=SOCKET_PATH,
    configuration=UnixSource,
    delivered="a stream, with the sender's pid, uid and gid",
    medium="unix",
    make=_make_unix,
)


@dataclass(frozen=True, slots=True)
class RelpSource(NetworkSource):
    # What comes from another relay may have grown there, by JSON escapes for example, and cut
    # JSON is no JSON.
    frame_bytes_max: int = frame_bytes_key(256 * 1024)


@dataclass(frozen=True, slots=True)
class RelpTlsSource(RelpSource):
    tls: TlsConfiguration = group(TlsConfiguration, without=LISTENER_TLS_WITHOUT)


def _make_relp(source: RelpSource, receiving: Receiving, parts: SourceParts) -> StreamSource:
    new_protocol = partial(RelpServerProtocol, software=SOFTWARE.encode(), lineages=parts.lineages)
    return new_network_source(source, receiving, parts, new_protocol, answers=True)


RELP = SourceKind(
    scheme="relp",
    address=HostPort(20514),
    configuration=RelpSource,
    delivered="answers after the commit",
    medium="tcp",
    answers=True,
    make=_make_relp,
)
RELP_TLS = SourceKind(
    scheme="relp+tls",
    address=HostPort(20515),
    configuration=RelpTlsSource,
    delivered="the same, encrypted",
    medium="tcp",
    answers=True,
    foreign_names=("relps", "relp-tls"),
    make=_make_relp,
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
