"""The whole relay as one service."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import ILogObserver, Logger

from relay.service.exit_status import ExitStatus
from relay.service.process.interpreter import set_for_batches
from relay.service.process.open_files import raise_open_files_limit
from relay.service.sequence import SequentialService

__all__ = ["RelayService", "local_zone"]

_STOP_SECONDS_MAX = 4.2
_STANDARD_ERROR = 2


class RelayService(SequentialService):
    """Starts top down, stops bottom up, and stops within five seconds.

    Everything in the relay ends quickly by itself.  What may not is a thread in a
    system call: a name that is being resolved, a file on a disk that hangs.  The
    interpreter would wait for it at its end.  By then the queue is closed, or its
    disk hangs and waiting does not help: so the process is ended.

    Args:
        children: In the order of their start.
        exit_status: Of the process; None = it is 0 after a clean stop.
        end_process: Ends the process at once, with this status.

    Attributes:
        log_observer: What writes the log of the application that it belongs to; None =
            whatever twistd has.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        children: Iterable[Service] = (),
        *,
        exit_status: ExitStatus | None = None,
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        super().__init__(children)
        self._exit_status = exit_status
        self._end_process = end_process
        self._stopped = False
        self.log_observer: ILogObserver | None = None

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.log_observer is not None:
            parent.setComponent(ILogObserver, self.log_observer)

    def startService(self) -> None:
        raise_open_files_limit()
        set_for_batches()
        faulthandler.enable(_STANDARD_ERROR)  # where a disk or a library ends the process
        super().startService()

    def stopService(self) -> Deferred[None]:
        last_resort = threading.Timer(_STOP_SECONDS_MAX, self._end)
        last_resort.daemon = True
        last_resort.start()
        self._log.info("stopping")
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        began = time.monotonic()
        await self._stop_children()
        self._stopped = True
        self._log.info("stopped after {seconds:.1f} s", seconds=time.monotonic() - began)

    def _end(self) -> None:
        has_failed = self._exit_status is not None and self._exit_status.has_failed
        self._end_process(0 if self._stopped and not has_failed else 1)


def local_zone() -> tzinfo:
    """This host's time zone, with its summer time rules; UTC if it has none."""
    name = os.environ.get("TZ", "").lstrip(":")
    try:
        if name and not name.startswith("/"):
            return ZoneInfo(name)
        with open(name or "/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):  # KeyError: no zone of that name
        return UTC
