"""Tell systemd that the relay is ready, well, and ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.application.service import Service

from relay.model.clock import DelayedCall, Reactor

__all__ = ["NotifyService"]

_REPORTS_PER_WATCHDOG = 2  # as sd_watchdog_enabled(3) recommends


class Notifies(Protocol):
    """The way to the service manager."""

    def send(self, report: Mapping[str, str]) -> None: ...


class NotifyService(Service):
    """Reports that all services before it have started, and that it is the first to stop.

    Args:
        watchdog_seconds: Silence after which systemd ends the process; 0 = never.  The
            reactor's own clock keeps it away, so a reactor that hangs is ended.
        is_well: While it says no, there is silence too.
    """

    def __init__(
        self,
        *,
        notify: Notifies,
        watchdog_seconds: float,
        reactor: Reactor,
        is_well: Callable[[], bool] = lambda: True,
    ) -> None:
        self._notify = notify
        self._is_well = is_well
        self._seconds = watchdog_seconds / _REPORTS_PER_WATCHDOG
        self._reactor = reactor
        self._call: DelayedCall | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._notify.send({"READY": "1", "STATUS": "ready"})
        if self._seconds:
            self._well()

    def stopService(self) -> None:
        Service.stopService(self)
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._notify.send({"STOPPING": "1", "STATUS": "stopping"})

    def _well(self) -> None:
        if self._is_well():
            self._notify.send({"WATCHDOG": "1"})
        self._call = self._reactor.callLater(self._seconds, self._well)
