"""Services by which the relay can be seen and told: control socket, statistics, SIGHUP."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from relay.observe.control import ControlFactory
from relay.observe.status import Status, statistics_line
from relay.service.refusal import StartRefused
from relay.transport.sockets import bind_unix

__all__ = ["ControlService", "HangupService", "StatisticsService"]


class ControlService(Service):
    """Listens on the control socket (mode 0600) from startService on."""

    name = "control"

    def __init__(self, *, path: str, factory: ControlFactory, reactor: Any) -> None:
        self._path = path
        self._factory = factory
        self._reactor = reactor

    def startService(self) -> None:
        Service.startService(self)
        before = os.umask(0o177)  # no instant with more rights than 0600
        try:
            bound = bind_unix(self._path, socket.SOCK_STREAM, mode=0o600, receive_buffer_bytes=0)
        except OSError as error:
            raise StartRefused(f"control socket {self._path}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._port = self._reactor.adoptStreamPort(bound.fileno(), bound.family, self._factory)
        bound.close()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return maybeDeferred(self._port.stopListening)  # removes the socket file too


class StatisticsService(Service):
    """Logs one line of statistics per interval.

    Args:
        interval_seconds: 0 = never.
    """

    _log = Logger(namespace="relay")

    def __init__(self, *, status: Status, interval_seconds: float, reactor: Any) -> None:
        self._status = status
        self._interval_seconds = interval_seconds
        self._reactor = reactor

    def startService(self) -> None:
        Service.startService(self)
        self._before = self._status.document()
        self._loop = LoopingCall(self._say)
        self._loop.clock = self._reactor
        if self._interval_seconds:
            self._loop.start(self._interval_seconds, now=False)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._loop.running:
            self._loop.stop()
        self._say()

    def _say(self) -> None:
        after = self._status.document()
        self._log.info("{line}", line=statistics_line(self._before, after))
        self._before = after


class HangupService(Service):
    """Calls back on SIGHUP, which Twisted leaves to kill the process."""

    _log = Logger(namespace="relay")

    def __init__(self, *, callbacks: Sequence[Callable[[], None]], reactor: Any) -> None:
        self._callbacks = callbacks
        self._reactor = reactor
        self._before: Any = None

    def startService(self) -> None:
        Service.startService(self)
        self._before = signal.signal(signal.SIGHUP, self._received)

    def stopService(self) -> None:
        Service.stopService(self)
        signal.signal(signal.SIGHUP, self._before)

    def _received(self, *_: object) -> None:
        self._reactor.callFromThread(self._run)

    def _run(self) -> None:
        self._log.info("SIGHUP: opening files again")
        for callback in self._callbacks:
            callback()
