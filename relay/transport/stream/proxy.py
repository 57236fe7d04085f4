"""PROXY protocol: connections whose header names the peer behind a proxy.

It lies below TLS: the header is not encrypted.  Twisted's own wrapper closes connections
whose first chunk is shorter than a header, hence this one.

The protocol above is made when the header is complete, so that its counters and warnings
refer to the peer that the header names.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import alsoProvides, directlyProvides, providedBy

from relay.model.clock import Clock
from relay.transport.connections import Timers, release
from relay.transport.held_sockets import StreamState
from relay.transport.stream.connection import InboundFactory, InboundProtocol
from relay.wire.framing.proxy_header import ProxyHeaderDecoder


class ProxyFactory(Factory):
    """Stands before the factory of a listener, and before its TLS.

    Args:
        inner: Makes the protocols of the peers behind the proxies.
        inbound: The source's factory: its counters, limits and warnings are used.
    """

    noisy = False

    def __init__(self, inner: Factory, *, inbound: InboundFactory, clock: Clock) -> None:
        self.inner = inner
        self.inbound = inbound
        self.clock = clock
        self.waiting: set[_ProxiedConnection] = set()

    def doStart(self) -> None:
        self.inner.doStart()

    def doStop(self) -> None:
        for connection in list(self.waiting):
            connection.abortConnection()
        self.inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _ProxiedConnection(self)

    def leave_connections(self) -> list[tuple[socket.socket, StreamState]]:
        """Give up, open, the connections that wait for their header."""
        left = []
        for connection in list(self.waiting):
            state = StreamState(unread=connection.received)
            if (released := release(connection.transport)) is not None:
                left.append((released, state))
        return left

    def reading(self, header: bytes) -> Protocol:
        """The protocol of a connection whose header has begun elsewhere."""
        return _ProxiedConnection(self, header)


def behind_proxy(protocol: InboundProtocol, peer: tuple[str, int]) -> Protocol:
    """A connection that goes on behind its header, with the address and port in that."""
    inbound = protocol.factory
    connection = _ProxiedConnection(ProxyFactory(inbound, inbound=inbound, clock=inbound.clock))
    connection.resume(protocol, peer)
    return connection


class _ProxiedConnection(ProtocolWrapper):
    """One connection: waits for the header, then passes everything on."""

    factory: Any
    transport: Any  # exists from makeConnection on
    wrappedProtocol: Any

    def __init__(self, factory: ProxyFactory, begun: bytes = b"") -> None:
        super().__init__(factory, None)  # type: ignore[arg-type]  # it comes with the header
        self._header = ProxyHeaderDecoder()
        self._begun = begun  # of the header, elsewhere
        self._resumed: Protocol | None = None  # goes on behind the header
        self._timers = Timers(factory.clock)
        self._peer: IPv4Address | IPv6Address | None = None

    def logPrefix(self) -> str:
        return "connection through a proxy"

    def makeConnection(self, transport: ITransport) -> None:
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        if self._resumed is not None:
            self._attach(self._resumed, b"")
            return
        limits = self.factory.inbound.limits
        self._timers.set("header", limits.handshake_seconds_max, self._too_slow)
        if len(self.factory.waiting) >= limits.connections_max:
            waiting = f"{limits.connections_max:,} (connections_max) wait for their header"
            self._refuse("refused", waiting)
        else:
            self.factory.waiting.add(self)
            if self._begun:
                self.dataReceived(self._begun)

    def resume(self, inner: Protocol, peer: tuple[str, int]) -> None:
        """Go on behind the header, which said that this is the peer."""
        self._resumed, self._peer = inner, _address(peer)

    @property
    def received(self) -> bytes:
        """The received part of the header."""
        return self._header.received

    def dataReceived(self, data: bytes) -> None:
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data)
            return
        if self.disconnecting:
            return
        rest = self._header.feed(data)
        if self._header.error is not None:
            self._refuse("protocol", str(self._header.error))
        elif self._header.complete:
            self._open(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        inner, self.wrappedProtocol = self.wrappedProtocol, None
        if inner is not None:
            inner.connectionLost(reason)

    def readConnectionLost(self) -> None:
        self.wrappedProtocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self.wrappedProtocol.writeConnectionLost()

    def getPeer(self) -> object:
        return self._peer or self.transport.getPeer()

    def abortConnection(self) -> None:
        self.disconnecting = True
        self.transport.abortConnection()

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """For the peer in the header; the proxy itself may be on a unix socket."""
        if hasattr(self.transport, "setTcpKeepAlive"):
            self.transport.setTcpKeepAlive(enabled)

    def _open(self, rest: bytes) -> None:
        self._stop_waiting()
        if self._header.peer is not None:
            self._peer = _address(self._header.peer)
        inner = self.factory.inner.buildProtocol(self.getPeer())
        if inner is None:
            self.abortConnection()
            return
        self._attach(inner, rest)

    def _attach(self, inner: Protocol, rest: bytes) -> None:
        self.wrappedProtocol = inner
        if IHalfCloseableProtocol.providedBy(inner):
            alsoProvides(self, IHalfCloseableProtocol)
        inner.makeConnection(self)
        if rest and self.wrappedProtocol is not None:
            inner.dataReceived(rest)

    def _too_slow(self) -> None:
        seconds = self.factory.inbound.limits.handshake_seconds_max
        self._refuse("protocol", f"no PROXY header within {seconds:g} s")

    def _refuse(self, kind: str, why: str) -> None:
        self._stop_waiting()
        inbound = self.factory.inbound
        if kind == "protocol":
            inbound.counters.protocol_errors += 1
        else:
            inbound.counters.connections_refused += 1
        inbound.reception.warn_of(inbound.origin_of(self.transport), kind, why)
        self.abortConnection()

    def _stop_waiting(self) -> None:
        self.factory.waiting.discard(self)
        self._timers.cancel_all()


def _address(peer: tuple[str, int]) -> IPv4Address | IPv6Address:
    host, port = peer
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, port)
