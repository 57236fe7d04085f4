"""Datagrams: UDP, and unix sockets such as /dev/log."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from relay.model.origin import Transport
from relay.service.configuration.keys import group
from relay.service.configuration.model import SourceConfiguration, Where
from relay.service.configuration.url import SOCKET_PATH, HostPort
from relay.service.probes.listener import probe_datagram_port, probe_unix_socket
from relay.service.probes.probe import Probe
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import (
    Access,
    LocalSource,
    MultiLine,
    bind_inherited,
    buffer_key,
    joining_problems,
    prepared,
)
from relay.service.sources.service import DatagramSource, Receiving
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.datagram.recvmmsg import ManyDatagrams
from relay.transport.peers import PeerRates, PermittedPeers
from relay.transport.sockets import bind_datagram, bind_unix


@dataclass(frozen=True, slots=True)
class UdpSource(SourceConfiguration):
    transport: ClassVar = Transport.UDP
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
    receive_buffer_bytes: int = buffer_key()


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
    new_reader = partial(
        DatagramReader,
        reception=reception,
        transport=source.transport,
        frame_bytes_max=frame_bytes_max,
        oversize=source.oversize,
        permitted=PermittedPeers(allow=access.allow, deny=access.deny),
        rates=PeerRates(rate_max=access.rate_per_peer_max, now=receiving.reactor.seconds),
        many=ManyDatagrams if ManyDatagrams.available else None,
    )
    return DatagramSource(
        source, receiving, bind=bind, new_reader=new_reader, receive_buffer_bytes=size
    )


def _probe_udp(source: UdpSource, probe: Probe) -> None:
    probe_datagram_port(probe, source.listen, buffer_bytes=source.receive_buffer_bytes)


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
UNIXGRAM = SourceKind(
    scheme="unixgram",
    address=SOCKET_PATH,
    configuration=UnixgramSource,
    delivered="datagrams, with the sender's pid, uid and gid",
    medium="unix",
    make=_make,
    probe=_probe_unix,
)
