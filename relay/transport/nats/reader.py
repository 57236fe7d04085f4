"""Reads a stream through a durable consumer, exactly once.

    last position ──▶ consumer at the next message ──▶ requests ──▶ batches ──▶ committed, answered
                            ▲                                           │
                            └──── pause ◀── lost, silent, a gap ◀───────┘

The number of the last message in the stream is stored in the transaction of the messages, with the
last number of each lineage.  It decides where reading goes on; the consumer's own position is for
tools that show the lag, and for streams that delete what is acknowledged.  If both differ, as after
a crash, the consumer is made anew at ours.  A consumer counts its deliveries: if one is missing, a
server has failed over and would bring it later, out of order, so this reader begins again as well.

While admission is closed, and while too much waits for its commit, nothing is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.python.failure import Failure

from relay.model.clock import Reactor
from relay.model.errors import QueueError, UpstreamError
from relay.model.text import Document, counted
from relay.transport.connections import Timers
from relay.transport.log.sieve import Sieve
from relay.transport.nats.client import ServerInfo
from relay.transport.nats.consumer import (
    ConsumerPlan,
    Place,
    Requests,
    place_consumer,
    read_place,
)
from relay.transport.nats.fetched import Fetched, fetched
from relay.transport.nats.publisher import look_at_stream
from relay.transport.reception import Reception
from relay.transport.turn_batch import Intake
from relay.wire.nats.answers import StreamError
from relay.wire.nats.messages import split_headers

PLACE = "place"
"""Name of the stored position of a source."""

_BATCHES_MAX = 64  # that wait for their commit
_SILENCE_SECONDS = 9.0  # three heartbeats

Arrived = tuple[bytes, bytes, bytes, bytes]


class ReaderClient(Protocol):
    """The methods of `NatsClient` that a reader calls."""

    def open(self) -> Deferred[ServerInfo]: ...

    def ask_api(
        self, subject: str, request: bytes = b"", *, is_checked: bool = True
    ) -> Deferred[bytes]: ...

    def subscribe(self, inbox: str, take: Callable[[list[Arrived]], None]) -> Deferred[None]: ...

    def publish(self, subject: bytes, data: bytes = b"", reply: bytes = b"") -> None: ...

    def new_inbox(self) -> str: ...

    def close(self) -> Deferred[None]: ...


class StreamReader:
    """Reads a stream for one source.

    Args:
        sieve: Of the source.
        new_client: Makes a connection, given what to call with the reason when it is lost.
        retry_seconds: The pause after the n-th failure in a row, n from 0 on.
    """

    def __init__(
        self,
        reception: Reception,
        plan: ConsumerPlan,
        *,
        sieve: Sieve,
        new_client: Callable[[Callable[[str], None]], ReaderClient],
        retry_seconds: Callable[[int], float],
        reactor: Reactor,
    ) -> None:
        self._sieve = sieve
        self._lag: int | None = None  # messages that wait in the stream, where known
        self._reception = reception
        self._intake: Intake = reception.intake
        self._plan = plan
        self._new_client = new_client
        self._retry_seconds = retry_seconds
        self._reactor = reactor
        self._load: Callable[[], Mapping[str, bytes]] = dict
        self._client: ReaderClient | None = None
        self._session = 0  # what comes from an earlier one counts no more
        self._place: Place | None = None  # of the last message that was handed on
        self._requests = Requests()
        self._is_explicit = False
        self._state = "starting"
        self._retry_at = 0.0
        self._failures = 0
        self._timers = Timers(reactor)
        self._pauses: set[str] = set()
        self._waiting = 0  # batches without their commit
        self._is_lost = False  # a batch was not stored: what was noted in memory is wrong
        self._stopping = False

    # For the service.

    @property
    def is_reading(self) -> bool:
        return self._requests.is_open

    @property
    def state(self) -> str:
        """The state as text."""
        if "begin" in self._timers:
            seconds = max(0.0, self._retry_at - self._reactor.seconds())
            return f"{self._state}; next try in {seconds:.0f} s"
        return self._state + (", paused" if self._pauses and self.is_reading else "")

    def report(self) -> Document:
        """For status."""
        return {"lag_records": self._lag, "held_back_records": self._sieve.held_back}

    def start(self, load: Callable[[], Mapping[str, bytes]]) -> None:
        """Begin behind the stored place.

        Args:
            load: The stored positions of the source.
        """
        self._load = load
        self._place = read_place(load().get(PLACE))
        self._reception.admission.register(self)
        self._timers.set("begin", 0, self._begin)

    def stop(self) -> Deferred[None]:
        """Stop reading; fires when the connection's thread has ended."""
        self._stopping = True
        self._state = "stopped"
        self._reception.admission.unregister(self)
        self._timers.cancel_all()
        return self._close()

    # Called by admission.

    def pause_reading(self) -> None:
        self._reception.counters.pauses += 1
        self._pauses.add("admission")

    def resume_reading(self) -> None:
        self._pauses.discard("admission")
        self._ask()

    # Sessions.

    def _begin(self) -> None:
        if self._waiting:  # their places have to be known first
            self._timers.set("begin", 0.05, self._begin)
            return
        if self._is_lost:
            self._is_lost = False
            self._sieve.rewind()
            self._place = read_place(self._load().get(PLACE))
        self._session += 1
        session = self._session
        ensureDeferred(self._open(session)).addErrback(self._not_opened, session)

    async def _open(self, session: int) -> None:
        self._state = f"connecting to {self._plan.target}"

        def lost(why: str) -> None:
            self._end(session, why)

        client = self._client = self._new_client(lost)
        server = await client.open()
        stream = await look_at_stream(client, self._plan.stream)
        placed = await place_consumer(client, self._plan, stream, self._place)
        if session != self._session:
            return
        if placed.gap:
            self._reception.counters.missing_records += placed.missing
            self._reception.warn("gap", placed.gap)
            self._sieve.forget()
        self._place = placed.place
        self._is_explicit = placed.is_explicit
        inbox = client.new_inbox()
        await client.subscribe(inbox, lambda messages: self._take(session, messages))
        if session != self._session:
            return
        self._requests.open(self._plan.next_subject, inbox.encode("ascii"), placed.deliveries)
        self._lag = placed.pending
        self._state = (
            f"reads stream {self._plan.stream} as consumer {self._plan.consumer} "
            f"from {server.place}"
        )
        self._ask()

    def _not_opened(self, failure: Failure, session: int) -> None:
        if failure.check(UpstreamError, StreamError) is None:
            self._end(session, f"a defect: {failure.getErrorMessage()}")
            failure.raiseException()
        self._end(session, str(failure.value))

    def _end(self, session: int, why: str) -> None:
        """The session is over; begin another one after a pause."""
        if session != self._session or self._stopping:
            return
        self._session += 1
        self._close()
        seconds = self._retry_seconds(self._failures)
        self._failures += 1
        self._state = f"{self._plan.target}: {why}"
        self._retry_at = self._reactor.seconds() + seconds
        self._timers.set("begin", seconds, self._begin)
        self._reception.warn("nats", f"{self._state}; next try in {seconds:.0f} s")

    def _close(self) -> Deferred[None]:
        self._requests.close()
        self._timers.cancel("silence")
        self._lag = None
        client, self._client = self._client, None
        return succeed(None) if client is None else client.close()

    # Requests.

    def _ask(self) -> None:
        """Ask for messages, if there is room for them."""
        if self._client is None or not self._requests.is_open or self._pauses:
            return
        if self._waiting >= _BATCHES_MAX or "again" in self._timers:
            return
        was_idle = not self._requests.asked
        for subject, request, inbox in self._requests.due():
            self._client.publish(subject, request, inbox)
        if was_idle and self._requests.asked:
            self._hear()

    def _hear(self) -> None:
        session = self._session
        self._timers.set("silence", _SILENCE_SECONDS, self._silent, session)

    def _silent(self, session: int) -> None:
        if self._requests.asked:
            self._end(session, f"no sign of life from the consumer in {_SILENCE_SECONDS:g} s")

    def _status(self, session: int, headers: bytes) -> None:
        status, fields = split_headers(headers)
        trouble = self._requests.answered(status, fields)
        if trouble == "pause":
            self._timers.set("again", 0.5, self._ask)
        elif trouble:
            self._end(session, trouble)

    # Messages.

    def _take(self, session: int, messages: Sequence[Arrived]) -> None:
        if session != self._session or self._stopping:
            return
        self._hear()
        come = fetched(messages, self._requests.deliveries, self._place)
        self._requests.received(come.deliveries, come.count)
        self._reception.counters.duplicate_records += len(come.redelivered_replies)
        if come.replies or (self._is_explicit and come.redelivered_replies):
            self._hand_on(come)
        for headers in come.statuses:
            if session == self._session:
                self._status(session, headers)
        if come.missing and session == self._session:
            self._end(session, come.missing)
        if session == self._session:
            self._ask()

    def _hand_on(self, come: Fetched) -> None:
        self._place, self._lag = come.place, come.pending
        if come.dropped:
            self._count_dropped(come.dropped)
        received, positions = self._sieve.sift(come.records, come.numbers)
        source = self._reception.source
        positions = {**positions, f"{source}/{PLACE}": come.place.encode()}
        self._waiting += 1
        stored = self._intake.accept_all([] if received is None else [received], positions)
        replies = come.replies[-1:]
        if self._is_explicit:
            # Also what had come before: a crash, or a lost connection, came between its commit and
            # its acknowledgement, and a work queue keeps it until then.
            replies = come.redelivered_replies + come.replies
        stored.addCallbacks(self._stored, self._not_stored, callbackArgs=(self._session, replies))

    def _count_dropped(self, count: int) -> None:
        counters = self._reception.counters
        counters.received_records += count
        counters.protocol_errors += count
        counters.dropped["malformed-pack"] += count
        text = f"{counted(count, 'message')} with a pack of records that cannot be read: dropped"
        self._reception.warn("pack", text)

    def _stored(self, _: None, session: int, replies: Sequence[bytes]) -> None:
        self._waiting -= 1
        self._failures = 0
        if session == self._session and self._client is not None:
            for reply in replies:
                self._client.publish(reply, b"+ACK")
            self._ask()

    def _not_stored(self, failure: Failure) -> None:
        self._waiting -= 1
        failure.trap(QueueError)
        self._is_lost = True
        self._end(self._session, f"not stored, to be read again: {failure.getErrorMessage()}")
