"""From a source's configuration to its service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory

from relay import __version__
from relay.flow.intake import Intake
from relay.flow.lineages import Lineages
from relay.model.counters import SourceCounters
from relay.queue.admission.backpressure import SourceAdmission
from relay.queue.ledger import Ledger
from relay.service.configuration.model import SourceConfiguration
from relay.service.configuration.parse_table import encoding_problem
from relay.service.prerequisite import Prerequisite
from relay.service.process.systemd import NO_SYSTEMD, Systemd, resolve_inherited
from relay.service.refusal import StartRefused
from relay.service.sources.service import DatagramSource, SourceService, StreamSource
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.files import read_options, read_policy
from relay.transport.converted_intake import ConvertedIntake
from relay.transport.datagram.inbound import DatagramReader
from relay.transport.datagram.recvmmsg import ManyDatagrams
from relay.transport.inherited import adopt_socket
from relay.transport.notices import Notices
from relay.transport.peers import GateFactory, PeerRates, PermittedPeers
from relay.transport.reception import Reception
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.sockets import bind_datagram, bind_stream, bind_unix
from relay.transport.stream.connection import InboundFactory, InboundLimits, InboundProtocol
from relay.transport.stream.inbound import SyslogStreamProtocol
from relay.transport.stream.proxy import ProxyFactory
from relay.transport.stream.shared_reads import SharedReads
from relay.transport.tls.endpoints import TlsListener
from relay.wire.framing.charset import Charset

__all__ = ["RELP_SOFTWARE", "new_source"]

RELP_SOFTWARE = b"syslogrelay," + __version__.encode()


def new_source(
    configuration: SourceConfiguration,
    *,
    intake: Intake,
    admission: SourceAdmission,
    counters: SourceCounters,
    certificates: CertificateWatch,
    notices: Notices,
    reactor: Any,
    systemd: Systemd = NO_SYSTEMD,
    local_block_seconds_max: float = 0.0,
    lineages: Lineages | None = None,
    quarantine: Callable[[], Ledger | None] = lambda: None,
) -> SourceService:
    """Build the service of one source; reads its certificate files.

    Args:
        local_block_seconds_max: Longest pause of a unix stream socket by admission;
            0 = no limit.
        lineages: What relays have sent, for exactly once; None = at least once.
        quarantine: The account of what it set aside, for its report.

    Raises:
        StartRefused: It is to use an inherited socket that is not there, or another one, or
            one whose messages cannot be converted.
    """
    configuration, descriptor = _resolved(configuration, systemd)
    tls_files = Prerequisite("it does not listen until the files are right")
    intake, configuration = _converted(intake, configuration, counters, notices)
    permitted = PermittedPeers(allow=configuration.allow, deny=configuration.deny)
    receiving: dict[str, Any] = {
        "reception": Reception(configuration.id, intake, admission, counters, notices),
        "transport": configuration.listen.scheme,
        "permitted": permitted,
    }
    serving: dict[str, Any] = {
        "source": configuration.id,
        "url": configuration.listen,
        "bind": _binding(configuration, descriptor, tls_files),
        "counters": counters,
        "quarantine": quarantine,
        "reactor": reactor,
    }
    if configuration.listen.scheme in ("udp", "unixgram"):
        limits = _datagram_limits(configuration, reactor)
        return DatagramSource(
            **serving,
            new_reader=partial(DatagramReader, **receiving, **limits),
            receive_buffer_bytes=configuration.receive_buffer_bytes,
        )
    return StreamSource(
        **serving,
        factory=_inbound(configuration, receiving, lineages, local_block_seconds_max, reactor),
        wrap=_wrapping(configuration, certificates, tls_files, reactor),
        prerequisite=tls_files,
    )


def _converted(
    intake: Intake,
    configuration: SourceConfiguration,
    counters: SourceCounters,
    notices: Notices,
) -> tuple[Any, SourceConfiguration]:
    """An intake that makes UTF-8 of frames, and what is taken for it; both unchanged without."""
    encoding = configuration.parse.encoding
    if encoding is None:
        return intake, configuration
    problem = encoding_problem(encoding, configuration.listen)
    if problem:
        raise StartRefused(f"source {configuration.id}: parse.encoding: {problem}")
    charset = Charset(encoding)
    converted = ConvertedIntake(
        intake,
        charset=charset,
        frame_bytes_max=configuration.frame_bytes_max,
        oversize=configuration.oversize,
        counters=counters,
        notices=notices,
    )
    received_max = configuration.frame_bytes_max * charset.octets_per_byte_max
    return converted, replace(configuration, frame_bytes_max=received_max)


def _inbound(
    configuration: SourceConfiguration,
    receiving: dict[str, Any],
    lineages: Lineages | None,
    local_block_seconds_max: float,
    reactor: Any,
) -> InboundFactory:
    scheme = configuration.listen.scheme
    answers = scheme.startswith("relp")
    is_shared = answers or scheme in ("tcp", "tls")
    return InboundFactory(
        **receiving,
        new_protocol=_protocol(configuration, lineages),
        limits=_limits(configuration, local_block_seconds_max),
        clock=reactor,
        secure=configuration.listen.is_tls,
        reads=SharedReads(reactor, answers=answers) if is_shared else None,
    )


def _limits(configuration: SourceConfiguration, local_block_seconds_max: float) -> InboundLimits:
    of_peer_max = configuration.connections_per_peer_max
    if of_peer_max is None:  # one peer must not keep all others out
        of_peer_max = max(1, configuration.connections_max // 10)
    return InboundLimits(
        frame_bytes_max=configuration.frame_bytes_max,
        rate_per_peer_max=configuration.rate_per_peer_max,
        connections_max=configuration.connections_max,
        idle_seconds_max=configuration.idle_seconds_max,
        handshake_seconds_max=configuration.handshake_seconds_max,
        connections_per_peer_max=of_peer_max,
        unfinished_bytes_max=configuration.unfinished_bytes_max,
        oversize=configuration.oversize,
        keep_empty_lines=configuration.parse.empty_lines,
        block_seconds_max=local_block_seconds_max if configuration.listen.is_local else 0.0,
    )


def _datagram_limits(configuration: SourceConfiguration, reactor: Any) -> dict[str, Any]:
    return {
        "frame_bytes_max": configuration.frame_bytes_max,
        "oversize": configuration.oversize,
        "rates": PeerRates(rate_max=configuration.rate_per_peer_max, now=reactor.seconds),
        "many": ManyDatagrams if ManyDatagrams.available else None,
    }


def _wrapping(
    configuration: SourceConfiguration,
    certificates: CertificateWatch,
    tls_files: Prerequisite,
    reactor: Any,
) -> Callable[[InboundFactory], Any]:
    """What lies between the socket and the factory: gate, and perhaps PROXY protocol and TLS."""
    with_tls = _tls_wrapping(configuration, certificates, tls_files, reactor)

    def wrap(factory: InboundFactory) -> Any:
        wrapped = with_tls(factory)
        if configuration.proxy_protocol:
            wrapped = ProxyFactory(wrapped, inbound=factory, clock=reactor)
        # The gate looks at who connects, and so at proxies, not at those behind them.
        return GateFactory(wrapped, admits=factory.admits)

    return wrap


def _resolved(
    configuration: SourceConfiguration, systemd: Systemd
) -> tuple[SourceConfiguration, int | None]:
    """The configuration with what an inherited socket is, and its descriptor if it is one."""
    listen = configuration.listen
    if not listen.inherited:
        return configuration, None
    try:
        resolved, descriptor = resolve_inherited(listen, systemd)
    except ValueError as error:
        raise StartRefused(f"source {configuration.id}: cannot use {listen}: {error}") from None
    of_addresses = [
        name for name in ("allow", "deny", "proxy_protocol") if getattr(configuration, name)
    ]
    if resolved.scheme in ("unix", "unixgram") and of_addresses:
        raise StartRefused(
            f"source {configuration.id}: {listen} is a unix socket, where senders have no "
            f"address; remove {' and '.join(of_addresses)}"
        )
    if resolved.scheme in ("unix", "unixgram") and "network" in configuration.authorise:
        raise StartRefused(
            f"source {configuration.id}: {listen} is a unix socket, where senders have no "
            "address; remove network from authorise"
        )
    if resolved.scheme == "udp" and configuration.proxy_protocol:
        raise StartRefused(
            f"source {configuration.id}: {listen} is a UDP socket, where proxies cannot say whom "
            "they speak for; remove proxy_protocol"
        )
    return replace(configuration, listen=resolved), descriptor


def _binding(
    configuration: SourceConfiguration, descriptor: int | None, tls_files: Prerequisite
) -> Callable[[], socket.socket]:
    url = configuration.listen
    if descriptor is not None:
        return partial(
            adopt_socket, descriptor, receive_buffer_bytes=configuration.receive_buffer_bytes
        )
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
    return lambda: bind_stream(url.host, url.port, listens=not tls_files.trouble)


def _protocol(
    configuration: SourceConfiguration, lineages: Lineages | None
) -> Callable[[], InboundProtocol]:
    if configuration.listen.scheme in ("relp", "relp+tls"):
        return partial(RelpServerProtocol, software=RELP_SOFTWARE, lineages=lineages)
    return SyslogStreamProtocol


def _tls_wrapping(
    configuration: SourceConfiguration,
    certificates: CertificateWatch,
    tls_files: Prerequisite,
    reactor: Any,
) -> Callable[[Any], Any]:
    if not configuration.listen.is_tls:
        return lambda factory: factory
    tls = configuration.tls
    new = partial(
        TlsListener,
        peer_verify=tls.peer_verify,
        policy=read_policy(tls),
        options=read_options(tls),
    )
    listener: Any = certificates.keep(f"source {configuration.id}", tls, new, tls_files)
    return lambda factory: TLSMemoryBIOFactory(listener, False, factory, clock=reactor)
