"""A destination as a service: its queue, or two, with what empties each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.logger import Logger

from relay.flow.drain import Drain, DrainEvents
from relay.flow.exactly_once.numbering import Numbering
from relay.flow.lanes import Lanes
from relay.flow.pacing import Allowance, Pace, Pacing, Window
from relay.flow.pump import Fill
from relay.flow.refusals import Refusals
from relay.flow.shares import Shares
from relay.model.clock import Clock, WallClock, in_utc
from relay.model.counters.latencies import latencies_report
from relay.model.counters.rates import Rates
from relay.model.errors import QueueError
from relay.model.text import Document, printable
from relay.queue.ledger import added_up
from relay.rewrite.forms.record_key import without_keys
from relay.rewrite.forms.sized import Sized
from relay.service.configuration.model import DestinationConfiguration
from relay.service.destinations.kind import Delivery, DestinationParts
from relay.service.destinations.lane import Lane
from relay.service.prerequisite import Prerequisite
from relay.service.queue.service import QueueService
from relay.service.routes.late_tokens import LateTokens
from relay.service.sampling import DESTINATION_RATES
from relay.transport.upstream import UpstreamState
from relay.wire.relp.fleet import FleetReport

_ANSWERS_SECONDS_MAX = 1.0  # what a stop waits for answers that are on their way
_BACKLOG_SECONDS_MIN = 2.0  # age of the oldest record; younger ones are just on their way
_BY_HAND = "hand"  # who holds the drains of a destination that is paused


class DestinationService(Service):
    """One destination.

    Args:
        tokens: Those of its form; None = it has none.
        sized: Its form, if that has a limit for payloads.

    Attributes:
        configuration: Its own; of one in use only what concerns the way into its queue may change.
        status: What it tells of itself.
        lanes: Its queues, from startService on: one, or two with ``order = "live-first"``.
        stall_seconds: Being connected for so long without an answer is a stall.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        configuration: DestinationConfiguration,
        queue: QueueService,
        parts: DestinationParts,
        delivery: Delivery,
        tokens: LateTokens | None = None,
        sized: Sized | None = None,
    ) -> None:
        self.id = configuration.id
        self.lanes: tuple[Lane, ...] = ()
        self.stall_seconds = configuration.stall_seconds
        self.configuration = configuration
        self._queue = queue
        self._notices = parts.notices
        self._clock: Clock = parts.reactor
        self._delivery = delivery
        self._prerequisites = [*delivery.prerequisites, *([tokens.needed] if tokens else [])]
        fill: Fill = tokens.fill if tokens else lambda payloads: payloads
        # What was queued for another kind of destination may have keys or hops.
        keep_hops, has_keys = configuration.has_hops, configuration.record_key is not None
        self._fill = fill if has_keys else lambda it: without_keys(fill(it), keep_hops=keep_hops)
        self._order: Lanes | None = None  # of the two lanes, if there are two
        self._refusals = Refusals(
            configuration.refusals_max,
            now=parts.wall.now,
            on_held=lambda text: self.warn("refusals", f"the upstream {text}"),
            on_taken=lambda text: self._say(f"the upstream {text}"),
        )
        self.status = DestinationStatus(
            configuration,
            lanes=self._by_age,
            refusals=self._refusals,
            prerequisites=self._prerequisites,
            details=delivery.details,
            changed=sized.changed if sized else Counter(),
            queue=queue,
            wall=parts.wall,
        )
        for each in self._prerequisites:
            each.when_fulfilled(self._permit)

    def startService(self) -> None:
        Service.startService(self)
        rate = self.configuration.sending.drain_rate
        pace = None
        if rate is not None and rate.is_limited:
            pace = Pace(rate, clock=self._clock)
        if self.configuration.backlog_percent:
            self._start_lanes(pace)
        else:
            lane = self._new_lane(self.id, pace)
            self.lanes = (lane,)
            self._queue.subscribe(self.id, lane.drain.stored, lane.drain.evicted)
            lane.open()
        self._permit()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._order is not None:
            self._order.finish()
        finished = gatherResults([lane.drain.finish() for lane in self.lanes], consumeErrors=True)
        patience = self._clock.callLater(_ANSWERS_SECONDS_MAX, finished.cancel)
        finished.addErrback(lambda _: None)  # then they come again after the next start
        await finished
        if patience.active():
            patience.cancel()
        await gatherResults([lane.stop() for lane in self.lanes])

    def _permit(self) -> None:
        """Begin to make sessions, if nothing is missing for them."""
        if self.running and not any(each.trouble for each in self._prerequisites):
            for lane in self.lanes:
                lane.permit()

    def _start_lanes(self, pace: Pace | None) -> None:
        configuration, queues = self.configuration, self._queue.lane_queues
        shares = Shares(
            backlog_percent=configuration.backlog_percent,
            window_records=configuration.in_flight_max,
            pace=pace,
            clock=self._clock,
        )
        names = queues.of(self.id)
        queues.direct(self.id, older=names[0], newer=names[1])
        older, newer = (
            self._new_lane(name, share)
            for name, share in zip(names, (shares.backlog, shares.live), strict=True)
        )
        shares.backlog.drain, shares.live.drain = older.drain, newer.drain
        self.lanes = (older, newer)
        self._order = order = Lanes(
            older,
            newer,
            destination=self.id,
            queue=queues,
            shares=shares,
            on_trouble=partial(self.warn, "queue"),
            on_change=self._say,
        )
        for lane in self.lanes:
            self._queue.subscribe(
                lane.queue, partial(self._stored, lane), partial(self._evicted, lane)
            )
        order.begin()

    def _new_lane(self, queue: str, pace: Pacing | None) -> Lane:
        lane = Lane(
            self.id,
            queue,
            queues=self._queue,
            state=self._new_state(queue),
            stall_seconds=self.stall_seconds,
        )
        records_max = self.configuration.in_flight_max
        window = Window(records_max=records_max, clock=self._clock) if records_max else None
        limit = self.configuration.size_limit
        if limit is not None and limit.policy != "quarantine":
            limit = None  # longer ones were not queued
        lane.drain = Drain(
            queue,
            cursor=self._queue.cursor(queue),
            queue=self._queue.committer,
            ledger=lane.ledger,
            allowance=Allowance(self._refusals, window=window, pace=pace, limit=limit),
            clock=self._clock,
            events=DrainEvents(
                on_session=partial(self._session_begins, lane),
                on_progress=partial(self._acknowledged, lane),
                on_trouble=partial(self.warn, "queue"),
            ),
            fill=self._fill,
        )
        lane.numbering = Numbering(
            self._queue.lineage(queue),
            drain=lane.drain,
            save=partial(self._queue.keep_lineage, queue),
            on_trouble=partial(self.warn, "lineage"),
            has_others=len(self.configuration.targets) > 1,
        )
        lane.link = self._delivery.new_link(lane)
        return lane

    def _new_state(self, queue: str) -> UpstreamState:
        configuration = self.configuration
        url = configuration.connect
        return UpstreamState(
            target=self._delivery.target or url.local_path or str(url).partition("://")[2],
            clock=self._clock,
            on_ready=partial(self._connected, queue),
            on_failure=partial(self._connection_failed, queue),
            on_remark=partial(self.warn, "connection"),
            retry_seconds_min=configuration.retry.retry_seconds_min,
            retry_seconds_max=configuration.retry.retry_seconds_max,
        )

    def _name(self, queue: str) -> str:
        """The lane of `queue`, to begin a line with; empty while there is one."""
        if self._order is None or not all(lane.is_open for lane in self.lanes):
            return ""
        return "live lane: " if queue == self._order.newer.queue else "backlog lane: "

    # What happens to a lane.

    def _connected(self, queue: str, text: str) -> None:
        if self._order is not None and self._order.is_to_reconnect(queue):
            return  # the log says that it reconnects; the next connection is the one that counts
        self._say(self._name(queue) + printable(text))

    def _connection_failed(self, queue: str, text: str) -> None:
        self.warn("connection", self._name(queue) + text)
        if self._order is not None:
            self._order.connection_failed(queue)

    def _session_begins(self, lane: Lane) -> None:
        if self._order is not None:
            self._order.session_begins(lane)

    def _acknowledged(self, lane: Lane) -> None:
        lane.state.progressed()
        self._look()

    def _stored(self, lane: Lane, upto: int, payloads: Sequence[bytes]) -> None:
        lane.drain.stored(upto, payloads)
        self._look()

    def _evicted(self, lane: Lane, upto: int, reason: str) -> None:
        lane.drain.evicted(upto, reason)
        self._look()

    def _look(self) -> None:
        if self._order is not None:
            self._order.look()

    # What people ask for.

    def drain_of(self, queue: str) -> Drain | None:
        """The drain of one of the destination's queues; None if `queue` is not one of them."""
        return next((lane.drain for lane in self.lanes if lane.queue == queue), None)

    def break_link(self, why: str) -> None:
        """End the sessions at once, where that can be done; the next ones come by themselves."""
        for lane in self.lanes:
            lane.break_link(why)

    def connect(self) -> None:
        """Try now what would be tried after a pause; nothing else is changed."""
        for each in self._prerequisites:
            if each.trouble:
                each.look()
        for lane in self.lanes:
            lane.connect()

    def pause(self, since: float) -> None:
        """Send nothing more until `resume`; answers are still taken.

        Args:
            since: When somebody asked for it, in seconds since 1970-01-01 UTC.
        """
        self.status.paused_since = since
        for lane in self.lanes:
            lane.drain.hold(_BY_HAND)

    def resume(self) -> None:
        """Send again after `pause`, and connect at once."""
        self.status.paused_since = None
        if self._order is not None:
            self._order.release(_BY_HAND)
        else:
            self.lanes[0].drain.release(_BY_HAND)
        self.connect()

    def reopen(self) -> None:
        """Something may have been rotated."""
        for lane in self.lanes:
            lane.link.reopen()

    def warn(self, kind: str, text: str) -> None:
        self._notices.warn(f"destination {self.id}", kind, text)

    def _say(self, text: str) -> None:
        self._log.info("destination {id}: {text}", id=self.id, text=text)

    # For status.

    @property
    def state_text(self) -> str:
        """The state, for people."""
        return self.status.state_text

    def report(self) -> Document:
        """Account, state and counters, for status."""
        return self.status.report()

    def _by_age(self) -> Sequence[Lane]:
        """The lanes, the backlog first."""
        order = self._order
        return sorted(self.lanes, key=lambda lane: order is not None and lane is order.newer)


@dataclass(slots=True)
class DestinationStatus:
    """State for people and report of one destination.

    Args:
        lanes: Says its lanes, the backlog first.
        details: Says what its kind has to tell.
        changed: How many messages were too long and "truncated" or "split".

    Attributes:
        paused_since: When somebody paused it, in seconds since 1970-01-01 UTC; None = it is not.
    """

    configuration: DestinationConfiguration
    lanes: Callable[[], Sequence[Lane]]
    refusals: Refusals
    prerequisites: Sequence[Prerequisite]
    details: Callable[[], Sequence[str]]
    queue: QueueService
    wall: WallClock
    paused_since: float | None = None
    changed: Mapping[str, int] = field(default_factory=dict)
    _rates: Rates = field(default_factory=lambda: Rates(*DESTINATION_RATES), init=False)

    def continue_from(self, before: DestinationStatus) -> None:
        """It takes the place of `before`, with the same queue."""
        self._rates = before._rates
        self.changed = self.changed or before.changed

    @property
    def state_text(self) -> str:
        """The state, for people."""
        lanes = self._open_lanes
        if len(lanes) < 2:
            return self._state_text("; ".join(lane.state.text for lane in lanes))
        backlog, live = lanes
        return self._state_text(f"live: {live.state.text}; backlog: {backlog.state.text}")

    @property
    def _open_lanes(self) -> list[Lane]:
        return [lane for lane in self.lanes() if lane.is_open]

    def _state_text(self, sessions: str) -> str:
        """The state, for people, of which `sessions` are those of the connections."""
        text = "; ".join(filter(None, (each.state for each in self.prerequisites)))
        text = text or "; ".join(filter(None, (self.refusals.state, sessions)))
        if self.paused_since is None:
            return text
        return f"paused by hand since {in_utc(self.paused_since)}; {text}"

    @property
    def id(self) -> str:
        return self.configuration.id

    def counts(self) -> tuple[int, ...]:
        """The account, as far as it has rates; see `DESTINATION_RATES`."""
        ledger = added_up([lane.ledger for lane in self.lanes()])
        return ledger.received, ledger.delivered, sum(ledger.dropped.values())

    def sample(self, now: float) -> tuple[int, ...]:
        """Note these counters, and return them."""
        counts = self.counts()
        self._rates.note(now, counts)
        return counts

    def waiting(self) -> tuple[int, float | None]:
        """How many records wait, and for how many seconds the oldest does."""
        return sum(lane.ledger.queued for lane in self.lanes()), self._age()

    def report(self) -> Document:
        """Account, state and counters, for status."""
        lanes = self.lanes()
        ledger = added_up([lane.ledger for lane in lanes])
        states = [lane.state for lane in lanes]
        causes = sum((state.failures_by_cause for state in states), Counter[str]())
        drains = [lane.drain for lane in lanes]
        stalls = [lane.progress.stalled_seconds or 0.0 for lane in lanes]
        age = self._age()
        paused = self.paused_since is not None
        connections = [lane.state for lane in self._open_lanes]
        ready = bool(connections) and all(state.ready for state in connections)
        ready = ready and not paused and not self.refusals.is_held
        has_backlog = age is not None and age >= _BACKLOG_SECONDS_MIN
        return {
            "id": self.configuration.id,
            "connect": ", ".join(map(str, self.configuration.targets)),
            "state": self.state_text,
            "details": list(self.details()),
            "ready": ready,
            "paused": paused,
            "paused_since": self.paused_since,
            "refuses_everything": self.refusals.report(),
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
            "latencies": latencies_report([drain.latencies for drain in drains]),
            "connects": sum(state.connects for state in states),
            "failures": sum(state.failures for state in states),
            "failures_by_cause": dict(causes),
            "unexpected_bytes": sum(state.unexpected_bytes for state in states),
            "truncated_records": self.changed.get("truncated", 0)
            + sum(state.truncated_records for state in states),
            "split_records": self.changed.get("split", 0),
            "rates": self._rates.report(),
            "limit": self._limit_report(ledger.queued if has_backlog else 0, drains=ready),
            "lanes": self._lanes_report(),
        }

    def _limit_report(self, backlog_records: int, *, drains: bool) -> Document | None:
        limit = self.queue.limit(self.configuration.id)
        if limit is None:
            return None
        return limit.report(
            backlog_records=backlog_records,
            drains=drains,
            relay_seconds_to_full=self.queue.seconds_to_full,
        )

    def _lanes_report(self) -> Document | None:
        lanes = self.lanes()
        if len(lanes) < 2:
            return None
        return {
            name: {
                "queue": lane.queue,
                "queued_records": lane.queued,
                "in_flight_records": lane.drain.in_flight,
                "delivered_per_second": self._rate(lane),
                "state": self._state_text(lane.state.text) if lane.is_open else "idle",
            }
            for name, lane in zip(("backlog", "live"), lanes, strict=True)
        }

    def _rate(self, lane: Lane) -> float:
        """Records that `lane` delivers in a second, from the samples of the time to empty."""
        limit = self.queue.limit(self.configuration.id)
        if limit is None or not lane.is_open:
            return 0.0
        return round(limit.forecast.delivered[lane.queue].per_second, 1)

    def _age(self) -> float | None:
        """Seconds since the oldest record came in that waits."""
        try:
            found = [
                self.queue.view.oldest_received_at(lane.queue)
                for lane in self.lanes()
                if lane.ledger.queued
            ]
        except QueueError:  # the counters are worth showing all the same
            return None
        oldest = min((at for at in found if at is not None), default=None)
        return None if oldest is None else self.wall.age(oldest)


def fleet_report_of(destinations: Sequence[DestinationService]) -> FleetReport:
    """What waits in the queues of `destinations`, as other relays are told."""
    waiting = [each.status.waiting() for each in destinations]
    ages = [age for _, age in waiting if age is not None]
    return FleetReport(sum(count for count, _ in waiting), int(max(ages)) if ages else None)
