from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.transport.datagram.outbound import DATAGRAM_BYTES_MAX, DatagramSession
from relay.transport.upstream import UpstreamState
from tests.connections import RecordingDrain, RecordingNotices


class Socket:
    """A connected UDP socket: takes `room` datagrams, then fails with `error`."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.room = 1000
        self.error = errno.EAGAIN
        self.too_long = b""
        self.late_error = 0
        self.closed = False

    def send(self, datagram: bytes) -> int:
        if datagram == self.too_long:
            raise OSError(errno.EMSGSIZE, "Message too long")
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        self.room -= 1
        self.sent.append(datagram)
        return len(datagram)

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        error, self.late_error = self.late_error, 0
        return error

    def close(self) -> None:
        self.closed = True


class Setup:
    """A session under test with everything it talks to."""

    def __init__(self, connected: Any = None) -> None:
        self.clock = Clock()
        self.socket = connected or Socket()
        self.drain: Any = RecordingDrain()
        self.notices: Any = RecordingNotices()
        self.failures: list[str] = []
        self.state = UpstreamState(
            target="up:514",
            clock=self.clock,
            on_ready=print,
            on_failure=print,
            retry_seconds_min=1,
            retry_seconds_max=60,
        )
        self.session = DatagramSession(
            self.socket,
            drain=self.drain,
            state=self.state,
            clock=self.clock,
            notices=self.notices,
            on_failure=self.failures.append,
        )


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_a_record_is_a_datagram_and_delivered_when_sent(setup: Setup) -> None:
    assert setup.session.room == 128
    setup.session.send([b"one", b"two"])
    assert (setup.session.room, setup.socket.sent) == (0, [])
    setup.clock.advance(0)
    assert setup.socket.sent == [b"one", b"two"]
    assert setup.drain.acknowledged_records == 2
    assert setup.drain.events == ["pump"]
    assert setup.session.room == 128


def test_what_does_not_fit_a_datagram_is_cut_counted_and_said(setup: Setup) -> None:
    setup.session.send([b"x" * 65508, b"y" * 65507])
    setup.clock.advance(0)
    assert [len(datagram) for datagram in setup.socket.sent] == [DATAGRAM_BYTES_MAX] * 2
    assert (setup.state.truncated_records, setup.notices.kinds) == (1, ["truncated"])


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS])
def test_a_busy_kernel_is_asked_again(setup: Setup, error: int) -> None:
    setup.socket.room, setup.socket.error = 2, error
    setup.session.send([b"one", b"two", b"three"])
    setup.clock.advance(0)
    assert (setup.drain.acknowledged_records, setup.session.room) == (2, 0)
    setup.clock.advance(0.005)
    assert (setup.drain.acknowledged_records, setup.session.room) == (2, 0)
    setup.socket.room = 10
    setup.clock.advance(0.005)
    assert setup.socket.sent == [b"one", b"two", b"three"]
    assert (setup.drain.acknowledged_records, setup.session.room) == (3, 128)
    assert setup.failures == []


def test_an_error_ends_the_session_and_the_batch_does_not_count(setup: Setup) -> None:
    setup.socket.room, setup.socket.error = 1, errno.ECONNREFUSED
    setup.session.send([b"one", b"two"])
    setup.clock.advance(0)
    assert setup.drain.acknowledged_records == 0
    assert setup.drain.events == ["detach"]
    assert setup.failures == ["up:514: Connection refused"]
    assert (setup.socket.closed, setup.session.room) == (True, 0)
    assert setup.clock.getDelayedCalls() == []


def test_a_refusal_that_is_there_after_the_last_datagram_ends_the_session(setup: Setup) -> None:
    setup.socket.late_error = errno.ECONNREFUSED
    setup.session.send([b"one"])
    setup.clock.advance(0)
    assert setup.drain.acknowledged_records == 0
    assert setup.failures == ["up:514: Connection refused"]


def test_a_record_that_no_packet_can_hold_is_refused(setup: Setup) -> None:
    setup.socket.too_long = b"two"
    setup.session.send([b"one", b"two", b"three"])
    setup.clock.advance(0)
    assert setup.drain.acknowledged_records == 1
    assert setup.drain.events == ["Message too long", "detach"]
    assert setup.failures == ["up:514: Message too long"]
    assert setup.clock.getDelayedCalls() == []


def test_a_record_that_was_set_aside_is_not_in_the_way(setup: Setup) -> None:
    setup.drain.sets_aside = True
    setup.socket.too_long = b"two"
    setup.session.send([b"one", b"two", b"three"])
    setup.clock.advance(0)
    assert setup.socket.sent == [b"one", b"three"]
    assert (setup.drain.acknowledged_records, setup.failures) == (2, [])
    assert setup.session.room == 128


def test_the_last_of_a_batch_is_set_aside(setup: Setup) -> None:
    setup.drain.sets_aside = True
    setup.socket.too_long = b"one"
    setup.session.send([b"one"])
    setup.clock.advance(0)
    assert (setup.session.room, setup.drain.events[-1]) == (128, "pump")
    assert setup.clock.getDelayedCalls() == []


def test_closing_sends_nothing_more(setup: Setup) -> None:
    setup.session.send([b"one"])
    setup.session.close()
    setup.session.close()
    setup.clock.advance(1)
    assert (setup.socket.sent, setup.socket.closed) == ([], True)
    assert setup.drain.events == ["detach"]
    assert setup.failures == []


def test_with_a_real_socket() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        setup = Setup(ours)
        setup.session.send([b"x"] * 2000)  # more than the kernel keeps
        setup.clock.advance(0)
        taken = setup.drain.acknowledged_records
        assert 0 < taken < 2000
        for _ in range(taken):
            assert theirs.recv(10) == b"x"
        setup.clock.advance(0.005)
        assert setup.drain.acknowledged_records > taken
        setup.session.close()


def test_what_ends_the_socket_from_outside_ends_the_session_once(setup: Setup) -> None:
    setup.session.send([b"one"])
    for _ in range(2):
        setup.session.fail("the receiver ended it")
    assert setup.failures == ["up:514: the receiver ended it"]
    assert setup.drain.events == ["detach"]
    assert setup.socket.closed
    assert setup.clock.getDelayedCalls() == []
