"""Looks whether destinations get on, and does something about it if one does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.logger import Logger

from relay.flow.progress import Progress, Standing
from relay.model.clock import Clock
from relay.model.words import counted
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

__all__ = ["ProgressWatch"]

_INTERVAL_SECONDS_MAX = 2.0
_LOOKS_PER_STALL = 8


class Watched(Protocol):
    """A lane of a destination, as far as it is needed here."""

    id: str
    """That of the destination."""
    progress: Progress

    def standing(self) -> Standing: ...

    def break_link(self, why: str) -> None: ...


class Destination(Protocol):
    """A destination's service, as far as it is needed here."""

    stall_seconds: float

    @property
    def lanes(self) -> Sequence[Watched]: ...


class ProgressWatch(PeriodicService):
    """Connects a destination again that has stalled; says so where that does not help.

    What is in flight waits for the upstream, and for that nobody has to be restarted.
    What could be sent and is not waits for this process: if a new connection does not
    change that, `is_well` becomes false, and the service manager is to end it.

    Args:
        destinations: Started before, and stopped after it.
    """

    name = "progress watch"
    _log = Logger(namespace="relay")

    def __init__(
        self, destinations: Sequence[Destination], *, notices: Notices, clock: Clock
    ) -> None:
        shortest = min((each.stall_seconds for each in destinations), default=1e9)
        interval_seconds = min(_INTERVAL_SECONDS_MAX, shortest / _LOOKS_PER_STALL)
        super().__init__(interval_seconds=interval_seconds, clock=clock)
        self._destinations = tuple(destinations)
        self._notices = notices
        self._was_well = True

    @property
    def is_well(self) -> bool:
        """Whether nothing is stuck that only a new process could help."""
        return not any(lane.progress.stuck for lane in self._lanes)

    @property
    def _lanes(self) -> list[Watched]:
        # Each by itself: one that moves says nothing of the other one's connection.
        return [lane for destination in self._destinations for lane in destination.lanes]

    def look(self) -> None:
        now = self._clock.seconds()
        for lane in self._lanes:
            standing = lane.standing()
            if lane.progress.look(now, standing):
                self._stalled(lane, standing)
        if self._was_well and not self.is_well:
            self._log.critical(
                "records wait and are not sent, and connecting again has not helped: the service "
                "manager gets no sign of life any more until they are"
            )
        self._was_well = self.is_well

    def _stalled(self, lane: Watched, standing: Standing) -> None:
        seconds = lane.progress.stalled_seconds
        why = f"nothing acknowledged in {seconds:.0f} s of being connected"
        more = "more could be sent" if standing.could_send else "nothing more to send"
        self._notices.warn(
            f"destination {lane.id}",
            "stall",
            f"{why}: {counted(standing.in_flight, 'record')} in flight, {more}; connecting again",
        )
        lane.break_link(why)
