"""Signs of life while the relay starts, which may take minutes: a long queue is verified first.

The reactor does not run yet, so a thread reports.  It reports only while the thread that starts the
relay gets on, as its CPU time tells: a disk that hangs is for the service manager to see.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from twisted.application.service import Service

_INTERVAL_SECONDS = 5.0
_PROGRESS_SECONDS_MIN = 0.001  # of CPU time, in an interval
_EXTENSION = 6  # intervals


class StartSigns(Service):
    """Starts before all that takes long; ends when the relay says that it is ready.

    Args:
        send: Sends a report to the service manager, from any thread.
        watchdog_seconds: Its patience with a relay that ran before it became another program.
        progress: CPU seconds of the thread that starts the relay; None = of the one that calls.
    """

    name = "start signs"

    def __init__(
        self,
        send: Callable[[Mapping[str, str]], None],
        *,
        watchdog_seconds: float = 0.0,
        progress: Callable[[], float] | None = None,
    ) -> None:
        self._send = send
        self._interval = min(_INTERVAL_SECONDS, watchdog_seconds / 3 or _INTERVAL_SECONDS)
        self._progress = progress
        self._over = threading.Event()
        self._before = 0.0

    def startService(self) -> None:
        Service.startService(self)
        if self._progress is None:
            clock = time.pthread_getcpuclockid(threading.get_ident())
            self._progress = lambda: time.clock_gettime(clock)
        self._before = self._progress()
        self._over.clear()
        threading.Thread(target=self._run, name="start-signs", daemon=True).start()

    def stopService(self) -> None:
        Service.stopService(self)
        self._over.set()

    def send(self, report: Mapping[str, str]) -> None:
        """Send a report of the relay itself; READY ends the signs."""
        if "READY" in report:
            self._over.set()
        self._send(report)

    def look(self) -> None:
        """Report, if the start has got on since the last look."""
        assert self._progress is not None
        now = self._progress()
        if now - self._before >= _PROGRESS_SECONDS_MIN:
            extension = str(int(_EXTENSION * self._interval * 1e6))
            self._send({"EXTEND_TIMEOUT_USEC": extension, "WATCHDOG": "1"})
        self._before = now

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            self.look()
