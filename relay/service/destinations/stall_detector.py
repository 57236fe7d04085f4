"""Whether queues move, as far as they could; one that does not is connected again.

The same for what waits for the log that answers a source in direct mode.

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

from relay.model.text import counted
from relay.service.destinations.lane import Progress, Standing
from relay.service.destinations.service import DestinationService
from relay.service.periodic import PeriodicService
from relay.transport.notices import Notices

_INTERVAL_SECONDS_MAX = 2.0
_LOOKS_PER_STALL = 8


class Moving(Protocol):
    """A lane of a destination, or what answers a source."""

    @property
    def subject(self) -> str:
        """For warnings."""

    @property
    def progress(self) -> Progress: ...

    def standing(self) -> Standing:
        """Whether it has something to do, and what for its progress."""

    def break_link(self, why: str) -> None:
        """End the session; the next one comes by itself."""


class Answered(Protocol):
    """A source."""

    @property
    def answering(self) -> Moving | None:
        """What answers its senders in direct mode; None = they are answered when all is stored."""


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
    sources: Sequence[Answered] = ()
    notices: Notices
    interval_seconds: float = _INTERVAL_SECONDS_MAX
    _was_well = True

    def __post_init__(self) -> None:
        self.follow()

    def follow(self) -> None:
        """There are other destinations."""
        seconds = [each.stall_seconds for each in self.destinations]
        seconds += [each.progress.seconds_max for each in self._answering]
        shortest = min(seconds, default=1e9)
        self.interval_seconds = min(_INTERVAL_SECONDS_MAX, shortest / _LOOKS_PER_STALL)

    @property
    def is_well(self) -> bool:
        """Whether nothing is stuck that only a new process could help."""
        return not any(each.progress.stuck for each in self._moving)

    @property
    def _answering(self) -> list[Moving]:
        return [each.answering for each in self.sources if each.answering is not None]

    @property
    def _moving(self) -> list[Moving]:
        # Each by itself: one lane that moves says nothing of the other one's connection.
        lanes = [lane for destination in self.destinations for lane in destination.lanes]
        return [*lanes, *self._answering]

    def look(self) -> None:
        now = self.clock.seconds()
        for each in self._moving:
            standing = each.standing()
            if each.progress.look(now, standing):
                self._stalled(each, standing)
        if self._was_well and not self.is_well:
            self._log.critical(
                "records wait and are not sent, and connecting again has not helped: the service "
                "manager gets no sign of life any more until they are"
            )
        self._was_well = self.is_well

    def _stalled(self, each: Moving, standing: Standing) -> None:
        seconds = each.progress.stalled_seconds
        why = f"nothing acknowledged in {seconds:.0f} s of being connected"
        more = "more could be sent" if standing.could_send else "nothing more to send"
        self.notices.warn(
            each.subject,
            "stall",
            f"{why}: {counted(standing.in_flight, 'record')} in flight, {more}; connecting again",
        )
        each.break_link(why)
