"""Whether queues move, as far as they could; one that does not is connected again.

A queue that does not become shorter is no trouble by itself: nothing may wait in it, its
upstream may be away, somebody may have paused it.  Trouble is when its upstream is there,
records wait, and nothing is acknowledged.  So only the time counts during which all of that
is so, over all sessions: an upstream that takes connections and never answers does not
begin anew with each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.logger import Logger

from relay.model.text import counted
from relay.service.destinations.lane import Lane, Standing
from relay.service.destinations.service import DestinationService
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

_INTERVAL_SECONDS_MAX = 2.0
_LOOKS_PER_STALL = 8


@dataclass(eq=False, repr=False, kw_only=True)
class StallDetector(PeriodicService):
    """Connects a destination again that has stalled; says so where that does not help.

    What is in flight waits for the upstream, and for that nobody has to be restarted.
    What could be sent and is not waits for this process: if a new connection does not
    change that, `is_well` becomes false, and the service manager is to end it.
    """

    name = "stall detector"
    _log = Logger(namespace="relay")

    destinations: Sequence[DestinationService]
    """Started before, and stopped after it."""
    notices: Notices
    interval_seconds: float = _INTERVAL_SECONDS_MAX
    _was_well = True

    def __post_init__(self) -> None:
        self.follow()

    def follow(self) -> None:
        """There are other destinations."""
        shortest = min((each.stall_seconds for each in self.destinations), default=1e9)
        self.interval_seconds = min(_INTERVAL_SECONDS_MAX, shortest / _LOOKS_PER_STALL)

    @property
    def is_well(self) -> bool:
        """Whether nothing is stuck that only a new process could help."""
        return not any(lane.progress.stuck for lane in self._lanes)

    @property
    def _lanes(self) -> list[Lane]:
        # Each by itself: one that moves says nothing of the other one's connection.
        return [lane for destination in self.destinations for lane in destination.lanes]

    def look(self) -> None:
        now = self.clock.seconds()
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

    def _stalled(self, lane: Lane, standing: Standing) -> None:
        seconds = lane.progress.stalled_seconds
        why = f"nothing acknowledged in {seconds:.0f} s of being connected"
        more = "more could be sent" if standing.could_send else "nothing more to send"
        self.notices.warn(
            f"destination {lane.id}",
            "stall",
            f"{why}: {counted(standing.in_flight, 'record')} in flight, {more}; connecting again",
        )
        lane.break_link(why)
