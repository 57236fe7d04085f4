"""Datagrams: UDP, and unix sockets such as /dev/log."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from relay.service.checks.warnings import directory_warnings
from relay.service.configuration.keys import group
from relay.service.configuration.model import SourceConfiguration, Where, reserved_key
from relay.service.configuration.url import SOCKET_PATH, HostPort
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import (
    Access,
    bind_inherited,
    buffer_key,
    converted,
    socket_mode_key,
)
from relay.service.sources.service import DatagramSource, Receiving
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.datagram.recvmmsg import ManyDatagrams
from relay.transport.peers import PeerRates, PermittedPeers
from relay.transport.sockets import bind_datagram, bind_unix, obstacle_to_socket


@dataclass(frozen=True, slots=True)
class UdpSource(SourceConfiguration):
    access: Access = group(Access)
    receive_buffer_bytes: int = buffer_key()


@dataclass(frozen=True, slots=True)
class UnixgramSource(SourceConfiguration):
    reserved: bool = reserved_key(True)
    socket_mode: int = socket_mode_key()
    receive_buffer_bytes: int = buffer_key()

    @property
    def is_local_socket(self) -> bool:
        return True

    def warnings(self, where: Where) -> Iterable[str]:
        return directory_warnings(self.listen.path, where("listen"))

    def obstacle(self) -> str:
        return obstacle_to_socket(self.listen.path)


def _make_udp(source: UdpSource, receiving: Receiving, parts: SourceParts) -> DatagramSource:
    url, size = source.listen, source.receive_buffer_bytes
    bind = partial(bind_datagram, url.host, url.port, receive_buffer_bytes=size)
    return _new_source(source, receiving, parts, bind, source.access)


def _make_unixgram(
    source: UnixgramSource, receiving: Receiving, parts: SourceParts
) -> DatagramSource:
    bind = partial(
        bind_unix,
        source.listen.path,
        socket.SOCK_DGRAM,
        mode=source.socket_mode,
        receive_buffer_bytes=source.receive_buffer_bytes,
    )
    return _new_source(source, receiving, parts, bind, Access())


def _new_source(
    source: UdpSource | UnixgramSource,
    receiving: Receiving,
    parts: SourceParts,
    bind: Callable[[], socket.socket],
    access: Access,
) -> DatagramSource:
    size = source.receive_buffer_bytes
    if source.listen.inherited:
        bind = bind_inherited(source, parts.systemd, receive_buffer_bytes=size)
    reception, frame_bytes_max = converted(source, receiving.reception)
    new_reader = partial(
        DatagramReader,
        reception=reception,
        transport=source.listen.scheme,
        frame_bytes_max=frame_bytes_max,
        oversize=source.oversize,
        permitted=PermittedPeers(allow=access.allow, deny=access.deny),
        rates=PeerRates(rate_max=access.rate_per_peer_max, now=receiving.reactor.seconds),
        many=ManyDatagrams if ManyDatagrams.available else None,
    )
    return DatagramSource(
        source, receiving, bind=bind, new_reader=new_reader, receive_buffer_bytes=size
    )


UDP = SourceKind(
    scheme="udp",
    address=HostPort(514),
    configuration=UdpSource,
    delivered="datagrams of up to 64 KiB",
    medium="udp",
    make=_make_udp,
)
UNIXGRAM = SourceKind(
    scheme="unixgram",
    address=SOCKET_PATH,
    configuration=UnixgramSource,
    delivered="datagrams, with the sender's pid, uid and gid",
    medium="unix",
    make=_make_unixgram,
)
