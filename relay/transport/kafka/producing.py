"""The thread of a producer: it alone calls librdkafka's producer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from relay.flow.publishing import RecordRefused, Run
from relay.model.errors import UpstreamError
from relay.transport.kafka.library import LibraryLog, load_library, text_of
from relay.transport.kafka.outgoing import Outgoing
from relay.transport.kafka.records import Placing
from relay.transport.kafka.topics import (
    TopicFacts,
    facts_of,
    look_up,
    missing_topic,
    weak_topic,
)

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

RECORDS_MAX = 200_000
"""Records that librdkafka holds at a time."""
BYTES_MAX = 128 * 2**20
"""The same, in bytes."""
FIXED_SETTINGS: Mapping[str, str] = {
    "acks": "all",
    "enable.idempotence": "true",
    # Without it, records behind one that is given up are stored, and would hide it from readers.
    "enable.gapless.guarantee": "true",
    "message.timeout.ms": "0",
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": str(RECORDS_MAX),
    "queue.buffering.max.kbytes": str(BYTES_MAX // 1024),
    "topic.metadata.propagation.max.ms": "5000",
}
CAREFUL_SETTINGS: Mapping[str, str] = {
    "batch.num.messages": "1",
    "max.in.flight.requests.per.connection": "1",
    "linger.ms": "0",
}
"""With them a refusal names one record."""
REFUSED = frozenset(
    (
        "MSG_SIZE_TOO_LARGE",
        "INVALID_MSG_SIZE",
        "RECORD_LIST_TOO_LARGE",
        "INVALID_RECORD",
        "INVALID_TIMESTAMP",
    )
)
"""Errors that are the fault of a record or of its batch."""

_MISSING = frozenset(("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"))
_FORBIDDEN = frozenset(
    ("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "TOPIC_EXCEPTION")
)
_CONSEQUENCES = frozenset(("_FATAL", "_PURGE_QUEUE", "_PURGE_INFLIGHT", "_GAPLESS_GUARANTEE"))
_DEFECT = "it failed unexpectedly; the log says more"

_MESSAGE_BYTES_MAX = 1_000_000  # librdkafka's own default
_RECORD_BYTES_MORE = 2048  # of key, headers and framing: more than what is usual
_TURN_RECORDS = 1000  # handed over between two polls
_POLL_SECONDS = 0.002
_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 5.0
_FLUSH_SECONDS = 0.2
_CAREFUL_RECORDS = 1000


@dataclass(slots=True)
class Care:
    """Whether records are sent one by one: of all producers of a destination, one after the other.

    A batch that brokers refuse may have one bad record in it.  The next producer sends records one
    by one until it has met the one that is refused.
    """

    is_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerOptions:
    """Settings and limits of a producer."""

    settings: Callable[[], Mapping[str, str]]
    """librdkafka's, without `FIXED_SETTINGS`; may read files, UpstreamError = they cannot be
    read."""
    placing: Placing
    care: Care
    connect_seconds_max: float
    """For the first answer of brokers."""
    replicas_min: int
    """A topic that promises less is refused."""
    has_numbers_in_text: bool = False
    """Numbered messages have their numbers in their structured data too."""


class Sending:
    """A run on its way."""

    __slots__ = ("_thread", "done", "error", "index", "left", "refusal", "run", "sent")

    def __init__(self, run: Run, thread: ProducerThread) -> None:
        self.run = run
        self.done: Deferred[None] = Deferred()
        self.sent = 0  # records handed to librdkafka
        self.left = len(run.payloads)  # records without a report
        self.error: KafkaError | None = None  # the first one
        self.index = 0  # of its record
        self.refusal: RecordRefused | None = None
        self._thread = thread

    @property
    def unsent(self) -> int:
        return len(self.run.payloads) - self.sent

    def report(self, error: KafkaError | None, message: object, /) -> None:
        """The next record has a report: in one partition they come in order."""
        self.report_of(len(self.run.payloads) - self.left, error, message)

    def report_of(self, index: int, error: KafkaError | None, _: object, /) -> None:
        if error is not None and self.error is None:
            self.error, self.index = error, index
            self._thread.errored(error)
        self.left -= 1
        if not self.left:
            self._thread.finished(self)


class Owner(Protocol):
    """Listener of a producer's thread, in the reactor's thread."""

    def tell(self, finished: Sequence[Sending]) -> None:
        """Runs whose records all have reports: acknowledged, or with a `refusal`."""

    def tell_opened(self, facts: TopicFacts, bytes_max: int) -> None:
        """Brokers have answered; they take payloads of so many bytes."""

    def tell_state(self, text: str, is_well: bool) -> None:
        """The state has changed."""

    def tell_remark(self, text: str) -> None:
        """Something to warn of."""

    def tell_failed(self, text: str) -> None:
        """It is of no more use."""

    def tell_ended(self) -> None:
        """The thread is about to end."""


class ProducerThread:
    """Makes a producer, hands runs to it, and tells what became of them.

    Args:
        hand_over: Has something called in the reactor's thread.
    """

    def __init__(
        self, options: ProducerOptions, owner: Owner, hand_over: Callable[..., object]
    ) -> None:
        self._library = load_library()  # it was there when the configuration was read
        self._options = options
        self._owner = owner
        self._hand_over = hand_over
        self._is_careful = options.care.is_on
        self._careful_left = _CAREFUL_RECORDS
        self._incoming: deque[Sending] = deque()
        self._wake = threading.Event()
        self._stops = False
        self._finished: list[Sending] = []
        self._refused: Sending | None = None  # its next record was, by librdkafka itself
        self._trouble = ""  # why it ends
        self._consequence = ""  # likewise, if nothing better is known
        self._said = ""  # by librdkafka, last
        self._state_told: tuple[str, bool] = ("", True)
        self._acknowledged = False  # something, since the last look
        self._silent_looks = 0
        self._look_at = 0.0

    # For the reactor's thread.

    def add(self, sending: Sending) -> None:
        self._incoming.append(sending)
        if not self._wake.is_set():
            self._wake.set()

    def stop(self) -> None:
        self._stops = True
        self._wake.set()

    # In this one.

    def run(self) -> None:
        """All that the thread does; the log has what is raised."""
        text = _DEFECT
        producer: Producer | None = None
        try:
            producer = self._open()
            while not (self._stops or self._trouble or self._consequence):
                self._turn(producer)
            text = ""
        except UpstreamError as error:
            text = str(error)
        except self._library.KafkaException as error:
            text = text_of(error.args[0])
        finally:
            try:
                if producer is not None:
                    self._close(producer)
            finally:
                self._hand_over(self._owner.tell, self._finished)
                text = self._trouble or text or self._consequence
                self._hand_over(self._owner.tell_failed, text)
                self._hand_over(self._owner.tell_ended)

    def _open(self) -> Producer:
        options, library = self._options, self._library
        settings, topic = options.settings(), options.placing.topic
        clients = {name: value for name, value in settings.items() if name not in _OF_PRODUCERS}
        (self._facts,) = (facts,) = look_up(
            clients, [topic], options.connect_seconds_max, lambda: not self._stops
        )
        if problem := weak_topic(facts, options.replicas_min):
            raise UpstreamError(problem)
        if facts.is_unclean:
            self._remark(
                f"topic {topic} has unclean.leader.election.enable = true: a replica that has not "
                "everything may become its leader, and acknowledged records may be lost"
            )
        bytes_max = facts.message_bytes_max or _MESSAGE_BYTES_MAX
        bytes_max = int(settings.get("message.max.bytes", min(max(bytes_max, 1000), 10**9)))
        own = {"message.max.bytes": str(bytes_max), "error_cb": self._error}
        careful = CAREFUL_SETTINGS if self._is_careful else {}
        try:
            producer: Producer = library.Producer(
                {**settings, **FIXED_SETTINGS, **careful, **own}, logger=LibraryLog(self._log)
            )
        except library.KafkaException as error:
            raise UpstreamError(text_of(error.args[0])) from None
        self._outgoing = Outgoing(producer, options.placing, facts, self._remark)
        self._look_at = time.monotonic() + _LOOK_SECONDS
        payload_max = max(1, bytes_max - _RECORD_BYTES_MORE)
        self._state_told = (facts.text, True)
        self._hand_over(self._owner.tell_opened, facts, payload_max)
        return producer

    def _turn(self, producer: Producer) -> None:
        self._wake.clear()
        has_room = self._refused is None and self._produce()
        if self._incoming and has_room:
            producer.poll(0)
        elif self._incoming or len(producer):
            producer.poll(_POLL_SECONDS)
        else:
            self._wake.wait(_IDLE_SECONDS)
            producer.poll(0)
        self._settle_refused()
        if self._finished:
            finished, self._finished = self._finished, []
            self._hand_over(self._owner.tell, finished)
        if time.monotonic() >= self._look_at:
            self._look(producer)

    def _produce(self) -> bool:
        """Hand over a turn's worth of records; whether there was room for them."""
        left = _TURN_RECORDS
        while self._incoming and left > 0:
            sending = self._incoming[0]
            before = sending.sent
            try:
                has_room = self._outgoing.produce(sending, left)
            except self._library.KafkaException as error:
                if error.args[0].name() not in REFUSED:
                    raise UpstreamError(text_of(error.args[0])) from None
                sending.error, sending.index = error.args[0], sending.sent
                self._refused, has_room = sending, False
            if not sending.unsent:
                self._incoming.popleft()
            if not has_room:
                return False
            left -= sending.sent - before
        return True

    def _settle_refused(self) -> None:
        """End with the record that librdkafka refuses once all before it are acknowledged."""
        sending = self._refused
        if sending is not None and sending.error is not None and sending.left == sending.unsent:
            self._refuse(sending)
            self._trouble = f"refused a record: {text_of(sending.error)}"

    def _refuse(self, sending: Sending) -> None:
        sending.refusal = RecordRefused(sending.index, text_of(sending.error))
        self._finished.append(sending)

    def _close(self, producer: Producer) -> None:
        """End the producer, within `_FLUSH_SECONDS`; reports that are there are taken."""
        failures = self._library.KafkaException  # a fatal error comes back with each call
        producer.purge(blocking=False)
        until = time.monotonic() + _FLUSH_SECONDS
        while len(producer) and time.monotonic() < until:
            with suppress(failures):
                producer.poll(_POLL_SECONDS)
        if self._incoming:  # the first one may be half sent
            sending = self._incoming[0]
            if sending.sent and sending.refusal is None and sending.left == sending.unsent:
                self._judge(sending)
        with suppress(failures):
            producer.close()

    def errored(self, error: KafkaError) -> None:
        """A record has failed: the producer ends."""
        name, text = error.name(), text_of(error)
        if name in _CONSEQUENCES:
            self._consequence = self._consequence or text
        elif self._trouble:
            pass
        elif name in REFUSED and self._is_careful:
            self._trouble = f"refused a record: {text}"
        elif name in REFUSED:
            self._options.care.is_on = True
            self._trouble = f"refused a batch: {text}; its records are sent one by one"
        elif name in _MISSING:
            self._trouble = missing_topic(self._options.placing.topic)
        elif name in _FORBIDDEN:
            topic = self._options.placing.topic
            self._trouble = f"topic {topic}: {text}; give the user Write and Describe there"
        else:
            self._trouble = text

    def finished(self, sending: Sending) -> None:
        """All its records have reports."""
        if sending.error is not None:
            self._judge(sending)
            return
        self._finished.append(sending)
        self._acknowledged = True
        self._state(self._facts.text, True)
        self._careful_left -= len(sending.run.payloads)
        if self._is_careful and self._careful_left <= 0 and not self._trouble:
            self._options.care.is_on = False
            self._trouble = "nothing more is refused, so records are sent in batches again"

    def _judge(self, sending: Sending) -> None:
        """A run has failed; unless a certain record is to blame, with the producer."""
        error = sending.error
        if error is not None and error.name() in REFUSED and self._is_careful:
            self._refuse(sending)

    def _look(self, producer: Producer) -> None:
        """Ask the brokers, where nothing is acknowledged or something is wrong.

        Without a limit of time a producer says nothing of a topic that is gone.
        """
        self._look_at = time.monotonic() + _LOOK_SECONDS
        in_flight = len(producer) > 0
        if self._acknowledged or (self._state_told[1] and not in_flight):
            self._acknowledged, self._silent_looks = False, 0
            return
        self._silent_looks += in_flight
        try:
            metadata = producer.list_topics(timeout=1.0)
        except self._library.KafkaException as error:
            self._state(f"brokers away: {self._said or text_of(error.args[0])}", False)
            return
        now = facts_of(metadata, self._facts.name)
        if trouble := now._replace(in_sync_min=self._facts.in_sync_min).trouble():
            self._state(f"nothing is acknowledged: {trouble}", False)
        elif not in_flight:
            self._state(self._facts.text, True)
        elif self._silent_looks > 1:
            self._state("the brokers answer, and acknowledge nothing", False)

    def _error(self, error: KafkaError) -> None:
        """librdkafka tells of an error that is no record's."""
        text = text_of(error)
        if error.fatal():
            self._consequence = text
        elif error.name() == "_ALL_BROKERS_DOWN":
            self._state(f"brokers away: {self._said or text}", False)
        else:
            self._said = text

    def _log(self, text: str) -> None:
        self._said = text
        self._remark(text)

    def _state(self, text: str, is_well: bool) -> None:
        if (text, is_well) != self._state_told:
            self._state_told = (text, is_well)
            self._hand_over(self._owner.tell_state, text, is_well)

    def _remark(self, text: str) -> None:
        self._hand_over(self._owner.tell_remark, text)


_OF_PRODUCERS = ("linger.ms", "compression.type")
"""Settings that other clients warn of."""
