from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from relay.model.errors import QueueError, RelayError
from relay.observe.control import Asked, Command, ControlFactory, Streamed
from tests.connections import Wire, lose


def fail() -> None:
    raise QueueError("the queue is closed")


class Look(msgspec.Struct, forbid_unknown_fields=True):
    queue: str
    start: int = 0


class Connection:
    def __init__(self) -> None:
        self.clock = Clock()
        self.wire = Wire()
        self.asked: list[Look] = []
        self.found: Deferred[Any] = Deferred()
        commands: dict[str, Command] = {
            "status": lambda: {"name": "web-1"},
            "no": fail,
            "look": Asked(Look, self._look),
        }
        factory = ControlFactory(commands, clock=self.clock)
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.wire)

    def _look(self, wanted: Look) -> Deferred[Any]:
        self.asked.append(wanted)
        return self.found

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
        (b"{}", "unknown command None; commands: look, no, status"),
        (b'{"command": "stop"}', "unknown command 'stop'; commands: look, no, status"),
        (b'{"command": ["status"]}', "unknown command ['status']; commands: look, no, status"),
        (b'{"command": "no"}', "the queue is closed"),
    ],
)
def test_what_cannot_be_answered(connection: Connection, line: bytes, error: str) -> None:
    connection.protocol.dataReceived(line + b"\n")
    assert connection.answer()["error"].startswith(error)


def test_a_request_without_end(connection: Connection) -> None:
    for _ in range(24):
        connection.protocol.dataReceived(b" " * 1024 * 1024)
    assert not connection.wire.disconnected
    connection.protocol.dataReceived(b" ")
    assert connection.wire.disconnected


def test_a_request_that_takes_too_long(connection: Connection) -> None:
    connection.clock.advance(10)
    assert connection.wire.disconnected


def test_no_timer_outlives_the_connection(connection: Connection) -> None:
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []


ASK = b'{"command": "look", "arguments": {"queue": "a", "start": 7}}\n'


def test_a_command_with_arguments_answers_when_it_is_done(connection: Connection) -> None:
    connection.protocol.dataReceived(ASK)
    assert connection.asked == [Look("a", 7)]
    assert (connection.wire.value(), connection.wire.disconnecting) == (b"", False)
    connection.found.callback([Look("b")])
    assert connection.answer() == {"result": [{"queue": "b", "start": 0}]}
    connection.protocol.dataReceived(ASK)  # one request a connection
    assert len(connection.asked) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (b"{}", "missing required field `queue`"),
        (b'{"queue": 7}', "Expected `str`, got `int`"),
        (b'{"queue": "a", "strat": 1}', "unknown field `strat`"),
        (b"[]", "Expected `object`"),
    ],
)
def test_arguments_that_do_not_fit(connection: Connection, arguments: bytes, text: str) -> None:
    connection.protocol.dataReceived(b'{"command": "look", "arguments": %s}\n' % arguments)
    error = connection.answer()["error"]
    assert error.startswith("look: the arguments do not fit: ")
    assert text in error
    assert connection.asked == []


def test_a_failure_is_said_in_words(connection: Connection) -> None:
    connection.protocol.dataReceived(ASK)
    connection.found.errback(QueueError("there is no queue 'a'"))
    assert connection.answer() == {"error": "there is no queue 'a'"}


def test_a_defect_is_logged_and_answered(connection: Connection) -> None:
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        connection.protocol.dataReceived(ASK)
        connection.found.errback(ZeroDivisionError())
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert "internal error" in connection.answer()["error"]
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]


def test_an_answer_that_takes_too_long(connection: Connection) -> None:
    connection.protocol.dataReceived(ASK)
    connection.clock.advance(29)
    assert not connection.wire.disconnecting
    connection.clock.advance(1)
    assert connection.answer()["error"].startswith("not done within 30 s")
    connection.found.callback(None)  # too late
    assert connection.wire.value().count(b"\n") == 1


def test_nobody_is_there_for_the_answer(connection: Connection) -> None:
    connection.protocol.dataReceived(ASK)
    lose(connection.protocol)
    connection.found.callback(None)
    assert connection.wire.value() == b""
    assert connection.clock.getDelayedCalls() == []


def test_an_answer_that_nobody_reads(connection: Connection) -> None:
    connection.protocol.dataReceived(b'{"command": "status"}\n')
    connection.clock.advance(30)
    assert connection.wire.disconnected


class Stream:
    """What a command that streams returns."""

    end = ""

    def __init__(self, ready: Callable[[], None]) -> None:
        self.ready = ready
        self.waiting: list[list[object]] = []
        self.is_closed = False

    def offer(self, *items: object) -> None:
        self.waiting.append(list(items))
        self.ready()

    def take(self) -> list[object]:
        return self.waiting.pop(0) if self.waiting else []

    def close(self) -> None:
        self.is_closed = True


class Streaming:
    """A client that has asked for a stream."""

    def __init__(self, arguments: bytes = b"{}") -> None:
        self.clock = Clock()
        self.wire = Wire()
        self.streams: list[Stream] = []
        commands: dict[str, Command] = {"watch": Streamed(Watch, self._open)}
        self.protocol = ControlFactory(commands, clock=self.clock).buildProtocol(None)
        self.protocol.makeConnection(self.wire)
        self.protocol.dataReceived(b'{"command": "watch", "arguments": %b}\n' % arguments)

    def _open(self, wanted: Watch, ready: Callable[[], None]) -> Stream:
        if wanted.name == "nobody":
            raise RelayError("there is nobody")
        stream = Stream(ready)
        self.streams.append(stream)
        stream.offer("at once")
        return stream

    def lines(self) -> list[Any]:
        self.clock.advance(0.1)
        written = [json.loads(line) for line in self.wire.value().splitlines()]
        self.wire.clear()
        return written


class Watch(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""


def test_a_stream_goes_on_line_by_line() -> None:
    client = Streaming()
    assert client.lines() == [{"result": None}, {"item": "at once"}]
    client.streams[0].offer(1, 2)
    client.streams[0].offer(3)
    assert client.lines() == [{"item": 1}, {"item": 2}]
    assert client.lines() == [{"item": 3}]
    client.clock.advance(1000.0)
    assert not client.wire.disconnecting


def test_items_that_come_together_are_written_together() -> None:
    client = Streaming()
    client.lines()
    for number in range(3):
        client.streams[0].offer(number)
    assert client.wire.value() == b""
    client.clock.advance(0.05)
    assert client.wire.value() == b'{"item":0}\n'


def test_a_stream_ends_with_a_reason_behind_its_last_item() -> None:
    client = Streaming()
    client.lines()
    client.streams[0].end = "count"
    client.streams[0].offer("last")
    assert client.lines() == [{"item": "last"}]
    assert client.lines() == [{"end": "count"}]
    assert client.wire.disconnecting
    assert client.wire.producer is None
    assert client.clock.getDelayedCalls() == []


def test_a_client_that_does_not_read_is_sent_nothing() -> None:
    client = Streaming()
    client.lines()
    client.wire.producer.pauseProducing()
    client.streams[0].offer("later")
    assert client.lines() == []
    client.wire.producer.resumeProducing()
    assert client.lines() == [{"item": "later"}]


def test_a_client_that_goes_closes_its_stream() -> None:
    client = Streaming()
    client.streams[0].offer("never read")
    lose(client.protocol)
    assert client.streams[0].is_closed
    client.streams[0].offer("too late")
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (b'{"name": 5}', "watch: the arguments do not fit: "),
        (b'{"name": "nobody"}', "there is nobody"),
    ],
)
def test_a_stream_that_cannot_begin_is_an_error(arguments: bytes, error: str) -> None:
    client = Streaming(arguments)
    (line,) = client.lines()
    assert line["error"].startswith(error)
    assert client.wire.disconnecting
