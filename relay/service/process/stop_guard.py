"""Ends a relay that is asked to stop and cannot."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from twisted.application.service import Service

from relay.model.clock import Reactor

__all__ = ["StopGuard"]

_SECONDS_MAX = 4.8
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopGuard(Service):
    """Lets the kernel end the process 4.8 s after SIGTERM or SIGINT, whatever it does.

    Twisted's handlers only ask the reactor to stop, and a reactor that is busy for ever
    never hears it.  What was answered is on disk, so ending it loses nothing.
    """

    name = "stop guard"

    def __init__(self, *, reactor: Reactor) -> None:
        self._reactor = reactor
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def startService(self) -> None:
        Service.startService(self)
        # The reactor installs its handlers when it runs, which it does not yet.
        self._reactor.callLater(0, self._install)

    def stopService(self) -> None:
        Service.stopService(self)
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def _install(self) -> None:
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if self.running and callable(before):
                self._before[number] = before
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_MAX)  # SIGALRM ends the process
        self._before[number](number, frame)
