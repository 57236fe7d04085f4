"""Messages appended to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredLock

from relay.service.checks.warnings import directory_warnings
from relay.service.configuration.model import DestinationConfiguration, Url, Where
from relay.service.configuration.url import Path, Role, url_shown
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.probes.files import probe_appended
from relay.service.probes.probe import Probe
from relay.transport.files.writer import AppendedFile, FileSession

T = TypeVar("T")


class _Target(Path):
    """The path of a file to write."""

    __slots__ = ()

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        if "$" in rest:
            raise ValueError(
                f"found '$' in {url_shown(f'{scheme}:{rest}')}; files for each host or day, with "
                "macros in their names, are not available yet; write a path without '$'"
            )
        return Path.read(self, scheme, rest, role, base_dir)


@dataclass(frozen=True, slots=True)
class FileConfiguration(DestinationConfiguration):
    def warnings(self, where: Where) -> Iterable[str]:
        return directory_warnings(self.connect.path, where("connect"))


def _make(configuration: DestinationConfiguration, parts: DestinationParts) -> Delivery:
    path, reactor = configuration.connect.path, parts.reactor
    # What two lanes append must not mix, nor what one cuts off again be the other's.
    one_at_a_time = DeferredLock()

    def run_in_thread(call: Callable[[], T]) -> Deferred[T]:
        return one_at_a_time.run(parts.run_in_thread, call)

    async def open_file(outlet: Outlet, on_failure: Callable[[str], None]) -> FileSession:
        file = AppendedFile(path)
        # So that a file that cannot be opened is known before there is a record for it.
        await run_in_thread(partial(file.append, (), reopen=True))
        return FileSession(
            file,
            drain=outlet.drain,
            run_in_thread=run_in_thread,
            clock=reactor,
            on_failure=on_failure,
            on_reopened=partial(parts.notices.warn, f"destination {configuration.id}", "reopened"),
        )

    how = f"appending to {path}, delivered when synced"
    return Delivery(new_link=lambda outlet: LocalLink(outlet, open_file, how=how, clock=reactor))


def _probe(configuration: FileConfiguration, probe: Probe) -> None:
    probe_appended(probe, configuration.connect.path)


FILE = DestinationKind(
    scheme="file",
    address=_Target("file"),
    configuration=FileConfiguration,
    delivered="the file is synced; a file that was removed or renamed is opened again",
    medium="file",
    make=_make,
    probe=_probe,
)
