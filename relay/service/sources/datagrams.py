"""Datagrams: UDP, DTLS (RFC 6012), and unix sockets such as /dev/log."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from relay.model.origin import Transport
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import (
    YEAR_SECONDS,
    DtlsConfiguration,
    SourceConfiguration,
    Where,
)
from relay.service.configuration.table import Seconds
from relay.service.configuration.url import SOCKET_PATH, HostPort
from relay.service.prerequisite import Prerequisite
from relay.service.probes.certificates import probe_own_certificate
from relay.service.probes.listener import probe_datagram_port, probe_unix_socket
from relay.service.probes.probe import Probe
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import (
    LISTENER_TLS_WITHOUT,
    Access,
    Connections,
    LocalSource,
    MultiLine,
    Peers,
    bind_inherited,
    buffer_key,
    joining_problems,
    prepared,
    stream_encoding,
)
from relay.service.sources.service import DatagramSource, Receiving
from relay.service.tls.files import read_options, read_policy
from relay.transport.datagram.dtls_inbound import DtlsReceiver, SessionLimits
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.datagram.recvmmsg import DatagramReceiver, ManyDatagrams
from relay.transport.peers import PeerRates, PermittedPeers
from relay.transport.sockets import bind_datagram, bind_unix
from relay.transport.tls.cookies import Cookies
from relay.transport.tls.endpoints import DtlsListener


@dataclass(frozen=True, slots=True)
class UdpSource(SourceConfiguration):
    transport: ClassVar = Transport.UDP
    has_datagrams: ClassVar = True
    access: Access = group(Access)
    joining: MultiLine = group(MultiLine)
    receive_buffer_bytes: int = buffer_key()

    @property
    def allowed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return self.access.allow

    def problems(self, where: Where, given: object) -> Iterable[str]:
        return joining_problems(self, self.joining, where)


@dataclass(frozen=True, slots=True)
class UnixgramSource(LocalSource):
    has_datagrams: ClassVar = True
    receive_buffer_bytes: int = buffer_key()


@dataclass(frozen=True, slots=True)
class DtlsSource(UdpSource):
    tls: DtlsConfiguration = group(
        DtlsConfiguration, without=(*LISTENER_TLS_WITHOUT, "tls_version_min")
    )
    connections: Connections = group(
        Connections, without=("unfinished_bytes_max", "idle_seconds_max")
    )
    peers: Peers = group(Peers, without=("proxy_protocol",))
    idle_seconds_max: float = key(
        Seconds(0.1, YEAR_SECONDS),
        3600.0,
        "silence after which a session is closed; a peer that is gone does not say so",
    )

    def encoding_problem(self) -> str:
        return stream_encoding(self)

    @property
    def limits(self) -> SessionLimits:
        sessions_max = self.connections.connections_max
        return SessionLimits(
            sessions_max,
            self.peers.of_peer_max(sessions_max),
            handshake_seconds_max=self.peers.handshake_seconds_max,
            idle_seconds_max=self.idle_seconds_max,
        )


def _make(
    source: UdpSource | UnixgramSource, receiving: Receiving, parts: SourceParts
) -> DatagramSource:
    url, size, access = source.listen, source.receive_buffer_bytes, source.access
    if url.inherited:
        bind = bind_inherited(source, parts.systemd, receive_buffer_bytes=size)
    elif isinstance(source, UnixgramSource):
        bind = partial(
            bind_unix,
            url.path,
            socket.SOCK_DGRAM,
            mode=source.socket_mode,
            receive_buffer_bytes=size,
        )
    else:
        bind = partial(bind_datagram, url.host, url.port, receive_buffer_bytes=size)
    reception, frame_bytes_max = prepared(source, source.joining, receiving, has_connections=False)
    permitted = PermittedPeers(allow=access.allow, deny=access.deny)
    files = Prerequisite("it does not listen until the files are right")
    many: Callable[..., DatagramReceiver] | None = None
    if isinstance(source, DtlsSource):
        many = partial(
            DtlsReceiver,
            listener=_dtls_listener(source, receiving, parts, files),
            reception=reception,
            limits=source.limits,
            permitted=permitted,
            clock=receiving.reactor,
        )
    elif ManyDatagrams.available:
        many = ManyDatagrams
    new_reader = partial(
        DatagramReader,
        reception=reception,
        transport=source.transport,
        frame_bytes_max=frame_bytes_max,
        oversize=source.oversize,
        permitted=permitted,
        rates=PeerRates(rate_max=access.rate_per_peer_max, now=receiving.reactor.seconds),
        many=many,
    )
    return DatagramSource(
        source,
        receiving,
        bind=bind,
        new_reader=new_reader,
        receive_buffer_bytes=size,
        prerequisite=files,
    )


def _dtls_listener(
    source: DtlsSource, receiving: Receiving, parts: SourceParts, files: Prerequisite
) -> DtlsListener:
    new = partial(
        DtlsListener,
        cookies=Cookies(receiving.reactor.seconds),
        peer_verify=source.tls.peer_verify,
        policy=read_policy(source.tls),
        options=read_options(source.tls),
    )
    return parts.certificates.keep(f"source {source.id}", source.tls, new, files)


def _probe_udp(source: UdpSource, probe: Probe) -> None:
    probe_datagram_port(probe, source.listen, buffer_bytes=source.receive_buffer_bytes)


def _probe_dtls(source: DtlsSource, probe: Probe) -> None:
    probe_own_certificate(probe, source.tls)
    _probe_udp(source, probe)


def _probe_unix(source: UnixgramSource, probe: Probe) -> None:
    probe_unix_socket(probe, source.listen)


UDP = SourceKind(
    scheme="udp",
    address=HostPort(514),
    configuration=UdpSource,
    delivered="datagrams of up to 64 KiB",
    medium="udp",
    make=_make,
    probe=_probe_udp,
)
DTLS = SourceKind(
    scheme="dtls",
    address=HostPort(6514),
    configuration=DtlsSource,
    delivered="messages in records of DTLS 1.2 (RFC 6012)",
    medium="udp",
    make=_make,
    probe=_probe_dtls,
)
UNIXGRAM = SourceKind(
    scheme="unixgram",
    address=SOCKET_PATH,
    configuration=UnixgramSource,
    delivered="datagrams, with the sender's pid, uid and gid",
    medium="unix",
    make=_make,
    probe=_probe_unix,
)
