"""The log of the process: its levels, and its last lines for those who ask."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from twisted.application.service import Service
from twisted.logger import Logger, globalLogPublisher

from relay.model.errors import RelayError
from relay.observe.control import Asked, Command
from relay.observe.log_levels import LOG_LEVELS, LogLevels
from relay.observe.log_lines import file_line
from relay.observe.log_ring import LogRing


class _Level(msgspec.Struct):
    """The arguments of `log-level`; without a level it sets nothing."""

    level: str = ""
    namespace: str = ""


class LogService(Service):
    """Writes what `level` says, and keeps the last lines, while it runs.

    Args:
        level: `relay.log_level` of the configuration.
    """

    name = "log"
    _log = Logger(namespace="relay")

    def __init__(self, level: str, *, levels: LogLevels = LOG_LEVELS) -> None:
        self._level = level
        self._levels = levels
        self._ring = LogRing(file_line)

    def startService(self) -> None:
        Service.startService(self)
        self._levels.configure(self._level)
        globalLogPublisher.addObserver(self._ring)  # type: ignore[arg-type]  # zope

    def stopService(self) -> None:
        Service.stopService(self)
        globalLogPublisher.removeObserver(self._ring)  # type: ignore[arg-type]  # zope
        self._levels.configure("info")

    def use(self, level: str) -> None:
        """Begin anew with another `relay.log_level`; the same one changes nothing that was set."""
        if level != self._level:
            self._level = level
            self._levels.configure(level)

    def commands(self) -> Mapping[str, Command]:
        """Commands of the control socket."""
        return {"log-level": Asked(_Level, self._set), "log-lines": self._ring.lines}

    def _set(self, wanted: _Level) -> object:
        """Set a level, if one is given; return all.

        Raises:
            RelayError: There is no such level or namespace.
        """
        if wanted.level:
            try:
                self._levels.set(wanted.level, wanted.namespace)
            except ValueError as error:
                raise RelayError(str(error)) from None
            of = f" of {wanted.namespace}" if wanted.namespace else ""
            self._log.info("log level{of}: {wanted}", of=of, wanted=wanted.level)
        return self._levels.report()
