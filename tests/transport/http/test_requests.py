"""Requests through connections in memory; `tests/end_to_end/test_http.py` has real ones."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock

from relay.transport.http import requests
from relay.transport.http.requests import RequestFailed, Requests
from relay.wire.http.answers import NO_CONNECTION, Answer
from tests.connections import Wire, fired, lose


class Server:
    """Connects, and writes what the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connections: list[Any] = []
        self.wires: list[Wire] = []
        self.refusal: Exception | None = None
        self.requests = Requests(
            "http://es.example:9200/_bulk",
            self,
            target="es.example:9200",
            secure=False,
            seconds_max=60,
            connections_max=2,
            clock=self.clock,
        )

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refusal is not None:
            return fail(self.refusal)
        protocol = factory.buildProtocol(None)
        self.connections.append(protocol)
        self.wires.append(Wire())
        protocol.makeConnection(self.wires[-1])
        return succeed(protocol)

    def post(self, body: bytes = b"{}") -> list[Any]:
        return fired(self.requests.post(body, {"Content-Type": "text/x"}))

    def say(self, data: bytes) -> None:
        self.connections[-1].dataReceived(data)


def failure(answers: list[Any]) -> tuple[str, str]:
    (error,) = answers
    assert isinstance(error, RequestFailed), error
    return error.cause, str(error)


def test_a_request_and_its_answer() -> None:
    server = Server()
    answers = server.post(b'{"a":1}')
    assert server.wires[0].value().splitlines() == [
        b"POST /_bulk HTTP/1.1",
        b"Content-Length: 7",
        b"Content-Type: text/x",
        b"Host: es.example:9200",
        b"",
        b'{"a":1}',
    ]
    server.say(b"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\nContent-Le")
    server.say(b"ngth: 5\r\n\r\nhel")
    assert answers == []
    server.say(b"lo")
    assert answers == [Answer(429, {"retry-after": "7"}, b"hello")]


def test_the_next_request_uses_the_same_connection() -> None:
    server = Server()
    for _ in range(2):
        answers = server.post()
        server.say(b"HTTP/1.1 204 None\r\n\r\n")
        assert answers == [Answer(204, {}, b"")]
        server.clock.advance(1)
    assert len(server.wires) == 1
    server.requests.close()
    assert server.wires[0].disconnecting


def test_chunks_and_bodies_until_the_end_of_the_connection() -> None:
    server = Server()
    answers = server.post()
    server.say(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    assert answers[0].body == b"abc"
    server.clock.advance(100)
    answers = server.post()
    server.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
    lose(server.connections[-1])
    assert answers[0].body == b"abc"


def test_no_connection() -> None:
    server = Server()
    server.refusal = ConnectionRefusedError()
    assert failure(server.post()) == (NO_CONNECTION, "refused by es.example:9200")


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
def test_a_connection_that_is_lost(begin: bytes) -> None:
    server = Server()
    answers = server.post()
    server.say(begin)
    lose(server.connections[0], ConnectionLost())
    text = "the connection ended before the answer did"
    assert failure(answers) == ("connection", text)


@pytest.mark.parametrize(
    "data",
    [
        b"<13>no HTTP\r\n",
        b"\x15\x03\x01\0\x02\x02\x16\r\n",
        b"HTTP/1.1 \r\n",
        b"HTTP/9 x y\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_broken_answer(data: bytes) -> None:
    server = Server()
    answers = server.post()
    server.say(data)
    if not answers:
        lose(server.connections[0], ConnectionLost())
    cause, text = failure(answers)
    assert cause in ("broken answer", "connection") and text.isprintable()
    assert server.wires[0].disconnected


def test_an_answer_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "ANSWER_BYTES_MAX", 4096)
    server = Server()
    answers = server.post()
    server.say(b"HTTP/1.1 200 OK\r\n")
    for number in range(300):
        server.say(b"X-%d: 0123456789\r\n" % number)
    assert server.wires[0].disconnected
    lose(server.connections[0], ConnectionLost())
    assert failure(answers) == ("answer too large", "the answer is larger than 4 KiB")


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"])
def test_an_answer_that_takes_too_long_is_cut_off(begin: bytes) -> None:
    server = Server()
    answers = server.post()
    for byte in begin:
        server.say(bytes([byte]))
    server.clock.advance(60)
    assert failure(answers) == ("timeout", "no whole answer in 60 s")
    assert server.wires[0].disconnected


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"])
def test_a_request_can_be_cancelled(begin: bytes) -> None:
    server = Server()
    posted = server.requests.post(b"{}", {})
    server.say(begin)
    answers = fired(posted)
    posted.cancel()
    assert isinstance(answers[0], CancelledError) and server.wires[0].disconnected


def test_new_connections_leave_the_old_ones_to_their_requests() -> None:
    server = Server()
    answers = server.post()
    server.requests.renew()
    later = server.post()
    assert len(server.wires) == 2
    server.say(b"HTTP/1.1 204 None\r\n\r\n")
    assert later == [Answer(204, {}, b"")]
    server.connections[0].dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert answers == [Answer(200, {}, b"")]
    server.post()
    assert len(server.wires) == 2  # the new one is used
    server.clock.advance(20)
    assert server.wires[0].disconnecting and not server.wires[1].disconnecting


def test_an_idle_connection_ends_when_connections_are_renewed() -> None:
    server = Server()
    server.post()
    server.say(b"HTTP/1.1 204 None\r\n\r\n")
    server.requests.renew()
    assert server.wires[0].disconnecting
    server.post()
    assert len(server.wires) == 2
