"""Watches the queue: its room on the disk, age and fill level, and the place of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from relay.model.clock import WallClock
from relay.model.errors import QueueError
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import TOO_OLD, QueueLimit
from relay.queue.admission.trend import Trend
from relay.service.configuration.table import bytes_in_words
from relay.service.periodic import PeriodicService
from relay.service.queue.service import QueueService
from relay.transport.notices import Notices

__all__ = ["PlaceWatch", "QueueWatch"]

_INTERVAL_SECONDS = 2.0
_PLACE_SECONDS = 1.0
_PLACE_WARNING_SECONDS = 60.0
_MARKS_PERCENT = (50, 80, 95)
_MARGIN_PERCENT = 5  # below a mark, before passing it is news again

_WHEN_FULL = {
    "block": "the sources that feed it are paused then",
    "drop-newest": "what comes is dropped then",
    "drop-oldest": "the oldest messages are dropped then",
    "drop-by-severity": "from 80 % on the least severe messages are dropped",
}


class _Fill:
    """One thing that fills up, and the marks that it has passed."""

    def __init__(self, warn: Callable[[str], None], what: str) -> None:
        self._warn = warn
        self._what = what
        self._passed = 0

    def note(self, size: int, size_max: int, trend: Trend) -> None:
        percent = 100 * size / size_max
        passed = sum(percent >= mark for mark in _MARKS_PERCENT)
        if passed > self._passed:
            self._warn(f"{percent:.0f} % full{_time_to_full(trend, size_max)}: {self._what}")
            self._passed = passed
        elif percent < _MARKS_PERCENT[self._passed - 1] - _MARGIN_PERCENT:
            self._passed = passed


class QueueWatch(PeriodicService):
    """Runs between the start of the destinations and that of the sources.

    Args:
        limits: Those of the destinations, by id.
    """

    name = "queue watch"

    def __init__(
        self,
        queue: QueueService,
        admission: Admission,
        limits: Mapping[str, QueueLimit],
        *,
        notices: Notices,
        wall: WallClock,
        clock: Any,
    ) -> None:
        super().__init__(interval_seconds=_INTERVAL_SECONDS, clock=clock)
        self._queue = queue
        self._admission = admission
        self._limits = tuple(limits.values())
        self._notices = notices
        self._wall = wall
        self._trend = Trend()
        size = bytes_in_words(admission.queue_bytes_max)
        self._fill = _Fill(
            lambda words: notices.warn("queue", "fill", words),
            f"relay.queue_bytes_max is {size}, all sources are paused then",
        )
        self._fills = {limit.destination: self._new_fill(limit) for limit in self._limits}

    def look(self) -> None:
        was_closed = self._admission.closed
        try:
            self._admission.set_free_bytes(self._queue.free_bytes)
        except OSError as error:
            self._notices.warn(
                "queue", "room", f"cannot ask for room on the disk: {error.strerror}"
            )
        if self._admission.closed and not was_closed:
            self._notices.warn("queue", "admission", f"not taking more: {self._admission.reason}")
        now = self._clock.seconds()
        self._trend.note(now, self._admission.queue_bytes)
        admission = self._admission
        self._fill.note(admission.queue_bytes, admission.queue_bytes_max, self._trend)
        for limit in self._limits:
            limit.trend.note(now, limit.size)
            accounts = [self._queue.ledger(queue) for queue in limit.queues]
            limit.undelivered.note(now, sum(each.received - each.delivered for each in accounts))
            if limit.bytes_max:
                self._fills[limit.destination].note(limit.size, limit.bytes_max, limit.trend)
            for queue in limit.queues if limit.seconds_max else ():
                self._expire(limit, queue, self._wall.before(limit.seconds_max))

    def _expire(self, limit: QueueLimit, queue: str, before: float) -> None:
        if not self._queue.ledger(queue).queued:
            return
        try:
            oldest = self._queue.oldest_received_at(queue)
        except QueueError as error:
            self._notices.warn(f"destination {limit.destination}", TOO_OLD, str(error))
            return
        if oldest is not None and oldest < before:
            self._queue.expire(queue, before)

    def _new_fill(self, limit: QueueLimit) -> _Fill:
        return _Fill(
            lambda words: self._notices.warn(f"destination {limit.destination}", "fill", words),
            f"its queue_bytes_max is {bytes_in_words(limit.bytes_max)}, "
            f"{_WHEN_FULL[limit.when_full]}",
        )


def _time_to_full(trend: Trend, size_max: int) -> str:
    seconds = trend.seconds_to(size_max)
    if seconds is None:
        return ""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f", and full in {seconds / length:.0f} {unit} if that goes on"
    return f", and full in {seconds:.0f} seconds if that goes on"


class PlaceWatch(PeriodicService):
    """Looks once a second whether the file is in its place, and logs each minute that it is not.

    Each commit looks too; this one notices it while nothing is committed.
    """

    name = "place watch"
    _log = Logger(namespace="relay")

    def __init__(self, queue: QueueService, *, clock: Any) -> None:
        super().__init__(interval_seconds=_PLACE_SECONDS, clock=clock)
        self._queue = queue
        self._warn_at = 0.0

    def look(self) -> None:
        if not (trouble := self._queue.place.trouble):
            return
        self._queue.place.probe()
        now = self._clock.seconds()
        if now >= self._warn_at:
            self._warn_at = now + _PLACE_WARNING_SECONDS
            self._log.critical(
                "queue: {trouble}; nothing is taken or answered until it is there again",
                trouble=trouble,
            )
