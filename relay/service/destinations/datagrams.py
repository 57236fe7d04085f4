"""UDP and DTLS (RFC 6012) to an upstream: nobody answers."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from relay.service.configuration.keys import group, key
from relay.service.configuration.model import (
    YEAR_SECONDS,
    DestinationConfiguration,
    DtlsConfiguration,
)
from relay.service.configuration.table import Flag, Seconds
from relay.service.configuration.url import HostPort
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.destinations.streams import UPSTREAM_TLS_WITHOUT, bind_key, new_tls
from relay.service.prerequisite import Prerequisite
from relay.service.probes.dtls import probe_dtls
from relay.service.probes.probe import Probe
from relay.service.probes.upstream import probe_datagrams
from relay.transport.datagram.dtls_outbound import DtlsConnection, DtlsSocket
from relay.transport.datagram.outbound import DatagramSession
from relay.transport.sockets import bind_failure_text
from relay.wire.framing.dtls_records import FRAME_BYTES_MAX, PLAINTEXT_BYTES_MAX


@dataclass(frozen=True, slots=True)
class DatagramUpstreamConfiguration(DestinationConfiguration):
    """Of one target: what has become of a datagram nobody says, so there is no other to turn to."""

    bind: str = bind_key()


def _make(configuration: DatagramUpstreamConfiguration, parts: DestinationParts) -> Delivery:
    reactor = parts.reactor

    async def connect(outlet: Outlet, on_failure: Callable[[str], None]) -> DatagramSession:
        return DatagramSession(
            await parts.run_in_thread(partial(_connected_socket, configuration)),
            drain=outlet.drain,
            state=outlet.state,
            clock=reactor,
            notices=parts.notices,
            on_failure=on_failure,
        )

    target = str(configuration.connect).partition("://")[2]
    how = f"sending to {target}, delivered when sent: nobody answers"
    return Delivery(new_link=lambda outlet: LocalLink(outlet, connect, how=how, clock=reactor))


@dataclass(frozen=True, slots=True)
class DtlsUpstreamConfiguration(DatagramUpstreamConfiguration):
    tls: DtlsConfiguration = group(
        DtlsConfiguration, without=(*UPSTREAM_TLS_WITHOUT, "tls_version_min")
    )
    octet_counting: bool = key(
        Flag(),
        True,
        "its length is before each message, as RFC 6012 has it; `false` for rsyslog's imdtls",
    )
    connect_seconds_max: float = key(Seconds(0.1, 3600), 30.0, "time limit for the DTLS handshake")
    session_seconds_max: float = key(
        Seconds(1, YEAR_SECONDS),
        120.0,
        "age at which a session is replaced by a new one; that shows whether the receiver still "
        "has it",
    )


_NO_SESSION = (
    "the receiver says that it has no session with this relay, as after a crash: beginning a new "
    "one; what was sent since then is lost"
)


def _make_dtls(configuration: DtlsUpstreamConfiguration, parts: DestinationParts) -> Delivery:
    url, reactor = configuration.connect, parts.reactor
    counts = configuration.octet_counting
    files = Prerequisite("its messages are queued until the files are right")
    (upstream,) = new_tls(configuration, [url], parts, files)
    assert upstream is not None

    def new_connection(
        connected: socket.socket, changed: Callable[[DtlsConnection], None]
    ) -> DtlsConnection:
        return DtlsConnection(
            connected,
            upstream,
            reactor=reactor,
            handshake_seconds_max=configuration.connect_seconds_max,
            changed=changed,
        )

    async def connect(outlet: Outlet, on_failure: Callable[[str], None]) -> DatagramSession:
        connected = await parts.run_in_thread(partial(_connected_socket, configuration))
        dtls = DtlsSocket(
            connected,
            new_connection=new_connection,
            encode=_counted if counts else bytes,
            session_seconds_max=configuration.session_seconds_max,
            clock=reactor,
        )
        session = DatagramSession(
            await dtls.handshake(),
            drain=outlet.drain,
            state=outlet.state,
            clock=reactor,
            notices=parts.notices,
            on_failure=on_failure,
            bytes_max=FRAME_BYTES_MAX if counts else PLAINTEXT_BYTES_MAX,
        )
        dtls.on_failure = session.fail
        dtls.on_doubt = partial(
            parts.notices.warn, f"destination {outlet.state.target}", "session", _NO_SESSION
        )
        return session

    target = str(url).partition("://")[2]
    how = f"sending to {target} by DTLS, delivered when sent: nobody answers"
    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, connect, how=how, clock=reactor),
        prerequisites=(files,),
    )


def _counted(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


def _connected_socket(configuration: DatagramUpstreamConfiguration) -> socket.socket:
    """A socket to the first address of the host, of those that `bind` reaches.

    Raises:
        OSError: There is none, with a text for people.
    """
    url, bind = configuration.connect, configuration.bind
    wanted = (socket.AF_INET6 if ":" in bind else socket.AF_INET) if bind else socket.AF_UNSPEC
    found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_DGRAM)
    fitting = [(each[0], each[4]) for each in found if not wanted or each[0] == wanted]
    if not fitting:
        text = f"no address of {url.host} can be reached from {bind}; correct bind"
        raise OSError(errno.EADDRNOTAVAIL, text)
    family, address = fitting[0]
    connected = socket.socket(family, socket.SOCK_DGRAM)
    try:
        connected.setblocking(False)
        if bind:
            _bind(connected, bind)
        connected.connect(address)
    except BaseException:
        connected.close()
        raise
    return connected


def _bind(connected: socket.socket, bind: str) -> None:
    try:
        connected.bind((bind, 0))
    except OSError as error:
        number = error.errno or 0
        raise OSError(number, bind_failure_text(bind, number)) from None


def _probe(configuration: DatagramUpstreamConfiguration, probe: Probe) -> None:
    probe_datagrams(probe, configuration.connect, bind=configuration.bind)


def _probe_dtls(configuration: DtlsUpstreamConfiguration, probe: Probe) -> None:
    probe_dtls(probe, configuration.connect, configuration.tls, bind=configuration.bind)


UDP = DestinationKind(
    scheme="udp",
    address=HostPort(514),
    configuration=DatagramUpstreamConfiguration,
    delivered="the kernel has sent it",
    medium="udp",
    make=_make,
    probe=_probe,
)
DTLS = DestinationKind(
    scheme="dtls",
    address=HostPort(6514),
    configuration=DtlsUpstreamConfiguration,
    delivered="the kernel has sent it, in a session whose handshake is done (RFC 6012)",
    medium="udp",
    make=_make_dtls,
    probe=_probe_dtls,
)
