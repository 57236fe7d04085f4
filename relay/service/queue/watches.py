"""Watches over the queue: its file's place, room and age, quarantines and histories."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from relay.model.clock import Clock, WallClock
from relay.model.errors import QueueError
from relay.model.text import counted, duration, size
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import TOO_OLD, QueueLimit
from relay.queue.inspect.commands import PruneHistories, Trimmed, TrimQuarantine
from relay.queue.transaction import destination_of, is_of_source, source_of
from relay.service.configuration.table import plain, size_text
from relay.service.periodic import PeriodicService
from relay.service.queue.service import QueueService
from relay.transport.notices import Notices

_INTERVAL_SECONDS = 2.0
_PLACE_WARNING_SECONDS = 60.0
_ROOM_BYTES_MIN = 16 * 1024**2
"""Room that a disk that was full must have before histories go on."""
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

    def __init__(self, notices: Notices, subject: str, what: str) -> None:
        self._notices, self._subject = notices, subject
        self._what = what
        self._passed = 0

    def note(self, size: int, size_max: int, seconds_to_full: float | None) -> None:
        percent = 100 * size / size_max
        passed = sum(percent >= mark for mark in _MARKS_PERCENT)
        if passed > self._passed:
            text = f"{percent:.0f} % full{_time_to_full(seconds_to_full)}: {self._what}"
            self._notices.warn(self._subject, "fill", text)
            self._passed = passed
        elif percent < _MARKS_PERCENT[self._passed - 1] - _MARGIN_PERCENT:
            self._passed = passed


class _Stop:
    """Times a stop of admission.  One that comes back within an interval goes on."""

    def __init__(self, admission: Admission, clock: Clock) -> None:
        self._admission = admission
        self._clock = clock
        self._began_at: float | None = None
        self._ended_at: float | None = None
        self._reason = ""
        admission.when_lasting_change(self._changed)
        self._changed()

    def take_end(self) -> tuple[float, str] | None:
        """Seconds that a stop lasted that is over, and its reason; once for each stop."""
        began_at, ended_at = self._began_at, self._ended_at
        if began_at is None or ended_at is None:
            return None
        if self._clock.seconds() - ended_at < _INTERVAL_SECONDS:
            return None
        self._began_at = self._ended_at = None
        return ended_at - began_at, self._reason

    def _changed(self) -> None:
        now = self._clock.seconds()
        if self._admission.is_stopped:
            self._reason = self._admission.reason
            self._ended_at = None
            if self._began_at is None:
                self._began_at = now
        elif self._began_at is not None and self._ended_at is None:
            self._ended_at = now


@dataclass(eq=False, repr=False, kw_only=True)
class QueueWatch(PeriodicService):
    """Runs between the start of the destinations and that of the sources."""

    name = "queue watch"
    _log = Logger(namespace="relay")

    queue: QueueService
    admission: Admission
    limits: Mapping[str, QueueLimit]
    """Those of the destinations, by id."""
    notices: Notices
    wall: WallClock
    interval_seconds: float = _INTERVAL_SECONDS

    def __post_init__(self) -> None:
        self._stop = _Stop(self.admission, self.clock)
        self.follow()
        self._refused: dict[str, int] = {}  # what full quarantines dropped, by source

    def follow(self) -> None:
        """There are other limits: marks that they have passed are news."""
        size = size_text(self.admission.queue_bytes_max)
        text = f"relay.queue_bytes_max is {size}, all sources are paused then"
        self._fill = _Fill(self.notices, "queue", text)
        self._fills = {id: self._new_fill(limit) for id, limit in self.limits.items()}

    def startService(self) -> None:
        self._refused = dict(self._dropped_by_full_quarantines())
        super().startService()

    def stopService(self) -> None:
        self._look_at_quarantines()  # the sources have stopped: this is the last of it
        super().stopService()

    def look(self) -> None:
        admission, warn = self.admission, partial(self.notices.warn, "queue")
        was_closed = admission.closed
        try:
            admission.set_free_bytes(self.queue.view.free_bytes)
        except OSError as error:
            warn("room", f"cannot ask for room on the disk: {error.strerror}")
        if admission.closed and not was_closed:
            warn("admission", f"not accepting messages: {admission.reason}")
        if (end := self._stop.take_end()) is not None:
            self._log.info(
                "queue: accepting messages again after {length}; the reason was: {reason}",
                length=duration(end[0]),
                reason=end[1],
            )
        now = self.clock.seconds()
        admission.growth.note(now, admission.queue_bytes)
        self._fill.note(admission.queue_bytes, admission.queue_bytes_max, admission.seconds_to_full)
        for limit in self.limits.values():
            self._note(limit, now)
            if limit.bytes_max:
                full = limit.forecast.seconds_to_fill(limit.bytes_max - limit.size)
                self._fills[limit.destination].note(limit.size, limit.bytes_max, full)
            for queue in limit.queues if limit.seconds_max else ():
                self._expire(limit, queue, self.wall.before(limit.seconds_max))
        self._look_at_quarantines()

    def _note(self, limit: QueueLimit, now: float) -> None:
        """Take a sample for the forecast."""
        accounts = {queue: self.queue.view.ledger(queue) for queue in limit.queues}
        limit.forecast.note(
            now,
            queued=sum(each.received - each.never_queued for each in accounts.values()),
            delivered={queue: each.delivered for queue, each in accounts.items()},
            size=limit.size,
        )

    def _look_at_quarantines(self) -> None:
        """Warn of each source whose full quarantine dropped something since the last look."""
        for source, dropped in self._dropped_by_full_quarantines():
            more = dropped - self._refused.get(source, 0)
            self._refused[source] = dropped
            if more > 0:
                self.notices.warn(
                    f"source {source}",
                    "quarantine-full",
                    f"{more} dropped: its quarantine is full (quarantine_bytes_max)",
                )

    def _dropped_by_full_quarantines(self) -> Iterator[tuple[str, int]]:
        for account, ledger in self.queue.view.ledgers.items():
            if is_of_source(account):
                yield source_of(account), ledger.dropped.get("quarantine-full", 0)

    def _expire(self, limit: QueueLimit, queue: str, before: float) -> None:
        if not self.queue.view.ledger(queue).queued:
            return
        try:
            oldest = self.queue.view.oldest_received_at(queue)
        except QueueError as error:
            self.notices.warn(f"destination {limit.destination}", TOO_OLD, str(error))
            return
        if oldest is not None and oldest < before:
            self.queue.committer.expire(queue, before)

    def _new_fill(self, limit: QueueLimit) -> _Fill:
        size = size_text(limit.bytes_max)
        text = f"its queue_bytes_max is {size}, {_WHEN_FULL[limit.when_full]}"
        return _Fill(self.notices, f"destination {limit.destination}", text)


def _time_to_full(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f", and full in {seconds / length:.0f} {unit} if that goes on"
    return f", and full in {seconds:.0f} seconds if that goes on"


@dataclass(eq=False, repr=False, kw_only=True)
class PlaceWatch(PeriodicService):
    """Looks once a second whether the file is in its place, and logs each minute that it is not.

    Each commit looks too; this one notices it while nothing is committed.
    """

    name = "place watch"
    _log = Logger(namespace="relay")

    queue: QueueService
    interval_seconds: float = 1.0
    _warn_at = 0.0

    def look(self) -> None:
        if not (trouble := self.queue.place.trouble):
            return
        self.queue.place.probe()
        now = self.clock.seconds()
        if now >= self._warn_at:
            self._warn_at = now + _PLACE_WARNING_SECONDS
            self._log.critical(
                "queue: {trouble}; nothing is taken or answered until it is there again",
                trouble=trouble,
            )


@dataclass(eq=False, repr=False, kw_only=True)
class QuarantineLimits(PeriodicService):
    """Keeps quarantines within their limits: the oldest entries go first, and are counted.

    A source keeps its own within the size when it sets something aside (new ones are then
    dropped), so that a flood cannot push out what was there before.  Refusals by a destination
    are rare and the latest tell most, so there the oldest go.
    """

    name = "quarantine-limits"

    queue: QueueService
    bytes_max: int
    """What each may hold, labels included."""
    seconds_max: float
    """Age at which an entry goes; 0 = never."""
    notices: Notices
    wall: WallClock
    interval_seconds: float = 10.0

    def look(self) -> None:
        before = self.wall.before(self.seconds_max) if self.seconds_max else 0.0
        for account, ledger in list(self.queue.view.ledgers.items()):
            if ledger.quarantine_bytes > self.bytes_max or (before and ledger.quarantined):
                trimming = self.queue.committer.operate(
                    TrimQuarantine(account, self.bytes_max, before=before)
                )
                trimming.addCallback(self._trimmed, account)
                trimming.addErrback(lambda failure: failure.trap(QueueError))  # then next time

    def _trimmed(self, trimmed: Trimmed, account: str) -> None:
        bytes_max, seconds_max = size(self.bytes_max), plain(self.seconds_max)
        full = f"its oldest; more than quarantine_bytes_max = {bytes_max} were set aside"
        aged = f"older than quarantine_seconds_max = {seconds_max} s"
        for count, reason, why in (
            (trimmed.full, "quarantine-full", full),
            (trimmed.aged, "quarantine-aged", aged),
        ):
            if count:
                text = f"{counted(count, 'record')} dropped, {why}"
                self.notices.warn(f"quarantine of {account}", reason, text)


@dataclass(eq=False, repr=False, kw_only=True)
class HistoryWatch(PeriodicService):
    """Keeps histories within their ages, and lets them go where room is short.

    Their sizes are kept to in each commit (see `relay.queue.history.keep`).  The disk is looked
    at here, every two seconds: the histories shed as many bytes as `min_free_bytes` lacks there.
    After a commit that failed nothing is kept until there is room again.
    """

    name = "history-watch"

    queue: QueueService
    destinations: Collection[str]
    """The configured ones, by now; those without a history lose what they had."""
    free_bytes_min: int
    """Room that has to be left on the disk."""
    notices: Notices
    wall: WallClock
    interval_seconds: float = _INTERVAL_SECONDS
    _pruning = False
    _said = 0  # of what was shed

    def look(self) -> None:
        histories = self.queue.histories
        if not histories.databases:
            return
        try:
            missing = self.free_bytes_min - (self.queue.view.free_bytes - histories.used_bytes)
        except OSError:  # QueueWatch says so
            missing = 0  # below 0 there is room to spare
        histories.disk_full = histories.disk_full and missing > -_ROOM_BYTES_MIN
        if histories.shed_entries > self._said:
            self._said = histories.shed_entries
            self.notices.warn(
                "queue",
                "history",
                "the oldest of what is kept of delivered messages had to go: there is too little "
                "room (relay.queue_bytes_max, relay.min_free_bytes, or the disk is full)",
            )
        if histories.used_bytes and not self._pruning:
            ensureDeferred(self._prune(max(0, missing)))

    async def _prune(self, excess: int) -> None:
        histories = self.queue.histories
        longest = max((limit.seconds_max for limit in histories.limits.values()), default=0.0)
        before = {}
        for id in list(histories.databases):  # the writer may add one
            # Of a destination that has no lanes any more, what the second one had stays.
            limit = histories.limits.get(destination_of(id))
            if limit is not None:
                before[id] = self.wall.before(limit.seconds_max)
            elif longest and destination_of(id) not in self.destinations:
                # It has left the configuration, perhaps for another name.
                before[id] = self.wall.before(longest)
        self._pruning = True
        try:
            while await self.queue.committer.operate(PruneHistories(histories, before, excess)):
                excess = 0
                if not self.running:
                    break
        except QueueError:
            pass  # then next time
        finally:
            self._pruning = False
