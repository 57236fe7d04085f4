from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.transport.datagram import dtls_outbound
from relay.transport.datagram.dtls_outbound import DtlsConnection, DtlsSocket
from relay.transport.datagram.dtls_session import DtlsSession
from relay.transport.tls.endpoints import TlsUpstream
from relay.wire.framing.dtls_records import NO_SESSION
from tests.dtls import new_listener, new_upstream


class Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)


class Connected:
    """A connected UDP socket, and the server at its other end."""

    def __init__(self, clock: Clock) -> None:
        self.waiting: list[bytes] = []
        self.error: OSError | None = None
        self.closed = False
        self.texts: list[bytes] = []
        listener = new_listener(clock)
        listener.asking = b"client"
        self.answers = True
        self.is_asked = False
        self.server = DtlsSession(
            listener.serverConnectionForTLS, clock=clock, send=self.waiting.append
        )

    def send(self, datagram: bytes) -> int:
        if self.error is not None:
            raise self.error
        if self.answers and not self.is_asked:
            self.is_asked = self.server.listen(datagram)
        elif self.answers and not self.server.is_over:
            self.texts += self.server.feed(datagram)
        return len(datagram)

    def recv(self, size: int) -> bytes:
        if self.error is not None:
            raise self.error
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0)

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.ECONNREFUSED

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 6514

    def fileno(self) -> int:
        return 7

    def close(self) -> None:
        self.closed = True


class Setup:
    """A DTLS socket under test, and the sockets that it makes."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, upstream: TlsUpstream | None = None
    ) -> None:
        self.reactor = Reactor()
        self.upstream = upstream or new_upstream()
        self.sockets = [Connected(self.reactor)]
        self.failures: list[str] = []
        self.next_error: OSError | None = None
        monkeypatch.setattr(dtls_outbound, "connect_again", self.connect_again)
        connected: Any = self.sockets[0]
        self.dtls = DtlsSocket(
            connected,
            new_connection=self.new_connection,
            encode=lambda message: b"%d %s" % (len(message), message),
            session_seconds_max=300,
            clock=self.reactor,
        )
        self.dtls.on_failure = self.failures.append
        self.doubts: list[str] = []
        self.dtls.on_doubt = lambda: self.doubts.append("doubt")
        self.result: list[Any] = []

    def new_connection(self, connected: Any, changed: Any) -> DtlsConnection:
        reactor: Any = self.reactor
        return DtlsConnection(
            connected, self.upstream, reactor=reactor, handshake_seconds_max=30, changed=changed
        )

    def connect_again(self, address: object) -> Connected:
        assert address == ("192.0.2.1", 6514)
        if self.next_error is not None:
            raise self.next_error
        self.sockets.append(Connected(self.reactor))
        return self.sockets[-1]

    def connect(self) -> None:
        self.dtls.handshake().addBoth(self.result.append)
        self.read()

    def read(self) -> None:
        for reader in list(self.reactor.readers):
            reader.doRead()  # type: ignore[attr-defined]


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    return Setup(monkeypatch)


def test_a_message_is_a_record_after_the_handshake(setup: Setup) -> None:
    setup.connect()
    assert setup.result == [setup.dtls]
    setup.dtls.send(b"<13>one")
    setup.dtls.send(b"<13>two")
    assert setup.sockets[0].texts == [b"7 <13>one", b"7 <13>two"]
    assert setup.dtls.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_closing_tells_the_receiver(setup: Setup) -> None:
    setup.connect()
    setup.dtls.close()
    (used,) = setup.sockets
    assert (used.server.is_over, used.server.failure, used.closed) == (True, None, True)
    assert setup.reactor.readers == []
    assert setup.reactor.getDelayedCalls() == []
    assert setup.failures == []


def test_a_receiver_that_does_not_answer_is_given_up(setup: Setup) -> None:
    setup.sockets[0].answers = False
    setup.connect()
    assert setup.result == []
    setup.reactor.advance(30)
    (failure,) = setup.result
    words = "no answer to the DTLS handshake within 30 s (connect_seconds_max)"
    assert failure.value.strerror == words
    assert setup.sockets[0].closed
    assert setup.reactor.getDelayedCalls() == []


def test_a_certificate_for_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(monkeypatch, new_upstream(server_name="other.example.com"))
    setup.connect()
    (failure,) = setup.result
    assert "expected other.example.com" in failure.value.strerror
    assert setup.sockets[0].closed


@pytest.mark.parametrize("noticed", ["doRead", "connectionLost"])
def test_a_port_where_nobody_listens_is_a_failure(setup: Setup, noticed: str) -> None:
    setup.sockets[0].answers = False
    setup.connect()
    setup.sockets[0].error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    (reader,) = setup.reactor.readers
    arguments = [Failure(Exception("lost"))] if noticed == "connectionLost" else []
    getattr(reader, noticed)(*arguments)
    (failure,) = setup.result
    assert failure.value.strerror == "Connection refused"
    assert setup.reactor.readers == []


def test_a_receiver_that_ends_the_session_is_a_failure(setup: Setup) -> None:
    setup.connect()
    setup.sockets[0].server.close()
    setup.read()
    assert setup.failures == ["the receiver ended the session"]
    assert setup.sockets[0].closed
    assert setup.reactor.getDelayedCalls() == []


def test_an_error_of_the_kernel_is_for_who_sends(setup: Setup) -> None:
    setup.connect()
    setup.sockets[0].error = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    with pytest.raises(BlockingIOError):
        setup.dtls.send(b"<13>one")
    setup.sockets[0].error = None
    setup.dtls.send(b"<13>one")
    assert setup.sockets[0].texts == [b"7 <13>one"]
    assert setup.failures == []


def test_an_old_session_is_used_until_a_new_one_replaces_it(setup: Setup) -> None:
    setup.connect()
    setup.reactor.advance(300)
    first, second = setup.sockets
    setup.dtls.send(b"<13>one")
    assert (first.texts, first.closed) == ([b"7 <13>one"], False)
    setup.read()
    setup.dtls.send(b"<13>two")
    assert (first.closed, second.texts) == (True, [b"7 <13>two"])
    assert setup.failures == []
    setup.reactor.advance(300)
    assert len(setup.sockets) == 3


def test_messages_wait_for_a_new_session_when_the_receiver_has_lost_the_old_one(
    setup: Setup,
) -> None:
    setup.connect()
    setup.reactor.advance(5)
    first = setup.sockets[0]
    first.waiting += [NO_SESSION, NO_SESSION]
    (reader,) = setup.reactor.readers
    reader.doRead()  # type: ignore[attr-defined]
    assert (len(setup.sockets), setup.doubts) == (2, ["doubt"])
    with pytest.raises(BlockingIOError):
        setup.dtls.send(b"<13>one")
    setup.read()
    setup.dtls.send(b"<13>one")
    assert (first.closed, first.texts) == (True, [])
    assert (setup.sockets[1].texts, setup.failures) == ([b"7 <13>one"], [])
    setup.reactor.advance(299)
    assert len(setup.sockets) == 2
    setup.reactor.advance(1)
    assert len(setup.sockets) == 3


def test_forged_alerts_neither_end_a_session_nor_hold_it_up(setup: Setup) -> None:
    setup.connect()
    setup.reactor.advance(4)
    setup.sockets[0].waiting += [NO_SESSION] * 10
    setup.read()
    setup.dtls.send(b"<13>one")
    assert (len(setup.sockets), setup.doubts, setup.failures) == (1, [], [])
    assert setup.sockets[0].texts == [b"7 <13>one"]


def test_a_receiver_that_does_not_answer_a_new_handshake_is_gone(setup: Setup) -> None:
    setup.connect()
    setup.reactor.advance(300)
    setup.sockets[1].answers = False
    setup.sockets[1].waiting.clear()
    setup.read()
    setup.reactor.advance(30)
    assert setup.failures == ["no answer to the DTLS handshake within 30 s (connect_seconds_max)"]
    assert all(each.closed for each in setup.sockets)
    assert setup.reactor.getDelayedCalls() == []


def test_a_socket_that_cannot_be_made_is_a_failure(setup: Setup) -> None:
    setup.connect()
    setup.next_error = OSError(errno.EMFILE, "Too many open files")
    setup.reactor.advance(300)
    assert setup.failures == ["Too many open files"]
    assert setup.sockets[0].closed
