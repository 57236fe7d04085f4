"""From a source's configuration to its service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory

from relay import __version__
from relay.flow.intake import Intake
from relay.model.counters import SourceCounters
from relay.queue.admission import Admission
from relay.service.configuration import SourceConfiguration
from relay.service.source import DatagramSource, SourceService, StreamSource
from relay.transport.datagram_in import DatagramReader
from relay.transport.inbound import InboundFactory, InboundLimits, InboundProtocol
from relay.transport.notices import Notices
from relay.transport.relp_in import RelpServerProtocol
from relay.transport.sockets import bind_datagram, bind_stream, bind_unix
from relay.transport.stream_in import SyslogStreamProtocol
from relay.transport.tls import TlsListener

__all__ = ["RELP_SOFTWARE", "new_source"]

RELP_SOFTWARE = b"syslogrelay," + __version__.encode()


def new_source(
    configuration: SourceConfiguration,
    *,
    intake: Intake,
    admission: Admission,
    counters: SourceCounters,
    notices: Notices,
    reactor: Any,
) -> SourceService:
    """Build the service of one source; reads its certificate files."""
    if configuration.listen.scheme in ("udp", "unixgram"):
        return DatagramSource(
            source=configuration.id,
            url=configuration.listen,
            bind=_binding(configuration),
            counters=counters,
            reactor=reactor,
            new_reader=partial(
                DatagramReader,
                source=configuration.id,
                transport=configuration.listen.scheme,
                frame_bytes_max=configuration.frame_bytes_max,
                intake=intake,
                admission=admission,
                counters=counters,
                notices=notices,
            ),
        )
    factory = InboundFactory(
        source=configuration.id,
        transport=configuration.listen.scheme,
        new_protocol=_protocol(configuration),
        intake=intake,
        admission=admission,
        counters=counters,
        limits=_limits(configuration),
        clock=reactor,
        notices=notices,
        secure=configuration.listen.is_tls,
    )
    return StreamSource(
        source=configuration.id,
        url=configuration.listen,
        bind=_binding(configuration),
        counters=counters,
        reactor=reactor,
        factory=factory,
        wrap=_tls_wrapping(configuration, reactor),
    )


def _limits(configuration: SourceConfiguration) -> InboundLimits:
    return InboundLimits(
        frame_bytes_max=configuration.frame_bytes_max,
        connections_max=configuration.connections_max,
        idle_seconds_max=configuration.idle_seconds_max,
        handshake_seconds_max=configuration.handshake_seconds_max,
    )


def _binding(configuration: SourceConfiguration) -> Callable[[], socket.socket]:
    url = configuration.listen
    if url.scheme == "udp":
        size = configuration.receive_buffer_bytes
        return lambda: bind_datagram(url.host, url.port, receive_buffer_bytes=size)
    if url.path:
        kind = socket.SOCK_DGRAM if url.scheme == "unixgram" else socket.SOCK_STREAM
        return lambda: bind_unix(
            url.path,
            kind,
            mode=configuration.socket_mode,
            receive_buffer_bytes=configuration.receive_buffer_bytes,
        )
    return lambda: bind_stream(url.host, url.port)


def _protocol(configuration: SourceConfiguration) -> Callable[[], InboundProtocol]:
    if configuration.listen.scheme in ("relp", "relp+tls"):
        return partial(RelpServerProtocol, software=RELP_SOFTWARE)
    return SyslogStreamProtocol


def _tls_wrapping(configuration: SourceConfiguration, reactor: Any) -> Callable[[Any], Any]:
    if not configuration.listen.is_tls:
        return lambda factory: factory
    tls = configuration.tls
    listener: Any = TlsListener(
        certificate_pem=read_pem(tls.certificate),
        private_key_pem=read_pem(tls.private_key),
        trusted_ca_pem=read_pem(tls.trusted_ca),
        peer_verify=tls.peer_verify,
    )
    return lambda factory: TLSMemoryBIOFactory(listener, False, factory, clock=reactor)


def read_pem(path: str) -> bytes:
    """The octets of a file that the configuration names; none for no name."""
    if not path:
        return b""
    with open(path, "rb") as file:
        return file.read()
