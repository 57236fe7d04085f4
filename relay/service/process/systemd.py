"""What systemd tells a service in its environment: sockets, where to report, the watchdog.

sd_listen_fds(3): LISTEN_FDS descriptors from 3 on, named by LISTEN_FDNAMES, meant
for the process LISTEN_PID.  Twisted removes two of these three from `os.environ` when
its endpoints are imported, for the benefit of a parser that knows stream sockets only;
so they are read from what the process was started with.

sd_notify(3): NOTIFY_SOCKET, a datagram socket.
sd_pid_notify_with_fds(3): FDSTORE, how many descriptors it stores.
sd_watchdog_enabled(3): WATCHDOG_USEC, for the process WATCHDOG_PID if there is one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from relay.service.configuration.model import Url
from relay.service.periodic import PeriodicService

_FIRST_DESCRIPTOR = 3
_REPORTS_PER_WATCHDOG = 2  # as sd_watchdog_enabled(3) recommends
_DESCRIPTORS_MAX = 4096
_VARIABLES = (
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
)


@dataclass(frozen=True, slots=True)
class Systemd:
    """Empty without systemd."""

    sockets: Mapping[int, str] = field(default_factory=dict)
    """Names of the inherited sockets, by descriptor."""
    notify_socket: str = ""
    """Path of a socket; an abstract one begins with '@'."""
    watchdog_seconds: float = 0.0
    """Silence after which systemd ends the service; 0 = never."""
    descriptors_max: int = 0
    """How many descriptors it keeps for the next start; 0 = none."""

    def environment(self, pid: int) -> dict[str, str]:
        """Environment variables for the program that replaces this one, without sockets."""
        values = {"NOTIFY_SOCKET": self.notify_socket}
        if self.watchdog_seconds:
            values["WATCHDOG_USEC"] = str(round(self.watchdog_seconds * 1e6))
            values["WATCHDOG_PID"] = str(pid)
        if self.descriptors_max:
            values["FDSTORE"] = str(self.descriptors_max)
        return {name: value for name, value in values.items() if value}

    def descriptor_of(self, wanted: str) -> int:
        """The descriptor that ``systemd://wanted`` means: a name, or its number.

        Raises:
            ValueError: There is none, or more than one; the text lists what there is.
        """
        found = [number for number, name in self.sockets.items() if name == wanted]
        if not found and wanted.isdecimal() and int(wanted) in self.sockets:
            return int(wanted)
        if len(found) == 1:
            return found[0]
        if not self.sockets:
            raise ValueError(
                "systemd passed no sockets to this process; start it by a socket unit, and "
                "twistd with --nodaemon"
            )
        if found:
            raise ValueError(
                f"{len(found)} sockets have this name ({self._listed(found)}); write one number, "
                "or give each a socket unit with its own FileDescriptorName="
            )
        raise ValueError(f"systemd passed no socket of this name, only {self._listed()}")

    def unused(self, listening: Iterable[Url]) -> list[str]:
        """The sockets that none of the URLs means, for people."""
        wanted = {url.inherited for url in listening}
        left = [
            number
            for number, name in self.sockets.items()
            if name not in wanted and str(number) not in wanted
        ]
        return [self._listed([number]) for number in left]

    def _listed(self, descriptors: list[int] | None = None) -> str:
        chosen = self.sockets if descriptors is None else descriptors
        return ", ".join(f"{self.sockets[number]} (number {number})" for number in chosen)


NO_SYSTEMD = Systemd()


def initial_environment(pid: int | None = None) -> dict[str, str]:
    """The environment that a process, or this one, was started with; empty if it is not known."""
    try:
        with open(f"/proc/{pid or 'self'}/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def take_systemd(
    environment: MutableMapping[str, str], *, initial: Mapping[str, str], pid: int
) -> Systemd:
    """Read what systemd says, and remove it: it is for this process and not for its children.

    Args:
        environment: Such as `os.environ`.
        initial: Has what is missing there.
        pid: Ours.  What is meant for another process is removed and not used.
    """
    values = {name: environment.pop(name, initial.get(name, "")) for name in _VARIABLES}
    sockets: dict[int, str] = {}
    if values["LISTEN_PID"] == str(pid):
        count = min(_whole(values["LISTEN_FDS"]), _DESCRIPTORS_MAX)
        names = values["LISTEN_FDNAMES"].split(":") if values["LISTEN_FDNAMES"] else []
        for number in range(count):
            name = names[number] if number < len(names) else "unknown"
            sockets[_FIRST_DESCRIPTOR + number] = name
            with contextlib.suppress(OSError):  # who wants to use it will say so
                os.set_inheritable(_FIRST_DESCRIPTOR + number, False)
    for_us = values["WATCHDOG_PID"] in ("", str(pid))
    return Systemd(
        sockets=sockets,
        notify_socket=values["NOTIFY_SOCKET"],
        watchdog_seconds=_whole(values["WATCHDOG_USEC"]) / 1e6 if for_us else 0.0,
        descriptors_max=_whole(values["FDSTORE"]) if values["NOTIFY_SOCKET"] else 0,
    )


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


@dataclass(eq=False, repr=False, kw_only=True)
class NotifyService(PeriodicService):
    """Reports that all services before it have started, and that it is the first to stop."""

    send: Callable[[Mapping[str, str]], None]
    """Sends a report to the service manager."""
    watchdog_seconds: float
    """Silence after which systemd ends the process; 0 = never.  The reactor's own clock keeps it
    away, so a reactor that hangs is ended."""
    is_well: Callable[[], bool] = lambda: True
    """While it says no, there is silence too."""
    farewell: Callable[[], Mapping[str, str]] = lambda: {"STOPPING": "1", "STATUS": "stopping"}
    """The report at the stop."""
    interval_seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.interval_seconds = self.watchdog_seconds / _REPORTS_PER_WATCHDOG

    def startService(self) -> None:
        self.send({"READY": "1", "STATUS": "ready"})
        super().startService()

    def stopService(self) -> None:
        super().stopService()
        self.send(self.farewell())

    def look(self) -> None:
        if self.is_well():
            self.send({"WATCHDOG": "1"})
