"""Puts records into a stream: one batch in flight for each lineage, checked and sent again.

    add ─▶ sender ─▶ (last message asked for) ─▶ batch of several senders ─▶ stored
              ▲                 ▲                        │
              └─────────────────┴── no answer, mismatch ─┘

A batch is stored as a whole or not at all, whatever becomes of its answer; see `sender.py`.  A
stream that is full, without a leader, or silent makes the publisher wait and try again; only a lost
connection, or what somebody has to change, ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from relay.flow.publishing import (
    PublisherEvents,
    PublisherFailed,
    RecordRefused,
    Run,
    with_numbers_in_text,
)
from relay.model.clock import Clock
from relay.model.errors import UpstreamError
from relay.transport.connections import Timers
from relay.transport.nats.client import ServerInfo
from relay.transport.nats.sender import Part, Sender
from relay.transport.nats.senders import PublishingPlan, Senders
from relay.transport.nats.stream import StreamInfo, read_stream
from relay.wire.nats.answers import NO_RESPONDERS, Fate, LastMessage, Stored, StreamError
from relay.wire.nats.messages import BATCH_MESSAGES_MAX, Message

_BATCH_OCTETS_MAX = 4 * 1024 * 1024
_BATCHES_MAX = 4  # at a time; nats-server takes 50 of one stream, of all publishers together
_SINGLES_MAX = 64  # at a time, where there are no batches
_ASKED_MAX = 64  # senders whose last message is asked for, at a time
_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_MISMATCHES_MAX = 3  # in a row; then somebody else writes to the subject as well


class ApiClient(Protocol):
    """Asks JetStream's API."""

    def ask_api(
        self, subject: str, request: bytes = b"", *, is_checked: bool = True
    ) -> Deferred[bytes]: ...


class StreamClient(ApiClient, Protocol):
    """The methods of `NatsClient` that a publisher calls."""

    def open(self) -> Deferred[ServerInfo]: ...

    def last_message(self, stream: str, subject: bytes) -> Deferred[LastMessage | None]: ...

    def store(self, messages: Sequence[Message]) -> Deferred[Stored]: ...

    def close(self) -> Deferred[None]: ...


class NatsPublisher:
    """One connection to one stream; see `relay.flow.publishing.Publisher`.

    Args:
        new_client: Makes the connection, given what to call with the reason when it is lost.

    Attributes:
        stream: What the stream promises; None = it is not known yet.
        epoch: Of the numbers; empty = nobody needs it.
        state: What keeps it from going on, for people; empty = nothing.
    """

    def __init__(
        self,
        plan: PublishingPlan,
        *,
        new_client: Callable[[Callable[[str], None]], StreamClient],
        clock: Clock,
        events: PublisherEvents,
    ) -> None:
        self.stream: StreamInfo | None = None
        self.epoch = b""
        self.state = ""
        self._plan = plan
        self._events = events
        self._client = new_client(self._fail)
        self._timers = Timers(clock)
        self._senders = Senders(plan)
        self._in_flight = self._asked = 0
        self._failures = self._mismatches = 0  # in a row
        self._careful = 0  # records that are sent one by one, to see which one is refused
        self._is_open = self._is_going = self._goes_again = False
        self._failed = ""
        self._closed: Deferred[None] | None = None

    async def open(self) -> StreamInfo:
        """Connect, and look at the stream.  Raises UpstreamError."""
        server = await self._client.open()
        stream = await look_at_stream(self._client, self._plan.stream)
        if problem := self._plan.demands.problem(stream, server.version):
            raise UpstreamError(problem)
        for warning in self._plan.demands.warnings(stream):
            self._events.on_remark(warning)
        self.stream = stream
        limits = [server.payload_octets_max, stream.message_octets_max]
        limit = min((each for each in limits if each > 0), default=1024 * 1024)
        self._senders.limit(limit)
        self._is_open = True
        self._say("", f"publishing to {server.place}, {stream.text}")
        self._go()
        return stream

    def publish(self, run: Run) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self._failed:
            done.errback(PublisherFailed(self._failed))
            return done
        if self._plan.encoding.has_numbers_in_text:
            run = with_numbers_in_text(run)
        sender = self._senders.of(run, self.epoch)
        sender.add(run, done)
        self._senders.offer(sender)
        self._go()
        return done

    async def last_of(self, lineage: str) -> LastMessage | None:
        """The last message of a lineage's subject.  Raises UpstreamError."""
        sender = self._senders.of(Run((), lineage), self.epoch)
        try:
            last = await self._client.last_message(self._plan.stream, sender.subject)
        except StreamError as error:
            raise UpstreamError(f"stream {self._plan.stream}: {error}") from None
        sender.found(last)
        return last

    def close(self) -> Deferred[None]:
        if self._closed is None:
            self._fail("closed")
            self._closed = self._client.close()
        return self._closed

    # Batches.

    def _go(self) -> None:
        """Send what may be sent."""
        if self._is_going:  # called by what is called from here
            self._goes_again = True
            return
        self._is_going = True
        batches_max = _BATCHES_MAX if self._plan.is_atomic else _SINGLES_MAX
        while self._may_send and self._in_flight < batches_max:
            self._goes_again = False
            if parts := self._collect():
                self._send(parts)
            elif not self._goes_again:
                break
        self._is_going = False

    @property
    def _may_send(self) -> bool:
        is_waiting = self._failed or "pause" in self._timers
        return self._is_open and not is_waiting and bool(self._senders.ready)

    def _collect(self) -> list[Part]:
        """The parts of one batch, of senders that are not on their way."""
        parts: list[Part] = []
        messages_max = BATCH_MESSAGES_MAX if self._plan.is_atomic else 1
        records_max = 1 if self._careful else BATCH_MESSAGES_MAX * BATCH_MESSAGES_MAX
        octets = 0
        for _ in range(len(self._senders.ready)):
            if messages_max <= 0 or records_max <= 0 or octets >= _BATCH_OCTETS_MAX:
                break
            sender = self._senders.next()
            if sender.is_unknown:
                self._ask(sender)
                continue
            part = sender.take(messages_max, _BATCH_OCTETS_MAX - octets, records_max)
            if isinstance(part, RecordRefused):
                sender.refuse(part)
                self._senders.offer(sender)
                continue
            sender.is_busy = True
            parts.append(part)
            messages_max -= len(part.messages)
            records_max -= part.records
            octets += sum(message.size for message in part.messages)
        return parts

    def _send(self, parts: list[Part]) -> None:
        self._in_flight += 1
        messages = [message for part in parts for message in part.messages]
        stored = self._client.store(messages)
        stored.addCallbacks(
            partial(self._stored, parts, len(messages)), partial(self._not_stored, parts)
        )

    def _stored(self, parts: list[Part], messages: int, answer: Stored) -> None:
        self._in_flight -= 1
        if self._failed:
            return
        self._went_well()
        seq = answer.seq - messages
        for part in parts:
            seq += len(part.messages)
            self._careful = max(0, self._careful - part.records)
            part.sender.stored(part.records, seq)
            self._senders.release(part.sender)
        self._go()

    def _not_stored(self, parts: list[Part], failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, StreamError):
            self._fail(f"a defect: {failure.getErrorMessage()}")
            return
        self._in_flight -= 1
        if self._failed:
            return
        text = f"stream {self._plan.stream}: {error}"
        if error.fate is Fate.UNUSABLE:
            self._fail(text)
        elif error.fate is Fate.TOO_LARGE and sum(part.records for part in parts) == 1:
            (part,) = parts
            part.sender.refuse(RecordRefused(part.sender.oldest_at, str(error)))
        elif error.fate is Fate.TOO_LARGE:
            self._careful = sum(part.records for part in parts)
        elif error.fate is Fate.MISMATCH and self._mismatches < _MISMATCHES_MAX:
            self._mismatches += 1
        else:
            self._wait(text)
        for part in parts:
            if error.fate in (Fate.MISMATCH, Fate.UNKNOWN):
                part.sender.expected = None
            self._senders.release(part.sender)
        self._go()

    def _ask(self, sender: Sender) -> None:
        """Learn the last message of a sender's subject."""
        if self._asked >= _ASKED_MAX:
            self._senders.offer(sender)
            return
        self._asked += 1
        sender.is_busy = True
        asked = self._client.last_message(self._plan.stream, sender.subject)
        asked.addCallbacks(partial(self._found, sender), partial(self._not_found, sender))

    def _found(self, sender: Sender, last: LastMessage | None) -> None:
        self._asked -= 1
        if self._failed:
            return
        if not sender.found(last):
            self._events.on_remark(
                f"somebody else has written to the subject {sender.subject.decode()} as well"
            )
        if sender.is_empty:  # all was stored, and only the answer was lost
            self._went_well()
        self._senders.release(sender)
        self._go()

    def _not_found(self, sender: Sender, failure: Failure) -> None:
        self._asked -= 1
        error = failure.value
        if not isinstance(error, StreamError):
            self._fail(f"a defect: {failure.getErrorMessage()}")
            return
        if self._failed:
            return
        if error.fate is Fate.UNUSABLE:
            self._fail(f"stream {self._plan.stream}: {error}")
        else:
            self._wait(f"stream {self._plan.stream}: {error}")
        self._senders.release(sender)

    # How it is.

    def _wait(self, why: str) -> None:
        """Send nothing for a while, because of `why`."""
        if "pause" not in self._timers:
            seconds = _RETRY_SECONDS[min(self._failures, len(_RETRY_SECONDS) - 1)]
            self._failures += 1
            self._timers.set("pause", seconds, self._go)
        self._say(why, f"waiting: {why}")

    def _went_well(self) -> None:
        self._failures = self._mismatches = 0
        if self.state:
            self._say("", f"publishing to stream {self._plan.stream}")

    def _say(self, state: str, text: str) -> None:
        is_new, self.state = state != self.state or not state, state
        if is_new:
            self._events.on_state(text, not state)

    def _fail(self, why: str) -> None:
        if self._failed:
            return
        self._failed = why
        self._timers.cancel_all()
        self._events.on_state(why, False)
        self._senders.fail(why)


async def look_at_stream(client: ApiClient, name: str) -> StreamInfo:
    """Ask for a stream.  Raises UpstreamError."""
    try:
        return read_stream(name, await client.ask_api(f"STREAM.INFO.{name}"))
    except StreamError as error:
        if error.code == NO_RESPONDERS:
            text = "JetStream does not answer: it is off, or this account may not use it"
        elif error.code == 10059:
            text = f"there is no stream {name}: make it, or change the path of the URL"
        else:
            text = f"stream {name}: {error}"
        raise UpstreamError(text) from None


class DirectPublisher(NatsPublisher):
    """A publisher that opens itself, and fails if that cannot be done."""

    def start(self) -> DirectPublisher:
        ensureDeferred(self.open()).addErrback(self._not_opened)
        return self

    def _not_opened(self, failure: Failure) -> None:
        self._fail(failure.getErrorMessage())
        failure.trap(UpstreamError)  # anything else is a defect, for the log
