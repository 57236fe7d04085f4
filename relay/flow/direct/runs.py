"""Records on their way to a log, until it has acknowledged them.

Each session has its flights in order, and one is over when it and all before it are acknowledged:
so an answer never overtakes another one.  When a publisher fails, the next one gets everything that
is not over, oldest first.  That may put records into the log twice; those with numbers are dropped
by their reader (`relay/flow/exactly_once/`).

`prev` of a run is found when it is handed over, not when it came: a record before it may have been
refused meanwhile, and a reader would wait for that one for ever.

The second run of a session waits until the first one is in the log.  If the log refused a record of
the first one, the second one would come before the rest of it: a reader that knows the lineage does
not take that, but one that does not know it takes whatever comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.codec import total_bytes
from relay.flow.direct.sessions import DirectSession, Flight, GivenUp
from relay.flow.publishing import Publisher, PublisherFailed, RecordRefused, Run
from relay.model.clock import Now

RECORD_BYTES = 640
"""Memory of a record in flight beside its bytes, about: here, and in the library of the log."""
_COPIES = 2
"""Of its bytes: that library has its own."""


def memory_of(payloads: Sequence[bytes]) -> int:
    """The memory that records in flight take, in bytes, about."""
    return _COPIES * total_bytes(payloads) + RECORD_BYTES * len(payloads)


class SetAside(Protocol):
    """Puts a record that the log refuses into the quarantine."""

    def __call__(self, session: DirectSession, payload: bytes, reason: str, /) -> Deferred[None]:
        """Fires when it is on disk.  Fails with QueueError."""


class RunsInFlight:
    """All records of one source that the log has not acknowledged.

    Args:
        seconds: A clock that is never set.
        on_bytes: Called with the bytes in flight whenever they change.
        on_answer: Called when the log has acknowledged something.
        on_failed: Called with the reason when the publisher is of no more use.

    Attributes:
        records: In flight.
        bytes: The memory that these take.
        answers: How often the log has acknowledged a run, or refused a record.
        acknowledged_records, refused_records, resent_records: Since the start.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        *,
        seconds: Now,
        set_aside: SetAside,
        on_bytes: Callable[[int], object] = lambda size: None,
        on_answer: Callable[[], object] = lambda: None,
        on_failed: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self.records = self.bytes = self.answers = 0
        self.acknowledged_records = self.refused_records = self.resent_records = 0
        self._seconds = seconds
        self._set_aside = set_aside
        self._on_bytes, self._on_answer, self._on_failed = on_bytes, on_answer, on_failed
        self._publisher: Publisher | None = None
        self._busy: dict[DirectSession, None] = {}  # whose oldest record came first comes first

    @property
    def oldest_seconds(self) -> float | None:
        """How long the oldest record waits; None = none does."""
        oldest = min((session.flights[0].since for session in self._busy), default=None)
        return None if oldest is None else self._seconds() - oldest

    def publish(
        self, session: DirectSession, payloads: Sequence[bytes], seqs: Sequence[int]
    ) -> Deferred[int]:
        """Send the next records of a session, at once or with the next publisher.

        Fires when they and all before them are acknowledged or set aside, with how many of them
        were set aside.  Fails with QueueError if one could not be, and with GivenUp.
        """
        size = memory_of(payloads)
        done: Deferred[int] = Deferred()
        flight = Flight(payloads, seqs, size=size, since=self._seconds(), done=done)
        session.flights.append(flight)
        self._busy[session] = None
        self.records += len(payloads)
        self.bytes += size
        self._send(session, flight)
        self._on_bytes(self.bytes)
        return done

    def attach(self, publisher: Publisher) -> None:
        """Send everything through `publisher` from now on."""
        self._publisher = publisher
        for session in list(self._busy):
            if session.is_over:
                self._drop(session)
            else:
                session.holds = True
                self._settle(session)

    def detach(self) -> None:
        """Hold everything until there is another publisher."""
        self._publisher = None
        for session in list(self._busy):
            if session.is_over:
                self._drop(session)

    def end(self, session: DirectSession) -> None:
        """The connection of a session has ended: it is not sent again."""
        if self._publisher is None:
            self._drop(session)

    def give_up(self) -> None:
        """Forget everything; the senders have it."""
        self._publisher = None
        for session in list(self._busy):
            self._drop(session)

    def _send(self, session: DirectSession, flight: Flight) -> None:
        publisher = self._publisher
        if publisher is None:
            return
        if session.lineage and not session.put and flight is not session.flights[0]:
            session.holds = True
            return
        if flight.attempt:
            self.resent_records += len(flight.payloads)
        flight.attempt += 1
        flight.acknowledged = not flight.payloads
        run = Run(flight.payloads, session.lineage, flight.seqs, session.sent, session.peer)
        if flight.seqs:
            session.sent = flight.seqs[-1]
        if flight.acknowledged:
            return
        sent = maybeDeferred(publisher.publish, run)
        given = (publisher, session, flight, flight.attempt)
        sent.addCallbacks(self._acknowledged, self._failed, given, {}, given)

    def _send_again(self, session: DirectSession) -> None:
        session.sent = session.put
        for flight in list(session.flights):
            self._send(session, flight)

    def _acknowledged(
        self,
        _: None,
        publisher: Publisher,
        session: DirectSession,
        flight: Flight,
        attempt: int,
    ) -> None:
        self.answers += 1
        if flight.attempt == attempt:
            flight.acknowledged = True
            self._settle(session)
        self._on_answer()

    def _failed(
        self,
        failure: Failure,
        publisher: Publisher,
        session: DirectSession,
        flight: Flight,
        attempt: int,
    ) -> None:
        error = failure.value
        if isinstance(error, RecordRefused):
            self.answers += 1
            if flight.attempt == attempt:
                self._refused(session, flight, error)
            return
        if publisher is not self._publisher:
            return  # this is known
        if not isinstance(error, PublisherFailed):
            self._log.failure("a publisher failed by a defect", failure)
        self.detach()
        self._on_failed(str(error) or type(error).__name__)

    def _refused(self, session: DirectSession, flight: Flight, refusal: RecordRefused) -> None:
        """Set one record aside; the rest of its run, and all after it, are sent again.

        What was sent after it may be in the log before what is sent again, where the reader does
        not take it.
        """
        at = min(refusal.index, len(flight.payloads) - 1)
        refused = flight.payloads[at]
        if at:
            first, seqs = flight.payloads[:at], flight.seqs[:at]
            before = Flight(first, seqs, size=memory_of(first), since=flight.since)
            before.acknowledged, before.attempt = True, flight.attempt
            flight.size -= before.size
            session.flights.insert(session.flights.index(flight), before)
        flight.payloads, flight.seqs = flight.payloads[at + 1 :], flight.seqs[at + 1 :]
        flight.refused += 1
        flight.aside += 1
        self.refused_records += 1
        self.records -= 1
        session.holds = True
        self._settle(session)
        aside, given = self._set_aside(session, refused, refusal.reason), (session, flight)
        aside.addCallbacks(self._is_aside, self._not_aside, given, {}, given)

    def _is_aside(self, _: None, session: DirectSession, flight: Flight) -> None:
        flight.aside -= 1
        self._settle(session)

    def _not_aside(self, failure: Failure, session: DirectSession, flight: Flight) -> None:
        flight.failure = flight.failure or failure
        self._is_aside(None, session, flight)

    def _settle(self, session: DirectSession) -> None:
        """End the flights that are over, oldest first, and send what waited for that."""
        while True:
            over: list[Flight] = []
            while session.flights and session.flights[0].is_settled:
                over.append(session.flights.popleft())
            self._end(session, over)
            if not (session.holds and session.flights and self._publisher):
                return
            session.holds = False
            self._send_again(session)
            if not (session.flights and session.flights[0].is_settled):
                return

    def _end(self, session: DirectSession, over: Sequence[Flight]) -> None:
        for flight in over:
            if flight.seqs:
                session.put = flight.seqs[-1]
            self.acknowledged_records += len(flight.payloads)
        if over:
            self._forget(session, over)
        for flight in over:
            if flight.done is None:
                continue
            if flight.failure is None:
                flight.done.callback(flight.refused)
            else:
                flight.done.errback(flight.failure)

    def _drop(self, session: DirectSession) -> None:
        """Give up what nobody waits for."""
        over = list(session.flights)
        session.flights.clear()
        self._forget(session, over)
        for flight in over:
            flight.attempt += 1
            if flight.done is not None:
                flight.done.errback(GivenUp())

    def _forget(self, session: DirectSession, over: Sequence[Flight]) -> None:
        if not session.flights:
            self._busy.pop(session, None)
        self.records -= sum(len(flight.payloads) for flight in over)
        self.bytes -= sum(flight.size for flight in over)
        self._on_bytes(self.bytes)
