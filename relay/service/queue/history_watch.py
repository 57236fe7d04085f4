"""Keeps histories within their ages, and lets them go where room is short.

Their sizes are kept to in each commit (see `relay.queue.history.keep`).  The disk is looked
at here: what queues, quarantines and histories leave free there has to be
`min_free_bytes`, and what is missing of that leaves the histories.  After a commit that
failed nothing is kept until there is room again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from relay.model.clock import Clock, WallClock
from relay.model.errors import QueueError
from relay.queue.history.keep import PruneHistories
from relay.queue.transaction import destination_of
from relay.service.configuration.model import Configuration
from relay.service.periodic import PeriodicService
from relay.service.queue.service import QueueService
from relay.transport.notices import Notices

__all__ = ["HistoryWatch", "new_history_watch"]

_INTERVAL_SECONDS = 2.0
_ROOM_BYTES_MIN = 16 * 1024**2
"""What has to be free on a disk that was full before something is kept again."""


def new_history_watch(
    configuration: Configuration,
    queue: QueueService,
    notices: Notices,
    wall: WallClock,
    clock: Clock,
) -> HistoryWatch:
    """The one of a relay with this configuration."""
    return HistoryWatch(
        queue=queue,
        destinations=[destination.id for destination in configuration.destinations],
        free_bytes_min=configuration.min_free_bytes,
        notices=notices,
        wall=wall,
        clock=clock,
    )


class HistoryWatch(PeriodicService):
    """Looks at all histories every two seconds.

    Args:
        destinations: The configured ones; those without a history lose what they had.
        free_bytes_min: Room that has to be left on the disk.
    """

    name = "history-watch"

    def __init__(
        self,
        *,
        queue: QueueService,
        destinations: Iterable[str],
        free_bytes_min: int,
        notices: Notices,
        wall: WallClock,
        clock: Clock,
    ) -> None:
        super().__init__(interval_seconds=_INTERVAL_SECONDS, clock=clock)
        self._queue = queue
        self._destinations = set(destinations)
        self._free_bytes_min = free_bytes_min
        self._notices = notices
        self._wall = wall
        self._pruning = False
        self._said = 0  # of what was shed

    def look(self) -> None:
        histories = self._queue.histories
        if not histories.databases:
            return
        missing = self._missing_bytes()
        histories.disk_full = histories.disk_full and missing > -_ROOM_BYTES_MIN
        if histories.shed_entries > self._said:
            self._said = histories.shed_entries
            self._notices.warn(
                "queue",
                "history",
                "the oldest of what is kept of delivered messages had to go: there is too little "
                "room (relay.queue_bytes_max, relay.min_free_bytes, or the disk is full)",
            )
        if histories.used_bytes and not self._pruning:
            self._prune(missing)

    def _missing_bytes(self) -> int:
        """Octets that are missing on the disk; below 0 there is room to spare."""
        histories = self._queue.histories
        try:
            free = self._queue.free_bytes - histories.used_bytes
        except OSError:  # QueueWatch says so
            return 0
        return self._free_bytes_min - free

    def _prune(self, excess: int) -> None:
        histories = self._queue.histories
        longest = max((limit.seconds_max for limit in histories.limits.values()), default=0.0)
        before = {}
        for id in histories.databases:
            # Of a destination that has no lanes any more, what the second one had stays.
            limit = histories.limits.get(destination_of(id))
            if limit is not None:
                before[id] = self._wall.before(limit.seconds_max)
            elif longest and destination_of(id) not in self._destinations:
                # It has left the configuration, perhaps for another name.
                before[id] = self._wall.before(longest)
        self._pruning = True
        step = self._queue.operate(PruneHistories(histories, before, max(0, excess)))
        step.addCallbacks(self._pruned, self._failed)

    def _pruned(self, more: bool) -> None:
        self._pruning = False
        if more and self.running:
            self._prune(0)

    def _failed(self, failure: Any) -> None:
        self._pruning = False
        failure.trap(QueueError)  # then next time
