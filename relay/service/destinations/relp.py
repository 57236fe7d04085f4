"""RELP to an upstream: every message is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from relay import SOFTWARE
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import TlsConfiguration
from relay.service.configuration.table import Whole
from relay.service.configuration.url import HostPort
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.lane import Lane
from relay.service.destinations.upstream import (
    UPSTREAM_TLS_WITHOUT,
    UpstreamConfiguration,
    new_delivery,
)
from relay.transport.relp.outbound import RelpClientProtocol

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


def _make(configuration: RelpConfiguration, parts: DestinationParts) -> Delivery:
    def protocol_of(lane: Lane) -> Callable[..., RelpClientProtocol]:
        return partial(
            RelpClientProtocol,
            window_records=configuration.window_records,
            software=SOFTWARE.encode(),
            numbering=lane.numbering,
        )

    return new_delivery(configuration, parts, protocol_of)


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
