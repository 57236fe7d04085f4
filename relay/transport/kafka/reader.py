"""A topic of Kafka as a source: consumers, one after the other, and where they go on.

    begin ──▶ consumer ──▶ ended ──▶ what is on its way to disk ──▶ pause ──▶ begin

The next offset of each partition, and the numbers of the lineages in it, are stored in the
transaction of the records, so a crash neither loses nor repeats one on its way to the queue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from relay.model.clock import Reactor
from relay.model.text import Document, counted
from relay.transport.connections import Timers
from relay.transport.kafka.consumer import ConsumerPlan, ConsumerThread
from relay.transport.kafka.fetched import Fetched, lags
from relay.transport.kafka.handover import Began, Ended, Gap, Handover, Warned
from relay.transport.kafka.taking import Taken, Taking, offsets_of
from relay.transport.reception import Reception
from relay.transport.turn_batch import Intake

TURN_RECORDS = 500
"""Records that are taken in one turn of the reactor, about."""
STOP_SECONDS_MAX = 1.5
"""Longest wait of a stop for the thread; `close` of a group's consumer may wait for its brokers."""

_LONG_SECONDS = 60.0  # after which the next failure is a first one again


class KafkaReader:
    """Reads a topic for one source.

    Args:
        taking: Decides what is stored of the records.
        retry_seconds: The pause after the n-th failure in a row, n from 0 on.
        reactor: Provides IReactorTime and IReactorThreads.
        new_thread: What reads until it is told to stop, for tests.
    """

    def __init__(
        self,
        reception: Reception,
        plan: ConsumerPlan,
        *,
        taking: Taking,
        retry_seconds: Callable[[int], float],
        reactor: Reactor,
        new_thread: Callable[[ConsumerPlan, Handover], ConsumerThread] = ConsumerThread,
    ) -> None:
        self.consumers = 0
        """How many there have been."""
        self._reception = reception
        self._intake: Intake = reception.intake
        self._plan = plan
        self._taking = taking
        self._retry_seconds = retry_seconds
        self._reactor = reactor
        self._new_thread = new_thread
        self._timers = Timers(reactor)
        self._offsets: dict[int, int] = {}  # on disk, without a gap
        self._handover: Handover | None = None  # of the consumer that reads
        self._has_failed = False  # a commit, since the consumer began
        self._waiting = 0  # batches without their commit
        self._trouble = ""
        self._failures = 0
        self._began_at = 0.0
        self._retry_at = 0.0
        self._is_paused = False
        self._stopping = False
        self._stopped: Deferred[None] | None = None

    # For the service.

    @property
    def is_reading(self) -> bool:
        handover = self._handover
        return handover is not None and handover.assigned is not None and not handover.trouble

    @property
    def state(self) -> str:
        """The state of the reader as text."""
        handover = self._handover
        if self._stopping:
            return self._trouble or "stopped"
        if handover is None:
            seconds = max(0.0, self._retry_at - self._reactor.seconds())
            return f"{self._trouble}; next try in {seconds:.0f} s" if self._trouble else "starting"
        if handover.trouble:
            return handover.trouble
        if handover.assigned is None:
            return f"joins the group {self._plan.group}" if self._plan.group else "connects"
        if not handover.assigned:
            return (
                f"has no partition: other members of the group {self._plan.group} have all "
                f"{handover.partitions}; it takes over when one of them ends"
            )
        paused = ", paused" if handover.is_paused else ""
        numbers = counted(len(handover.assigned), "partition")
        return f"reads {numbers} of {handover.partitions}{paused}"

    def report(self) -> Document:
        """For status; lags are the records of partitions that are not on disk here."""
        behind: Mapping[int, int] = {}
        assigned: Sequence[int] = ()
        if self._handover is not None and self._handover.assigned:
            assigned, stored = self._handover.assigned, self._handover.stored
            behind = lags({at: stored.get(at, 0) for at in assigned}, self._handover.ends)
        return {
            "consumers": self.consumers,
            "partitions": {str(at): {"lag_records": behind.get(at)} for at in assigned},
            "lag_records": sum(behind.values()) if behind else None,
            "held_back_records": self._taking.sieve.held_back,
        }

    def start(self, load: Callable[[], Mapping[str, bytes]]) -> None:
        """Begin where the stored positions of the source say."""
        self._offsets = offsets_of(load(), self._plan.topic)
        self._reception.admission.register(self)
        self._timers.set("begin", 0, self._begin)

    def stop(self) -> Deferred[None]:
        """Stop reading; fires when the thread has ended, or takes too long."""
        self._stopping = True
        self._reception.admission.unregister(self)
        self._timers.cancel_all()
        if self._handover is None:
            return succeed(None)
        self._handover.stop()
        self._stopped = Deferred()
        self._timers.set("stop", STOP_SECONDS_MAX, self._leave_thread)
        return self._stopped

    # Called by admission.

    def pause_reading(self) -> None:
        self._reception.counters.pauses += 1
        self._is_paused = True
        if self._handover is not None:
            self._handover.pause()

    def resume_reading(self) -> None:
        self._is_paused = False
        if self._handover is not None:
            self._handover.resume()

    # Consumers.

    def _begin(self) -> None:
        handover = Handover(
            self._offsets,
            call_from_thread=self._reactor.callFromThread,
            deliver=lambda: self._deliver(handover),
        )
        handover.is_paused = self._is_paused
        self._handover = handover
        self._has_failed = False
        self._began_at = self._reactor.seconds()
        self.consumers += 1
        thread = self._new_thread(self._plan, handover)
        # A daemon: a consumer that does not end must not keep the process.
        threading.Thread(
            target=thread.run, name=f"kafka {self._reception.source}", daemon=True
        ).start()

    def _deliver(self, handover: Handover) -> None:
        """Take what the consumer has handed over, as much as is good for one turn."""
        events = handover.events
        runs: list[Fetched] = []
        count = 0
        while events and count < TURN_RECORDS:
            if runs and not isinstance(events[0], Fetched):
                break  # those before it are stored before it
            event = events.popleft()
            if isinstance(event, Fetched):
                runs.append(event)
                count += len(event.frames)
            else:
                self._note(handover, event)
        if runs and (self._stopping or self._has_failed):
            handover.done(sum(run.octets for run in runs))  # read again by the next consumer
        elif runs:
            self._trouble = ""
            self._store(handover, self._taking.take(runs))
        if events:
            self._reactor.callLater(0, self._deliver, handover)

    def _note(self, handover: Handover, event: object) -> None:
        if isinstance(event, Began):
            if not event.is_own:
                self._store(handover, self._taking.begin(event.partition, event.offset))
        elif isinstance(event, Gap):
            self._taking.warn_of_gap(event)
            self._store(handover, self._taking.begin(event.partition, event.low))
        elif isinstance(event, Warned):
            self._reception.warn(event.kind, event.text)
        elif isinstance(event, Ended):
            self._end(handover, event.why)

    def _end(self, handover: Handover, why: str) -> None:
        self._handover = None
        if self._stopped is not None:
            self._timers.cancel_all()
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)
        if self._stopping:
            return
        if why:
            self._trouble = why
        if self._reactor.seconds() - self._began_at > _LONG_SECONDS:
            self._failures = 0
        seconds = self._retry_seconds(self._failures)
        self._failures += 1
        self._retry_at = self._reactor.seconds() + seconds
        self._reception.warn("consumer", f"{self._trouble}; next try in {seconds:.0f} s")
        self._timers.set("begin", seconds, self._begin_when_settled)

    def _begin_when_settled(self) -> None:
        """Begin once nothing of the last consumer is on its way to disk."""
        if self._waiting:
            self._timers.set("begin", 0.1, self._begin_when_settled)
            return
        self._taking.sieve.rewind()
        self._begin()

    def _leave_thread(self) -> None:
        self._trouble = f"the thread of the consumer has not ended within {STOP_SECONDS_MAX:g} s"
        self._reception.warn("stop", f"{self._trouble}; the process ends without it")
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.callback(None)

    # Records.

    def _store(self, handover: Handover, taken: Taken) -> None:
        self._waiting += 1
        stored = self._intake.accept_all(taken.batches, taken.positions)
        stored.addCallbacks(
            *(self._stored, self._not_stored),
            callbackArgs=(handover, taken),
            errbackArgs=(handover, taken),
        )

    def _stored(self, _: None, handover: Handover, taken: Taken) -> None:
        self._waiting -= 1
        if not self._has_failed:
            self._offsets |= taken.offsets
            handover.stored.update(taken.offsets)
        handover.done(taken.octets)

    def _not_stored(self, failure: Failure, handover: Handover, taken: Taken) -> None:
        """Begin again, with a new consumer, from what is on disk."""
        self._waiting -= 1
        self._has_failed = True
        self._trouble = f"not stored, to be read again: {failure.getErrorMessage()}"
        self._reception.warn("not-stored", self._trouble)
        handover.done(taken.octets)
        handover.stop()
