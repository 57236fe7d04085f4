"""Sources that listen in several places: what other programs open by one word.

    default-network://    what syslog-ng's default-network-drivers() opens
    sematext-receiver://  what Sematext's receivers offer

A member of such a set is a source like any other, with the id of the set, a dot
and its own name: that is how it is counted and named.  Members accept both
framings and every form of message, because every source does.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from relay.service.configuration.model import TlsConfiguration, Url

__all__ = [
    "PORT_KEYS",
    "SET_SCHEMES",
    "Member",
    "missing_certificate",
    "opened_members",
    "schemes_of",
    "with_members",
]


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    scheme: str
    port: int
    """Where it listens if nothing else is said."""

    @property
    def port_key(self) -> str:
        """The key that says otherwise."""
        return f"{self.name.replace('-', '_')}_port"


_SETS: Mapping[str, tuple[Member, ...]] = {
    "default-network": (
        Member("udp", "udp", 514),
        Member("tcp", "tcp", 514),
        Member("rfc5424-tcp", "tcp", 601),
        Member("rfc5424-tls", "tls", 6514),
    ),
    "sematext-receiver": (
        Member("udp", "udp", 514),
        Member("tcp", "tcp", 514),
        Member("tls", "tls", 10514),
        Member("relp", "relp", 20514),
    ),
}

SET_SCHEMES = tuple(_SETS)

PORT_KEYS: Mapping[str, tuple[str, ...]] = {
    key: tuple(
        scheme
        for scheme, members in _SETS.items()
        if key in [member.port_key for member in members]
    )
    for members in _SETS.values()
    for key in [member.port_key for member in members]
}
"""The sets in which each port key has a meaning."""


def schemes_of(scheme: str) -> tuple[str, ...]:
    """Every scheme that a source with this one listens with, its own first."""
    return (scheme, *(member.scheme for member in _SETS.get(scheme, ())))


def opened_members(url: Url, table: MutableMapping[str, int]) -> dict[str, tuple[Member, Url]]:
    """What a set listens on, by the members' names.

    Args:
        table: The source's; the port keys are taken out of it.

    Raises:
        ValueError: Nothing is left to listen on.
    """
    opened = {}
    for member in _SETS[url.scheme]:
        port = table.pop(member.port_key, member.port)
        if port:
            opened[member.name] = (member, Url(member.scheme, host=url.host, port=port))
    if not opened:
        keys = ", ".join(member.port_key for member in _SETS[url.scheme])
        raise ValueError(f"every port of {url.scheme} is 0; open at least one of {keys}")
    return opened


def missing_certificate(
    opened: Mapping[str, tuple[Member, Url]], tls: TlsConfiguration
) -> list[str]:
    """A text for each member that needs a certificate where there is none."""
    if tls.certificate or tls.private_key:
        return []
    return [
        f"is missing; the TLS listener on port {url.port} needs certificate and private_key: give "
        f"both, or write {member.port_key} = 0 to leave it out"
        for member, url in opened.values()
        if url.is_tls
    ]


def with_members(ids: tuple[str, ...], members: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """`ids` of sources with each set replaced by its members, none twice.

    Args:
        members: The ids of each set's members.
    """
    return tuple(dict.fromkeys(one for id in ids for one in members.get(id, (id,))))
