"""From a destination's configuration to its service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.threads import deferToThreadPool

from relay.model.clock import WallClock
from relay.service.configuration.model import DestinationConfiguration
from relay.service.destinations.lane import Lane
from relay.service.destinations.link import Link, LocalLink, StreamLink
from relay.service.destinations.service import DestinationService
from relay.service.prerequisite import Prerequisite
from relay.service.queue.service import QueueService
from relay.service.routes.late_tokens import LateTokens
from relay.service.sources.assembly import RELP_SOFTWARE
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.files import read_options, read_policy
from relay.transport.datagram.outbound import DatagramSession
from relay.transport.files.writer import AppendedFile, FileSession
from relay.transport.notices import Notices
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.stream.outbound import SyslogStreamOutProtocol
from relay.transport.tls.context import TlsMaterial
from relay.transport.tls.endpoints import TlsUpstream
from relay.transport.upstream import PreparedEndpoint, UpstreamProtocol
from relay.wire.framing.decoders import (
    encode_newline_syslog,
    encode_octet_counted_syslog,
)

__all__ = ["new_destination"]

NewLink = Callable[[Lane], Link]


def new_destination(
    configuration: DestinationConfiguration,
    *,
    queue: QueueService,
    certificates: CertificateWatch,
    tokens: LateTokens,
    notices: Notices,
    wall: WallClock,
    reactor: Any,
) -> DestinationService:
    """Build the service of one destination; reads its certificate files.

    Args:
        tokens: Those of its form.
    """
    tls_files = Prerequisite("its messages are queued until the files are right")
    scheme = configuration.connect.scheme
    if scheme == "file":
        new_link = _file_link(configuration, notices, reactor)
    elif scheme == "udp":
        new_link = _datagram_link(configuration, notices, reactor)
    else:
        new_link = _stream_link(configuration, certificates, tls_files, reactor)
    return DestinationService(
        configuration,
        queue=queue,
        notices=notices,
        clock=reactor,
        wall=wall,
        new_link=new_link,
        prerequisites=(tls_files, tokens.needed),
        fill=tokens.fill,
    )


def _tls_upstream(
    configuration: DestinationConfiguration,
) -> Callable[[TlsMaterial | None], TlsUpstream]:
    """What makes TLS connections to an upstream, from what its files hold."""
    url, tls = configuration.connect, configuration.tls
    return partial(
        TlsUpstream,
        server_name=tls.server_name or url.host,
        peer_verify=tls.peer_verify,
        fingerprints=read_policy(tls).fingerprints,
        options=read_options(tls),
    )


def _stream_link(
    configuration: DestinationConfiguration,
    certificates: CertificateWatch,
    tls_files: Prerequisite,
    reactor: Any,
) -> NewLink:
    url = configuration.connect
    # Resolves the name at each attempt and tries all of its addresses.
    wrapped = HostnameEndpoint(
        reactor, url.host, url.port, timeout=configuration.connect_seconds_max
    )
    upstream = None
    if url.is_tls:
        subject = f"destination {configuration.id}"
        upstream = certificates.keep(
            subject, configuration.tls, _tls_upstream(configuration), tls_files
        )
    return lambda lane: StreamLink(
        lane.state,
        endpoint=PreparedEndpoint(wrapped=wrapped, state=lane.state, tls=upstream, clock=reactor),
        new_protocol=partial(_new_protocol, configuration, lane, reactor),
        clock=reactor,
    )


def _new_protocol(
    configuration: DestinationConfiguration, lane: Lane, reactor: Any
) -> UpstreamProtocol:
    common: dict[str, Any] = {
        "drain": lane.drain,
        "state": lane.state,
        "clock": reactor,
        "secure": configuration.connect.is_tls,
        "prepare_seconds_max": configuration.connect_seconds_max,
        "answer_seconds_max": configuration.answer_seconds_max,
    }
    if configuration.connect.scheme in ("relp", "relp+tls"):
        return RelpClientProtocol(
            window_records=configuration.window_records,
            software=RELP_SOFTWARE,
            numbering=lane.numbering,
            **common,
        )
    counting = configuration.framing == "octet-counting"
    encode = encode_octet_counted_syslog if counting else encode_newline_syslog
    return SyslogStreamOutProtocol(encode=encode, **common)


def _file_link(configuration: DestinationConfiguration, notices: Notices, reactor: Any) -> NewLink:
    path = configuration.connect.path
    # What two lanes append must not mix, nor what one cuts off again be the other's.
    one_at_a_time = DeferredLock()

    def run_in_thread(call: Callable[[], Any]) -> Deferred[Any]:
        return one_at_a_time.run(deferToThreadPool, reactor, reactor.getThreadPool(), call)

    def on_reopened(words: str) -> None:
        notices.warn(f"destination {configuration.id}", "reopened", words)

    async def open_file(lane: Lane, on_failure: Callable[[str], None]) -> FileSession:
        file = AppendedFile(path)
        # So that a file that cannot be opened is known before there is a record for it.
        await run_in_thread(partial(file.append, b"", reopen=True))
        return FileSession(
            file,
            drain=lane.drain,
            run_in_thread=run_in_thread,
            clock=reactor,
            on_failure=on_failure,
            on_reopened=on_reopened,
        )

    return lambda lane: LocalLink(
        lane.state,
        drain=lane.drain,
        new_session=lambda on_failure: ensureDeferred(open_file(lane, on_failure)),
        how=f"appending to {path}, delivered when synced",
        clock=reactor,
    )


def _datagram_link(
    configuration: DestinationConfiguration, notices: Notices, reactor: Any
) -> NewLink:
    url = configuration.connect

    async def connect(lane: Lane, on_failure: Callable[[str], None]) -> DatagramSession:
        connected = await deferToThreadPool(
            reactor, reactor.getThreadPool(), _connected_datagram_socket, url.host, url.port
        )
        return DatagramSession(
            connected,
            drain=lane.drain,
            state=lane.state,
            clock=reactor,
            notices=notices,
            on_failure=on_failure,
        )

    target = str(url).partition("://")[2]
    return lambda lane: LocalLink(
        lane.state,
        drain=lane.drain,
        new_session=lambda on_failure: ensureDeferred(connect(lane, on_failure)),
        how=f"sending to {target}, delivered when sent: nobody answers",
        clock=reactor,
    )


def _connected_datagram_socket(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    connected = socket.socket(family, socket.SOCK_DGRAM)
    try:
        connected.setblocking(False)
        connected.connect(address)
    except BaseException:
        connected.close()
        raise
    return connected
