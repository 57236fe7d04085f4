"""UDP to an upstream: nobody answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from relay.service.configuration.model import DestinationConfiguration
from relay.service.configuration.url import HostPort
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.probes.probe import Probe
from relay.service.probes.upstream import probe_datagrams
from relay.transport.datagram.outbound import DatagramSession


def _make(configuration: DestinationConfiguration, parts: DestinationParts) -> Delivery:
    url, reactor = configuration.connect, parts.reactor

    async def connect(outlet: Outlet, on_failure: Callable[[str], None]) -> DatagramSession:
        return DatagramSession(
            await parts.run_in_thread(partial(_connected_socket, url.host, url.port)),
            drain=outlet.drain,
            state=outlet.state,
            clock=reactor,
            notices=parts.notices,
            on_failure=on_failure,
        )

    target = str(url).partition("://")[2]
    how = f"sending to {target}, delivered when sent: nobody answers"
    return Delivery(new_link=lambda outlet: LocalLink(outlet, connect, how=how, clock=reactor))


def _connected_socket(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    connected = socket.socket(family, socket.SOCK_DGRAM)
    try:
        connected.setblocking(False)
        connected.connect(address)
    except BaseException:
        connected.close()
        raise
    return connected


def _probe(configuration: DestinationConfiguration, probe: Probe) -> None:
    probe_datagrams(probe, configuration.connect)


UDP = DestinationKind(
    scheme="udp",
    address=HostPort(514),
    configuration=DestinationConfiguration,
    delivered="the kernel has sent it",
    medium="udp",
    make=_make,
    probe=_probe,
)
