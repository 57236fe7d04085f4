"""Sockets while sources change: which ones stay, and what becomes of those that nobody takes."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from relay.model.text import counted
from relay.service.configuration.model import SourceConfiguration
from relay.service.sources.service import ListeningSource, SourceService
from relay.transport.connections import unread_bytes
from relay.transport.held_sockets import HeldSockets, socket_name

_log = Logger(namespace="relay")


def wanted_socket(source: SourceConfiguration) -> str:
    """The name of the socket that a source will have, if it has one."""
    url = source.listen
    if url.inherited:
        return socket_name("inherited", url.inherited)
    kind = "datagram" if source.has_datagrams else "stream"
    return socket_name(kind, url.local_path or f"{url.host}:{url.port}")


def can_bind_first(new: SourceService, changing: Iterable[SourceService]) -> bool:
    """Whether `new` can bind its socket while these still have theirs.

    One that has no socket, or finds it where another one leaves it, cannot.
    """
    if not isinstance(new, ListeningSource) or new.url.inherited:
        return False
    for old in changing:
        if not isinstance(old, ListeningSource):
            continue
        if new.socket_name == old.socket_name:
            return False
        # tcp://127.0.0.1:514 and tcp://:514 are in each other's way.
        if new.url.port and new.url.port == old.url.port:
            return False
    return True


def close_connections(held: HeldSockets) -> int:
    """Close the connections that no source has taken, and say so; returns how many."""
    left = list(held.connections)
    waiting = sum(each.state.kept_bytes + unread_bytes(each.connected) for each in left)
    held.close_connections()
    if left:
        _log.warn(
            "handover: {connections} closed, of sources that are not there any more; {lost} of "
            "their messages were lost",
            connections=counted(len(left), "connection"),
            lost=counted(waiting, "byte"),
        )
    return len(left)
