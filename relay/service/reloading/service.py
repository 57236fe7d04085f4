"""Reload: on request, and on SIGHUP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.logger import Logger

from relay.model.clock import Now, Reactor
from relay.model.errors import ConfigurationError, QueueError, RelayError
from relay.model.text import Document, counted
from relay.observe.control import Asked
from relay.service.configuration.model import Configuration
from relay.service.destinations.kind import in_thread
from relay.service.refusal import StartRefused
from relay.service.relay_service import SequentialService, local_zone
from relay.service.reloading.changeover import Changeover, Running
from relay.service.reloading.difference import Difference
from relay.service.reloading.reading import read_difference
from relay.service.reloading.routes import CompiledRoutes

_MICROSECONDS = 1_000_000
_FINISH_SECONDS_MAX = 1.2  # a destination waits a second for answers
_NEEDS_RESTART = "has changed, and is used after a restart; until then the old value holds"


class Reload(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of ``reload``."""

    dry_run: bool = False
    """Only say what would be done."""


@dataclass(slots=True)
class LastReload:
    """The last reload, as the status shows it."""

    at: float | None = None
    """When the configuration in use was read, in seconds since 1970-01-01 UTC; None = at the
    start."""
    restart: tuple[str, ...] = ()
    """Keys that have changed in the file and need a restart."""
    failures: tuple[str, ...] = ()
    """Sources and destinations that could not change, with the reason."""
    refused: tuple[str, ...] = ()
    """Problems of the file when it was read last; empty = none."""

    def report(self) -> Document:
        """For the status document."""
        return {
            "at": self.at,
            "restart": list(self.restart),
            "failures": list(self.failures),
            "refused": list(self.refused),
        }


class Reloading:
    """Has the relay use its configuration file as it is now.

    Args:
        configuration: The one in use.
        within: Runs all services of the relay.
        tell: Reports to the service manager.

    Attributes:
        configuration: The one in use, with the old values of keys that need a restart.
        last: What became of reloads so far.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        configuration: Configuration,
        running: Running,
        *,
        now: Now,
        reactor: Reactor,
        tell: Callable[[Mapping[str, str]], None],
    ) -> None:
        self.configuration = configuration
        self.within: SequentialService  # before the first reload
        self.last = LastReload()
        self._running = running
        self._now, self._reactor, self._tell = now, reactor, tell
        self._is_busy = False
        self._is_wanted_again = False
        self._is_stopping = False
        self._finished: Deferred[None] = Deferred()  # fires when the last reload is done

    def finish(self) -> Deferred[None]:
        """The relay stops.  Fires when no reload is under way, and soon in any case.

        A destination that waits for its last answers is in nobody's hands meanwhile, and the queue
        must not close before they are stored.
        """
        self._is_stopping = True
        if not self._is_busy:
            return succeed(None)
        patience = self._reactor.callLater(_FINISH_SECONDS_MAX, self._finished.cancel)

        def ended(_: object) -> None:
            if patience.active():
                patience.cancel()

        return self._finished.addBoth(ended)

    def commands(self) -> dict[str, Asked]:
        """Commands of the control socket, by name."""
        return {"reload": Asked(Reload, self.reload)}

    def hang_up(self) -> None:
        """SIGHUP has come: reload, and log what became of it."""
        if not self.configuration.path or self._is_stopping:
            return
        if self._is_busy:
            self._is_wanted_again = True
        else:
            reloading = self.reload(Reload())
            reloading.addErrback(lambda failure: failure.trap(RelayError))  # it is in the log

    def reload(self, wanted: Reload) -> Deferred[Document]:
        """Fires with what has changed, or would change.

        Fails with RelayError: another reload is under way, or there is no file.
        """
        if not self.configuration.path:
            raise RelayError(
                "there is no configuration file to read again: the relay was started with "
                "--listen and --forward; write one, and restart with --config FILE"
            )
        if self._is_stopping:
            raise RelayError("the relay is stopping")
        if self._is_busy:
            raise RelayError("another reload is under way; ask again when it is done")
        self._is_busy = True
        return ensureDeferred(self._reload(is_dry=wanted.dry_run))

    async def _reload(self, *, is_dry: bool) -> Document:
        if not is_dry:
            self._begin()
        try:
            return await self._reloaded(is_dry=is_dry)
        finally:
            self._is_busy = False
            if not is_dry:
                self._tell({"READY": "1", "STATUS": self._summary()})
            if self._is_stopping:
                self._finished.callback(None)
            elif self._is_wanted_again:
                self._is_wanted_again = False
                self.hang_up()

    def _begin(self) -> None:
        # Of the clock that systemd compares it with, which is also the reactor's.
        began = f"{self._reactor.seconds() * _MICROSECONDS:.0f}"
        reading = "reading the configuration again"
        self._tell({"RELOADING": "1", "MONOTONIC_USEC": began, "STATUS": reading})

    async def _reloaded(self, *, is_dry: bool) -> Document:
        path = self.configuration.path
        if failure := self._running.shared.admission.failure:
            raise RelayError(f"nothing can be stored now, so nothing is changed: {failure.reason}")
        try:
            difference, compiled = await in_thread(self._reactor, self._read)
        except (ConfigurationError, StartRefused) as error:
            problems = error.problems if isinstance(error, ConfigurationError) else [error.text]
            if not is_dry:
                self._refuse(problems)
            return self._answer(None, is_dry=is_dry, problems=problems)
        if not is_dry:
            self._log_changes(path, difference)
            await self._apply(difference, compiled)
        return self._answer(difference, is_dry=is_dry)

    def _read(self) -> tuple[Difference, CompiledRoutes]:
        """In a thread."""
        difference = read_difference(
            self.configuration.path,
            self.configuration,
            kinds=self._running.shared.kinds,
            now=self._now(),
            zone=local_zone(),
            queue_bytes_limit=self._running.shared.queue.bytes_max,
        )
        return difference, self._running.routes.compile(difference.wanted)

    async def _apply(self, difference: Difference, compiled: CompiledRoutes) -> None:
        changeover = Changeover(self._running, self.configuration, difference, self.within)
        try:
            self.configuration, failures = await changeover.run(compiled)
        except QueueError as error:
            raise RelayError(f"nothing is changed: {error}") from None
        for failure in failures:
            self._log.error("reload: {failure}", failure=failure)
        self.last = LastReload(self._now(), difference.restart, tuple(failures))

    def _refuse(self, problems: list[str]) -> None:
        self.last.refused = tuple(problems)
        for problem in problems:
            self._log.error("reload: {problem}", problem=problem)
        self._log.error("reload: nothing is changed, the relay goes on with what it has read")

    def _log_changes(self, path: str, difference: Difference) -> None:
        count = counted(len(difference.changes), "change")
        self._log.info("{path}: read again, {count}", path=path, count=count)
        for change in difference.changes:
            self._log.info("reload: {text}", text=change.text)
        for key in difference.restart:
            self._log.warn("reload: {key} {needs}", key=key, needs=_NEEDS_RESTART)
        for warning in difference.wanted.placed_warnings:
            self._log.warn("{warning}", warning=warning)

    def _answer(
        self, difference: Difference | None, *, is_dry: bool, problems: list[str] | None = None
    ) -> Document:
        last = self.last
        return {
            "path": self.configuration.path,
            "dry_run": is_dry,
            "problems": problems or [],
            "changes": [each.report() for each in difference.changes] if difference else [],
            "restart": list(difference.restart) if difference else [],
            "failures": [] if difference is None or is_dry else list(last.failures),
            "warnings": list(difference.wanted.placed_warnings) if difference else [],
        }

    def _summary(self) -> str:
        """One line for the service manager."""
        last = self.last
        if last.refused:
            count = counted(len(last.refused), "problem")
            return f"reload refused: {count} in the configuration; see the log"
        if last.failures:
            return f"reloaded, with {counted(len(last.failures), 'failure')}; see the log"
        return "reloaded"
