"""Go on with connections that another process, or an earlier source, has left open."""

from __future__ import annotations

import os
import socket

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from relay.model.clock import Reactor
from relay.model.text import counted
from relay.transport.connections import unread_bytes
from relay.transport.held_sockets import HeldConnection, StreamState
from relay.transport.stream.connection import InboundFactory, InboundProtocol
from relay.transport.stream.proxy import behind_proxy


class _OneConnection(Factory):
    """Makes the protocol of one connection that was left open."""

    noisy = False

    def __init__(self, state: StreamState, inbound: InboundFactory) -> None:
        self._state = state
        self._inbound = inbound

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        state, entrance = self._state, self._inbound.entrance
        if state.decoder is None:
            assert entrance is not None
            return entrance.reading(state.unread)
        protocol = self._inbound.buildProtocol(addr)
        assert isinstance(protocol, InboundProtocol)
        protocol.resumed = state
        return protocol if state.peer is None else behind_proxy(protocol, state.peer)


def resume_connection(held: HeldConnection, inbound: InboundFactory, reactor: Reactor) -> bool:
    """Have the connections of a source go on with one that was left open.

    Returns:
        False if it cannot and is closed; what that loses is counted and said.
    """
    with held.connected as connected:
        lost = held.state.kept_bytes + unread_bytes(connected)
        problem = _obstacle(held, inbound)
        if not problem:
            try:
                before = len(inbound.connections)
                factory = _OneConnection(held.state, inbound)
                reactor.adoptStreamConnection(connected.fileno(), connected.family, factory)
                if len(inbound.connections) > before or held.state.decoder is None:
                    return True
                problem = "it was refused"
            except OSError as error:
                problem = error.strerror or str(error)
    inbound.counters.connections_closed["handover"] += 1
    text = f"a connection that was open before the start is closed: {problem}"
    if lost:
        text += f"; {counted(lost, 'byte')} of its messages were lost"
    inbound.reception.warn("handover", text)
    return False


def _obstacle(held: HeldConnection, inbound: InboundFactory) -> str:
    """Why a source cannot go on with a connection; empty if it can."""
    if inbound.secure:
        return "the source has TLS now"
    if not inbound.resumes:
        return "the source has another protocol now"
    if held.state.decoder is None and inbound.entrance is None:
        return "the source has no proxy_protocol any more, and a PROXY header has begun"
    if not inbound.admits(_address_of(held.connected)):
        return "its address is not allowed any more"
    return ""


def _address_of(connected: socket.socket) -> IPv4Address | IPv6Address | UNIXAddress:
    try:
        name = connected.getpeername()
    except OSError:  # it is gone, which will show
        return UNIXAddress(None)
    if connected.family == socket.AF_UNIX:
        return UNIXAddress(os.fsencode(name) if isinstance(name, str) else None)
    kind = IPv6Address if connected.family == socket.AF_INET6 else IPv4Address
    return kind("TCP", *name[:2])
