"""A producer of Kafka, driven from the reactor: what puts records into topics.

    reactor            thread
    publish ──▶ runs ──▶ produce, poll ──▶ librdkafka's own threads ──▶ brokers
       ▲                      │ delivery reports
       └──── one call a turn ─┘

Only a delivery report acknowledges.  A run ends when each of its records has one.  The producer
retries by itself, however long the brokers are away, and is idempotent: nothing is put twice or in
another order by it.  After an error that it does not retry it is of no more use.  Another one
begins with what was not acknowledged.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed

from relay.flow.publishing import PublisherEvents, PublisherFailed, Run, with_numbers_in_text
from relay.model.clock import Reactor
from relay.transport.kafka.producing import ProducerOptions, ProducerThread, Sending
from relay.transport.kafka.topics import TopicFacts


class KafkaPublisher:
    """A `Publisher` by one producer, in a thread of its own.

    Also a refused record ends it: what was published behind that must not overtake the rest.

    Args:
        name: Of the thread.
        reactor: Provides IReactorFromThreads.

    Attributes:
        failure: Why it is of no more use; empty = it is.
        bytes_max: The longest payload that brokers take, as far as they say; 0 = not opened yet.
    """

    def __init__(
        self,
        options: ProducerOptions,
        *,
        name: str,
        reactor: Reactor,
        events: PublisherEvents,
    ) -> None:
        self.failure = ""
        self.bytes_max = 0
        self._events = events
        self._has_numbers_in_text = options.has_numbers_in_text
        self._runs: dict[Sending, None] = {}  # that have not ended
        self._opened: Deferred[TopicFacts] | None = None
        self._facts: TopicFacts | None = None
        self._closed: list[Deferred[None]] = []
        self._has_ended = False
        self._thread = ProducerThread(options, self, reactor.callFromThread)
        threading.Thread(target=self._thread.run, name=f"kafka {name}", daemon=True).start()

    def when_opened(self) -> Deferred[TopicFacts]:
        """Fires with the topic when brokers have answered; fails with `PublisherFailed`."""
        if self.failure:
            return fail(PublisherFailed(self.failure))
        if self._facts is not None:
            return succeed(self._facts)
        self._opened = Deferred()
        return self._opened

    def publish(self, run: Run) -> Deferred[None]:
        """See `Publisher`."""
        if self.failure:
            return fail(PublisherFailed(self.failure))
        if not run.payloads:
            return succeed(None)
        if self._has_numbers_in_text:
            run = with_numbers_in_text(run)
        sending = Sending(run, self._thread)
        self._runs[sending] = None
        self._thread.add(sending)
        return sending.done

    def close(self) -> Deferred[None]:
        """See `Publisher`."""
        self._thread.stop()
        self._end("closed")
        if self._has_ended:
            return succeed(None)
        self._closed.append(Deferred())
        return self._closed[-1]

    # What the thread tells, in the reactor's.

    def tell(self, finished: Sequence[Sending]) -> None:
        """Runs whose records all have reports."""
        for sending in finished:
            if self.failure:
                return
            del self._runs[sending]
            if sending.refusal is not None:
                sending.done.errback(sending.refusal)
            else:
                sending.done.callback(None)

    def tell_opened(self, facts: TopicFacts, bytes_max: int) -> None:
        """Brokers have answered."""
        if self.failure:
            return
        self.bytes_max, self._facts = bytes_max, facts
        self._events.on_state(facts.text, True)
        if self._opened is not None:
            self._opened.callback(facts)

    def tell_state(self, text: str, is_well: bool) -> None:
        if not self.failure:
            self._events.on_state(text, is_well)

    def tell_remark(self, text: str) -> None:
        if not self.failure:
            self._events.on_remark(text)

    def tell_failed(self, text: str) -> None:
        if not self.failure:
            self._end(text)
            self._events.on_state(text, False)

    def tell_ended(self) -> None:
        self._has_ended = True
        for closed in self._closed:
            closed.callback(None)

    def _end(self, text: str) -> None:
        if self.failure:
            return
        self.failure = text
        runs, self._runs = self._runs, {}
        if self._facts is None and self._opened is not None:
            self._opened.errback(PublisherFailed(text))
        for sending in runs:
            sending.done.errback(PublisherFailed(text))
