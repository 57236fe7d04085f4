"""Sockets that systemd has bound: what they are shows at the start."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeAlias

from relay.model.origin import Transport
from relay.service.configuration.keys import key
from relay.service.configuration.model import Url
from relay.service.configuration.table import Choice
from relay.service.configuration.url import Role
from relay.service.probes.local import probe_inherited
from relay.service.refusal import StartRefused
from relay.service.sources.datagrams import UDP, UNIXGRAM
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import NetworkSource, buffer_key, scheme_of
from relay.service.sources.service import Receiving, SourceService
from relay.service.sources.streams import RELP, RELP_TLS, TCP, TLS, UNIX

_NAME = re.compile(r"[!-9;-~]{1,255}")  # ASCII, no space, no colon


@dataclass(frozen=True, slots=True)
class _SocketName:
    form: ClassVar[str] = "://NAME"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        name = rest[2:]
        if not rest.startswith("//") or not _NAME.fullmatch(name):
            raise ValueError(
                "expected the name that the socket unit gives with FileDescriptorName= (default: "
                f"the unit's own name), as in systemd://syslog.socket, found {rest!r}"
            )
        return Url(scheme, inherited=name)


@dataclass(frozen=True, slots=True)
class InheritedSource(NetworkSource):
    transport: ClassVar = Transport.NONE  # as long as nobody has looked at the socket
    """Plain syslog on a socket of any kind: it has the keys of all of them."""

    protocol: str = key(
        Choice(("syslog", *(kind.scheme for kind in (TLS, RELP, RELP_TLS)))),
        "syslog",
        "protocol on a stream socket of `systemd://`; except for `syslog`, the source "
        "has the keys of that scheme",
    )
    receive_buffer_bytes: int = buffer_key()

    def transport_from(self, peer_host: str) -> Transport:
        return self.transport if peer_host else Transport.UNIX


_Kind: TypeAlias = SourceKind[Any]
_KINDS: dict[str, _Kind] = {kind.scheme: kind for kind in (UDP, TCP, UNIXGRAM, UNIX)}


def _make(source: InheritedSource, receiving: Receiving, parts: SourceParts) -> SourceService:
    listen = source.listen
    try:
        found = scheme_of(parts.systemd.descriptor_of(listen.inherited))
    except ValueError as error:
        raise StartRefused(f"source {source.id}: cannot use {listen}: {error}") from None
    kind = _KINDS[found]
    if problem := _misfit(source, kind):
        raise StartRefused(f"source {source.id}: {listen} is a {problem}")
    values = {each.name: getattr(source, each.name) for each in fields(source)}
    configuration = kind.configured(replace(listen, scheme=found), values)
    return kind.make(configuration, receiving, parts)


def _misfit(source: InheritedSource, kind: _Kind) -> str:
    """What the socket is that keys of `source` make no sense for; empty if all do."""
    of_addresses = {
        "allow": source.access.allow,
        "deny": source.access.deny,
        "proxy_protocol": source.peers.proxy_protocol,
    }
    given = [name for name, value in of_addresses.items() if value]
    if kind in (UNIX, UNIXGRAM) and given:
        return f"unix socket, where senders have no address; remove {' and '.join(given)}"
    if kind in (UNIX, UNIXGRAM) and "network" in source.authorise:
        return "unix socket, where senders have no address; remove network from authorise"
    if kind is UDP and source.peers.proxy_protocol:
        return "UDP socket, where proxies cannot say whom they speak for; remove proxy_protocol"
    return ""


SYSTEMD = SourceKind(
    scheme="systemd",
    address=_SocketName(),
    configuration=InheritedSource,
    delivered="a socket that systemd has bound",
    medium="systemd",
    chosen_by="protocol",
    make=_make,
    probe=lambda source, probe: probe_inherited(probe, source.listen.inherited),
)
