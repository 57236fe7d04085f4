"""Keeps quarantines within their limits: the oldest entries go first, and are counted.

A source keeps its own within the size when it sets something aside (what comes then is
dropped), so that a flood cannot push out what was there before.  What a destination
refused is rare and the latest of it tells most, so there the oldest goes.
"""

from __future__ import annotations

from relay.model.clock import Clock, WallClock
from relay.model.errors import QueueError
from relay.model.words import counted, size
from relay.queue.quarantine import Trimmed, TrimQuarantine
from relay.service.configuration.table import plain
from relay.service.periodic import PeriodicService
from relay.service.queue.ports import QueueAccess
from relay.transport.notices import Notices

__all__ = ["QuarantineLimits"]

_INTERVAL_SECONDS = 10.0


class QuarantineLimits(PeriodicService):
    """Looks at all quarantines every ten seconds.

    Args:
        bytes_max: What each may hold, labels included.
        seconds_max: Age at which an entry goes; 0 = never.
    """

    name = "quarantine-limits"

    def __init__(
        self,
        *,
        queue: QueueAccess,
        bytes_max: int,
        seconds_max: float,
        notices: Notices,
        wall: WallClock,
        clock: Clock,
    ) -> None:
        super().__init__(interval_seconds=_INTERVAL_SECONDS, clock=clock)
        self._queue = queue
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max
        self._notices = notices
        self._wall = wall

    def look(self) -> None:
        before = self._wall.before(self._seconds_max) if self._seconds_max else 0.0
        for account, ledger in list(self._queue.ledgers.items()):
            if ledger.quarantine_bytes > self._bytes_max or (before and ledger.quarantined):
                trimming = self._queue.operate(
                    TrimQuarantine(account, self._bytes_max, before=before)
                )
                trimming.addCallback(self._trimmed, account)
                trimming.addErrback(lambda failure: failure.trap(QueueError))  # then next time

    def _trimmed(self, trimmed: Trimmed, account: str) -> None:
        if trimmed.full:
            self._notices.warn(
                f"quarantine of {account}",
                "quarantine-full",
                f"{counted(trimmed.full, 'record')} dropped, its oldest; more than "
                f"quarantine_bytes_max = {size(self._bytes_max)} were set aside",
            )
        if trimmed.aged:
            self._notices.warn(
                f"quarantine of {account}",
                "quarantine-aged",
                f"{counted(trimmed.aged, 'record')} dropped, older than "
                f"quarantine_seconds_max = {plain(self._seconds_max)} s",
            )
