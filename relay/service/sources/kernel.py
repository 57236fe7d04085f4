"""The kernel's log as a source that starts and stops with the relay."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from twisted.application.service import Service

from relay.model.text import Document
from relay.service.configuration.model import SourceConfiguration, Where, reserved_key
from relay.service.configuration.url import Bare
from relay.service.probes.probe import Probe
from relay.service.sources.kind import Positions, SourceKind, SourceParts
from relay.service.sources.listening import read_from_key, split_problems
from relay.service.sources.service import Receiving, SourceService
from relay.transport.local.kernel_log import DEVICE, POSITION, KernelLogReader, boot_id
from relay.transport.reception import OversizePolicy


@dataclass(frozen=True, slots=True)
class KernelConfiguration(SourceConfiguration):
    reserved: bool = reserved_key(True)
    read_from: str = read_from_key("end")

    def encoding_problem(self) -> str:
        if self.parse.encoding is None:
            return ""
        return f"has no meaning for {self.listen.scheme}, which brings UTF-8; remove it"

    def problems(self, where: Where, given: object) -> Iterable[str]:
        return split_problems(self, where)


class KernelSource(SourceService):
    """Reads the kernel's log.

    Args:
        positions: How far a source has read, by name; the queue knows once it is open.
    """

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        reader: KernelLogReader,
        positions: Positions,
    ) -> None:
        super().__init__(configuration, receiving)
        self._reader = reader
        self._positions = positions
        self._opened = False

    def privilegedStartService(self) -> None:
        self._reader.open()
        self._opened = True

    def startService(self) -> None:
        if not self._opened:
            self.privilegedStartService()
        Service.startService(self)
        self._reader.start(self._positions(self.id).get(POSITION))
        if trouble := self._reader.trouble:
            self._log.warn("source {id}: {trouble}", id=self.id, trouble=trouble)
        else:
            self._log.info("source {id}: reads the kernel's log", id=self.id)

    def stopService(self) -> None:
        Service.stopService(self)
        self._reader.stop()
        self._opened = False

    def report(self) -> Document:
        reader = self._reader
        return {
            **super().report(),
            "state": reader.trouble or ("reads the kernel's log" if self.running else "stopped"),
            "ready": reader.is_reading,
            "gaps": reader.gaps,
        }


def new_kernel_source(
    configuration: KernelConfiguration,
    receiving: Receiving,
    parts: SourceParts,
    *,
    device: str = DEVICE,
) -> KernelSource:
    """The service of a source that reads the kernel's log at `device`."""
    reader = KernelLogReader(
        receiving.reception,
        hostname=parts.relay_name.encode("ascii", "replace"),
        boot=boot_id(),
        oversize=OversizePolicy(
            configuration.oversize,
            frame_bytes_max=configuration.frame_bytes_max,
            counters=receiving.reception.counters,
        ),
        from_beginning=configuration.read_from == "beginning",
        now=parts.wall.now,
        reactor=receiving.reactor,
        device=device,
    )
    return KernelSource(configuration, receiving, reader=reader, positions=parts.positions)


def probe_kernel_log(probe: Probe, device: str = DEVICE) -> None:
    """The kernel's log: it is opened, and nothing is read."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        probe.fail(
            "kernel",
            "kernel-log-unreadable",
            f"{device} cannot be read by user {os.geteuid()}: {error.strerror}",
            "give the relay CAP_SYSLOG and the device, see syslogrelay.service; or read the "
            "journal",
        )
    else:
        probe.passed("kernel", f"{device} can be read")


KMSG = SourceKind(
    scheme="kmsg",
    address=Bare(),
    configuration=KernelConfiguration,
    delivered="the kernel's log, `/dev/kmsg`",
    medium="kmsg",
    foreign_names=("imklog", "kernel"),
    make=new_kernel_source,
    probe=lambda source, probe: probe_kernel_log(probe),
)
