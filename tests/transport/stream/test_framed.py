from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from relay.model.counters import SourceCounters
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.transport.stream.framed import FramedProtocol
from tests.connections import RecordingIntake, RecordingNotices, Wire, lose, open_reception


class Heap(FramedProtocol):
    """Keeps whatever it gets."""

    kept = 0

    def take(self, chunk: bytes) -> None:
        self.kept += len(chunk)

    @property
    def unfinished_bytes(self) -> int:
        return self.kept


def new_factory(**keywords: Any) -> InboundFactory:
    notices: Any = RecordingNotices()
    return InboundFactory(
        open_reception(RecordingIntake(), SourceCounters(), notices),
        transport="tcp",
        new_protocol=Heap,
        limits=InboundLimits(
            frame_bytes_max=64,
            connections_max=2,
            idle_seconds_max=30,
            handshake_seconds_max=10,
            unfinished_bytes_max=10,
        ),
        clock=Clock(),
        secure=False,
        **keywords,
    )


def connect(factory: InboundFactory) -> tuple[Any, Wire]:
    protocol, wire = factory.buildProtocol(None), Wire()
    protocol.makeConnection(wire)
    return protocol, wire


def test_what_is_kept_is_counted_while_the_connection_lasts() -> None:
    factory = new_factory()
    protocol, _ = connect(factory)
    protocol.dataReceived(b"1234")
    assert factory.unfinished.bytes == 4
    lose(protocol)
    assert factory.unfinished.bytes == 0


def test_a_connection_that_keeps_too_much_is_cut_off_and_counted() -> None:
    factory = new_factory()
    protocol, wire = connect(factory)
    protocol.dataReceived(b"12345678901")
    assert wire.disconnected
    assert factory.counters.connections_closed == {"unfinished-frames": 1}
    protocol.dataReceived(b"late")
    assert factory.unfinished.bytes == 0


class Reads:
    """Stands for `SharedReads`."""

    batch: Any = None

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.hurried = 0

    def hurry(self) -> None:
        self.hurried += 1


class Socket(Wire):
    reactor: Any = None

    def stopReading(self) -> None:
        assert self.reactor is None

    def startReading(self) -> None:
        self.reactor.readers.append(self)


def test_connections_are_read_together_and_large_chunks_hurry() -> None:
    reads: Any = Reads()
    factory = new_factory(reads=reads)
    protocol, wire = factory.buildProtocol(None), Socket()
    protocol.makeConnection(wire)
    assert (wire.reactor, reads.readers, reads.batch) == (reads, [wire], factory.turn_batch)
    protocol.dataReceived(b"x")
    assert reads.hurried == 0
    protocol.dataReceived(b"x" * 16_385)
    assert reads.hurried == 1


def test_a_connection_that_is_paused_as_it_is_made_stays_so() -> None:
    calls: list[str] = []

    class Paused(Socket):
        def pauseProducing(self) -> None:
            calls.append("pause")

        def startReading(self) -> None:
            calls.append("read")

    factory = new_factory(reads=Reads())
    factory.admission.set_failure("the disk is full", 0.0)
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(Paused())
    assert calls == ["pause", "read", "pause"]
