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
from typing import Protocol

from twisted.logger import Logger

from relay.model.clock import Clock
from relay.model.text import counted
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

_INTERVAL_SECONDS_MAX = 2.0
_LOOKS_PER_STALL = 8


@dataclass(frozen=True, slots=True)
class Standing:
    """What a look at a destination finds."""

    answers: object
    """Differs from what an earlier look found if something has left its queue since."""
    connected: bool
    """There is a session."""
    in_flight: int
    """Records on their way to the upstream: it is the upstream that has to do something."""
    could_send: bool
    """There are more records, and nothing but the session keeps them from being sent."""


class Progress:
    """Adds up how long a destination has been idle though there was something to do.

    Args:
        seconds_max: From then on it is stalled.

    Attributes:
        stalls: How often in a row it has been idle for that long.
        stuck: Twice, and with nothing in flight: nobody else can be to blame.
    """

    def __init__(self, *, seconds_max: float) -> None:
        self.seconds_max = seconds_max
        self.stalls = 0
        self.stuck = False
        self._idle_seconds = 0.0
        self._answers: object = None
        self._looked_at: float | None = None

    @property
    def stalled_seconds(self) -> float | None:
        """How long it has been idle; None = it is not stalled."""
        return self._idle_seconds if self.stalls else None

    def look(self, now: float, standing: Standing) -> bool:
        """Note what is found at `now` (seconds).

        Returns:
            Whether it has been idle for `seconds_max` more since this was said last.
        """
        # A single look proves nothing: whoever was away himself saw no answers either.
        elapsed = 0.0 if self._looked_at is None else now - self._looked_at
        elapsed = min(elapsed, self.seconds_max / 2)
        self._looked_at = now
        moved, self._answers = standing.answers != self._answers, standing.answers
        has_work = standing.in_flight > 0 or standing.could_send
        if moved or (standing.connected and not has_work):
            self._idle_seconds, self.stalls, self.stuck = 0.0, 0, False
            return False
        if not standing.connected:
            return False
        self._idle_seconds += elapsed
        if self._idle_seconds < self.seconds_max * (self.stalls + 1):
            return False
        self.stalls += 1
        self.stuck = self.stalls > 1 and not standing.in_flight
        return True


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


class StallDetector(PeriodicService):
    """Connects a destination again that has stalled; says so where that does not help.

    What is in flight waits for the upstream, and for that nobody has to be restarted.
    What could be sent and is not waits for this process: if a new connection does not
    change that, `is_well` becomes false, and the service manager is to end it.

    Args:
        destinations: Started before, and stopped after it.
    """

    name = "stall detector"
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
