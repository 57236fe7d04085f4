"""Connections, clocks and collaborators for unit tests: everything in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from relay.model.counters.source import SourceCounters
from relay.model.origin import Origin, Received
from relay.queue.admission.backpressure import Admission
from relay.transport.reception import Reception
from relay.transport.turn_batch import TurnBatch

__all__ = [
    "EachChunkATurn",
    "Pair",
    "RecordingDrain",
    "RecordingIntake",
    "RecordingNotices",
    "Wire",
    "fired",
    "lose",
    "open_reception",
]


class Wire(StringTransport):
    """A TCP connection that closes as Twisted's TLS does: not while it has a producer."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.asked_to_close = False
        self.writing_ended = False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = enabled

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    handle: Any = None
    reactor: Any = None

    def stopReading(self) -> None:
        """A test calls dataReceived, whoever watches the socket."""

    def startReading(self) -> None:
        pass

    def getHandle(self) -> Any:
        return self.handle

    def loseConnection(self) -> None:
        self.asked_to_close = True
        self.disconnecting = self.producer is None

    def loseWriteConnection(self) -> None:
        self.writing_ended = True

    def abortConnection(self) -> None:
        self.disconnected = self.disconnecting = True

    def unregisterProducer(self) -> None:
        self.producer = None
        self.disconnecting = self.disconnecting or self.asked_to_close


def lose(protocol: Any, reason: Exception | None = None) -> None:
    protocol.connectionLost(Failure(reason or ConnectionDone()))


class RecordingNotices:
    """Keeps what was said, without limits."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []

    def seconds(self) -> float:
        return 0.0

    def warn(self, subject: str, kind: str, text: str, *, group: str | None = None) -> None:
        self.said.append((subject, kind, text))

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.said]


def open_reception(intake: Any, counters: SourceCounters, notices: Any) -> Reception:
    """Of the source ``in``, whose admission is open up to 1,000 bytes."""
    admission = Admission(pending_bytes_max=1000, queue_bytes_max=1000)
    return Reception("in", intake, admission, counters, notices)


class RecordingIntake:
    """Takes frames; the test says when they are stored.

    Attributes:
        handed_over: How many batches each call brought.
        stored, positions: One for each call; all else has one for each batch.
    """

    def __init__(self) -> None:
        self.handed_over: list[int] = []
        self.batches: list[list[bytes]] = []
        self.origins: list[Origin] = []
        self.stored: list[Deferred[None]] = []
        self.positions: list[Mapping[str, bytes] | None] = []
        self.cut: list[dict[int, int] | None] = []
        self.pieces: list[dict[int, int] | None] = []

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        self.handed_over.append(len(batches))
        self.positions.append(positions)
        self.batches += [batch.frames for batch in batches]
        self.cut += [dict(batch.cut) or None for batch in batches]
        self.pieces += [dict(batch.pieces) or None for batch in batches]
        self.origins += [batch.origin for batch in batches]
        self.stored.append(Deferred())
        return self.stored[-1]


class EachChunkATurn(TurnBatch):
    """Hands over at once: every chunk comes in a turn of the reactor of its own."""

    def add(self, received: Received, *arguments: Any, **keywords: Any) -> None:
        super().add(received, *arguments, **keywords)
        self.flush()


class RecordingDrain:
    """Stands where the drain is; the test sends for it."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.acknowledged_records = 0
        self.sets_aside = False
        self.counts = True
        self.judged: list[tuple[int, bool]] = []

    def attach(self, session: Any) -> None:
        self.events.append("attach")

    def detach(self, session: Any) -> None:
        self.events.append("detach")

    def pump(self) -> None:
        self.events.append("pump")

    def acknowledged(self, session: Any, count: int) -> bool:
        self.acknowledged_records += count
        return self.counts

    def refused(
        self, session: Any, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        self.events.append(reason)
        self.judged.append((in_row, others_taken))
        return self.sets_aside


def fired(deferred: Deferred[Any]) -> list[Any]:
    """What `deferred` has fired with: nothing, its result, or its failure's value."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


class Pair:
    """Two protocols, connected, one of them a client of TLS and the other its server.

    Args:
        server: A factory; `listener` lies below it.
        client: A factory; `upstream` lies below it.
    """

    def __init__(self, server: Any, client: Any, *, listener: Any, upstream: Any) -> None:
        self.clock = Clock()
        below_server = TLSMemoryBIOFactory(listener, False, server, clock=self.clock)
        below_client = TLSMemoryBIOFactory(upstream, True, client, clock=self.clock)
        self.ends = [below_server.buildProtocol(None), below_client.buildProtocol(None)]
        self.wires: Sequence[Wire] = [Wire(lenient=True), Wire(lenient=True)]
        self._lost: set[int] = set()
        for end, wire in zip(self.ends, self.wires, strict=True):
            end.makeConnection(wire)
        self.pump()

    def pump(self) -> None:
        """Carry bytes to and fro until there are none, then end what was closed."""
        while True:
            self.clock.advance(0)
            moved = [self._move(0, 1), self._move(1, 0)]
            if not any(moved) and not self._end_closed():
                return

    def _move(self, source: int, target: int) -> bool:
        data = self.wires[source].value()
        if not data or target in self._lost or self.wires[target].producerState == "paused":
            return False
        self.wires[source].clear()
        self.ends[target].dataReceived(data)
        return True

    def _end_closed(self) -> bool:
        if self._lost or not any(wire.disconnecting for wire in self.wires):
            return False
        for number, (end, wire) in enumerate(zip(self.ends, self.wires, strict=True)):
            self._lost.add(number)
            lose(end, ConnectionAborted() if wire.disconnected else ConnectionDone())
        return True
