"""The relay as a real process: `twistd syslogrelay --config FILE`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from relay.service.configuration.model import Url
from relay.service.kinds import KINDS
from tests.processes import (
    Program,
    Programs,
    is_bound_udp,
    is_listening_tcp,
    is_listening_unix,
    wait_until,
)

__all__ = ["RelayProcess", "received", "toml_text", "twistd", "wait_for_lines"]

FOREGROUND = ("--nodaemon", "--pidfile=")

_READ = (
    *("file", "journald", "kmsg", "pipe", "program", "internal"),
    *("kafka", "kafka+tls", "nats", "nats+tls"),
)
"""Schemes of sources that listen nowhere."""


def twistd() -> str:
    """The twistd of the virtual environment that runs the tests."""
    path = Path(sys.executable).with_name("twistd")
    assert path.exists(), f"no {path}: is the project installed?"
    return str(path)


def toml_text(tables: Mapping[str, Any]) -> str:
    """`tables` as TOML; values are text, numbers, booleans, lists or nested tables."""
    lines: list[str] = []
    _write_table(lines, (), tables)
    return "\n".join(lines) + "\n"


def _write_table(lines: list[str], path: tuple[str, ...], table: Mapping[str, Any]) -> None:
    if path:
        lines.append(f"[{'.'.join(map(json.dumps, path))}]")
    lines += [
        f"{json.dumps(key)} = {_inline(value)}"
        for key, value in table.items()
        if not isinstance(value, Mapping)
    ]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write_table(lines, (*path, key), value)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        members = [f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()]
        return "{ " + ", ".join(members) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)  # TOML writes strings, numbers and booleans like JSON


class RelayProcess(Program):
    """A relay with its configuration and state in `folder`.

    Args:
        folder: Made if it does not exist; the state is in `folder/state`.
        sources: The configuration's tables below `sources`.
        destinations: Those below `destinations`.
        relay: Further keys of the table `relay`.
        apps, filters: The tables below them.
        web, alerts: The tables of these names; None = there is none.
        arguments: twistd's own, before the word syslogrelay.
        interpreter, environment, user: To run it as somebody else; None = as we run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sources: Mapping[str, Mapping[str, Any]],
        destinations: Mapping[str, Mapping[str, Any]],
        relay: Mapping[str, Any] | None = None,
        apps: Mapping[str, Mapping[str, Any]] | None = None,
        filters: Mapping[str, Mapping[str, Any]] | None = None,
        web: Mapping[str, Any] | None = None,
        alerts: Mapping[str, Any] | None = None,
        name: str = "relay",
        arguments: Sequence[str] = FOREGROUND,
        interpreter: str | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.state_dir = folder / "state"
        self.config_path = folder / f"{name}.toml"
        self._listeners = [url for source in sources.values() for url in _places(source)]
        if web is not None:
            self._listeners.append(str(web["listen"]))
        super().__init__(
            [
                *(interpreter or sys.executable, twistd(), *arguments),
                *("syslogrelay", "--config", str(self.config_path)),
            ],
            folder=folder,
            name=name,
            environment=environment,
            user=user,
            is_ready=self.is_listening,
        )
        # Where the tests' folder is on tmpfs, it has to do: no power cut here.
        own = {"name": name, "state_dir": str(self.state_dir), "allow_volatile_state": True}
        self._control_dir = str({**own, **(relay or {})}["state_dir"])
        self.configure(
            relay={**own, **(relay or {})},
            apps=apps or {},
            filters=filters or {},
            sources=sources,
            destinations=destinations,
            **({"web": web} if web is not None else {}),
            **({"alerts": alerts} if alerts is not None else {}),
        )

    @classmethod
    def started(cls, programs: Programs, folder: Path, **keywords: Any) -> RelayProcess:
        """A relay that listens already and ends with the test."""
        process = cls(folder, **keywords)
        programs.add(process)
        process.start()
        return process

    def configure(self, **tables: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(toml_text(tables))

    def is_listening(self) -> bool:
        """Every source and the control socket listens, as the kernel's tables have it.

        The control socket is the last: what has privileges binds before the queue is opened.
        """
        control = os.path.join(self._control_dir, "control.sock")
        return is_listening_unix(control) and all(map(_is_listening, self._listeners))

    def stop(self, seconds_max: float = 5.0) -> int:
        """SIGTERM; a clean end is part of every test that uses it."""
        status = super().stop(seconds_max)
        # After a clean stop twistd ends itself by the signal that it got.
        assert status in (0, -signal.SIGTERM), f"{self.name}: {status}:\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()
        return status


def _places(source: Mapping[str, Any]) -> list[str]:
    """The URLs that a source listens on."""
    parts = urlsplit(str(source["listen"]))
    members = KINDS.by_scheme("listen")[parts.scheme].members
    if not members:
        return [parts.geturl()]
    ports = {member: source.get(member.port_key, member.port) for member in members}
    return [
        str(Url(member.kind.scheme, host=parts.hostname or "", port=port))
        for member, port in ports.items()
        if port
    ]


def _is_listening(url: str) -> bool:
    parts = urlsplit(url)
    # These read; what arrives shows it.
    if parts.scheme in _READ:
        return True
    if parts.scheme in ("unix", "unixgram"):
        return is_listening_unix(parts.path)
    assert parts.port is not None, url
    return (
        is_bound_udp(parts.port)
        if parts.scheme in ("udp", "dtls")
        else is_listening_tcp(parts.port)
    )


def received(path: Path) -> list[bytes]:
    """The messages in a file, one per line, without one that is still being written."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def wait_for_lines(path: Path, count: int, seconds_max: float = 30.0) -> list[bytes]:
    """Wait until `path` has at least `count` lines; return all that are there then."""
    wait_until(lambda: len(received(path)) >= count, f"{count} lines in {path.name}", seconds_max)
    return received(path)
