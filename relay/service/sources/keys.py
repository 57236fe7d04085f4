"""Keys that several kinds of sources take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from relay.service.configuration.keys import key
from relay.service.configuration.model import YEAR_SECONDS, SourceConfiguration, Where
from relay.service.configuration.table import (
    Choice,
    Flag,
    Networks,
    Permissions,
    Seconds,
    Size,
    Whole,
    bytes_in_words,
)

__all__ = [
    "LISTENER_TLS_WITHOUT",
    "Access",
    "Connections",
    "Peers",
    "buffer_key",
    "connection_problems",
    "proxy_problems",
    "read_from_key",
    "socket_mode_key",
    "split_problems",
]

KiB, MiB, GiB = 2**10, 2**20, 2**30

LISTENER_TLS_WITHOUT = ("server_name",)
"""Keys for TLS that are for those who connect."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may send, by addresses."""

    allow: tuple[IPv4Network | IPv6Network, ...] = key(
        Networks(), (), "peers that may send", default_words="all"
    )
    deny: tuple[IPv4Network | IPv6Network, ...] = key(
        Networks(), (), "peers that may not send, even if they are in `allow`"
    )
    rate_per_peer_max: int = key(
        Whole(0, 10_000_000),
        0,
        "messages per second and peer address, with a burst of one second; above it "
        "connections are read more slowly and datagrams dropped; 0 = no limit",
    )


@dataclass(frozen=True, slots=True)
class Connections:
    """Limits of all connections of a source together."""

    connections_max: int = key(
        Whole(1, 1_000_000), 1000, "further connections are refused, counted and logged"
    )
    unfinished_bytes_max: int = key(
        Size(0, 16 * GiB),
        64 * MiB,
        "memory for incomplete messages of all connections together; 0 = no limit",
    )
    idle_seconds_max: float = key(
        Seconds(0.1, YEAR_SECONDS), 86400.0, "silence after which a connection is closed"
    )


@dataclass(frozen=True, slots=True)
class Peers:
    """Connections from other hosts."""

    proxy_protocol: bool = key(
        Flag(),
        False,
        "connections come from proxies (listed in `allow`) and begin with a PROXY "
        "header, version 1 or 2, which names the peer",
    )
    connections_per_peer_max: int | None = key(
        Whole(0, 1_000_000),
        None,
        "`connections_max` for each peer address, so that one peer cannot exclude the "
        "others; 0 = no limit",
        default_words="a tenth of `connections_max`, at least 1",
    )
    handshake_seconds_max: float = key(
        Seconds(0.1, 3600), 30.0, "time limit for each of TLS, RELP's open and a PROXY header"
    )

    def of_peer_max(self, connections_max: int) -> int:
        """Connections of one peer; 0 = no limit."""
        if self.connections_per_peer_max is None:  # one peer must not keep all others out
            return max(1, connections_max // 10)
        return self.connections_per_peer_max


def read_from_key(default: str) -> str:
    return key(
        Choice(("end", "beginning")),
        default,
        "where to start on first use",
    )


def socket_mode_key() -> int:
    return key(Permissions(), 0o666, "permissions of the socket")


def buffer_key() -> int:
    return key(
        Size(4 * KiB, 1 * GiB),
        8 * MiB,
        "SO_RCVBUF to request for datagram sockets; `status --json` shows the size granted",
    )


def connection_problems(
    source: SourceConfiguration, connections: Connections, where: Where
) -> Iterator[str]:
    if 0 < connections.unfinished_bytes_max < source.frame_bytes_max:
        yield (
            f"{where('unfinished_bytes_max')}: {bytes_in_words(connections.unfinished_bytes_max)} "
            "is less than one message may have, frame_bytes_max = "
            f"{bytes_in_words(source.frame_bytes_max)}; write more, or 0 for no limit"
        )


def proxy_problems(peers: Peers, access: Access, where: Where) -> Iterator[str]:
    if peers.proxy_protocol and not access.allow:
        yield (
            f"{where('proxy_protocol')}: anybody could send in the name of any address; write the "
            "addresses of the proxies into allow"
        )


def split_problems(source: SourceConfiguration, where: Where) -> Iterator[str]:
    """Of sources whose messages cannot be split."""
    if source.oversize == "split":
        yield (
            f"{where('oversize')}: what is read by {source.listen.scheme} cannot be split; write "
            "'truncate', 'drop' or 'quarantine'"
        )
