"""A relay in this process that has a configuration file, which a test changes."""

from __future__ import annotations

import queue
import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from relay.service.assembly import assemble
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS, RelayKinds
from relay.service.process.systemd import NO_SYSTEMD, Systemd
from tests.assembled_relay import Relay
from tests.relay_process import toml_text
from tests.threads import Reactor

Tables = dict[str, Any]
_ROUNDS_MAX = 500


def tables(folder: Path, **others: Any) -> Tables:
    """Two local sources, of which one feeds a file, and both another one."""
    return {
        "relay": {
            "name": "web-1",
            "state_dir": str(folder / "state"),
            "allow_volatile_state": True,
            **others.pop("relay", {}),
        },
        "sources": {
            "app": {"listen": f"unixgram:{folder}/app"},
            "system": {"listen": f"unixgram:{folder}/system"},
            **others.pop("sources", {}),
        },
        "destinations": {
            "all": {"connect": f"file:{folder}/all.log"},
            "own": {"connect": f"file:{folder}/own.log", "sources": ["app"]},
            **others.pop("destinations", {}),
        },
        **others,
    }


class ReloadingRelay(Relay):
    """Reads `folder`/relay.toml."""

    def __init__(
        self,
        folder: Path,
        configured: Mapping[str, Any],
        systemd: Systemd = NO_SYSTEMD,
        *,
        kinds: RelayKinds = KINDS,
    ) -> None:
        self.folder = folder
        self.path = folder / "relay.toml"
        self.write(configured)
        self.reactor = Reactor()
        self.ended: list[int] = []
        configuration = read_configuration(str(self.path), kinds, to_start=True)
        self.service = assemble(
            self.reactor, configuration, systemd, now=self.reactor.seconds, kinds=kinds
        )
        self.service._end_process = self.ended.append

    def write(self, configured: Mapping[str, Any]) -> None:
        self.path.write_text(toml_text(configured))

    def reload(self, configured: Mapping[str, Any] | None = None, *, dry_run: bool = False) -> Any:
        """Change the file, and have the relay read it; returns the answer."""
        if configured is not None:
            self.write(configured)
        return self.ask("reload", dry_run=dry_run)

    def report(self, kind: str, id: str) -> Any:
        """What the status says of one source or destination."""
        (found,) = (each for each in self.ask("status")[kind] if each["id"] == id)
        return found

    def take(self) -> None:
        """Have the sources read what has come."""
        for reader in self.reactor.getReaders():
            if select.select([reader], [], [], 0)[0]:
                reader.doRead()

    def until(self, done: Callable[[], object]) -> None:
        """Read, commit and send, until something is so."""
        for _ in range(_ROUNDS_MAX):
            if done():
                return
            self.take()
            self.reactor.advance(0.05)
            with suppress(queue.Empty):
                self.reactor.run_next(seconds_max=0.02)
        raise AssertionError(f"{done} is not so")

    def lines(self, name: str, count: int) -> list[bytes]:
        """The lines of a file, once there are so many."""
        path = self.folder / name

        def found() -> list[bytes]:
            return path.read_bytes().splitlines() if path.exists() else []

        self.until(lambda: len(found()) >= count)
        return found()

    def service_named(self, name: str) -> Any:
        return self.service.getServiceNamed(name)
