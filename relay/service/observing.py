"""Services by which the relay can be seen and told: control socket, statistics, SIGHUP."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from twisted.application.service import Service
from twisted.logger import Logger

from relay.model.clock import Reactor
from relay.observe.control import ControlFactory
from relay.observe.status import Status, statistics_line
from relay.service.periodic import PeriodicService
from relay.service.refusal import StartRefused
from relay.transport.sockets import UnixListener, bind_unix


@dataclass(eq=False, repr=False, kw_only=True)
class ControlService(PeriodicService):
    """Listens on the control socket (mode 0600); makes it again where it was removed."""

    name = "control"
    path: str
    factory: ControlFactory
    clock: Reactor
    interval_seconds: float = 2.0

    def startService(self) -> None:
        try:
            self._listen()
        except OSError as error:
            reason = error.strerror or error
            raise StartRefused(f"control socket {self.path}: {reason}") from error
        super().startService()

    def stopService(self) -> None:
        super().stopService()
        self._listener.stop()

    def look(self) -> None:
        # Whatever else lies there is somebody's.  The queue makes the directory again.
        is_gone = not os.path.lexists(self.path)
        if is_gone and os.path.isdir(os.path.dirname(self.path) or "."):
            before = self._listener
            with suppress(OSError):  # next time
                self._listen()
                before.stop()

    def _listen(self) -> None:
        bound = bind_unix(self.path, socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0)
        self._listener = UnixListener(bound, self.factory, reactor=self.clock)


@dataclass(eq=False, repr=False, kw_only=True)
class StatisticsService(PeriodicService):
    """Logs one line of statistics per interval, and at the stop."""

    _log = Logger(namespace="relay")
    looks_at_once = False

    status: Status
    tell: Callable[[str], None] = lambda line: None
    """Gets each line as well."""

    def startService(self) -> None:
        self._before = self.status.document()
        super().startService()

    def stopService(self) -> None:
        was_running = self._call is not None
        super().stopService()
        if was_running:
            self.look()

    def look(self) -> None:
        after = self.status.document()
        line = statistics_line(self._before, after)
        self._log.info("{line}", line=line)
        self.tell(line)
        self._before = after


class HangupService(Service):
    """Calls back on SIGHUP, which Twisted leaves to kill the process."""

    _log = Logger(namespace="relay")

    def __init__(self, *, callbacks: Sequence[Callable[[], None]], reactor: Reactor) -> None:
        self._callbacks = callbacks
        self._reactor = reactor
        self._before: Callable[[int, FrameType | None], object] | int | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._before = signal.signal(signal.SIGHUP, self._received)

    def stopService(self) -> None:
        Service.stopService(self)
        # None: whoever had it installed it from C, and Python cannot put it back.
        signal.signal(signal.SIGHUP, self._before or signal.SIG_DFL)

    def _received(self, *_: object) -> None:
        self._reactor.callFromThread(self._run)

    def _run(self) -> None:
        self._log.info("SIGHUP: opening files again")
        for callback in self._callbacks:
            callback()
