"""A host's own logs, whatever it has: the journal, or else /dev/log and the kernel's log.

As syslog-ng's `system()` does, so one configuration suits hosts with and without systemd.  The
choice is made when the relay starts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred

from relay.model.text import Document
from relay.service.configuration.keys import key
from relay.service.configuration.model import SourceConfiguration, Url
from relay.service.configuration.table import Permissions
from relay.service.configuration.url import Bare
from relay.service.probes.listener import probe_unix_socket
from relay.service.probes.local import probe_journal
from relay.service.probes.probe import Probe
from relay.service.sources.datagrams import UNIXGRAM
from relay.service.sources.journal import JOURNALD
from relay.service.sources.kernel import (
    KMSG,
    KernelConfiguration,
    new_kernel_source,
    probe_kernel_log,
)
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.service import Receiving, SourceService
from relay.transport.sockets import obstacle_to_socket

_JOURNAL_SOCKET = "run/systemd/journal/socket"  # journald's; it is there while journald runs
_SOCKET = "dev/log"
_KERNEL = "dev/kmsg"
_SHARED = {each.name for each in fields(SourceConfiguration)} - {"listen", "tls"}


@dataclass(frozen=True, slots=True)
class HostLogs:
    """The logs that ``system://`` takes on a host."""

    has_journal: bool
    socket_path: str
    """Where programs send messages, if there is no journal."""
    kernel_device: str
    """The kernel's log; empty = the host has none, as in most containers."""

    def __str__(self) -> str:
        if self.has_journal:
            return "the journal: journald runs here"
        if self.kernel_device:
            return f"{self.socket_path} and {self.kernel_device}: no journald runs here"
        return f"{self.socket_path} alone: no journald runs here, and the kernel's log is not there"


def find_host_logs(root: str = "/") -> HostLogs:
    """The logs that the host below `root` has at this moment."""
    kernel = os.path.join(root, _KERNEL)
    return HostLogs(
        has_journal=_is_socket(os.path.join(root, _JOURNAL_SOCKET)),
        socket_path=os.path.join(root, _SOCKET),
        kernel_device=kernel if os.path.exists(kernel) else "",
    )


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class SystemConfiguration(KernelConfiguration):
    socket_mode: int = key(
        Permissions(), 0o666, "permissions of `/dev/log`, where the relay makes it"
    )

    def obstacle(self) -> str:
        found = find_host_logs()
        return "" if found.has_journal else obstacle_to_socket(found.socket_path)

    def takes(self) -> str:
        return str(find_host_logs())


class SystemSource(SourceService):
    """Several sources that count as one.

    Args:
        parts: Their counters, positions and intake are those of this source.
        takes: What they read together.
    """

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        parts: Iterable[SourceService],
        takes: str,
    ) -> None:
        super().__init__(configuration, receiving)
        self._parts = tuple(parts)
        self._takes = takes

    def privilegedStartService(self) -> None:
        for part in self._parts:
            part.privilegedStartService()  # type: ignore[no-untyped-call]  # zope

    def startService(self) -> None:
        Service.startService(self)
        self._log.info("source {id}: takes {takes}", id=self.id, takes=self._takes)
        for part in self._parts:
            part.startService()  # type: ignore[no-untyped-call]  # zope

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        stopped = [maybeDeferred(part.stopService) for part in self._parts]
        return gatherResults(stopped).addCallback(lambda _: None)

    def report(self) -> Document:
        """The counters, once; the state tells of the part that has trouble."""
        reports = [part.report() for part in self._parts]
        merged = super().report()
        for report in reports:
            merged |= {name: report[name] for name in report.keys() - merged.keys()}
        unready = [report for report in reports if not report.get("ready", True)]
        state = next((str(report["state"]) for report in unready), f"takes {self._takes}")
        return merged | {"state": state, "ready": not unready}


def new_system_source(
    configuration: SystemConfiguration,
    receiving: Receiving,
    parts: SourceParts,
    *,
    found: HostLogs | None = None,
) -> SourceService:
    """The service of a source that takes what the host has.

    Args:
        found: What it has; None = look.
    """
    found = found or find_host_logs()
    shared = {name: getattr(configuration, name) for name in _SHARED}
    position = {"read_from": configuration.read_from}
    if found.has_journal:
        listen = replace(configuration.listen, scheme=JOURNALD.scheme)
        journal = JOURNALD.make(JOURNALD.configured(listen, shared | position), receiving, parts)
        return SystemSource(configuration, receiving, parts=[journal], takes=str(found))
    socket = UNIXGRAM.configured(
        Url(UNIXGRAM.scheme, path=found.socket_path),
        {**shared, "socket_mode": configuration.socket_mode},
    )
    sources: list[SourceService] = [UNIXGRAM.make(socket, receiving, parts)]
    if device := found.kernel_device:
        listen = replace(configuration.listen, scheme=KMSG.scheme)
        kernel = KMSG.configured(listen, shared | position)
        sources.append(new_kernel_source(kernel, receiving, parts, device=device))
    return SystemSource(configuration, receiving, parts=sources, takes=str(found))


def probe_system(probe: Probe, found: HostLogs | None = None) -> None:
    """Say what will be taken, and try that."""
    found = found or find_host_logs()
    probe.passed("system", f"takes {found}")
    if found.has_journal:
        probe_journal(probe, "")
        return
    probe_unix_socket(probe, Url(UNIXGRAM.scheme, path=found.socket_path))
    if found.kernel_device:
        probe_kernel_log(probe, found.kernel_device)


SYSTEM = SourceKind(
    scheme="system",
    address=Bare(),
    configuration=SystemConfiguration,
    delivered="the host's own logs: the journal, or else `/dev/log` and the kernel's log",
    medium="system",
    make=new_system_source,
    probe=lambda source, probe: probe_system(probe),
)
