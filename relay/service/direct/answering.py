"""Publishers of one source in direct mode, one after the other.

A publisher retries by itself for as long as the log is away.  Another one takes its place when it
fails, and when nothing is acknowledged for twice `answer_seconds_max` of the destination while
records wait (`StallDetector`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from relay.flow.direct.intake import DirectIntake
from relay.flow.direct.runs import RunsInFlight
from relay.flow.direct.sessions import DirectSession, DirectSessions
from relay.flow.intake import Append
from relay.flow.publishing import Publisher, PublisherEvents
from relay.model.clock import Clock, DelayedCall
from relay.model.counters.kept import KeptCounters
from relay.model.errors import UpstreamError
from relay.model.text import Document, printable, size
from relay.queue.admission.backpressure import pending_level
from relay.queue.admission.watermark import Watermark
from relay.queue.transaction import Counted, Refusal
from relay.rewrite.forms.record_key import split_key
from relay.service.configuration.model import Configuration, DestinationConfiguration
from relay.service.destinations.lane import Progress, Standing
from relay.transport.notices import Notices
from relay.transport.upstream import UpstreamState

_log = Logger(namespace="relay")

_CLOSE_SECONDS_MAX = 1.0
_WAIT_SECONDS_MAX = 10.0  # of a record; an election takes less


@dataclass(frozen=True, slots=True)
class AnsweringParts:
    """The parts of the relay that a source in direct mode works with."""

    new_publisher: Callable[[PublisherEvents], Publisher]
    """Raises UpstreamError if something is missing that it needs."""
    store: Append
    """Stores quarantines and drops."""
    kept: KeptCounters
    """The counters of the source."""
    notices: Notices
    clock: Clock


class DirectLimits(NamedTuple):
    """Limits of one source, in bytes."""

    pending_bytes_max: int
    """In flight; then the source stops reading."""
    quarantine_bytes_max: int


def limits_of(configuration: Configuration) -> DirectLimits:
    return DirectLimits(configuration.pending_max, configuration.quarantine_bytes_max)


class Answering:
    """Has a log answer the senders of one source.

    Args:
        source: Id of the source.
        destination: The log.

    Attributes:
        intake: Takes what the source receives.
        sessions: Those of its connections.
        watermark: What is in flight, for the admission of the source.
        progress: Whether it moves.
        unfinished_bytes: Says what the connections keep of incomplete messages.
    """

    def __init__(
        self,
        source: str,
        destination: DestinationConfiguration,
        parts: AnsweringParts,
        limits: DirectLimits,
    ) -> None:
        self.id, self.subject = source, f"source {source}"
        self.destination = destination.id
        self.unfinished_bytes: Callable[[], int] = int
        self.progress = Progress(seconds_max=destination.stall_seconds)
        self._parts = parts
        self._limits = limits
        level = pending_level(limits.pending_bytes_max)
        self.watermark = Watermark(level, describe=self._full_text)
        self._runs = RunsInFlight(
            seconds=parts.clock.seconds,
            set_aside=self._set_aside,
            on_bytes=self._note_bytes,
            on_answer=self._progressed,
            on_failed=self._failed,
        )
        self.sessions = DirectSessions(self._runs.end)
        self.intake = DirectIntake(
            destination=destination.id, runs=self._runs, store=parts.store, kept=parts.kept
        )
        retry = destination.retry
        self._state = UpstreamState(
            target=f"{destination.id} ({destination.connect})",
            clock=parts.clock,
            on_ready=self._say,
            on_failure=partial(self._warn, "publisher"),
            on_remark=partial(self._warn, "publisher"),
            retry_seconds_min=retry.retry_seconds_min,
            retry_seconds_max=retry.retry_seconds_max,
        )
        self._publisher: Publisher | None = None
        self._starts = 0  # of publishers; one that is over says nothing more
        self._told = ""  # the state, as the publisher says it
        self._is_well = True
        self._retry: DelayedCall | None = None
        self._look: DelayedCall | None = None  # while trouble lasts and nothing is in flight
        self._closing: list[Deferred[None]] = []

    def use(self, limits: DirectLimits, *, one_by_one: bool) -> None:
        """Work with other limits and routes from now on; see `DirectIntake`."""
        self.intake.one_by_one = one_by_one
        before, self._limits = self._limits, limits
        if limits.pending_bytes_max != before.pending_bytes_max:
            self.watermark.move(pending_level(limits.pending_bytes_max))

    def start(self) -> None:
        """Make the first publisher.  Threads may begin, so the process must not fork any more."""
        self._state.started()
        self._try()

    async def stop(self) -> None:
        """End the publisher, within a second; what is in flight stays with the senders."""
        self._state.stopped()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._end_publisher()
        self._runs.give_up()
        closing = DeferredList(self._closing, consumeErrors=True)
        patience = self._parts.clock.callLater(_CLOSE_SECONDS_MAX, closing.cancel)
        closing.addErrback(lambda _: None)
        await closing
        if patience.active():
            patience.cancel()

    # For the stall detector.

    def standing(self) -> Standing:
        """Whether there is something to do, and what for its progress."""
        return Standing(
            answers=self._runs.answers,
            connected=self._publisher is not None,
            in_flight=self._runs.records,
            could_send=False,
        )

    def break_link(self, why: str) -> None:
        """End the publisher; the next one sends everything again."""
        if self._publisher is not None:
            self._failed(why)

    # What it tells of itself.

    @property
    def is_ready(self) -> bool:
        """Whether records are answered now."""
        return self._state.ready and self._is_well and not self._waits

    @property
    def state_text(self) -> str:
        """The state, for people."""
        told = self._told if self._publisher and self._told else self._state.text
        return "; ".join(filter(None, (self._waits, told)))

    @property
    def _waits(self) -> str:
        """A warning that records wait for too long; empty = they do not."""
        if (seconds := self.progress.stalled_seconds) is not None:
            return f"nothing acknowledged for {seconds:.0f} s"
        oldest = self._runs.oldest_seconds
        if oldest is not None and oldest >= _WAIT_SECONDS_MAX:
            return f"a record waits for {oldest:.0f} s"
        return ""

    def report(self) -> Document:
        """For status."""
        runs, state = self._runs, self._state
        return {
            "destination": self.destination,
            "state": self.state_text,
            "ready": self.is_ready,
            "in_flight_records": runs.records,
            "in_flight_bytes": runs.bytes,
            "oldest_seconds": runs.oldest_seconds,
            "acknowledged_records": runs.acknowledged_records,
            "refused_records": runs.refused_records,
            "resent_records": runs.resent_records,
            "publishers": state.connects,
            "failures": state.failures,
        }

    # Publishers.

    def _try(self) -> None:
        self._retry = None
        self._told, self._is_well = "", True
        self._state.connecting()
        self._starts += 1
        on_state = partial(self._publisher_told, self._starts)
        events = PublisherEvents(on_state=on_state, on_remark=self._state.remark)
        try:
            publisher = self._parts.new_publisher(events)
        except UpstreamError as error:
            self._again(str(error))
            return
        self._publisher = publisher
        self._runs.attach(publisher)

    def _publisher_told(self, start: int, text: str, is_well: bool) -> None:
        if start != self._starts:
            return
        if text != self._told and not is_well:
            self._warn("publisher", text)
        self._told, self._is_well = text, is_well
        if is_well and not self._state.ready:
            self._state.became_ready(text)
        # It may be dead, and only a record that it fails would say so.
        if not is_well and not self._runs.records and self._look is None:
            self._look = self._parts.clock.callLater(_WAIT_SECONDS_MAX, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if not self._is_well and not self._runs.records:
            self._failed(self._told)

    def _progressed(self) -> None:
        if not self._state.ready and self._is_well and self._publisher is not None:
            self._state.became_ready(f"answers when {self._state.target} has acknowledged")
        self._state.progressed()

    def _failed(self, reason: str) -> None:
        """The publisher is of no more use."""
        self._end_publisher()
        self._again(reason)

    def _again(self, reason: str) -> None:
        self._state.failed(reason, cause="publisher")
        self._retry = self._parts.clock.callLater(self._state.retry_policy(), self._try)

    def _end_publisher(self) -> None:
        publisher, self._publisher = self._publisher, None
        self._starts += 1
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._runs.detach()
        if publisher is not None:
            closed = publisher.close()
            self._closing.append(closed)
            closed.addBoth(self._closed, closed)

    def _closed(self, _: object, closed: Deferred[None]) -> None:
        self._closing.remove(closed)

    # What the log refuses, and what waits for it.

    def _set_aside(self, session: DirectSession, payload: bytes, reason: str) -> Deferred[None]:
        reason = printable(reason)
        self._warn("refused", f"{session.peer}: a record set aside in the quarantine: {reason}")
        payload = split_key(payload)[1]
        bytes_max = self._limits.quarantine_bytes_max
        refusal = Refusal(self.id, reason, session.peer, [payload], bytes_max)
        return self._parts.store({}, [refusal], None, None, (), Counted(self._parts.kept, 0, 1))

    def _note_bytes(self, in_flight: int) -> None:
        # Of incomplete messages at most a quarter: those of connections that wait cannot become
        # less, and admission has to open again.
        unfinished = min(self.unfinished_bytes(), self._limits.pending_bytes_max // 4)
        self.watermark.set(in_flight + unfinished)

    def _full_text(self, waiting: int) -> str:
        return f"{size(waiting)} wait for {self.destination}: {self.state_text}"

    def _warn(self, kind: str, text: str) -> None:
        self._parts.notices.warn(self.subject, kind, text)

    def _say(self, text: str) -> None:
        _log.info("{subject}: {text}", subject=self.subject, text=text)
