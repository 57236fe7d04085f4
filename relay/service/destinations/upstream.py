"""Upstreams behind a connection, with or without TLS: what kinds of them have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twisted.internet.endpoints import HostnameEndpoint

from relay.service.configuration.keys import key
from relay.service.configuration.model import DestinationConfiguration
from relay.service.configuration.table import Seconds
from relay.service.destinations.kind import Delivery, DestinationParts
from relay.service.destinations.lane import Lane
from relay.service.destinations.link import StreamLink
from relay.service.prerequisite import Prerequisite
from relay.service.tls.files import read_options, read_policy
from relay.transport.tls.endpoints import TlsUpstream
from relay.transport.upstream import PreparedEndpoint, Timeouts, UpstreamProtocol

__all__ = ["UPSTREAM_TLS_WITHOUT", "UpstreamConfiguration", "new_delivery"]

UPSTREAM_TLS_WITHOUT = ("peer_names",)
"""Keys for TLS that are for those who listen."""


@dataclass(frozen=True, slots=True)
class UpstreamConfiguration(DestinationConfiguration):
    answer_seconds_max: float = key(
        Seconds(0.1, 3600), 60.0, "longest wait for an answer before reconnecting"
    )
    connect_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time limit for each of TCP, TLS and RELP's open"
    )

    @property
    def stall_seconds(self) -> float:
        return 2 * self.answer_seconds_max


def new_delivery(
    configuration: UpstreamConfiguration,
    parts: DestinationParts,
    protocol_of: Callable[[Lane], Callable[..., UpstreamProtocol]],
) -> Delivery:
    """The delivery over a connection to the host and port of the URL.

    Args:
        protocol_of: What makes the protocols of a lane, given drain, state, clock, secure and
            timeouts.
    """
    url, tls, reactor = configuration.connect, configuration.tls, parts.reactor
    # Resolves the name at each attempt and tries all of its addresses.
    wrapped = HostnameEndpoint(
        reactor, url.host, url.port, timeout=configuration.connect_seconds_max
    )
    files = Prerequisite("its messages are queued until the files are right")
    upstream = None
    if tls is not None:
        new = partial(
            TlsUpstream,
            server_name=tls.server_name or url.host,
            peer_verify=tls.peer_verify,
            fingerprints=read_policy(tls).fingerprints,
            options=read_options(tls),
        )
        upstream = parts.certificates.keep(f"destination {configuration.id}", tls, new, files)

    def new_protocol(lane: Lane) -> UpstreamProtocol:
        return protocol_of(lane)(
            drain=lane.drain,
            state=lane.state,
            clock=reactor,
            secure=tls is not None,
            timeouts=Timeouts(configuration.connect_seconds_max, configuration.answer_seconds_max),
        )

    def new_link(lane: Lane) -> StreamLink:
        endpoint = PreparedEndpoint(wrapped=wrapped, state=lane.state, tls=upstream, clock=reactor)
        return StreamLink(
            lane.state, endpoint=endpoint, new_protocol=partial(new_protocol, lane), clock=reactor
        )

    return Delivery(new_link=new_link, prerequisites=(files,))
