"""RELP: every message is answered after the commit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from relay import SOFTWARE
from relay.service.configuration.keys import group
from relay.service.configuration.model import TlsConfiguration, frame_bytes_key
from relay.service.configuration.url import HostPort
from relay.service.sources.keys import LISTENER_TLS_WITHOUT
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import NetworkSource, new_network_source
from relay.service.sources.service import Receiving, StreamSource
from relay.transport.relp.inbound import RelpServerProtocol

__all__ = ["RELP", "RELP_TLS"]


@dataclass(frozen=True, slots=True)
class RelpSource(NetworkSource):
    # What comes from another relay may have grown there, by JSON escapes for example, and cut
    # JSON is no JSON.
    frame_bytes_max: int = frame_bytes_key(256 * 1024)


@dataclass(frozen=True, slots=True)
class RelpTlsSource(RelpSource):
    tls: TlsConfiguration = group(TlsConfiguration, without=LISTENER_TLS_WITHOUT)


def _make(source: RelpSource, receiving: Receiving, parts: SourceParts) -> StreamSource:
    new_protocol = partial(RelpServerProtocol, software=SOFTWARE.encode(), lineages=parts.lineages)
    return new_network_source(source, receiving, parts, new_protocol, answers=True)


RELP = SourceKind(
    scheme="relp",
    address=HostPort(20514),
    configuration=RelpSource,
    delivered="answers after the commit",
    medium="tcp",
    answers=True,
    make=_make,
)
RELP_TLS = SourceKind(
    scheme="relp+tls",
    address=HostPort(20515),
    configuration=RelpTlsSource,
    delivered="the same, encrypted",
    medium="tcp",
    answers=True,
    foreign_names=("relps", "relp-tls"),
    make=_make,
)
