"""A whole relay in this process, on a reactor that does what a test tells it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, ClassVar

from relay.service.assembly import assemble
from relay.service.configuration.model import (
    Configuration,
    RewriteConfiguration,
    Url,
)
from relay.service.process.systemd import NO_SYSTEMD, Systemd
from relay.service.relay_service import RelayService
from tests.configurations import new_destination, new_source
from tests.connections import Wire
from tests.status_documents import problem_of
from tests.threads import Reactor

__all__ = ["Relay", "configuration", "reached"]


def configuration(folder: Path, **keywords: Any) -> Configuration:
    """Two local sources; one file gets both, the other gets the first, in an envelope."""
    app = keywords.pop("app", {})
    return Configuration(
        name="web-1",
        state_dir=str(folder / "state"),
        **{
            "sources": (
                new_source("app", Url("unixgram", path=str(folder / "app")), **app),
                new_source("system", Url("unixgram", path=str(folder / "system"))),
            ),
            "allow_volatile_state": True,
            "destinations": (
                new_destination(
                    "all", Url("file", path=str(folder / "all.log")), ("app", "system")
                ),
                new_destination(
                    "wrapped",
                    Url("file", path=str(folder / "wrapped.log")),
                    ("app",),
                    rewrite=RewriteConfiguration("ewmm"),
                ),
            ),
            **keywords,
        },
    )


class Relay:
    """A relay on a reactor that does what it is told."""

    running: ClassVar[list[Relay]] = []

    def __init__(self, folder: Path, systemd: Systemd = NO_SYSTEMD, **keywords: Any) -> None:
        self.folder = folder
        self.reactor = Reactor()
        self.ended: list[int] = []
        self.service: RelayService = assemble(
            self.reactor, configuration(folder, **keywords), systemd, now=self.reactor.seconds
        )
        self.service._end_process = self.ended.append

    def start(self) -> None:
        self.service.privilegedStartService()
        self.service.startService()
        self.running.append(self)

    def send(self, source: str, message: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(self.folder / source))
            sender.send(message)

    def ask(self, command: str, **arguments: Any) -> Any:
        """What the control socket answers: a result, or the text of an error."""
        control: Any = self.service.getServiceNamed("control")
        protocol = control.factory.buildProtocol(None)
        protocol.makeConnection(wire := Wire())
        request = {"command": command, **({"arguments": arguments} if arguments else {})}
        protocol.dataReceived(json.dumps(request).encode() + b"\n")
        while not wire.value():
            self.reactor.run_next()
        answer = json.loads(wire.value())
        if command == "status":
            problem = problem_of(answer["result"])
            assert not problem, problem
        return answer.get("result", answer.get("error"))

    def stop(self) -> None:
        self.running.remove(self)
        self.reactor.settle(self.service.stopService())


def reached(start: object) -> Iterator[tuple[str, Any]]:
    """All that an object of the relay holds, and all that those hold: each with its name there."""
    seen: dict[int, object] = {}
    found: list[object] = [start]
    while found:
        owner = found.pop()
        if id(owner) not in seen:
            seen[id(owner)] = owner
            for name, value in _held_by(owner):
                yield name, value
                found.append(value)


def _held_by(owner: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(owner, partial):
        yield from (("argument", value) for value in (owner.func, *owner.args))
        yield from owner.keywords.items()
    elif isinstance(owner, MethodType):
        yield "self", owner.__self__
    elif isinstance(owner, FunctionType):
        cells = zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells)
    elif isinstance(owner, dict):
        yield from ((str(name), value) for name, value in owner.items())
    elif type(owner) in (list, tuple, set, frozenset):
        yield from (("element", value) for value in owner)
    elif type(owner).__module__.startswith("relay."):
        slots = [name for each in type(owner).__mro__ for name in getattr(each, "__slots__", ())]
        yield from ((name, getattr(owner, name)) for name in slots if hasattr(owner, name))
        yield from getattr(owner, "__dict__", {}).items()
