"""What one destination says about itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.flow.refusals import Refusals
from relay.model.clock import WallClock, in_utc
from relay.model.errors import QueueError
from relay.model.text import Document
from relay.queue.ledger import added_up
from relay.service.configuration.model import DestinationConfiguration
from relay.service.destinations.lane import Lane
from relay.service.prerequisite import Prerequisite
from relay.service.queue.service import QueueService

__all__ = ["DestinationStatus"]

_BACKLOG_SECONDS_MIN = 2.0  # age of the oldest record; younger ones are just on their way


class DestinationStatus:
    """State in words and report of one destination.

    Args:
        lanes: Says its lanes, the backlog first.
        details: Says what its kind has to tell.

    Attributes:
        paused_since: When somebody paused it, in seconds since 1970-01-01 UTC; None = it is not.
    """

    def __init__(
        self,
        configuration: DestinationConfiguration,
        *,
        lanes: Callable[[], Sequence[Lane]],
        refusals: Refusals,
        prerequisites: Sequence[Prerequisite],
        details: Callable[[], Sequence[str]],
        queue: QueueService,
        wall: WallClock,
    ) -> None:
        self.paused_since: float | None = None
        self._configuration = configuration
        self._lanes = lanes
        self._refusals = refusals
        self._prerequisites = prerequisites
        self._details = details
        self._queue = queue
        self._wall = wall

    @property
    def state_words(self) -> str:
        """The state in words."""
        lanes = self._open_lanes
        if len(lanes) < 2:
            return self._words("; ".join(lane.state.words for lane in lanes))
        backlog, live = lanes
        return self._words(f"live: {live.state.words}; backlog: {backlog.state.words}")

    @property
    def _open_lanes(self) -> list[Lane]:
        return [lane for lane in self._lanes() if lane.is_open]

    def _words(self, sessions: str) -> str:
        """The state in words, of which `sessions` are those of the connections."""
        words = "; ".join(filter(None, (each.words for each in self._prerequisites)))
        words = words or "; ".join(filter(None, (self._refusals.state, sessions)))
        if self.paused_since is None:
            return words
        return f"paused by hand since {in_utc(self.paused_since)}; {words}"

    def report(self) -> Document:
        """Account, state and counters, for status."""
        lanes = self._lanes()
        ledger = added_up([lane.ledger for lane in lanes])
        states = [lane.state for lane in lanes]
        drains = [lane.drain for lane in lanes]
        stalls = [lane.progress.stalled_seconds or 0.0 for lane in lanes]
        age = self._age()
        paused = self.paused_since is not None
        connections = [lane.state for lane in self._open_lanes]
        ready = bool(connections) and all(state.ready for state in connections)
        ready = ready and not paused and not self._refusals.is_held
        limit = self._queue.limit(self._configuration.id)
        has_backlog = ready and age is not None and age >= _BACKLOG_SECONDS_MIN
        return {
            "id": self._configuration.id,
            "connect": str(self._configuration.connect),
            "state": self.state_words,
            "details": list(self._details()),
            "ready": ready,
            "paused": paused,
            "paused_since": self.paused_since,
            "refuses_everything": self._refusals.report(),
            "stalled_seconds": max(stalls) or None,
            "exactly_once": bool(connections) and all(state.exactly_once for state in connections),
            "received_records": ledger.received,
            "delivered_records": ledger.delivered,
            "queued_records": ledger.queued,
            "queued_bytes": ledger.queued_bytes,
            "oldest_seconds": age,
            "quarantined_records": ledger.quarantined,
            "quarantine_bytes": ledger.quarantine_bytes,
            "dropped_records": dict(ledger.dropped),
            "in_flight_records": sum(drain.in_flight for drain in drains),
            "sent_records": sum(drain.sent_records for drain in drains),
            "resent_records": sum(drain.resent_records for drain in drains),
            "connects": sum(state.connects for state in states),
            "failures": sum(state.failures for state in states),
            "truncated_records": sum(state.truncated_records for state in states),
            "limit": None
            if limit is None
            else limit.report(backlog_records=ledger.queued if has_backlog else 0),
            "lanes": self._lanes_report(),
        }

    def _lanes_report(self) -> Document | None:
        lanes = self._lanes()
        if len(lanes) < 2:
            return None
        return {
            name: {
                **lane.report(),
                "delivered_per_second": self._rate(lane),
                "state": self._words(lane.state.words) if lane.is_open else "idle",
            }
            for name, lane in zip(("backlog", "live"), lanes, strict=True)
        }

    def _rate(self, lane: Lane) -> float:
        """Records that `lane` delivers in a second, from the samples of the time to empty."""
        limit = self._queue.limit(self._configuration.id)
        if limit is None or not lane.is_open:
            return 0.0
        # A live lane that keeps up is empty nearly always.
        if not lane.queued and not limit.delivered[lane.queue].is_moving:
            return 0.0
        return round(limit.delivered_per_second(lane.queue), 1)

    def _age(self) -> float | None:
        """Seconds since the oldest record came in that waits."""
        try:
            found = [
                self._queue.view.oldest_received_at(lane.queue)
                for lane in self._lanes()
                if lane.ledger.queued
            ]
        except QueueError:  # the counters are worth showing all the same
            return None
        oldest = min((at for at in found if at is not None), default=None)
        return None if oldest is None else self._wall.age(oldest)
