"""Services by which the relay can be seen and told: control socket, statistics, SIGHUP."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from twisted.application.service import Service
from twisted.logger import Logger

from relay.model.clock import DelayedCall, Reactor
from relay.observe.control import ControlFactory
from relay.observe.status import Status, statistics_line
from relay.service.periodic import PeriodicService
from relay.service.refusal import StartRefused
from relay.transport.sockets import UnixListener, bind_unix

_LOOK_SECONDS = 2.0


class ControlService(PeriodicService):
    """Listens on the control socket (mode 0600); makes it again where it was removed."""

    name = "control"
    _listener: UnixListener  # from startService on

    def __init__(self, *, path: str, factory: ControlFactory, reactor: Reactor) -> None:
        super().__init__(interval_seconds=_LOOK_SECONDS, clock=reactor)
        self._path = path
        self._factory = factory
        self._reactor = reactor

    def startService(self) -> None:
        try:
            self._listen()
        except OSError as error:
            reason = error.strerror or error
            raise StartRefused(f"control socket {self._path}: {reason}") from error
        super().startService()

    def stopService(self) -> None:
        super().stopService()
        self._listener.stop()

    def look(self) -> None:
        # Whatever else lies there is somebody's.  The queue makes the directory again.
        is_gone = not os.path.lexists(self._path)
        if is_gone and os.path.isdir(os.path.dirname(self._path) or "."):
            before = self._listener
            with suppress(OSError):  # next time
                self._listen()
                before.stop()

    def _listen(self) -> None:
        bound = bind_unix(self._path, socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0)
        self._listener = UnixListener(bound, self._factory, reactor=self._reactor)


class StatisticsService(Service):
    """Logs one line of statistics per interval.

    Args:
        interval_seconds: 0 = never.
        tell: Gets each line as well.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        *,
        status: Status,
        interval_seconds: float,
        reactor: Reactor,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._status = status
        self._tell = tell
        self._interval_seconds = interval_seconds
        self._reactor = reactor
        self._call: DelayedCall | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._before = self._status.document()
        self._wait()

    def stopService(self) -> None:
        Service.stopService(self)
        if self._call is not None:
            self._call.cancel()
            self._say()

    def _wait(self) -> None:
        if self._interval_seconds:
            self._call = self._reactor.callLater(self._interval_seconds, self._interval_ended)

    def _interval_ended(self) -> None:
        self._wait()
        self._say()

    def _say(self) -> None:
        after = self._status.document()
        line = statistics_line(self._before, after)
        self._log.info("{line}", line=line)
        self._tell(line)
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


class ConfigurationChange:
    """Remembers a configuration file as it is now.

    Args:
        path: Empty = there is none.
    """

    _log = Logger(namespace="relay")

    def __init__(self, path: str) -> None:
        self._path = path
        self._before = self._content()

    def look(self) -> None:
        """Say so if it has changed: the relay goes on with what it has read."""
        if self._content() != self._before:
            self._log.warn(
                "{path}: the configuration has changed; restart to use it", path=self._path
            )

    def _content(self) -> bytes:
        """Empty where it cannot be read."""
        with suppress(OSError), open(self._path or os.devnull, "rb") as file:
            return file.read()
        return b""
