from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.policies import WrappingFactory

from relay.transport.stream.outbound import SyslogStreamOutProtocol, tcp_acknowledged_bytes
from relay.transport.upstream import CountingWrapper, Timeouts, UpstreamState
from relay.wire.framing.decoders import encode_octet_counted
from tests.connections import RecordingDrain, Wire, lose

SYN = 1


class Kernel:
    """How much the other end's TCP has acknowledged, as the test says."""

    def __init__(self) -> None:
        self.acknowledged = SYN

    def ask(self, connected: Any) -> int:
        return self.acknowledged


class Aside(Protocol):
    """Stands above the wrapper that counts, instead of the protocol under test."""


class Connection:
    """A protocol under test with everything it talks to."""

    def __init__(self, confirm_seconds: float = 0.0) -> None:
        self.clock = Clock()
        self.remarks: list[str] = []
        self.kernel = Kernel()
        self.drain: Any = RecordingDrain()
        self.wire = Wire()
        self.failures: list[str] = []
        self.state = UpstreamState(
            target="up",
            clock=self.clock,
            on_ready=lambda text: None,
            on_failure=self.failures.append,
            retry_seconds_min=1,
            retry_seconds_max=60,
            on_remark=self.remarks.append,
        )
        self.protocol = SyslogStreamOutProtocol(
            drain=self.drain,
            state=self.state,
            clock=self.clock,
            secure=False,
            timeouts=Timeouts(30, 60, confirm_seconds=confirm_seconds),
            encode=encode_octet_counted,
            acknowledged_bytes=self.kernel.ask,
        )
        self.counting = CountingWrapper(WrappingFactory(Factory()), Aside())
        self.counting.makeConnection(self.wire)
        self.protocol.makeConnection(self.counting)


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_it_is_ready_at_once(connection: Connection) -> None:
    assert connection.drain.events == ["attach"]
    assert (
        connection.state.text
        == "connected to up, delivered to its TCP, not confirmed by the receiver"
    )
    assert connection.clock.getDelayedCalls() == []


def test_delivered_is_what_the_other_tcp_has_acknowledged(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two"])
    assert connection.wire.value() == b"3 one3 two"
    connection.clock.advance(0.1)
    connection.kernel.acknowledged = SYN + 9
    connection.clock.advance(0.1)
    assert connection.drain.acknowledged_records == 0
    connection.kernel.acknowledged = SYN + 10
    connection.clock.advance(0.1)
    assert connection.drain.acknowledged_records == 2
    assert connection.clock.getDelayedCalls() == []


def test_what_was_acknowledged_before_is_not_ours() -> None:
    """Whether the kernel counts the SYN makes no difference."""
    for before in (0, 1, 500):
        connection = Connection()
        connection.protocol._acknowledged_before = before
        connection.kernel.acknowledged = before + 4
        connection.protocol.send([b"one"])
        connection.clock.advance(0.1)
        assert connection.drain.acknowledged_records == 0
        connection.kernel.acknowledged = before + 5
        connection.clock.advance(0.1)
        assert connection.drain.acknowledged_records == 1


def test_the_window_ends_and_opens_again(connection: Connection) -> None:
    assert connection.protocol.room == 8192
    connection.protocol.send([b"x"] * 8000)
    assert connection.protocol.room == 192
    connection.protocol.send([b"x" * 2**20])
    assert connection.protocol.room == 0
    connection.kernel.acknowledged = SYN + len(connection.wire.value())
    connection.clock.advance(0.1)
    assert connection.protocol.room == 8192
    assert connection.drain.acknowledged_records == 8001


def test_it_asks_less_and_less_often_and_quickly_again(connection: Connection) -> None:
    def pause() -> float:
        (call,) = connection.clock.getDelayedCalls()
        seconds = call.getTime() - connection.clock.seconds()
        connection.clock.advance(seconds)
        return round(seconds, 3)

    connection.protocol.send([b"one"])
    assert [pause() for _ in range(8)] == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.1]
    connection.kernel.acknowledged = SYN + 5
    pause()
    connection.protocol.send([b"one"])
    assert pause() == 0.002


def test_nothing_acknowledged_for_too_long(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two"])
    for _ in range(599):
        connection.clock.advance(0.1)
    connection.kernel.acknowledged += 1  # slow, but alive
    for _ in range(599):
        connection.clock.advance(0.1)
    assert not connection.wire.disconnected
    for _ in range(5):
        connection.clock.advance(0.1)
    assert connection.wire.disconnected
    assert connection.protocol.room == 0
    lose(connection.protocol)
    assert connection.failures == ["up: nothing acknowledged for 60 s"]
    assert connection.drain.acknowledged_records == 0
    assert connection.clock.getDelayedCalls() == []


def test_a_full_write_buffer_ends_the_room(connection: Connection) -> None:
    assert connection.wire.producer is connection.protocol
    connection.protocol.pauseProducing()
    assert connection.protocol.room == 0
    connection.protocol.resumeProducing()
    assert connection.protocol.room == 8192
    assert connection.drain.events == ["attach", "pump"]


def test_a_connection_lost_with_records_in_flight(connection: Connection) -> None:
    connection.protocol.send([b"one"])
    lose(connection.protocol)
    assert connection.drain.events == ["attach", "detach"]
    assert connection.clock.getDelayedCalls() == []


def test_a_stop_closes_after_what_was_written(connection: Connection) -> None:
    connection.protocol.send([b"one"])
    connection.state.stopped()
    connection.protocol.shut_down()
    assert connection.wire.disconnecting
    connection.clock.advance(0.1)
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []
    assert connection.failures == []


def test_what_the_upstream_says_is_nothing_to_us(connection: Connection) -> None:
    connection.protocol.dataReceived(b"250 OK\r\n")
    assert not connection.wire.disconnecting


class Connected:
    """A TCP socket as far as struct tcp_info goes (linux/tcp.h)."""

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return (bytes(120) + struct.pack("@Q", 2**33 + 1) + bytes(104))[:size]


def test_where_the_kernel_says_how_much_was_acknowledged() -> None:
    connected: Any = Connected()
    assert tcp_acknowledged_bytes(connected) == 2**33 + 1


@pytest.mark.parametrize("seconds", [1, 4])
def test_an_upstream_that_hangs_up_soon_may_expect_something_else(
    connection: Connection, seconds: float
) -> None:
    connection.clock.advance(seconds)
    lose(connection.protocol)
    text = " soon after it was opened: is this a port for TLS (tls://) or RELP (relp://)?"
    assert connection.failures[0].endswith(text) is (seconds == 1)


def test_an_upstream_that_answers_with_an_alert_of_tls(connection: Connection) -> None:
    connection.protocol.dataReceived(bytes.fromhex("15030100020246"))
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.failures == ["up: this port is for TLS: use tls://"]


def test_delivered_only_if_the_connection_lives_on() -> None:
    connection = Connection(confirm_seconds=0.5)
    connection.protocol.send([b"one"])
    connection.kernel.acknowledged = SYN + 5
    connection.clock.advance(0.002)
    connection.protocol.send([b"two"])
    assert connection.protocol.room == 8191  # what waits for that takes no room
    connection.clock.advance(0.25)
    connection.kernel.acknowledged = SYN + 10
    connection.clock.advance(0.1)
    assert connection.drain.acknowledged_records == 0
    connection.clock.advance(0.15)
    assert connection.drain.acknowledged_records == 1
    assert not connection.protocol.is_idle
    connection.clock.advance(0.4)
    assert connection.drain.acknowledged_records == 2
    assert connection.protocol.is_idle
    assert connection.clock.getDelayedCalls() == []


def test_what_tcp_acknowledged_right_before_the_end_is_sent_again() -> None:
    connection = Connection(confirm_seconds=0.5)
    connection.protocol.send([b"one"])
    connection.kernel.acknowledged = SYN + 5
    connection.clock.advance(0.3)
    lose(connection.protocol)
    connection.clock.advance(1)
    assert connection.drain.acknowledged_records == 0
    assert connection.drain.events[-1] == "detach"
    assert connection.clock.getDelayedCalls() == []


def test_it_is_renewed_when_all_is_delivered() -> None:
    connection = Connection(confirm_seconds=0.5)
    connection.protocol.send([b"one"])
    connection.protocol.retire("somebody wants it")
    assert connection.protocol.room == 0
    connection.kernel.acknowledged = SYN + 5
    connection.clock.advance(0.4)
    assert not connection.wire.disconnecting
    connection.clock.advance(0.5)
    assert connection.wire.disconnecting
    assert connection.drain.acknowledged_records == 1
    lose(connection.protocol)
    assert connection.failures == []
    assert connection.state.text == "connecting anew: somebody wants it"
    assert connection.state.retry_policy() == 0.0


def test_bytes_from_a_server_are_noticed_and_not_believed(connection: Connection) -> None:
    connection.protocol.send([b"one"])
    connection.counting.dataReceived(b"")
    connection.protocol.dataReceived(b"2 rsp 6 200 OK\n\x1b" + b"x" * 100)
    assert connection.drain.acknowledged_records == 0
    assert connection.state.unexpected_bytes == 116
    (remark,) = connection.remarks
    assert remark.startswith("up: sent 116 bytes that mean nothing here, '2 rsp 6 200 OK")
    assert "\x1b" not in remark and len(remark) < 200
