from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from relay.model.counters import SourceCounters
from relay.queue.admission import Admission
from relay.queue.gathering import Gathering
from relay.transport.gathered_reads import GatheredProtocol, GatheredReads
from relay.transport.inbound import InboundFactory
from relay.transport.inbound_limits import InboundLimits
from relay.transport.proxy_in import ProxyFactory
from tests.connections import RecordingIntake, RecordingNotices, Wire, lose


class Connection:
    """A connection whose reads bring what is in `arriving`, and what was done to it."""

    def __init__(self) -> None:
        self.gathering = Gathering(clock=Clock())
        self.arriving: list[int] = []  # sizes of chunks
        self.done: list[str] = []
        self.can_wait = True
        self.ending: Callable[[], object] = lambda: None
        self.reads = GatheredReads(
            self.gathering,
            read=self._read,
            pause=lambda: self.done.append("pause"),
            resume=lambda: self.done.append("resume"),
            can_wait=lambda: self.can_wait,
            abort=lambda: self.done.append("abort"),
        )

    def commit(self, *sizes: int) -> None:
        """A commit during which chunks of `sizes` come, as the reactor reads them."""
        self.gathering.begin()
        for size in sizes:
            self.reads.came(size)

    def _read(self) -> object:
        self.done.append("read")
        for size in self.arriving:
            self.reads.came(size)
        self.arriving.clear()
        return self.ending()


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def waiting(connection: Connection) -> Connection:
    connection.commit(100, 100)
    assert connection.done == ["pause"]
    connection.done.clear()
    return connection


def test_one_chunk_a_commit_is_read_as_it_comes(connection: Connection) -> None:
    connection.reads.came(100)
    connection.reads.came(100)  # nothing is committed
    for _ in range(3):
        connection.commit(100)
        connection.gathering.gather()
    assert connection.done == []


@pytest.mark.parametrize(
    ("size", "done"), [(16 * 1024, ["pause"]), (16 * 1024 + 1, [])], ids=["little", "much"]
)
def test_only_little_waits(connection: Connection, size: int, done: list[str]) -> None:
    connection.commit(100, size)
    assert connection.done == done


def test_what_is_held_up_or_ends_does_not_wait(connection: Connection) -> None:
    connection.can_wait = False
    connection.commit(100, 100, 100)
    assert connection.done == []


def test_it_is_paused_once_as_long_as_something_comes(waiting: Connection) -> None:
    for sizes in ([300], [16 * 1024 - 1, 1]):
        waiting.arriving[:] = sizes
        waiting.gathering.gather()
        waiting.gathering.begin()
    assert waiting.done == ["read", "read"]


@pytest.mark.parametrize("arriving", [[], [16 * 1024, 1]], ids=["nothing", "much"])
def test_it_is_read_as_it_comes_when_waiting_does_not_pay(
    waiting: Connection, arriving: list[int]
) -> None:
    waiting.arriving += arriving
    waiting.gathering.gather()
    assert waiting.done == ["read", "resume"]
    waiting.gathering.begin()
    waiting.gathering.gather()
    assert waiting.done == ["read", "resume"]


def test_it_waits_again_when_that_pays_again(waiting: Connection) -> None:
    waiting.gathering.gather()
    waiting.commit(100, 100)
    assert waiting.done == ["read", "resume", "pause"]


def test_what_was_held_up_meanwhile_is_not_read(waiting: Connection) -> None:
    waiting.can_wait = False
    waiting.gathering.gather()
    assert waiting.done == ["resume"]


def test_an_end_is_left_to_the_reactor(waiting: Connection) -> None:
    waiting.arriving.append(100)
    waiting.ending = lambda: "connection done"
    waiting.gathering.gather()
    assert waiting.done == ["read", "resume"]


def test_a_connection_that_fails_does_not_reach_the_commits(waiting: Connection) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    said: list[object] = []

    def observe(event: LogEvent) -> None:
        said.append(event["log_format"])

    waiting.ending = fail
    globalLogPublisher.addObserver(observe)
    try:
        waiting.gathering.gather()
    finally:
        globalLogPublisher.removeObserver(observe)
    assert waiting.done == ["read", "abort", "resume"]
    assert said == ["a connection failed"]


def test_one_that_is_gone_is_not_read(waiting: Connection) -> None:
    waiting.reads.forget()
    waiting.gathering.gather()
    assert waiting.done == []


# A protocol that waits.


class Chunks(GatheredProtocol):
    """The smallest subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[bytes] = []

    def take(self, chunk: bytes) -> None:
        self.chunks.append(chunk)


def new_factory(
    *,
    gathering: Gathering,
    admission: Admission | None = None,
    connections_max: int = 2,
) -> InboundFactory:
    notices: Any = RecordingNotices()
    return InboundFactory(
        source="in",
        transport="tcp",
        new_protocol=Chunks,
        intake=RecordingIntake(),
        admission=admission or Admission(pending_bytes_max=100, queue_bytes_max=1000),
        counters=SourceCounters(),
        limits=InboundLimits(
            frame_bytes_max=64,
            connections_max=connections_max,
            idle_seconds_max=30,
            handshake_seconds_max=10,
        ),
        clock=Clock(),
        notices=notices,
        secure=False,
        gathering=gathering,
    )


class Reading(Wire):
    """A connection that reads what is in `arriving` when it is asked to."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.arriving: list[bytes] = []

    def doRead(self) -> None:
        while self.arriving:
            self.protocol.dataReceived(self.arriving.pop(0))


class Committing:
    """A listener whose connections are read before commits."""

    def __init__(self) -> None:
        self.gathering = Gathering(clock=Clock())
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=1000)
        self.factory = new_factory(gathering=self.gathering, admission=self.admission)

    def connect(self) -> tuple[Any, Reading]:
        """A connection of which something came twice during a commit."""
        wire = Reading(peerAddress=IPv4Address("TCP", "10.0.0.1", 5514))
        protocol = self.factory.buildProtocol(None)
        wire.protocol = protocol
        protocol.makeConnection(wire)
        self.gathering.begin()
        protocol.dataReceived(b"one")
        assert wire.producerState == "producing"
        protocol.dataReceived(b"two")
        return protocol, wire


@pytest.fixture
def committing() -> Committing:
    return Committing()


def test_a_connection_is_left_alone_during_a_commit_and_read_before_the_next(
    committing: Committing,
) -> None:
    protocol, wire = committing.connect()
    assert wire.producerState == "paused"
    wire.arriving.append(b"three")
    committing.gathering.gather()
    assert protocol.chunks == [b"one", b"two", b"three"]
    assert wire.producerState == "paused"
    committing.gathering.end()
    assert wire.producerState == "producing"
    assert committing.factory.counters.pauses == 0  # those of admission are counted


def test_admission_goes_before_reading_for_a_commit(committing: Committing) -> None:
    protocol, wire = committing.connect()
    committing.admission.set_pending_bytes(1000)
    wire.arriving.append(b"three")
    committing.gathering.gather()
    assert protocol.chunks == [b"one", b"two"]
    assert wire.producerState == "paused"
    committing.admission.set_pending_bytes(0)
    assert wire.producerState == "producing"


@pytest.mark.parametrize("way", ["lost", "closed"])
def test_a_connection_that_ends_is_not_read_for_a_commit(committing: Committing, way: str) -> None:
    protocol, wire = committing.connect()
    wire.arriving.append(b"three")
    if way == "lost":
        lose(protocol)
    else:
        protocol.close()
    committing.gathering.gather()
    assert wire.arriving == [b"three"]


def test_a_local_program_is_read_as_it_writes() -> None:
    gathering = Gathering(clock=Clock())
    here, there = socket.socketpair()
    with here, there:
        wire = Wire(peerAddress=UNIXAddress(None))
        wire.getHandle = lambda: here  # type: ignore[method-assign,assignment,return-value]
        protocol = new_factory(gathering=gathering).buildProtocol(None)
        protocol.makeConnection(wire)
    gathering.begin()
    for _ in range(3):
        protocol.dataReceived(b"one")
    assert wire.producerState == "producing"


def test_behind_a_wrapper_it_is_the_socket_that_is_read() -> None:
    gathering = Gathering(clock=Clock())
    factory = new_factory(gathering=gathering)
    proxied = ProxyFactory(factory, inbound=factory, clock=Clock()).buildProtocol(None)
    wire = Reading(peerAddress=IPv4Address("TCP", "10.0.0.1", 5514))
    wire.protocol = proxied
    proxied.makeConnection(wire)
    proxied.dataReceived(b"PROXY UNKNOWN\r\n")
    gathering.begin()
    for chunk in (b"one", b"two"):
        proxied.dataReceived(chunk)
    wire.arriving.append(b"three")
    gathering.gather()
    assert proxied.wrappedProtocol.chunks == [b"one", b"two", b"three"]


def test_a_connection_that_is_refused_does_not_wait() -> None:
    gathering = Gathering(clock=Clock())
    factory = new_factory(gathering=gathering, connections_max=0)
    wire = Reading(peerAddress=IPv4Address("TCP", "10.0.0.1", 5514))
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(wire)
    gathering.begin()
    for _ in range(3):
        protocol.dataReceived(b"one")
    lose(protocol)
    assert wire.producerState == "producing"
