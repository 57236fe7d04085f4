"""The control socket: one line of JSON asks, one line of JSON answers.

    {"command": "queue-read", "arguments": {"queue": "central"}}
    {"result": …}  or  {"error": "one line that says why"}

Bytes are base64 in both directions.  Only the user that the relay runs as (and
root) can connect: the socket has mode 0600 and lies in the state directory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.model.clock import Clock
from relay.model.errors import RelayError
from relay.model.text import Document

_REQUEST_BYTES_MAX = 24 * 1024 * 1024  # the longest message there can be, in base64
_REQUEST_SECONDS_MAX = 10.0
_ANSWER_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A command with arguments.

    Args:
        arguments: Their type, a Struct; a request that does not fit is refused.
        answer: Given them; returns what is fit for JSON, or a Deferred of it.
    """

    arguments: type[msgspec.Struct]
    answer: Callable[[Any], object]


Command = Callable[[], object] | Asked


class ControlProtocol(Protocol):
    """Answers one request and closes."""

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

    def _answer(self, line: bytes) -> None:
        try:
            result = self._result(line)
        except RelayError as error:
            self._reply({"error": str(error)})
            return
        if isinstance(result, Deferred):
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
        if not isinstance(command, Asked):
            return command()
        try:
            arguments = msgspec.convert(request.get("arguments", {}), type=command.arguments)
        except msgspec.ValidationError as error:
            raise RelayError(f"{name}: the arguments do not fit: {error}") from error
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
