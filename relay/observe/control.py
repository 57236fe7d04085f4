"""The control socket: one line of JSON asks, one line of JSON answers.

    {"command": "queue-read", "arguments": {"queue": "central"}}
    {"result": …}  or  {"error": "one line that says why"}

A command that streams sends further lines after the result, until the client closes or:

    {"item": …}
    {"end": "why"}

A connection that closes without this line was cut off.  The client may read as slowly as it likes:
nothing is written that the kernel does not take, beside the last few items.

Bytes are base64 in both directions.  Only the user that the relay runs as (and
root) can connect: the socket has mode 0600 and lies in the state directory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import Clock, DelayedCall
from relay.model.errors import RelayError
from relay.model.text import Document

_REQUEST_BYTES_MAX = 24 * 1024 * 1024  # the longest message there can be, in base64
_REQUEST_SECONDS_MAX = 10.0
_ANSWER_SECONDS_MAX = 30.0
_GATHER_SECONDS = 0.05  # of a stream: from the first item to when it is written with others


@dataclass(frozen=True, slots=True)
class Asked:
    """A command with arguments.

    Args:
        arguments: Their type, a Struct; a request that does not fit is refused.
        answer: Given them; returns what is fit for JSON, or a Deferred of it.
    """

    arguments: type[msgspec.Struct]
    answer: Callable[[Any], object]


class Stream(Interface):
    """What a command that streams returns.

    Attributes:
        end: Why nothing more will come; empty = something may.
    """

    end: str

    def take(self) -> Sequence[object]:
        """Some of the items that wait, fit for JSON; empty = none waits."""

    def close(self) -> None:
        """Nobody reads it any more."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """A command with arguments whose answer goes on.

    Args:
        arguments: As of `Asked`.
        open: Given them and a function to be called when there is something to take; returns a
            `Stream`.
    """

    arguments: type[msgspec.Struct]
    open: Callable[..., Stream]


Command = Callable[[], object] | Asked | Streamed


class ControlProtocol(Protocol):
    """Answers one request and closes."""

    _writer: _StreamWriter | None = None  # while it streams

    transport: Any  # exists from connectionMade on
    _log = Logger(namespace="relay")

    def __init__(self, commands: Mapping[str, Command], clock: Clock) -> None:
        self._commands = commands
        self._clock = clock
        self._request = bytearray()
        self._asked = False
        self._over = False  # answered, or the client has gone

    def connectionMade(self) -> None:
        self._timeout = self._clock.callLater(_REQUEST_SECONDS_MAX, self._timed_out)

    def dataReceived(self, data: bytes) -> None:
        if self._asked:
            return
        self._request += data
        if b"\n" in data:
            self._asked = True
            line = bytes(self._request.partition(b"\n")[0])
            self._request.clear()
            self._timeout.reset(_ANSWER_SECONDS_MAX)
            self._answer(line)
        elif len(self._request) > _REQUEST_BYTES_MAX:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._over = True
        if self._timeout.active():
            self._timeout.cancel()
        if self._writer is not None:
            self._writer.stopProducing()

    def _answer(self, line: bytes) -> None:
        try:
            result = self._result(line)
        except RelayError as error:
            self._reply({"error": str(error)})
            return
        if isinstance(result, _StreamWriter):
            self._timeout.cancel()
            self._writer = result
            result.begin()
        elif isinstance(result, Deferred):
            result.addCallbacks(lambda found: self._reply({"result": found}), self._failed)
        else:
            self._reply({"result": result})

    def _result(self, line: bytes) -> object:
        try:
            request = msgspec.json.decode(line, type=Document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RelayError(f"the request is not a JSON object: {error}") from error
        name = request.get("command")
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            known = ", ".join(sorted(self._commands))
            raise RelayError(f"unknown command {name!r}; commands: {known}")
        if not isinstance(command, Asked | Streamed):
            return command()
        try:
            arguments = msgspec.convert(request.get("arguments", {}), type=command.arguments)
        except msgspec.ValidationError as error:
            raise RelayError(f"{name}: the arguments do not fit: {error}") from error
        if isinstance(command, Streamed):
            writer = _StreamWriter(self.transport, self._clock)
            writer.stream = command.open(arguments, writer.ready)
            return writer
        return command.answer(arguments)

    def _failed(self, failure: Failure) -> None:
        if failure.check(RelayError) is None:
            self._log.failure("control socket: a command failed", failure)
            self._reply({"error": "internal error; the log has the details"})
        else:
            self._reply({"error": str(failure.value)})

    def _timed_out(self) -> None:
        if self._asked and not self._over:
            seconds = f"{_ANSWER_SECONDS_MAX:g} s"
            self._reply({"error": f"not done within {seconds}; it may still complete"})
        else:
            self.transport.abortConnection()

    def _reply(self, reply: Document) -> None:
        if not self._over:
            self._over = True
            self.transport.write(msgspec.json.encode(reply) + b"\n")
            self.transport.loseConnection()


class _Connection(Interface):
    def write(self, data: bytes) -> None: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def loseConnection(self) -> None: ...


@implementer(IPushProducer)
class _StreamWriter:
    """Writes a stream as fast as its client reads it."""

    stream: Stream  # set before `begin`

    def __init__(self, connection: _Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._call: DelayedCall | None = None
        self._begun = self._paused = self._over = False

    def begin(self) -> None:
        self._begun = True
        self._connection.write(b'{"result":null}\n')
        self._connection.registerProducer(self, True)
        self.ready()

    def ready(self) -> None:
        """There is something to take."""
        if self._begun and self._call is None and not (self._paused or self._over):
            self._call = self._clock.callLater(_GATHER_SECONDS, self._write)

    def _write(self) -> None:
        self._call = None
        if self._paused:
            return
        items = self.stream.take()
        if items:
            lines = [msgspec.json.encode({"item": item}) + b"\n" for item in items]
            self._connection.write(b"".join(lines))  # it may pause us
            self.ready()
        elif self.stream.end:
            self._over = True
            self._connection.write(msgspec.json.encode({"end": self.stream.end}) + b"\n")
            self._connection.unregisterProducer()  # or the connection would stay open
            self._connection.loseConnection()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.ready()

    def stopProducing(self) -> None:
        """The client has gone."""
        self._over = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.stream.close()


class ControlFactory(Factory):
    """Makes the protocol of each connection to the control socket.

    Args:
        commands: By name; what they return has to be fit for JSON.
    """

    noisy = False

    def __init__(self, commands: Mapping[str, Command], *, clock: Clock) -> None:
        self._commands = commands
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return ControlProtocol(self._commands, self._clock)
