"""The lead of a stop: health checks fail while sources still take messages.

A balancer learns from a failing check that a receiver is about to stop.  If that comes before the
listeners close, no connection is sent to a receiver that refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from relay.model.clock import Clock, DelayedCall

_AFTERWARDS_SECONDS = 10
"""For the stop itself, which takes less than five seconds."""


class StopLead:
    """Waits between the first failing health check of a stop and the end of the listeners.

    Args:
        seconds: How long to wait; asked when the stop begins.  0 = not at all.
        tell: Sends fields to the service manager, which may not know of the wait.

    Attributes:
        has_begun: Whether the relay stops.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        *,
        seconds: Callable[[], float],
        tell: Callable[[Mapping[str, str]], object],
        clock: Clock,
    ) -> None:
        self.seconds = seconds
        self.has_begun = False
        self._tell = tell
        self._clock = clock
        self._end: DelayedCall | None = None  # while it waits

    def wait(self) -> Deferred[None]:
        """Begin the stop; fires when the listeners may close."""
        self.has_begun = True
        seconds = self.seconds()
        if not seconds:
            return succeed(None)
        self._log.info(
            "health checks fail from now on; sources take messages for another {seconds:g} s",
            seconds=seconds,
        )
        microseconds = round((seconds + _AFTERWARDS_SECONDS) * 1e6)
        status = "stopping: health checks fail, sources still take messages"
        self._tell({"EXTEND_TIMEOUT_USEC": str(microseconds), "STATUS": status})
        done: Deferred[None] = Deferred()
        self._end = self._clock.callLater(seconds, done.callback, None)
        return done

    def cut(self) -> None:
        """Wait no longer."""
        if self._end is not None and self._end.active():
            self._end.reset(0)
