from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.model.errors import QueueError
from relay.observe.control import ControlFactory
from tests.connections import Wire, lose


def fail() -> None:
    raise QueueError("the queue is closed")


class Connection:
    def __init__(self) -> None:
        self.clock = Clock()
        self.wire = Wire()
        factory = ControlFactory(
            {"status": lambda: {"name": "web-1"}, "no": fail}, clock=self.clock
        )
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.wire)

    def answer(self) -> Any:
        assert self.wire.disconnecting
        assert self.wire.value().endswith(b"\n")
        return json.loads(self.wire.value())


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_one_line_asks_and_one_line_answers(connection: Connection) -> None:
    connection.protocol.dataReceived(b'{"command": ')
    assert connection.wire.value() == b""
    connection.protocol.dataReceived(b'"status"}\n')
    assert connection.answer() == {"result": {"name": "web-1"}}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"status", "the request is not a JSON object: "),
        (b"[]", "the request is not a JSON object: "),
        (b"[" * 60_000, "the request is not a JSON object: "),
        (b'"\xff"', "the request is not a JSON object: "),
        (b"{}", "unknown command None; there is: no, status"),
        (b'{"command": "stop"}', "unknown command 'stop'; there is: no, status"),
        (b'{"command": ["status"]}', "unknown command ['status']; there is: no, status"),
        (b'{"command": "no"}', "the queue is closed"),
    ],
)
def test_what_cannot_be_answered(connection: Connection, line: bytes, error: str) -> None:
    connection.protocol.dataReceived(line + b"\n")
    assert connection.answer()["error"].startswith(error)


def test_a_request_without_end(connection: Connection) -> None:
    for _ in range(64):
        connection.protocol.dataReceived(b" " * 1024)
    assert not connection.wire.disconnected
    connection.protocol.dataReceived(b" ")
    assert connection.wire.disconnected


def test_a_request_that_takes_too_long(connection: Connection) -> None:
    connection.clock.advance(10)
    assert connection.wire.disconnected


def test_no_timer_outlives_the_connection(connection: Connection) -> None:
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []
