"""The control socket: one line of JSON asks, one line of JSON answers.

Only the user that the relay runs as (and root) can connect: the socket has mode
0600 and lies in the state directory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from relay.model.clock import Clock
from relay.model.errors import RelayError

__all__ = ["ControlFactory", "ControlProtocol"]

Command = Callable[[], Any]

_REQUEST_BYTES_MAX = 64 * 1024
_REQUEST_SECONDS_MAX = 10.0


class ControlProtocol(Protocol):
    """Answers one request and closes."""

    transport: Any  # exists from connectionMade on

    def __init__(self, commands: Mapping[str, Command], clock: Clock) -> None:
        self._commands = commands
        self._clock = clock
        self._request = b""

    def connectionMade(self) -> None:
        self._timeout = self._clock.callLater(_REQUEST_SECONDS_MAX, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        self._request += data
        line, end, _ = self._request.partition(b"\n")
        if end:
            self.transport.write(msgspec.json.encode(self._answer(line)) + b"\n")
            self.transport.loseConnection()
        elif len(self._request) > _REQUEST_BYTES_MAX:
            self.transport.abortConnection()

    def connectionLost(self, reason: Any = None) -> None:
        if self._timeout.active():
            self._timeout.cancel()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return {"error": f"the request is not a JSON object: {error}"}
        name = request.get("command")
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            known = ", ".join(sorted(self._commands))
            return {"error": f"unknown command {name!r}; there is: {known}"}
        try:
            return {"result": command()}
        except RelayError as error:
            return {"error": str(error)}


class ControlFactory(Factory):
    """Makes the protocol of each connection to the control socket.

    Args:
        commands: By name; what they return has to be fit for JSON.
    """

    noisy = False

    def __init__(self, commands: Mapping[str, Command], *, clock: Clock) -> None:
        self._commands = commands
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return ControlProtocol(self._commands, self._clock)
