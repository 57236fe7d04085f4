from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.origin import Origin, Received, Transport
from relay.transport.connections import read_by
from relay.transport.stream.shared_reads import PAUSE_SECONDS, SharedReads
from relay.transport.turn_batch import TurnBatch
from tests.connections import RecordingIntake


class Poller:
    """An epoll of which the test says what has come."""

    def __init__(self) -> None:
        self.watched: dict[int, int] = {}
        self.events: list[tuple[int, int]] = []
        self.polls = 0
        self.closed = False

    def fileno(self) -> int:
        return 99

    def register(self, descriptor: int, events: int) -> None:
        assert descriptor not in self.watched
        self.watched[descriptor] = events

    def unregister(self, descriptor: int) -> None:
        if descriptor < 0 or descriptor not in self.watched:
            raise FileNotFoundError
        del self.watched[descriptor]

    def poll(self, timeout: float, events_max: int) -> list[tuple[int, int]]:
        assert timeout == 0
        self.polls += 1
        events, self.events = self.events[:events_max], self.events[events_max:]
        return events

    def close(self) -> None:
        self.closed = True


class Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        assert reader.fileno() == 99
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        assert reader.fileno() == 99, "it has to be open until then"
        self.readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:
        self.writers.append(writer)


class Reader:
    """One connection; `ends` is what it answers when it is read."""

    def __init__(self, descriptor: int, does: Any = lambda: None) -> None:
        self.descriptor = descriptor
        self.does = does
        self.reads = 0
        self.lost: list[Any] = []

    def fileno(self) -> int:
        return self.descriptor

    def doRead(self) -> Any:
        self.reads += 1
        return self.does()

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.value)


@implementer(IHalfCloseableDescriptor)
class HalfCloseable(Reader):
    def readConnectionLost(self, reason: Failure) -> None:
        self.lost.append(("reading", type(reason.value)))

    def writeConnectionLost(self, reason: Failure) -> None:
        pass


class Source:
    def __init__(self, *, answers: bool = False) -> None:
        self.reactor = Reactor()
        self.pollers: list[Poller] = []
        self.reads = SharedReads(self.reactor, answers=answers, new_poller=self.new_poller)

    def new_poller(self) -> Poller:
        self.pollers.append(Poller())
        return self.pollers[-1]

    def connect(self, *readers: Reader) -> None:
        for reader in readers:
            self.reads.addReader(reader)

    def came(self, *readers: Reader, event: int = select.EPOLLIN) -> None:
        """Something has come for these; the reactor notices, unless it looks away."""
        self.pollers[-1].events += [(reader.descriptor, event) for reader in readers]
        if self.is_watched:
            self.reads.doRead()

    @property
    def is_watched(self) -> bool:
        return self.reactor.readers == [self.reads]

    def stream(self, reader: Reader) -> None:
        """Two come so soon one after the other that the next ones wait."""
        self.came(reader)
        self.reactor.advance(PAUSE_SECONDS / 2)
        self.came(reader)


@pytest.fixture
def source() -> Source:
    return Source()


def test_each_connection_of_which_something_came_is_read_once(source: Source) -> None:
    one, other, silent = Reader(1), Reader(2), Reader(3)
    source.connect(one, other, silent)
    source.came(one, other)
    assert [reader.reads for reader in (one, other, silent)] == [1, 1, 0]


def test_what_comes_now_and_then_is_read_at_once(source: Source) -> None:
    one = Reader(1)
    source.connect(one)
    for count in (1, 2, 3):
        source.came(one)
        assert one.reads == count
        source.reactor.advance(PAUSE_SECONDS)
    assert (source.is_watched, source.reactor.getDelayedCalls()) == (True, [])


def test_what_streams_in_is_read_together(source: Source) -> None:
    one, other = Reader(1), Reader(2)
    source.connect(one, other)
    source.stream(one)
    assert not source.is_watched
    source.came(one, other)
    assert (one.reads, other.reads) == (2, 0)
    source.reactor.advance(PAUSE_SECONDS)
    assert (one.reads, other.reads) == (3, 1)
    source.came(other)
    source.reactor.advance(PAUSE_SECONDS)
    assert (one.reads, other.reads, source.is_watched) == (3, 2, False)


def test_a_stream_that_ends_is_watched_again(source: Source) -> None:
    one = Reader(1)
    source.connect(one)
    source.stream(one)
    source.reactor.advance(PAUSE_SECONDS)
    assert (source.is_watched, source.reactor.getDelayedCalls()) == (True, [])
    source.reactor.advance(PAUSE_SECONDS)
    source.came(one)
    assert (one.reads, source.is_watched) == (3, True)


def test_where_much_comes_nothing_waits(source: Source) -> None:
    one = Reader(1, does=source.reads.hurry)
    source.connect(one)
    source.stream(one)
    assert source.is_watched
    one.does = lambda: None
    source.stream(one)
    assert not source.is_watched
    one.does = source.reads.hurry
    source.came(one)
    source.reactor.advance(PAUSE_SECONDS)
    assert source.is_watched


def test_a_turn_reads_one_connection_that_brings_much(source: Source) -> None:
    big = [Reader(number, does=source.reads.hurry) for number in (1, 2, 3)]
    small = Reader(4)
    source.connect(*big, small)
    source.came(*big, small)
    assert [each.reads for each in (*big, small)] == [1, 0, 0, 0]
    source.came(*big)  # still, as far as the poller can tell
    assert [each.reads for each in (*big, small)] == [1, 1, 0, 0]
    source.reads.removeReader(big[2])
    source.reads.doRead()
    assert [each.reads for each in (*big, small)] == [1, 1, 0, 1]
    source.reads.doRead()  # the first come again
    assert [each.reads for each in (*big, small)] == [2, 1, 0, 1]


def test_a_connection_that_is_not_to_be_read_is_not(source: Source) -> None:
    one, other = Reader(1), Reader(2)
    source.connect(one, other, other)
    source.reads.removeReader(other)
    source.reads.removeReader(other)
    assert list(source.pollers[0].watched) == [1]
    one.does = lambda: source.reads.removeReader(other)
    source.reads.addReader(other)
    source.came(one, other)
    assert (one.reads, other.reads) == (1, 0)


def test_the_last_one_closes_the_poller_and_the_next_one_opens_another(source: Source) -> None:
    one = Reader(1)
    source.connect(one)
    source.reads.removeReader(one)
    assert (source.pollers[0].closed, source.reactor.readers) == (True, [])
    source.connect(one)
    source.stream(one)
    one.descriptor = -1  # it was closed first
    source.reads.removeReader(one)
    assert (source.pollers[1].closed, source.reactor.getDelayedCalls()) == (True, [])
    assert len(source.pollers) == 2


def test_all_go_and_one_comes_back_while_they_are_read(source: Source) -> None:
    one = Reader(1)

    def pause_and_resume() -> None:
        source.reads.removeReader(one)
        source.reads.addReader(one)

    source.connect(one)
    source.stream(one)
    one.does = pause_and_resume
    source.came(one)
    source.reactor.advance(PAUSE_SECONDS)
    assert (source.is_watched, source.reactor.getDelayedCalls()) == (True, [])
    one.does = lambda: source.reads.removeReader(one)
    source.came(one)
    assert (source.reactor.readers, source.reactor.getDelayedCalls()) == ([], [])


def test_a_connection_that_ends_is_told(source: Source) -> None:
    done, other = Reader(1, does=ConnectionDone), Reader(2)
    source.connect(done, other)
    source.came(done, other)
    assert [type(reason) for reason in done.lost] == [ConnectionDone]
    assert (source.reactor.writers, other.reads) == ([done], 1)
    assert list(source.pollers[0].watched) == [2]
    source.came(other, event=select.EPOLLHUP)
    assert [type(reason) for reason in other.lost] == [ConnectionLost]
    assert (other.reads, source.pollers[0].closed) == (1, True)


def test_half_of_a_connection_may_end(source: Source) -> None:
    half = HalfCloseable(1, does=ConnectionDone)
    source.connect(half)
    source.came(half)
    assert (half.lost, source.reactor.writers) == ([("reading", ConnectionDone)], [])
    half.does = ConnectionLost
    source.connect(half)
    source.came(half)
    assert [type(reason) for reason in half.lost[1:]] == [ConnectionLost]


def test_a_connection_that_fails_ends_and_the_others_go_on(source: Source) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    failing, other = Reader(1, does=fail), Reader(2)
    source.connect(failing, other)
    source.came(failing, other)
    assert [type(reason) for reason in failing.lost] == [ZeroDivisionError]
    assert other.reads == 1


def test_a_connection_that_fails_at_its_end_does_not_stop_the_others(source: Source) -> None:
    class Failing(Reader):
        def connectionLost(self, reason: Failure) -> None:
            raise ZeroDivisionError

    failing, other = Failing(1, does=ConnectionLost), Reader(2)
    source.connect(failing, other)
    source.stream(other)
    source.came(failing, other)
    source.reactor.advance(PAUSE_SECONDS)
    source.came(other)
    source.reactor.advance(PAUSE_SECONDS)
    assert other.reads == 4


def test_what_is_read_together_is_handed_over_together(source: Source) -> None:
    intake = RecordingIntake()
    batch = source.reads.batch = TurnBatch(intake, clock=source.reactor)
    received = Received([b"a"], Origin("in", Transport.TCP))

    def receive() -> None:
        batch.add(received, failed=lambda failure: None)

    one, other = Reader(1, does=receive), Reader(2, does=receive)
    source.connect(one, other)
    source.came(one, other)
    assert (intake.handed_over, source.reactor.getDelayedCalls()) == ([2], [])
    receive()  # not while they are read together, as at the end of a connection
    source.reactor.advance(0)
    assert intake.handed_over == [2, 1]


def test_all_else_is_asked_of_the_reactor(source: Source) -> None:
    source.reads.callLater(1, source.reactor.writers.append, "called")
    source.reactor.advance(1)
    assert source.reactor.writers == ["called"]
    assert (source.reads.fileno(), source.reads.logPrefix()) == (-1, "connections")


class Below(Reader):
    """A socket below a connection, as far as it says whether it is read."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection.fileno(), does=lambda: connection.recv(100) and None)
        self.reactor: Any = Reactor()
        self.reactor.readers.append(self)
        self.descriptor = connection.fileno()

    def stopReading(self) -> None:
        if isinstance(self.reactor, Reactor):
            self.reactor.readers.remove(self)

    def startReading(self) -> None:
        self.reactor.addReader(self)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_with_a_real_poller(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    watching: list[Any] = []
    reactor: Any = Clock()
    reactor.addReader, reactor.removeReader = watching.append, watching.remove
    reads = SharedReads(reactor)
    transport = Below(here)
    before = transport.reactor
    read_by(transport, reads)
    assert (before.readers, watching) == ([], [reads])
    reads.doRead()
    assert transport.reads == 0
    there.send(b"x")
    assert select.select([reads.fileno()], [], [], 0)[0]
    reads.doRead()
    assert transport.reads == 1
    reads.removeReader(transport)
    assert (watching, reads.fileno()) == ([], -1)


def test_peers_that_wait_for_answers_are_read_as_they_send() -> None:
    source, one = Source(answers=True), Reader(1)
    source.connect(one)
    source.stream(one)
    source.came(one)
    assert (source.is_watched, one.reads) == (True, 3)


def test_peers_that_send_on_without_answers_are_read_together() -> None:
    source = Source(answers=True)
    one = Reader(1, does=source.reads.stream)
    source.connect(one)
    source.stream(one)
    assert not source.is_watched
    source.came(one)
    source.reactor.advance(PAUSE_SECONDS)
    assert (source.is_watched, one.reads) == (False, 3)
    one.does = lambda: None  # from now on it waits
    source.came(one)
    source.reactor.advance(PAUSE_SECONDS)
    assert (source.is_watched, one.reads) == (True, 4)
