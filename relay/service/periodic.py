"""A service that looks at something again and again."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.application.service import Service

from relay.model.clock import Clock, DelayedCall


@dataclass(eq=False, repr=False, kw_only=True)
class PeriodicService(Service):
    """Looks at its start, and then after each interval until it is stopped.

    Subclasses are dataclasses as well: their fields are what they work with.
    """

    clock: Clock
    interval_seconds: float
    """Between two looks; 0 = it does not look."""
    looks_at_once = True
    """Otherwise for the first time after an interval."""
    _call: DelayedCall | None = field(default=None, init=False)

    def look(self) -> None:
        """What a subclass does; an exception leaves the next look where it is."""
        raise NotImplementedError

    def startService(self) -> None:
        Service.startService(self)
        if self.interval_seconds and self.looks_at_once:
            self._look()
        elif self.interval_seconds:
            self._wait()

    def stopService(self) -> None:
        Service.stopService(self)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def change_interval(self, seconds: float) -> None:
        """Look so often from now on; 0 = not at all."""
        if seconds == self.interval_seconds:
            return
        self.interval_seconds = seconds
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self.running and seconds:
            self._wait()

    def _wait(self) -> None:
        self._call = self.clock.callLater(self.interval_seconds, self._look)

    def _look(self) -> None:
        self._wait()
        self.look()
