"""Sources that listen on sockets: what kinds of them have in common."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from twisted.internet.protocol import Factory

from relay.model.clock import Reactor
from relay.model.expression import Expression as BytesExpression
from relay.model.origin import Transport
from relay.service.checks.warnings import directory_warnings
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import YEAR_SECONDS, SourceConfiguration, Where, reserved_key
from relay.service.configuration.table import (
    Choice,
    Expression,
    Flag,
    Networks,
    Permissions,
    Seconds,
    Size,
    Whole,
    size_text,
)
from relay.service.prerequisite import Prerequisite
from relay.service.process.systemd import Systemd
from relay.service.refusal import StartRefused
from relay.service.sources.kind import SourceParts
from relay.service.sources.service import Receiving, StreamSource
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.joining import JoinedIntake
from relay.transport.peers import GateFactory, PermittedPeers
from relay.transport.reception import ConvertedIntake, Reception
from relay.transport.sockets import (
    adopt_socket,
    bind_stream,
    bind_unix,
    kind_of,
    obstacle_to_socket,
)
from relay.transport.stream.connection import InboundFactory, InboundLimits, InboundProtocol
from relay.transport.stream.proxy import ProxyFactory
from relay.transport.stream.shared_reads import SharedReads
from relay.transport.tls.endpoints import TlsListener, with_tls
from relay.wire.framing.charset import Charset

KiB, MiB, GiB = 2**10, 2**20, 2**30

_DATAGRAM_SCHEMES = ("udp", "unixgram")
_STREAM_SCHEMES = ("tcp", "unix")
LISTENER_TLS_WITHOUT = ("server_name",)
"""Keys for TLS that are for those who connect."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may send, by addresses."""

    allow: tuple[IPv4Network | IPv6Network, ...] = key(
        Networks(), (), "peers that may send", default_text="all"
    )
    deny: tuple[IPv4Network | IPv6Network, ...] = key(
        Networks(), (), "peers that may not send, even if they are in `allow`"
    )
    rate_per_peer_max: int = key(
        Whole(0, 10_000_000),
        0,
        "messages per second and peer address, with a burst of one second; above it "
        "connections are read more slowly and datagrams dropped; 0 = no limit",
    )


@dataclass(frozen=True, slots=True)
class Connections:
    """Limits of all connections of a source together."""

    connections_max: int = key(
        Whole(1, 1_000_000), 1000, "further connections are refused, counted and logged"
    )
    unfinished_bytes_max: int = key(
        Size(0, 16 * GiB),
        64 * MiB,
        "memory for incomplete messages of all connections together; 0 = no limit",
    )
    idle_seconds_max: float = key(
        Seconds(0.1, YEAR_SECONDS), 86400.0, "silence after which a connection is closed"
    )


@dataclass(frozen=True, slots=True)
class Peers:
    """Connections from other hosts."""

    proxy_protocol: bool = key(
        Flag(),
        False,
        "connections come from proxies (listed in `allow`) and begin with a PROXY "
        "header, version 1 or 2, which names the peer",
    )
    connections_per_peer_max: int | None = key(
        Whole(0, 1_000_000),
        None,
        "`connections_max` for each peer address, so that one peer cannot exclude the "
        "others; 0 = no limit",
        default_text="a tenth of `connections_max`, at least 1",
    )
    handshake_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time limit for each of TLS, RELP's open and a PROXY header"
    )

    connection_seconds_max: float = key(
        Seconds(0, YEAR_SECONDS),
        0.0,
        "age at which a connection ends with all answers given, so that a balancer finds another "
        "receiver for it; the relay chooses the age of each between this and four fifths of it; "
        "0 = never",
    )

    def of_peer_max(self, connections_max: int) -> int:
        """Connections of one peer; 0 = no limit."""
        if self.connections_per_peer_max is None:  # one peer must not keep all others out
            return max(1, connections_max // 10)
        return self.connections_per_peer_max


@dataclass(frozen=True, slots=True)
class MultiLine:
    """Messages of several lines."""

    multi_line: str = key(
        Expression(),
        "",
        "regular expression; a matching line begins a message, other lines continue it",
    )
    multi_line_seconds_max: float = key(
        Seconds(0.1, 3600), 5.0, "silence after which such a message is complete"
    )

    @property
    def begins(self) -> Callable[[bytes], object] | None:
        """Whether a line begins a message; None = each does."""
        return BytesExpression(self.multi_line).search if self.multi_line else None


def read_from_key(default: str) -> str:
    return key(Choice(("end", "beginning")), default, "where to start on first use")


def buffer_key() -> int:
    return key(
        Size(4 * KiB, 1 * GiB),
        8 * MiB,
        "SO_RCVBUF to request for datagram sockets; `status --json` shows the size granted",
    )


def connection_problems(
    source: SourceConfiguration, connections: Connections, where: Where
) -> Iterator[str]:
    if 0 < connections.unfinished_bytes_max < source.frame_bytes_max:
        yield (
            f"{where('unfinished_bytes_max')}: {size_text(connections.unfinished_bytes_max)} "
            "is less than one message may have, frame_bytes_max = "
            f"{size_text(source.frame_bytes_max)}; write more, or 0 for no limit"
        )


def split_problems(source: SourceConfiguration, where: Where, why: str = "") -> Iterator[str]:
    """Of sources whose messages cannot be split."""
    if source.oversize == "split":
        yield (
            f"{where('oversize')}: what is read by {source.listen.scheme}{why} cannot be split; "
            "write 'truncate', 'drop' or 'quarantine'"
        )


def joining_problems(
    source: SourceConfiguration, joining: MultiLine, where: Where
) -> Iterator[str]:
    if joining.multi_line:
        yield from split_problems(source, where, " with multi_line")


@dataclass(frozen=True, slots=True)
class NetworkSource(SourceConfiguration):
    """Takes connections of other hosts."""

    transport: ClassVar = Transport.TCP

    access: Access = group(Access)
    connections: Connections = group(Connections)
    peers: Peers = group(Peers)
    joining: MultiLine = group(MultiLine)

    @property
    def allowed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return self.access.allow

    @property
    def connections_and_files(self) -> tuple[int, int]:
        return self.connections.connections_max, 0

    def problems(self, where: Where, given: object) -> Iterable[str]:
        yield from connection_problems(self, self.connections, where)
        yield from joining_problems(self, self.joining, where)
        if self.peers.proxy_protocol and not self.access.allow:
            yield (
                f"{where('proxy_protocol')}: anybody could send in the name of any address; write "
                "the addresses of the proxies into allow"
            )


@dataclass(frozen=True, slots=True)
class LocalSource(SourceConfiguration):
    """A unix socket, where senders have no address."""

    transport: ClassVar = Transport.UNIX

    access: ClassVar[Access] = Access()
    reserved: bool = reserved_key(True)
    socket_mode: int = key(Permissions(), 0o666, "permissions of the socket")
    joining: MultiLine = group(MultiLine)

    def problems(self, where: Where, given: object) -> Iterable[str]:
        return joining_problems(self, self.joining, where)

    def warnings(self, where: Where) -> Iterable[str]:
        return directory_warnings(self.listen.path, where("listen"))

    def obstacle(self) -> str:
        return obstacle_to_socket(self.listen.path)


@dataclass(frozen=True, slots=True)
class UnixSource(LocalSource):
    connections: Connections = group(Connections)
    peers: ClassVar[Peers] = Peers(connections_per_peer_max=0)

    @property
    def connections_and_files(self) -> tuple[int, int]:
        return self.connections.connections_max, 0

    def encoding_problem(self) -> str:
        return stream_encoding(self)

    def problems(self, where: Where, given: object) -> Iterable[str]:
        yield from connection_problems(self, self.connections, where)
        yield from joining_problems(self, self.joining, where)


def stream_encoding(source: SourceConfiguration) -> str:
    """Why a stream cannot take text in the encoding of `source`; empty if it can.

    Raises:
        ValueError: There is no such encoding.
    """
    encoding = source.parse.encoding
    if encoding is None or Charset(encoding).is_ascii_superset:
        return ""
    return (
        f"{encoding!r} is no superset of US-ASCII, and messages over {source.listen.scheme} are "
        "cut from a stream before they are converted; send UTF-8, or use udp, unixgram or relp"
    )


def prepared(
    source: SourceConfiguration, joining: MultiLine, receiving: Receiving, *, has_connections: bool
) -> tuple[Reception, int]:
    """What takes the messages of `source`, and how long they may be before it converts them.

    Frames are converted to UTF-8, then joined to messages of several lines, where that is wanted.
    """
    reception = receiving.reception
    if (begins := joining.begins) is not None:
        joined = JoinedIntake(
            reception,
            begins=begins,
            seconds_max=joining.multi_line_seconds_max,
            frame_bytes_max=source.frame_bytes_max,
            oversize=source.oversize,
            has_connections=has_connections,
            clock=receiving.reactor,
        )
        reception = replace(reception, intake=joined, joining=joined)
    if source.parse.encoding is not None and (problem := source.encoding_problem()):
        # Of a socket whose kind is only known now.
        raise StartRefused(f"source {source.id}: parse.encoding: {problem}")
    return in_utf8(source, reception)


def in_utf8(source: SourceConfiguration, reception: Reception) -> tuple[Reception, int]:
    """What converts the messages of `source`, and how long they may be before that."""
    longest, encoding = source.frame_bytes_max, source.parse.encoding
    if encoding is None:
        return reception, longest
    charset = Charset(encoding)
    intake = ConvertedIntake(
        reception, charset=charset, frame_bytes_max=longest, oversize=source.oversize
    )
    return replace(reception, intake=intake), longest * charset.shrinkage_max


def new_stream_source(
    source: NetworkSource | UnixSource,
    receiving: Receiving,
    parts: SourceParts,
    new_protocol: Callable[[], InboundProtocol],
    *,
    answers: bool = False,
) -> StreamSource:
    """The service of a source that takes connections.

    Args:
        answers: Peers may wait for answers.
    """
    reactor, connections = receiving.reactor, source.connections
    files = Prerequisite("it does not listen until the files are right")
    reception, frame_bytes_max = prepared(source, source.joining, receiving, has_connections=True)
    is_local = isinstance(source, UnixSource)
    factory = InboundFactory(
        reception=reception,
        transport=source.transport,
        new_protocol=new_protocol,
        limits=InboundLimits(
            frame_bytes_max=frame_bytes_max,
            rate_per_peer_max=source.access.rate_per_peer_max,
            connection_seconds_max=source.peers.connection_seconds_max,
            connections_max=connections.connections_max,
            idle_seconds_max=connections.idle_seconds_max,
            handshake_seconds_max=source.peers.handshake_seconds_max,
            connections_per_peer_max=source.peers.of_peer_max(connections.connections_max),
            unfinished_bytes_max=connections.unfinished_bytes_max,
            oversize=source.oversize,
            keep_empty_lines=source.parse.empty_lines,
            block_seconds_max=parts.local_block_seconds_max if is_local else 0.0,
        ),
        clock=reactor,
        secure=source.tls is not None,
        permitted=PermittedPeers(allow=source.access.allow, deny=source.access.deny),
        reads=None if is_local else SharedReads(reactor, answers=answers),
    )
    if receiving.answering is not None:
        receiving.answering.unfinished_bytes = lambda: factory.unfinished.bytes
    return StreamSource(
        source,
        receiving,
        bind=_binding(source, parts.systemd, files),
        factory=factory,
        wrap=_wrapping(source, parts.certificates, files, reactor),
        prerequisite=files,
    )


def scheme_of(descriptor: int) -> str:
    """The scheme of what can be received on an open socket: udp, tcp, unixgram or unix.

    Raises:
        ValueError: It is something else; the text says what, and what to write.
    """
    kind = kind_of(descriptor)
    return (_DATAGRAM_SCHEMES if kind.takes_datagrams else _STREAM_SCHEMES)[kind.is_local]


def bind_inherited(
    source: SourceConfiguration, systemd: Systemd, *, receive_buffer_bytes: int = 0
) -> Callable[[], socket.socket]:
    """What takes over the socket that systemd has bound for `source`.

    Raises:
        StartRefused: There is none, or it is one for datagrams.
    """
    listen = source.listen
    try:
        descriptor = systemd.descriptor_of(listen.inherited)
        found = scheme_of(descriptor)
        if found in _DATAGRAM_SCHEMES and found != listen.scheme:
            raise ValueError(
                f"protocol {listen.scheme!r} needs a stream socket and this is a datagram socket "
                f"({found}); write ListenStream= in the socket unit"
            )
    except ValueError as error:
        raise StartRefused(f"source {source.id}: cannot use {listen}: {error}") from None
    return partial(adopt_socket, descriptor, receive_buffer_bytes=receive_buffer_bytes)


def _binding(
    source: NetworkSource | UnixSource, systemd: Systemd, files: Prerequisite
) -> Callable[[], socket.socket]:
    url = source.listen
    if url.inherited:
        return bind_inherited(source, systemd)
    if isinstance(source, UnixSource):
        mode = source.socket_mode
        return partial(bind_unix, url.path, socket.SOCK_STREAM, mode=mode, receive_buffer_bytes=0)
    return lambda: bind_stream(url.host, url.port, listens=not files.trouble)


def _wrapping(
    source: NetworkSource | UnixSource,
    certificates: CertificateWatch,
    files: Prerequisite,
    reactor: Reactor,
) -> Callable[[InboundFactory], Factory]:
    """What lies between the socket and the factory: gate, and perhaps PROXY protocol and TLS."""
    tls = source.tls
    listener: TlsListener | None = None
    if tls is not None:
        listener = certificates.keep_listener(f"source {source.id}", tls, files)

    def wrap(factory: InboundFactory) -> Factory:
        wrapped: Factory = factory
        if listener is not None:
            wrapped = with_tls(listener, wrapped, reactor)
        if source.peers.proxy_protocol:
            wrapped = proxies = ProxyFactory(wrapped, inbound=factory, clock=reactor)
            if listener is None:  # TLS that begins behind the header cannot be left to others
                factory.entrance = proxies
        # The gate looks at who connects, and so at proxies, not at those behind them.
        return GateFactory(wrapped, admits=factory.admits)

    return wrap
