"""A drain's session with Kafka: one publisher, one lineage."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.codec import total_bytes
from relay.flow.publishing import PublisherFailed, RecordRefused, Run
from relay.flow.pump import SessionDrain
from relay.model.clock import Clock
from relay.transport.connections import Timers
from relay.transport.kafka.producer import KafkaPublisher
from relay.transport.upstream import UpstreamState

RECORDS_MAX = 65_536
"""Records in flight."""
BYTES_MAX = 64 * 2**20
"""The same in bytes, give or take a batch of the drain."""
CLOSE_SECONDS_MAX = 1.0


@dataclass(slots=True, eq=False)
class _Part:
    """Records in flight, in the order of the queue."""

    records: int
    bytes: int = 0
    delivered: int = 0
    """Of the first ones."""
    refusal: str = ""
    """Why the record behind them is refused."""
    is_decided: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParts:
    """The drain, names and callbacks of a session."""

    drain: SessionDrain
    state: UpstreamState
    lineage: str
    """The id of the numbers of the queue; empty = records have none."""
    sender: str
    """Names the queue."""
    how: str
    """The state as text while all is well."""
    trouble_seconds_max: float
    """After so long without brokers, or without what they need, the session ends."""
    on_failure: Callable[[str], None]
    """Called once with text if the drain wants another session."""


class KafkaSession:
    """Sends records of one drain.

    Args:
        publisher: That is open already; the session closes it.
    """

    _log = Logger(namespace="relay")

    def __init__(self, publisher: KafkaPublisher, parts: SessionParts, *, clock: Clock) -> None:
        self._publisher = publisher
        self._parts = parts
        self._drain = parts.drain
        self._clock = clock
        self._timers = Timers(clock)
        self._waiting: deque[_Part] = deque()
        self._records = self._bytes = 0  # in flight
        self._prev = 0
        self._closed = False

    @property
    def room(self) -> int:
        if self._closed or self._bytes >= BYTES_MAX:
            return 0
        return max(0, RECORDS_MAX - self._records)

    def send(self, payloads: Sequence[bytes]) -> None:
        start = self._drain.sent_seq - len(payloads)
        self._records += len(payloads)
        begin, bytes_max = 0, self._publisher.bytes_max
        if total_bytes(payloads) > bytes_max:
            for index, payload in enumerate(payloads):
                if len(payload) > bytes_max:
                    self._publish(payloads[begin:index], start + begin)
                    self._refuse_here(len(payload), bytes_max)
                    begin = index + 1
        self._publish(payloads[begin:] if begin else payloads, start + begin)
        self._settle()

    def close(self) -> Deferred[None]:
        """End it; fires when its thread has ended, or after `CLOSE_SECONDS_MAX`."""
        if not self._closed:
            self._closed = True
            self._timers.cancel_all()
            self._drain.detach(self)
        closed = self._publisher.close()
        # A name server that does not answer may keep the thread: it ends by itself then.
        closed.addTimeout(CLOSE_SECONDS_MAX, self._clock)  # type: ignore[arg-type]  # zope
        closed.addErrback(_is_late)
        return closed

    def cut(self, why: str) -> None:
        """End it although brokers are there."""
        self._end(why)

    def follow(self, text: str, is_well: bool) -> None:
        """The state of the publisher has changed."""
        state, seconds = self._parts.state, self._parts.trouble_seconds_max
        if self._publisher.failure:
            self._end(text)
        elif self._closed:
            pass
        elif is_well:
            self._timers.cancel("trouble")
            if not state.ready:
                state.became_ready(self._parts.how)
        else:
            state.failed(f"{state.target}: {text}", cause="brokers")
            state.connecting()  # librdkafka does so by itself
            if "trouble" not in self._timers:
                # It has been seen not to find brokers again that were away.
                why = f"a new producer is made after {seconds:.0f} s"
                self._timers.set("trouble", seconds, lambda: self._end(f"{text}; {why}"))

    def _publish(self, payloads: Sequence[bytes], start: int) -> None:
        if not payloads or self._closed:
            return
        seqs = range(start, start + len(payloads))
        part = _Part(len(payloads), total_bytes(payloads))
        self._waiting.append(part)
        self._bytes += part.bytes
        run = Run(payloads, self._parts.lineage, seqs, self._prev, self._parts.sender)
        self._prev = seqs[-1]
        published = self._publisher.publish(run)
        published.addCallbacks(self._published, self._failed, (part,), {}, (part,))
        published.addErrback(self._broken)

    def _refuse_here(self, size: int, bytes_max: int) -> None:
        """The next record is longer than brokers take: it is not sent."""
        text = f"too-long: {size:,} bytes, and the topic takes {bytes_max:,}"
        self._waiting.append(_Part(1, refusal=text, is_decided=True))

    def _published(self, _: None, part: _Part) -> None:
        part.delivered, part.is_decided = part.records, True
        self._settle()

    def _failed(self, failure: Failure, part: _Part) -> None:
        refused = failure.value
        if isinstance(refused, RecordRefused):
            part.delivered, part.refusal = refused.index, refused.reason
            part.is_decided = True
            self._settle()
            self._end(f"refused: {refused.reason}")
        else:
            failure.trap(PublisherFailed)
            self._end(str(refused))

    def _broken(self, failure: Failure) -> None:
        self._log.failure("a session with Kafka failed", failure)
        self._end("it failed unexpectedly; the log says more")

    def _settle(self) -> None:
        """Tell the drain of the records at the head that are decided."""
        settled = 0
        while not self._closed and self._waiting and self._waiting[0].is_decided:
            part = self._waiting.popleft()
            self._records -= part.records
            self._bytes -= part.bytes
            settled += part.delivered
            if part.refusal:
                self._acknowledge(settled)
                settled = 0
                self._refuse(part.refusal)
        self._acknowledge(settled)

    def _acknowledge(self, count: int) -> None:
        if not count or self._closed:
            return
        if self._drain.acknowledged(self, count):
            self._drain.pump()
        else:
            self._end("sends again what was refused")

    def _refuse(self, reason: str) -> None:
        # What brokers refuse of one record says nothing of others: none may be sent before it
        # comes again, or readers would take it for a duplicate then.
        if not self._closed and not self._drain.refused(self, reason, others_taken=True):
            self._end(f"refused: {reason}")

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._parts.on_failure(reason)


def _is_late(failure: Failure) -> None:
    failure.trap(TimeoutError)
