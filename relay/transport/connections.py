"""What the relay uses of Twisted's connections, beside `ITransport`.

Written out because type checkers cannot follow zope interfaces, and because the limits of one
read and one write, and the reactor of a connection, are in no interface.
"""

from __future__ import annotations

import socket
from typing import Protocol

from twisted.python.failure import Failure

__all__ = ["ReadDescriptor", "SocketConnection"]


class ReadDescriptor(Protocol):
    """What a reactor reads from (Twisted's IReadDescriptor)."""

    def fileno(self) -> int: ...

    def doRead(self) -> Exception | None:
        """Read once.  Returns why the connection has to end; None = it goes on."""
        ...

    def connectionLost(self, reason: Failure) -> object: ...


class SocketConnection(ReadDescriptor, Protocol):
    """A connection through TCP or a unix socket, below TLS and all wrappers."""

    SEND_LIMIT: int
    """Bytes that the kernel is handed at most in one turn of the reactor."""
    bufferSize: int
    """Bytes that are read at most in one turn of the reactor."""
    reactor: object

    def startReading(self) -> object: ...

    def stopReading(self) -> object: ...

    def getHandle(self) -> socket.socket | None: ...
