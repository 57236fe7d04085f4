"""RELP to an upstream: every message is answered."""

from __future__ import annotations

from dataclasses import dataclass

from relay import SOFTWARE
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import TlsConfiguration
from relay.service.configuration.table import Whole
from relay.service.configuration.url import HostPort
from relay.service.destinations.kind import DestinationKind
from relay.service.destinations.lane import Lane
from relay.service.destinations.service import DestinationParts, NewLink
from relay.service.destinations.upstream import (
    UPSTREAM_TLS_WITHOUT,
    UpstreamConfiguration,
    stream_link,
)
from relay.service.prerequisite import Prerequisite
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.upstream import Timeouts

__all__ = ["RELP", "RELP_TLS"]


@dataclass(frozen=True, slots=True)
class RelpConfiguration(UpstreamConfiguration):
    window_records: int = key(
        Whole(1, 100_000),
        8192,
        "limit of unanswered messages; the window starts at 256 and doubles while that "
        "increases the rate",
    )
    refusals_max: int = key(
        Whole(1, 1_000_000),
        5,
        "refusals of one message, while others are accepted, before it is quarantined",
    )

    @property
    def in_flight_max(self) -> int:
        return self.window_records


@dataclass(frozen=True, slots=True)
class RelpTlsConfiguration(RelpConfiguration):
    tls: TlsConfiguration = group(TlsConfiguration, without=UPSTREAM_TLS_WITHOUT)


def _make(
    configuration: RelpConfiguration, parts: DestinationParts, files: Prerequisite
) -> NewLink:
    def new_protocol(lane: Lane) -> RelpClientProtocol:
        return RelpClientProtocol(
            window_records=configuration.window_records,
            software=SOFTWARE.encode(),
            numbering=lane.numbering,
            drain=lane.drain,
            state=lane.state,
            clock=parts.reactor,
            secure=configuration.tls is not None,
            timeouts=Timeouts(configuration.connect_seconds_max, configuration.answer_seconds_max),
        )

    return stream_link(configuration, parts, files, new_protocol)


RELP = DestinationKind(
    scheme="relp",
    address=HostPort(20514),
    configuration=RelpConfiguration,
    delivered="the upstream has answered",
    medium="tcp",
    make=_make,
)
RELP_TLS = DestinationKind(
    scheme="relp+tls",
    address=HostPort(20515),
    configuration=RelpTlsConfiguration,
    delivered="the same",
    medium="tcp",
    foreign_names=("relps", "relp-tls"),
    make=_make,
)
