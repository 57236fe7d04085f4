from __future__ import annotations

import os
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.transport.local.inbound import OwnLog, PipeConnection
from tests.connections import RecordingNotices, open_reception
from tests.threads import Reactor


class Reading(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.losses = 0

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.losses += 1


class Piped:
    def __init__(self) -> None:
        self.reactor: Any = Reactor()
        self.protocol = Reading()
        reading, self.writing = os.pipe()
        os.set_blocking(reading, False)
        self.connection = PipeConnection(reading, self.protocol, self.reactor)


def test_a_pipe_is_read_until_its_end() -> None:
    piped = Piped()
    assert piped.connection in piped.reactor.readers
    assert piped.connection.doRead() is None
    os.write(piped.writing, b"one\n")
    assert piped.connection.doRead() is None
    os.close(piped.writing)
    end = piped.connection.doRead()
    assert end is not None
    piped.connection.connectionLost(Failure(end))
    assert (piped.protocol.data, piped.protocol.losses) == (b"one\n", 1)
    assert piped.connection not in piped.reactor.readers
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(piped.connection.fileno())


def test_a_pause_leaves_it_to_the_writer_to_wait() -> None:
    piped = Piped()
    piped.connection.pauseProducing()
    assert piped.connection not in piped.reactor.readers
    piped.connection.resumeProducing()
    assert piped.connection in piped.reactor.readers
    os.close(piped.writing)


def test_closing_it_twice_ends_it_once() -> None:
    piped = Piped()
    piped.connection.loseConnection()
    piped.connection.abortConnection()
    assert piped.protocol.losses == 0
    piped.reactor.advance(0)
    assert piped.protocol.losses == 1
    assert piped.connection.getHandle() is None
    os.close(piped.writing)


class Accepting:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.stored: list[Deferred[None]] = []

    def accept(self, frames: list[bytes], origin: Any) -> Deferred[None]:
        self.frames += frames
        self.stored.append(Deferred())
        return self.stored[-1]


class Logged:
    """An observer under test: the text of an event is that of its format."""

    def __init__(self, severity_max: int = 6) -> None:
        self.reactor: Any = Reactor()
        self.intake, self.counters = Accepting(), SourceCounters()
        self.notices = RecordingNotices()
        self.reception = open_reception(self.intake, self.counters, self.notices)
        self.log = OwnLog(
            self.reception,
            as_message=lambda event: event["message"],
            relay_name="web-1",
            severity_max=severity_max,
            now=lambda: 1e9,
            reactor=self.reactor,
        )

    def say(self, *messages: tuple[int, str] | None) -> None:
        for message in messages:
            self.log({"message": message, "log_level": LogLevel.info})
        self.reactor.run_handed_over()


def test_lines_of_the_log_are_messages_of_facility_syslog() -> None:
    logged = Logged()
    logged.say((4, "destination x: refused\nby y"), None, (6, "listens"))
    assert logged.intake.frames == []
    logged.reactor.advance(0)
    header = f"1 2001-09-09T01:46:40.000000+00:00 web-1 syslogrelay {os.getpid()} - -"
    assert [frame.decode() for frame in logged.intake.frames] == [
        f"<44>{header} destination x: refused",
        f"<44>{header} by y",
        f"<46>{header} listens",
    ]


def test_what_is_less_severe_is_left_out() -> None:
    logged = Logged(severity_max=4)
    logged.say((6, "listens"), (4, "refused"))
    logged.log.flush()
    assert len(logged.intake.frames) == 1


def test_what_the_source_says_about_itself_makes_no_loop() -> None:
    logged = Logged()
    logged.say((4, "source in: messages were lost"), (4, "source in, 10.0.0.1: refused"))
    logged.say((4, "source inner: refused"))
    logged.log.flush()
    assert len(logged.intake.frames) == 1


def test_too_many_at_once_are_dropped_and_counted() -> None:
    logged = Logged()
    logged.say(*[(6, "again")] * 1003)
    logged.reactor.advance(0)
    assert len(logged.intake.frames) == 1000
    assert logged.counters.dropped == {"own-log": 3}
    assert logged.counters.received_records == 3  # the intake counts the others


def test_while_admission_is_closed_nothing_waits() -> None:
    logged = Logged()
    logged.reception.admission.set_pending_bytes(5000)  # type: ignore[attr-defined]
    logged.say((3, "the disk is full"))
    logged.reactor.advance(0)
    assert logged.intake.frames == []
    assert logged.counters.dropped == {"admission-closed": 1}


def test_what_could_not_be_stored_is_said() -> None:
    logged = Logged()
    logged.say((3, "one"), (3, "two"))
    logged.log.flush()
    logged.intake.stored[0].errback(QueueError("the queue is closed"))
    assert logged.notices.said == [
        ("source in", "not-stored", "2 messages lost: the queue is closed")
    ]
