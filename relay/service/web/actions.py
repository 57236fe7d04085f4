"""Actions of the page: commands of the control socket that somebody with the token may give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from relay.model.errors import RelayError
from relay.model.text import printable
from relay.observe.control import Asked, Command
from relay.observe.web.access import Denied, Needs
from relay.observe.web.server import JSON, Answer, Page, Query

_COMMANDS = {
    "pause": "pause",
    "resume": "resume",
    "connect": "connect",
    "requeue": "requeue",
    "purge": "queue-purge",
}
"""Commands by the last part of the path."""
_log = Logger(namespace="relay")


class Target(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an action."""

    destination: str
    queue: str = ""
    """Of ``purge``, where the destination has two; empty = the one of its name."""
    upto: int = 0
    """Of ``purge``: that of the last answer, while something is left; 0 = all."""


@dataclass(frozen=True, slots=True)
class Actions:
    """The paths of all actions.

    Attributes:
        commands: Those of the control socket, by name.
    """

    commands: Mapping[str, Command]

    def pages(self) -> dict[str, Page]:
        """By path."""
        return {
            f"/actions/{name}": Page(partial(self._act, name), Needs.ADMIN, ("POST",), None)
            for name in _COMMANDS
        }

    def _act(self, name: str, query: Query) -> Answer | Deferred[Answer]:
        try:
            target = msgspec.json.decode(query.body, type=Target)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Denied(400, "body", f"the body does not fit: {error}") from None
        command = self.commands[_COMMANDS[name]]
        assert isinstance(command, Asked)
        given: dict[str, object] = {"destination": target.destination}
        if name == "purge":
            queue = target.queue or target.destination
            given = {"queue": queue, "upto": target.upto}
        _log.info(
            "web server: {address} asks for: {name} {destination}",
            address=query.address,
            name=name,
            destination=printable(target.destination),
        )
        try:
            done = command.answer(msgspec.convert(given, type=command.arguments))
        except RelayError as error:
            return Answer(f"{error}\n".encode(), 409)
        return done.addCallback(_encoded) if isinstance(done, Deferred) else _encoded(done)


def _encoded(result: object) -> Answer:
    return Answer(msgspec.json.encode({"result": result}), content_type=JSON)
