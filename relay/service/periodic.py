"""A service that looks at something again and again."""

from __future__ import annotations

from twisted.application.service import Service

from relay.model.clock import Clock, DelayedCall


class PeriodicService(Service):
    """Looks at its start, and then after each interval until it is stopped.

    Args:
        interval_seconds: Between two looks; 0 = it does not look.
    """

    def __init__(self, *, interval_seconds: float, clock: Clock) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._call: DelayedCall | None = None

    def look(self) -> None:
        """What a subclass does; an exception leaves the next look where it is."""
        raise NotImplementedError

    def startService(self) -> None:
        Service.startService(self)
        if self._interval_seconds:
            self._look()

    def stopService(self) -> None:
        Service.stopService(self)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = self._clock.callLater(self._interval_seconds, self._look)
        self.look()
