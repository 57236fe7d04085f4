"""Notices that the time of day was set, says so, and keeps it for the next start."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.logger import Logger

from relay.model.clock import WallClock
from relay.model.errors import QueueError
from relay.queue.positions import CLOCK, decode_steps, encode_steps
from relay.service.periodic import PeriodicService
from relay.service.queue.service import QueueService


@dataclass(eq=False, repr=False, kw_only=True)
class ClockWatch(PeriodicService):
    """Starts after the queue, and before whatever asks for ages.

    What is queued has stamps from before a step, so a later start needs to know of it.
    """

    name = "clock-watch"
    _log = Logger(namespace="relay")

    wall: WallClock
    queue: QueueService
    interval_seconds: float = 2.0

    def startService(self) -> None:
        self.wall.restore(decode_steps(self.queue.view.positions(CLOCK)))
        self.wall.subscribe(self._stepped)
        super().startService()

    def look(self) -> None:
        self.wall.watch()

    def _stepped(self, seconds: float) -> None:
        self._log.info(
            "the clock was set {direction} by {seconds:,.0f} s; intervals, and the ages of what "
            "is queued, do not depend on it",
            direction="forward" if seconds > 0 else "back",
            seconds=abs(seconds),
        )
        kept = self.queue.committer.append({}, positions=encode_steps(self.wall.steps))
        kept.addErrback(lambda failure: failure.trap(QueueError))  # it is said where it failed
