"""Connections change hands between any two bytes, and nobody at the other end notices."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from twisted.internet import tcp, unix
from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.model.origin import Transport
from relay.transport.held_sockets import HeldConnection, StreamState
from relay.transport.joining import JoinedIntake
from relay.transport.peers import PermittedPeers
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.sockets import bind_stream
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.transport.stream.inbound import SyslogStreamProtocol
from relay.transport.stream.proxy import ProxyFactory
from relay.transport.stream.resumption import resume_connection
from relay.wire.relp.blocks import Contexts
from tests.connections import RecordingIntake, RecordingNotices, open_reception

HEADER = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 514\r\n"


class Reactor(Clock):
    """Reads when told to, from real sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    removeWriter = removeReader

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> Any:
        reactor: Any = self
        if family == socket.AF_UNIX:
            return unix.Server._fromConnectedSocket(descriptor, factory, reactor)
        return tcp.Server._fromConnectedSocket(descriptor, family, factory, reactor)

    def read(self) -> None:
        for reader in list(self.readers):
            reader.doRead()


class Source:
    """What receives the connections of one process."""

    def __init__(self, **given: Any) -> None:
        self.intake, self.notices = RecordingIntake(), RecordingNotices()
        self.counters, self.reactor = SourceCounters(), Reactor()
        reception = open_reception(self.intake, self.counters, self.notices)
        if given.pop("joins", False):
            joined = JoinedIntake(
                reception,
                begins=lambda line: not line.startswith(b" "),
                seconds_max=5,
                frame_bytes_max=1000,
                oversize="truncate",
                has_connections=True,
                clock=self.reactor,
            )
            reception = replace(reception, intake=joined, joining=joined)
        new_protocol: Any = given.pop("new_protocol", SyslogStreamProtocol)
        rate = given.pop("rate", 0)
        self.factory = InboundFactory(
            reception,
            transport=Transport.TCP,
            new_protocol=new_protocol,
            limits=InboundLimits(
                frame_bytes_max=64,
                connections_max=given.pop("connections_max", 9),
                idle_seconds_max=30,
                handshake_seconds_max=5,
                rate_per_peer_max=rate,
            ),
            clock=self.reactor,
            secure=given.pop("secure", False),
            permitted=given.pop("permitted", None),
        )
        self.proxies: ProxyFactory | None = None
        if given.pop("proxies", False):
            self.proxies = ProxyFactory(self.factory, inbound=self.factory, clock=self.reactor)
            self.factory.entrance = self.proxies
        assert not given

    def accept(self, connected: socket.socket) -> None:
        with connected:
            factory = self.proxies or self.factory
            self.reactor.adoptStreamConnection(connected.fileno(), connected.family, factory)

    def read(self) -> list[bytes]:
        """All frames so far, after one more read."""
        self.reactor.read()
        self.reactor.advance(0)
        return self.frames

    @property
    def frames(self) -> list[bytes]:
        return [frame for batch in self.intake.batches for frame in batch]

    def give_to(self, other: Source, **keywords: Any) -> list[StreamState]:
        left = self.factory.leave_connections(**{"reads_rest": False, **keywords})
        states = []
        for connected, state in left:
            sent = msgspec.json.decode(msgspec.json.encode(state), type=StreamState)
            states.append(sent)
            resume_connection(HeldConnection("n", connected, sent), other.factory, other.reactor)
        return states


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with bind_stream("127.0.0.1", 0) as listening:
        sender = socket.create_connection(listening.getsockname(), timeout=5)
        connected, _ = listening.accept()
    with sender, connected:
        connected.setblocking(False)
        yield sender, connected


Pair = tuple[socket.socket, socket.socket]


def test_a_frame_may_begin_here_and_end_there(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(), Source()
    first.accept(connected)
    sender.sendall(b"7 <13>one7 <13>t")  # and 8 bytes after that
    assert first.read() == [b"<13>one"]
    sender.sendall(b"wo8 <13>thr")  # which nobody has read
    first.give_to(second)
    assert first.frames == [b"<13>one"]
    assert not first.factory.connections
    assert second.read() == [b"<13>two"]
    sender.sendall(b"e7 <13>end")
    assert second.read() == [b"<13>two", b"<13>thre", b"<13>end"]
    assert second.intake.origins[0].peer_port == sender.getsockname()[1]


def test_the_sender_notices_nothing(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(), Source()
    first.accept(connected)
    first.give_to(second)
    first.reactor.advance(100)
    sender.setblocking(False)
    with pytest.raises(BlockingIOError):
        sender.recv(1)
    assert (first.counters.connections_open, second.counters.connections_open) == (0, 1)
    assert (first.counters.connections_accepted, second.counters.connections_accepted) == (1, 0)
    assert first.notices.said == second.notices.said == []


def test_what_waits_in_the_kernel_can_be_taken_first(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(), Source()
    first.accept(connected)
    sender.sendall(b"<13>one\n<13>tw")
    first.give_to(second, reads_rest=True)
    assert first.frames == [b"<13>one"]
    sender.sendall(b"o\n")
    assert second.read() == [b"<13>two"]


def test_an_undecided_end_is_settled_by_the_next(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(), Source()
    first.accept(connected)
    sender.sendall(b"7 <13>one5 <13>")
    first.read()
    first.give_to(second)
    second.reactor.advance(2)
    sender.shutdown(socket.SHUT_WR)
    connection = next(iter(second.factory.connections))
    assert connection.unfinished_bytes or second.frames


def test_lines_of_one_message_may_come_to_two_processes(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(joins=True), Source(joins=True)
    first.accept(connected)
    sender.sendall(b"<13>a\n 1\n")
    first.read()
    first.give_to(second)
    first.factory.reception.joining.stop()  # type: ignore[union-attr]
    assert (first.frames, second.counters.waiting_lines) == ([], 2)
    sender.sendall(b" 2\n<13>b\n")
    assert second.read() == [b"<13>a\n 1\n 2"]


def test_lines_stay_one_message_where_none_are_joined_any_more(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(joins=True), Source()
    first.accept(connected)
    sender.sendall(b"<13>a\n 1\n")
    first.read()
    first.give_to(second)
    second.reactor.advance(0)
    assert second.frames == [b"<13>a\n 1"]


def test_what_waits_for_its_rate_goes_along(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(rate=1), Source()
    first.accept(connected)
    sender.sendall(b"".join(b"<13>%04d\n" % number for number in range(1000)))
    taken = first.read()
    assert 0 < len(taken) < 1000
    states = first.give_to(second)
    assert states[0].unread
    second.reactor.advance(0)
    assert first.frames + second.read() == [b"<13>%04d" % number for number in range(1000)]


def test_who_is_behind_a_proxy_is_still_known(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(proxies=True), Source()  # which may have no proxy_protocol any more
    first.accept(connected)
    sender.sendall(HEADER + b"<13>on")
    first.read()
    first.give_to(second)
    sender.sendall(b"e\n")
    assert second.read() == [b"<13>one"]
    assert second.intake.origins[0].peer == "192.0.2.7:40000"


def test_half_a_proxy_header_goes_along(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(proxies=True), Source(proxies=True)
    first.accept(connected)
    sender.sendall(HEADER[:20])
    first.read()
    first.give_to(second)
    assert first.proxies is not None and not first.proxies.waiting
    sender.sendall(HEADER[20:] + b"<13>one\n")
    assert second.read() == [b"<13>one"]
    assert second.intake.origins[0].peer == "192.0.2.7:40000"


def relp() -> RelpServerProtocol:
    return RelpServerProtocol(software=b"x", contexts=Contexts())


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"secure": True}, "the source has TLS now"),
        ({"new_protocol": relp}, "the source has another protocol now"),
        ({"connections_max": 0}, "it was refused"),
        ({"permitted": PermittedPeers(deny=())}, ""),
    ],
)
def test_one_that_cannot_go_on_is_closed_counted_and_said(
    pair: Pair, keywords: dict[str, Any], problem: str
) -> None:
    sender, connected = pair
    first, second = Source(), Source(**keywords)
    first.accept(connected)
    sender.sendall(b"<13>one\n<13>tw")
    first.read()
    sender.sendall(b"o")
    first.give_to(second)
    second.reactor.advance(0)
    if not problem:
        assert len(second.factory.connections) == 1
        return
    with pytest.raises(ConnectionResetError):
        sender.recv(1)
    assert second.counters.connections_closed["handover"] == 1
    kind, text = second.notices.said[-1][1:]
    assert kind == "handover"
    assert problem in text and "7 bytes of its messages were lost" in text


def test_a_relp_connection_is_not_left(pair: Pair) -> None:
    _, connected = pair
    first = Source(new_protocol=relp)
    first.accept(connected)
    assert first.factory.leave_connections(reads_rest=False) == []
    assert len(first.factory.connections) == 1


def test_no_more_are_left_than_there_is_room_for(pair: Pair) -> None:
    _, connected = pair
    first = Source()
    first.accept(connected)
    assert first.factory.leave_connections(reads_rest=False, most=0) == []
    assert len(first.factory.connections) == 1


def test_a_connection_of_a_unix_socket(pair: Pair) -> None:
    sender, connected = socket.socketpair()
    connected.setblocking(False)
    first, second = Source(), Source()
    first.accept(connected)
    with sender:
        sender.sendall(b"<13>on")
        first.read()
        first.give_to(second)
        sender.sendall(b"e\n")
        assert second.read() == [b"<13>one"]
        assert second.intake.origins[0].pid is not None


def test_a_peer_that_has_gone_is_read_to_its_end(pair: Pair) -> None:
    sender, connected = pair
    first, second = Source(), Source()
    first.accept(connected)
    sender.sendall(b"<13>on")
    first.read()
    sender.sendall(b"e\n")
    sender.close()
    first.give_to(second)
    assert second.read() == [b"<13>one"]
