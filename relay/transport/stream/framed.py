"""Inbound connections that buffer incomplete frames."""

from __future__ import annotations

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from relay.transport.sockets import read_by
from relay.transport.stream.connection import InboundProtocol

__all__ = ["FramedProtocol"]

_MUCH_BYTES = 16 * 1024
"""After such a chunk, as large as a TLS record, more may wait already, or come soon."""


class FramedProtocol(InboundProtocol):
    """A connection that buffers an incomplete frame.  Subclasses decode."""

    def connectionMade(self) -> None:
        super().connectionMade()
        if self.factory.reads is not None and not self._refused:
            read_by(self.transport, self.factory.reads)
            if self._pauses:  # as while admission is closed; it was read anew by that
                self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        if len(data) >= _MUCH_BYTES and self.factory.reads is not None:
            self.factory.reads.hurry()
        super().dataReceived(data)
        if not (self.closing or self._refused):
            self.factory.unfinished.note(self, len(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.unfinished.forget(self)
        super().connectionLost(reason)

    @property
    def unfinished_bytes(self) -> int:
        """Bytes buffered of the incomplete frame."""
        return 0

    def cut_off(self, reason: str, why: str) -> None:
        """Cut the connection at once: count it under `reason` and log it."""
        self.closing = True
        self.factory.counters.connections_closed[reason] += 1
        self.warn(reason, f"closed: {why}")
        self.transport.abortConnection()
