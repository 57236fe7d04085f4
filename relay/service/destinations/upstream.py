"""Upstreams behind a connection, with or without TLS: what kinds of them have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twisted.internet.endpoints import HostnameEndpoint

from relay.service.configuration.keys import key
from relay.service.configuration.model import DestinationConfiguration, TlsConfiguration
from relay.service.configuration.table import Seconds
from relay.service.destinations.lane import Lane
from relay.service.destinations.link import StreamLink
from relay.service.destinations.service import DestinationParts, NewLink
from relay.service.prerequisite import Prerequisite
from relay.service.tls.files import read_options, read_policy
from relay.transport.tls.endpoints import TlsUpstream
from relay.transport.upstream import PreparedEndpoint, UpstreamProtocol

__all__ = ["UPSTREAM_TLS_WITHOUT", "UpstreamConfiguration", "stream_link"]

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


def stream_link(
    configuration: UpstreamConfiguration,
    parts: DestinationParts,
    files: Prerequisite,
    new_protocol: Callable[[Lane], UpstreamProtocol],
) -> NewLink:
    """What connects with an upstream.

    Args:
        files: What is needed of certificates and keys.
        new_protocol: Makes the protocol of one connection of a lane.
    """
    url, reactor = configuration.connect, parts.reactor
    # Resolves the name at each attempt and tries all of its addresses.
    wrapped = HostnameEndpoint(
        reactor, url.host, url.port, timeout=configuration.connect_seconds_max
    )
    upstream = None
    if configuration.tls is not None:
        new = _tls_upstream(configuration.tls, url.host)
        subject = f"destination {configuration.id}"
        upstream = parts.certificates.keep(subject, configuration.tls, new, files)
    return lambda lane: StreamLink(
        lane.state,
        endpoint=PreparedEndpoint(wrapped=wrapped, state=lane.state, tls=upstream, clock=reactor),
        new_protocol=partial(new_protocol, lane),
        clock=reactor,
    )


def _tls_upstream(tls: TlsConfiguration, host: str) -> partial[TlsUpstream]:
    """What makes TLS connections to an upstream, from what its files hold."""
    return partial(
        TlsUpstream,
        server_name=tls.server_name or host,
        peer_verify=tls.peer_verify,
        fingerprints=read_policy(tls).fingerprints,
        options=read_options(tls),
    )
