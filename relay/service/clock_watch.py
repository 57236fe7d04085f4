"""Notices that the time of day was set, says so, and keeps it for the next start."""

from __future__ import annotations

from twisted.logger import Logger

from relay.model.clock import Clock, WallClock
from relay.model.errors import QueueError
from relay.queue.positions import CLOCK, decode_steps, encode_steps
from relay.service.periodic import PeriodicService
from relay.service.queue.service import QueueService

_INTERVAL_SECONDS = 2.0


class ClockWatch(PeriodicService):
    """Starts after the queue, and before whatever asks for ages.

    What is queued has stamps from before a step, so a later start needs to know of it.
    """

    name = "clock-watch"
    _log = Logger(namespace="relay")

    def __init__(self, wall: WallClock, *, queue: QueueService, clock: Clock) -> None:
        super().__init__(interval_seconds=_INTERVAL_SECONDS, clock=clock)
        self._wall = wall
        self._queue = queue

    def startService(self) -> None:
        self._wall.restore(decode_steps(self._queue.view.positions(CLOCK)))
        self._wall.subscribe(self._stepped)
        super().startService()

    def look(self) -> None:
        self._wall.watch()

    def _stepped(self, seconds: float) -> None:
        self._log.info(
            "the clock was set {direction} by {seconds:,.0f} s; intervals, and the ages of what "
            "is queued, do not depend on it",
            direction="forward" if seconds > 0 else "back",
            seconds=abs(seconds),
        )
        kept = self._queue.committer.append({}, positions=encode_steps(self._wall.steps))
        kept.addErrback(lambda failure: failure.trap(QueueError))  # it is said where it failed
