"""From a destination's configuration to its service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.threads import deferToThreadPool

from relay.model.clock import WallClock
from relay.queue.committer import RunInThread
from relay.service.configuration.model import DestinationConfiguration
from relay.service.destinations.service import (
    DestinationService,
    LocalDestination,
    StreamDestination,
)
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
from relay.transport.upstream import PreparedEndpoint, UpstreamProtocol, UpstreamState
from relay.wire.framing.decoders import (
    encode_newline_syslog,
    encode_octet_counted_syslog,
)

__all__ = ["new_destination"]


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
    common: dict[str, Any] = {
        "destination": configuration.id,
        "url": configuration.connect,
        "queue": queue,
        "refusals_max": configuration.refusals_max,
        "notices": notices,
        "clock": reactor,
        "wall": wall,
        "retry_seconds_min": configuration.retry_seconds_min,
        "retry_seconds_max": configuration.retry_seconds_max,
        "drain_rate": configuration.drain_rate,
        "backlog_percent": configuration.backlog_percent,
        "stall_seconds": 2 * configuration.answer_seconds_max,
    }
    tls_files = Prerequisite("its messages are queued until the files are right")
    service = _service(configuration, common, certificates, tls_files, notices, reactor)
    service.require(tls_files)
    service.require(tokens.needed)
    service.fill = tokens.fill
    return service


def _service(
    configuration: DestinationConfiguration,
    common: dict[str, Any],
    certificates: CertificateWatch,
    tls_files: Prerequisite,
    notices: Notices,
    reactor: Any,
) -> DestinationService:
    scheme = configuration.connect.scheme
    if scheme == "file":
        file = AppendedFile(configuration.connect.path)
        return LocalDestination(
            new_session=partial(_new_file_session, file, reactor),
            how=f"appending to {configuration.connect.path}, delivered when synced",
            **common,
        )
    if scheme == "udp":
        target = str(configuration.connect).partition("://")[2]
        return LocalDestination(
            new_session=partial(_new_datagram_session, configuration, notices, reactor),
            how=f"sending to {target}, delivered when sent: nobody answers",
            **common,
        )
    return StreamDestination(
        new_endpoint=_endpoint(configuration, certificates, tls_files, reactor),
        new_protocol=_protocol(configuration, reactor),
        window_records=configuration.window_records if scheme in ("relp", "relp+tls") else 0,
        **common,
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


def _endpoint(
    configuration: DestinationConfiguration,
    certificates: CertificateWatch,
    tls_files: Prerequisite,
    reactor: Any,
) -> Callable[[UpstreamState], PreparedEndpoint]:
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
    return lambda state: PreparedEndpoint(wrapped=wrapped, state=state, tls=upstream, clock=reactor)


def _protocol(
    configuration: DestinationConfiguration, reactor: Any
) -> Callable[[StreamDestination], UpstreamProtocol]:
    def new(destination: StreamDestination) -> UpstreamProtocol:
        common: dict[str, Any] = {
            "drain": destination.drain,
            "state": destination.state,
            "clock": reactor,
            "secure": configuration.connect.is_tls,
            "prepare_seconds_max": configuration.connect_seconds_max,
            "answer_seconds_max": configuration.answer_seconds_max,
        }
        if configuration.connect.scheme in ("relp", "relp+tls"):
            return RelpClientProtocol(
                window_records=configuration.window_records,
                software=RELP_SOFTWARE,
                numbering=destination.numbering,
                **common,
            )
        counting = configuration.framing == "octet-counting"
        encode = encode_octet_counted_syslog if counting else encode_newline_syslog
        return SyslogStreamOutProtocol(encode=encode, **common)

    return new


def _new_file_session(
    file: AppendedFile,
    reactor: Any,
    destination: LocalDestination,
    on_failure: Callable[[str], None],
) -> Deferred[FileSession]:
    run_in_thread: RunInThread = partial(deferToThreadPool, reactor, reactor.getThreadPool())

    async def open_file() -> FileSession:
        # So that a file that cannot be opened is known before there is a record for it.
        await run_in_thread(partial(file.append, b"", reopen=True))
        return FileSession(
            file,
            drain=destination.drain,
            run_in_thread=run_in_thread,
            clock=reactor,
            on_failure=on_failure,
            on_reopened=partial(destination.warn, "reopened"),
        )

    return ensureDeferred(open_file())


def _new_datagram_session(
    configuration: DestinationConfiguration,
    notices: Notices,
    reactor: Any,
    destination: LocalDestination,
    on_failure: Callable[[str], None],
) -> Deferred[DatagramSession]:
    async def connect() -> DatagramSession:
        url = configuration.connect
        connected = await deferToThreadPool(
            reactor, reactor.getThreadPool(), _connected_datagram_socket, url.host, url.port
        )
        return DatagramSession(
            connected,
            drain=destination.drain,
            state=destination.state,
            clock=reactor,
            notices=notices,
            on_failure=on_failure,
        )

    return ensureDeferred(connect())


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
