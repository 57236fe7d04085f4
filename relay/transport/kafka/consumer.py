"""A consumer of librdkafka in a thread of its own.

Everything that may block is called here and nowhere else.  One consumer is one life: an error that
it does not get over by itself ends it, and the reader makes another one.

    fixed partitions    assigned once, from the offsets that are on disk
    a group             the brokers assign; from the later one of our offset and the group's

While the reactor wants nothing more, the thread waits; after a second it pauses the partitions and
goes on polling, or the group would take them away.  Offsets are committed to the brokers after they
are on disk, and waited for when partitions are taken away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from relay.model.errors import UpstreamError
from relay.transport.kafka.client import Client, LibraryError, Message, Partitions
from relay.transport.kafka.fetched import Remark, in_runs
from relay.transport.kafka.handover import Began, Ended, Gap, Handover, Warned
from relay.transport.kafka.library import LibraryLog, load_library, text_of
from relay.transport.kafka.watch import ConsumerGaveUp, ConsumerWatch

BATCH_RECORDS = 1000
"""Records that are taken from the library at once."""
POLL_SECONDS = 0.1
"""Longest wait for a record, and so for a stop."""
ASK_SECONDS_MAX = 5.0
"""Longest wait for one answer of a broker."""
PAUSE_AFTER_SECONDS = 1.0
SETTLE_SECONDS_MAX = 1.0
"""Longest wait for the disk when a partition is taken away, and when the relay stops."""

_MEMORY: Mapping[str, str] = {
    # All partitions together: the library's default is 64 MiB, and 50 MiB for one answer.
    "queued.max.messages.kbytes": "16384",
    "fetch.max.bytes": "8388608",
    "fetch.message.max.bytes": "1048576",
    # After a full queue; the default, a second, leaves it empty meanwhile.
    "fetch.queue.backoff.ms": "10",
}


Callbacks = Mapping[str, Callable[..., object]]


@dataclass(frozen=True, slots=True)
class ConsumerPlan:
    """The partitions to read, and where to begin."""

    topic: str
    brokers: str
    """As in the URL, for people."""
    partitions: tuple[int, ...] = ()
    """Fixed ones; empty = those that `group` gets."""
    group: str = ""
    from_beginning: bool = True
    """Where nobody knows an offset."""
    settings: Callable[[], Mapping[str, str]] = dict
    """librdkafka's, with what files hold now."""
    is_incremental: bool = False
    """The group moves partitions one by one (KIP-429, KIP-848)."""


def new_client(plan: ConsumerPlan, callbacks: Callbacks, on_log: Callable[[str], None]) -> Client:
    """librdkafka's consumer, which has threads of its own; UpstreamError = it refuses to exist."""
    library = load_library()
    settings = {
        **_MEMORY,
        **plan.settings(),
        "group.id": plan.group or "syslogrelay",  # it has to have one; only a group uses it
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "auto.offset.reset": "error",
        "enable.partition.eof": "true",
        **callbacks,
    }
    try:
        client: Client = library.Consumer(settings, logger=LibraryLog(on_log))
    except library.KafkaException as error:
        raise UpstreamError(text_of(error.args[0])) from None
    return client


class ConsumerThread:
    """The life of one consumer; `run` is called in its thread.

    Args:
        new: Makes the client.
        seconds: A clock that is never set.
    """

    def __init__(
        self,
        plan: ConsumerPlan,
        handover: Handover,
        *,
        new: Callable[[ConsumerPlan, Callbacks, Callable[[str], None]], Client] = new_client,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._library = load_library()
        self._errors = self._library.KafkaError
        self._plan = plan
        self._handover = handover
        self._new = new
        self._seconds = seconds
        self._client: Client
        self._next: dict[int, int] = {}  # offset of the next record of each partition
        self._held_since: float | None = None
        self._is_paused = False
        self._fatal = ""
        self._watch: ConsumerWatch

    def run(self) -> None:
        """Read until it is told to stop, or cannot go on; `Ended` is the last event."""
        why = "a defect; the log has it"
        try:
            why = self._run()
        finally:
            self._handover.put(Ended(why))

    def _run(self) -> str:
        callbacks: Callbacks = {"error_cb": self._note_error, "on_commit": self._committed}
        try:
            self._client = self._new(self._plan, callbacks, self._note_log)
        except UpstreamError as error:
            return str(error)
        try:
            self._begin()
            while not self._handover.is_stopping:
                self.step()
        except ConsumerGaveUp as error:
            return str(error)
        except self._library.KafkaException as error:
            return self._with_trouble(text_of(error.args[0]))
        finally:
            self._close()
        return ""

    def _begin(self) -> None:
        plan = self._plan
        self._watch = ConsumerWatch(
            *(self._client, self._handover, self._library),
            topic=plan.topic,
            brokers=plan.brokers,
            group=plan.group,
            fixed=plan.partitions,
            seconds=self._seconds,
        )
        numbers = self._watch.ask_partitions()
        if missing := sorted(set(plan.partitions) - set(numbers)):
            raise ConsumerGaveUp(
                f"topic {plan.topic} has {len(numbers)} partitions, and not number "
                f"{', '.join(map(str, missing))}; correct `partitions`"
            )
        if plan.partitions:
            self._client.assign(self._beginnings(plan.partitions))
            return
        self._client.subscribe(
            [plan.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def step(self) -> None:
        """Take what has come, or wait for it a moment."""
        now = self._seconds()
        if self._fatal:
            raise ConsumerGaveUp(self._fatal)
        self._take(self._messages(now))
        self._watch.look(now, self._next)
        if self._watch.gone:
            for partition in self._watch.gone:
                self._begin_anew(partition)
            self._watch.gone = ()

    def _messages(self, now: float) -> Sequence[Message]:
        if not self._handover.is_held:
            self._held_since = None
            if self._is_paused:
                self._client.resume(self._client.assignment())
                self._is_paused = False
            first = self._client.consume(1, POLL_SECONDS)
            return [*first, *self._client.consume(BATCH_RECORDS - 1, 0)] if first else first
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since < PAUSE_AFTER_SECONDS:
            self._handover.wait(PAUSE_AFTER_SECONDS / 10)
            return ()
        if not self._is_paused:
            self._client.pause(self._client.assignment())
            self._is_paused = True
        self._watch.note_arrival(now)
        return self._client.consume(1, POLL_SECONDS)

    def _take(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        self._watch.note_arrival(self._seconds())
        for run in in_runs(messages):
            if isinstance(run, Remark):
                self._take_remark(run)
            elif run.partition in self._next:
                self._next[run.partition] = run.next_offset
                self._handover.trouble = ""
                self._handover.put(run)

    def _take_remark(self, remark: Remark) -> None:
        errors, code = self._errors, remark.error.code()
        if code == errors._PARTITION_EOF:
            self._watch.ended[remark.partition] = remark.offset
            self._handover.trouble = ""
        elif code in (errors._AUTO_OFFSET_RESET, errors.OFFSET_OUT_OF_RANGE):
            self._begin_anew(remark.partition)
        elif remark.error.fatal() or code in self._final_codes():
            raise ConsumerGaveUp(self._explained(remark.error))
        else:
            self._handover.put(Warned("kafka", text_of(remark.error)))

    def _final_codes(self) -> tuple[int, ...]:
        errors = self._errors
        return (
            errors.UNKNOWN_TOPIC_OR_PART,
            errors._UNKNOWN_TOPIC,
            errors._UNKNOWN_PARTITION,
            errors.TOPIC_AUTHORIZATION_FAILED,
            errors.FENCED_INSTANCE_ID,
            errors._FATAL,
            *((errors.GROUP_AUTHORIZATION_FAILED,) if self._plan.group else ()),
        )

    def _explained(self, error: LibraryError) -> str:
        return f"topic {self._plan.topic}: {text_of(error)}"

    # Offsets.

    def _beginnings(self, numbers: Sequence[int], group: Mapping[int, int] = {}) -> Partitions:
        """Partitions with the offsets where they begin; tells the reactor of them."""
        found = []
        for number in numbers:
            own, others = self._handover.stored.get(number, -1), group.get(number, -1)
            offset = max(own, others)
            if offset < 0:
                low, high = self._ask_ends(number)
                offset = low if self._plan.from_beginning else high
            self._next[number] = self._handover.stored[number] = offset
            self._watch.committed[number] = others
            self._handover.put(Began(number, offset, is_own=offset == own))
            found.append(self._library.TopicPartition(self._plan.topic, number, offset))
        self._handover.assigned = tuple(sorted(self._next))
        return found

    def _begin_anew(self, number: int) -> None:
        """The offset where a partition should go on does not exist any more."""
        low, _ = self._ask_ends(number)
        offset = self._next.get(number, 0)
        self._handover.put(Gap(number, offset, low, is_recreated=offset > low))
        self._next[number] = self._handover.stored[number] = low
        self._client.seek(self._library.TopicPartition(self._plan.topic, number, low))

    def _ask_ends(self, number: int) -> tuple[int, int]:
        ends = self._client.get_watermark_offsets(
            self._library.TopicPartition(self._plan.topic, number), timeout=ASK_SECONDS_MAX
        )
        if ends is None:
            raise ConsumerGaveUp(
                f"no answer about the offsets of partition {number} of topic {self._plan.topic} "
                f"within {ASK_SECONDS_MAX:g} s"
            )
        return ends

    # Called by the library, in this thread.

    def _assigned(self, client: Client, partitions: Partitions) -> None:
        numbers = [each.partition for each in partitions]
        known = client.committed(partitions, timeout=ASK_SECONDS_MAX)
        group = {each.partition: each.offset for each in known if each.error is None}
        begin = self._beginnings(numbers, group)
        self._is_paused = False
        if self._plan.is_incremental:
            client.incremental_assign(begin)
        else:
            client.assign(begin)

    def _revoked(self, client: Client, partitions: Partitions) -> None:
        deadline = self._seconds() + SETTLE_SECONDS_MAX
        while not self._handover.is_settled and self._seconds() < deadline:
            self._handover.wait(POLL_SECONDS)
        numbers = [each.partition for each in partitions]
        try:
            self._watch.commit(numbers, waits=not self._handover.trouble)
        except self._library.KafkaException as error:
            self._warn_of_commit(error.args[0])
        self._lost(client, partitions)

    def _lost(self, _client: Client, partitions: Partitions) -> None:
        for each in partitions:
            self._next.pop(each.partition, None)
        self._handover.assigned = tuple(sorted(self._next))

    def _committed(self, error: LibraryError | None, _partitions: Partitions) -> None:
        if error is not None and error.code() != self._errors._NO_OFFSET:
            self._warn_of_commit(error)

    def _warn_of_commit(self, error: LibraryError) -> None:
        self._handover.put(
            Warned(
                "commit",
                f"group {self._plan.group}: offsets not committed ({text_of(error)}): the next "
                "owner of the partitions reads some records again",
            )
        )

    def _note_error(self, error: LibraryError) -> None:
        if error.fatal():
            self._fatal = self._explained(error)
        self._handover.trouble = f"brokers {self._plan.brokers}: {text_of(error)}"

    def _note_log(self, text: str) -> None:
        self._handover.put(Warned("kafka", text))

    def _with_trouble(self, text: str) -> str:
        return f"{self._handover.trouble}; {text}" if self._handover.trouble else text

    def _close(self) -> None:
        try:
            self._client.close()
        except self._library.KafkaException as error:
            self._handover.put(Warned("kafka", f"close: {text_of(error.args[0])}"))
