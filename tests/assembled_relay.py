"""A whole relay in this process, on a reactor that does what a test tells it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, ClassVar

from relay.service.assembly import assemble
from relay.service.configuration import (
    Configuration,
    DestinationConfiguration,
    RewriteConfiguration,
    SourceConfiguration,
    Url,
)
from relay.service.relay_service import RelayService
from tests.threads import Reactor

__all__ = ["Relay", "configuration"]


def configuration(folder: Path, **keywords: Any) -> Configuration:
    """Two local sources; one file gets both, the other gets the first, in an envelope."""
    app = keywords.pop("app", {})
    return Configuration(
        name="web-1",
        state_dir=str(folder / "state"),
        **{
            "sources": (
                SourceConfiguration("app", Url("unixgram", path=str(folder / "app")), **app),
                SourceConfiguration("system", Url("unixgram", path=str(folder / "system"))),
            ),
            "allow_volatile_state": True,
            "destinations": (
                DestinationConfiguration(
                    "all", Url("file", path=str(folder / "all.log")), ("app", "system")
                ),
                DestinationConfiguration(
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

    def __init__(self, folder: Path, **keywords: Any) -> None:
        self.folder = folder
        self.reactor = Reactor()
        self.ended: list[int] = []
        self.service: RelayService = assemble(
            self.reactor, configuration(folder, **keywords), now=self.reactor.seconds
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

    def stop(self) -> None:
        self.running.remove(self)
        self.reactor.settle(self.service.stopService())
