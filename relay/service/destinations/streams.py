"""Plain syslog over TCP, or over TLS (RFC 5425): the kernel of the upstream answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from relay.service.configuration.keys import group, key
from relay.service.configuration.model import TlsConfiguration
from relay.service.configuration.table import Choice
from relay.service.configuration.url import HostPort
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.upstream import (
    UPSTREAM_TLS_WITHOUT,
    UpstreamConfiguration,
    new_delivery,
)
from relay.transport.stream.outbound import SyslogStreamOutProtocol
from relay.wire.framing.decoders import encode_newline_syslog, encode_octet_counted_syslog

__all__ = ["TCP", "TLS"]


def _framing_key(default: str) -> str:
    return key(
        Choice(("octet-counting", "newline")), default, "separation of messages in the stream"
    )


@dataclass(frozen=True, slots=True)
class TcpConfiguration(UpstreamConfiguration):
    framing: str = _framing_key("newline")


@dataclass(frozen=True, slots=True)
class TlsUpstreamConfiguration(TcpConfiguration):
    framing: str = _framing_key("octet-counting")  # RFC 5425 §4.3
    tls: TlsConfiguration = group(TlsConfiguration, without=UPSTREAM_TLS_WITHOUT)


def _make(configuration: TcpConfiguration, parts: DestinationParts) -> Delivery:
    counting = configuration.framing == "octet-counting"
    encode = encode_octet_counted_syslog if counting else encode_newline_syslog
    return new_delivery(
        configuration, parts, lambda lane: partial(SyslogStreamOutProtocol, encode=encode)
    )


TCP = DestinationKind(
    scheme="tcp",
    address=HostPort(514),
    configuration=TcpConfiguration,
    delivered="the peer's kernel has acknowledged the bytes",
    medium="tcp",
    make=_make,
)
TLS = DestinationKind(
    scheme="tls",
    address=HostPort(6514),
    configuration=TlsUpstreamConfiguration,
    delivered="the same (RFC 5425)",
    medium="tcp",
    foreign_names=("ssl", "tcp+tls"),
    make=_make,
)
