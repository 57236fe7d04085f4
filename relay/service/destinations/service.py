"""Destinations as services: a queue's drain and the link that it sends through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.internet import ClientService
from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from relay.flow.drain import Drain, Fill
from relay.flow.lanes import Lanes
from relay.flow.numbering import Numbering
from relay.flow.pacing import Pace, Window
from relay.flow.progress import Progress, Standing
from relay.flow.refusals import Refusals
from relay.model.clock import Clock, DelayedCall, WallClock, in_utc
from relay.model.errors import QueueError
from relay.model.policy import DrainRate
from relay.model.printable import printable
from relay.queue.ledger import added_up
from relay.service.configuration.model import Url
from relay.service.prerequisite import Prerequisite
from relay.service.queue.service import QueueService
from relay.transport.datagram.outbound import DatagramSession
from relay.transport.files.writer import FileSession
from relay.transport.notices import Notices
from relay.transport.upstream import (
    PreparedEndpoint,
    RetryClock,
    UpstreamProtocol,
    UpstreamState,
)

__all__ = ["DestinationService", "LocalDestination", "StreamDestination"]

_ANSWERS_SECONDS_MAX = 1.0  # what a stop waits for answers that are on their way
_CLOSE_SECONDS_MAX = 0.5
_BACKLOG_SECONDS_MIN = 2.0  # age of the oldest record; younger ones are just on their way
_BY_HAND = "hand"  # who holds the drain of a destination that is paused


class DestinationService(Service):
    """One destination.  Subclasses say how its sessions come about.

    Args:
        window_records: Most records in flight; 0 = as many as a session takes.
        backlog_percent: What a backlog gets of what is sent while there are fresh messages;
            0 = it is sent before them.
        stall_seconds: Being connected for so long without an answer is a stall.
    """

    _log = Logger(namespace="relay")
    drain: Drain | Lanes  # both exist from startService on
    numbering: Numbering | None
    """None with lanes: what they send has no numbers that a receiver could know."""

    def __init__(
        self,
        *,
        destination: str,
        url: Url,
        queue: QueueService,
        refusals_max: int,
        notices: Notices,
        clock: Clock,
        wall: WallClock,
        retry_seconds_min: float,
        retry_seconds_max: float,
        window_records: int = 0,
        drain_rate: DrainRate | None = None,
        backlog_percent: int = 0,
        stall_seconds: float = 120.0,
    ) -> None:
        self.id = destination
        self.url = url
        self.state = UpstreamState(
            target=url.path or str(url).partition("://")[2],
            clock=clock,
            on_ready=lambda words: self._log.info(
                "destination {id}: {words}", id=self.id, words=printable(words)
            ),
            on_failure=lambda words: self.warn("connection", words),
            retry_seconds_min=retry_seconds_min,
            retry_seconds_max=retry_seconds_max,
        )
        self._queue = queue
        self._notices = notices
        self._clock = clock
        self._wall = wall
        self._window_records = window_records
        self._drain_rate = drain_rate
        self._backlog_percent = backlog_percent
        self.progress = Progress(seconds_max=stall_seconds)
        self.refusals = Refusals(
            refusals_max,
            now=wall.now,
            on_held=lambda words: self.warn("refusals", f"the upstream {words}"),
            on_taken=lambda words: self._log.info(
                "destination {id}: the upstream {words}", id=self.id, words=words
            ),
        )
        self.fill: Fill = lambda payloads: payloads
        self._prerequisites: list[Prerequisite] = []
        self._linked = False  # since all of them are there
        self._paused_since: float | None = None

    def require(self, prerequisite: Prerequisite) -> None:
        """Make no session before `prerequisite` is there; call it before the start."""
        self._prerequisites.append(prerequisite)
        prerequisite.when_fulfilled(self._link)

    @property
    def state_words(self) -> str:
        """The state in words."""
        words = "; ".join(filter(None, (each.words for each in self._prerequisites)))
        words = words or "; ".join(filter(None, (self.refusals.state, self.state.words)))
        if self._paused_since is None:
            return words
        return f"paused by hand since {in_utc(self._paused_since)}; {words}"

    def warn(self, kind: str, words: str) -> None:
        self._notices.warn(f"destination {self.id}", kind, words)

    def startService(self) -> None:
        Service.startService(self)
        window = pace = None
        if self._window_records:
            window = Window(records_max=self._window_records, clock=self._clock)
        if self._drain_rate is not None:
            pace = Pace(self._drain_rate, clock=self._clock)
        if self._backlog_percent:
            self._start_lanes(window, pace)
        else:
            self._start_drain(window, pace)
        self._link()

    def _link(self) -> None:
        """Begin to make sessions, if nothing is missing for them."""
        if self.running and not self._linked and not any(p.trouble for p in self._prerequisites):
            self._linked = True
            self.start_link()

    def _start_drain(self, window: Window | None, pace: Pace | None) -> None:
        self.drain = drain = self._new_drain(self.id, window=window, pace=pace)
        self.numbering = Numbering(
            self._queue.lineage(self.id),
            drain=drain,
            save=partial(self._queue.keep_lineage, self.id),
            on_trouble=lambda words: self.warn("lineage", words),
        )
        self._queue.subscribe(self.id, drain.stored, drain.evicted)

    def _start_lanes(self, window: Window | None, pace: Pace | None) -> None:
        queues = self._queue.lane_queues
        older, newer = queues.of(self.id)
        queues.direct(self.id, older=older, newer=newer)
        self.drain = lanes = Lanes(
            destination=self.id,
            older=older,
            newer=newer,
            new_drain=self._new_drain,
            queue=queues,
            backlog_percent=self._backlog_percent,
            clock=self._clock,
            on_trouble=lambda words: self.warn("queue", words),
            on_change=lambda words: self._log.info(
                "destination {id}: {words}", id=self.id, words=words
            ),
            window=window,
            pace=pace,
        )
        self.numbering = None
        for queue in (older, newer):
            stored = partial(lanes.stored, queue)
            self._queue.subscribe(queue, stored, lanes.drain_of(queue).evicted)

    def _new_drain(
        self, queue: str, *, window: Window | None = None, pace: Pace | None = None
    ) -> Drain:
        ledger = self._queue.view.ledger(queue)
        return Drain(
            destination=queue,
            cursor=self._queue.cursor(queue),
            queue=self._queue.committer,
            acknowledged=ledger.acknowledged_seq,
            stored=ledger.next_seq,
            refusals=self.refusals,
            clock=self._clock,
            on_progress=self.state.progressed,
            on_trouble=lambda words: self.warn("queue", words),
            window=window,
            pace=pace,
            fill=self.fill,
        )

    def drain_of(self, queue: str) -> Drain | None:
        """The drain of one of the destination's queues; None if `queue` is not one of them."""
        if isinstance(self.drain, Lanes):
            return self.drain.drain_of(queue) if queue in self.drain.queues else None
        return self.drain if queue == self.id else None

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        finished = self.drain.finish()
        patience = self._clock.callLater(_ANSWERS_SECONDS_MAX, finished.cancel)
        finished.addErrback(lambda _: None)  # then they come again after the next start
        await finished
        if patience.active():
            patience.cancel()
        if self._linked:
            self._linked = False
            await self.stop_link()

    def start_link(self) -> None:
        """Begin to make sessions."""
        raise NotImplementedError

    async def stop_link(self) -> None:
        """End the session, within half a second, and make no more."""
        raise NotImplementedError

    def break_link(self, why: str) -> None:
        """End the session at once, if that can be done; the next one comes by itself."""

    def connect(self) -> None:
        """Try now what would be tried after a pause; nothing else is changed."""
        for each in self._prerequisites:
            if each.trouble:
                each.look()

    def pause(self, since: float) -> None:
        """Send nothing more until `resume`; answers are still taken.

        Args:
            since: When somebody asked for it, in seconds since 1970-01-01 UTC.
        """
        self._paused_since = since
        self.drain.hold(_BY_HAND)

    def resume(self) -> None:
        """Send again after `pause`, and connect at once."""
        self._paused_since = None
        self.drain.release(_BY_HAND)
        self.connect()

    def reopen(self) -> None:
        """Something may have been rotated."""

    def standing(self) -> Standing:
        """Whether it has something to do, and what for its progress."""
        aside = sum(self._queue.view.ledger(queue).quarantined for queue in self._queues)
        return Standing(
            answers=(self.state.answers, aside),
            connected=self.state.ready,
            in_flight=self.drain.in_flight,
            could_send=self.drain.could_send,
        )

    def report(self) -> dict[str, Any]:
        """Account, state and counters, for status."""
        ledger = added_up([self._queue.view.ledger(queue) for queue in self._queues])
        age = self._age()
        paused = self._paused_since is not None
        ready = self.state.ready and not paused and not self.refusals.is_held
        limit = self._queue.limit(self.id)
        has_backlog = ready and age is not None and age >= _BACKLOG_SECONDS_MIN
        return {
            "id": self.id,
            "connect": str(self.url),
            "state": self.state_words,
            "ready": ready,
            "paused": paused,
            "paused_since": self._paused_since,
            "refuses_everything": self.refusals.report(),
            "stalled_seconds": self.progress.stalled_seconds,
            "exactly_once": self.state.exactly_once,
            "received_records": ledger.received,
            "delivered_records": ledger.delivered,
            "queued_records": ledger.queued,
            "queued_bytes": ledger.queued_bytes,
            "oldest_seconds": age,
            "quarantined_records": ledger.quarantined,
            "quarantine_bytes": ledger.quarantine_bytes,
            "dropped_records": dict(ledger.dropped),
            "in_flight_records": self.drain.in_flight,
            "sent_records": self.drain.sent_records,
            "resent_records": self.drain.resent_records,
            "connects": self.state.connects,
            "failures": self.state.failures,
            "truncated_records": self.state.truncated_records,
            "limit": None
            if limit is None
            else limit.report(backlog_records=ledger.queued if has_backlog else 0),
            "lanes": self.drain.report() if isinstance(self.drain, Lanes) else None,
        }

    @property
    def _queues(self) -> tuple[str, ...]:
        return self.drain.queues if isinstance(self.drain, Lanes) else (self.id,)

    def _age(self) -> float | None:
        """Seconds since the oldest record came in that waits."""
        try:
            found = [
                self._queue.view.oldest_received_at(queue)
                for queue in self._queues
                if self._queue.view.ledger(queue).queued
            ]
        except QueueError:  # the counters are worth showing all the same
            return None
        oldest = min((at for at in found if at is not None), default=None)
        return None if oldest is None else self._wall.age(oldest)


class StreamDestination(DestinationService):
    """An upstream behind a stream: RELP or plain syslog, with or without TLS.

    Args:
        new_endpoint: Makes what ClientService connects through.
        new_protocol: Makes the protocol of one connection.
    """

    def __init__(
        self,
        *,
        new_endpoint: Callable[[UpstreamState], PreparedEndpoint],
        new_protocol: Callable[[StreamDestination], UpstreamProtocol],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._new_endpoint = new_endpoint
        self._new_protocol = new_protocol
        self._protocol: UpstreamProtocol | None = None
        self._retries = RetryClock(self._clock)

    def start_link(self) -> None:
        endpoint: Any = self._new_endpoint(self.state)
        factory: Any = _DestinationFactory(self)
        self._client = ClientService(
            endpoint,
            factory,
            retryPolicy=self.state.retry_policy,
            clock=self._retries,  # type: ignore[arg-type]  # as much of one as it uses
            prepareConnection=lambda protocol: protocol.ready,
        )
        self._client.startService()

    async def stop_link(self) -> None:
        self.state.stopped()
        protocol = self._protocol
        if protocol is None or protocol.gone:
            await self._client.stopService()
            return
        protocol.shut_down()
        cut = self._clock.callLater(_CLOSE_SECONDS_MAX, protocol.give_up, "stopping")
        await self._client.stopService()
        if cut.active():
            cut.cancel()
        # ClientService does not wait for a connection that was still being prepared.
        protocol.give_up("stopping")

    def connect(self) -> None:
        super().connect()
        if self._retries.hurry():
            self.state.connecting()

    def break_link(self, why: str) -> None:
        if self._protocol is not None:
            self._protocol.give_up(why)

    def new_protocol(self) -> UpstreamProtocol:
        self._protocol = self._new_protocol(self)
        return self._protocol


class _DestinationFactory(Factory):
    noisy = False

    def __init__(self, destination: StreamDestination) -> None:
        self._destination = destination

    def buildProtocol(self, addr: Any) -> Any:
        return self._destination.new_protocol()


class LocalDestination(DestinationService):
    """A destination without a connection to wait for: a file, or UDP.

    Args:
        new_session: Makes a session; given this service and what to call, with
            words, when the session fails.  May fail with OSError itself.
        how: The state in words while there is a session.
    """

    def __init__(
        self,
        *,
        new_session: Callable[
            [LocalDestination, Callable[[str], None]],
            Deferred[FileSession] | Deferred[DatagramSession],
        ],
        how: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._new_session = new_session
        self._how = how
        self._session: FileSession | DatagramSession | None = None
        self._retry: DelayedCall | None = None

    def start_link(self) -> None:
        ensureDeferred(self._open())

    async def _open(self) -> None:
        self._retry = None
        self.state.connecting()
        try:
            session = await self._new_session(self, self._failed)
        except OSError as error:
            self._failed(f"{self.state.target}: {error.strerror or error}")
            return
        if not self.running:
            session.close()
            return
        self._session = session
        self.state.became_ready(self._how)
        self.drain.attach(session)

    def _failed(self, words: str) -> None:
        self._session = None
        self.state.failed(words)
        if self.running:
            self._retry = self._clock.callLater(self.state.retry_policy(), self.start_link)

    def connect(self) -> None:
        super().connect()
        if self._retry is not None and self._retry.active():
            self._retry.reset(0)
            self.state.connecting()

    async def stop_link(self) -> None:
        self.state.stopped()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._session is not None:
            self._session.close()

    def reopen(self) -> None:
        if isinstance(self._session, FileSession):
            self._session.reopen()
