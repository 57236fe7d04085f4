"""The watch over a consumer: ends of partitions, commits, whether anything moves.

Called in the consumer's thread, between two batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from relay.model.text import counted
from relay.transport.kafka.client import Client, PartitionOffset
from relay.transport.kafka.handover import Handover, Warned
from relay.transport.kafka.library import text_of

COMMIT_SECONDS = 1.0
"""Between commits to the brokers; so much is read again after a crash of a group's member."""
QUIET_SECONDS = 15.0
"""Without a record, after which the brokers are asked whether there are some."""
STUCK_ANSWERS = 3
"""So often they say that there are before the consumer is given up."""
PARTITIONS_SECONDS = 60.0
"""Between questions how many partitions there are."""
TROUBLE_SECONDS = 5.0
"""The same while something is wrong."""
RECREATED_SECONDS = 10.0
"""An end before our offset may be that of a leader that is not up to date yet."""
ANSWER_SECONDS_MAX = 5.0
"""Longest wait for an answer; a question about one partition of many waits a second."""


class ConsumerGaveUp(Exception):
    """The consumer is of no more use; the text says why."""


class ConsumerWatch:
    """Watches one consumer.

    Args:
        topic: Its topic.
        brokers: As in the URL, for people.
        group: The group that offsets are committed for; empty = they are not.
        fixed: The partitions that the configuration names, if it does.
        library: The package, for its types and codes.

    Attributes:
        ended: The offset at which a partition had no more records, as the consumer says.
        committed: The offset of each partition that the brokers know of the group.
        gone: Partitions whose offset is behind the end, for so long that it is no delay.
    """

    def __init__(
        self,
        client: Client,
        handover: Handover,
        library: ModuleType,
        *,
        topic: str,
        brokers: str,
        group: str,
        fixed: Sequence[int],
        seconds: Callable[[], float],
    ) -> None:
        self.ended: dict[int, int] = {}
        self.gone: Sequence[int] = ()
        self.committed: dict[int, int] = {}
        self._client = client
        self._handover = handover
        self._library = library
        self._topic, self._brokers, self._group, self._fixed = topic, brokers, group, fixed
        self._count: int | None = None  # of partitions
        self._behind: dict[int, float] = {}  # since when an end has been before our offset
        self._stuck = 0
        now = seconds()
        self._looked_at = now
        self._counted_at = now
        self._quiet_since = now

    def note_arrival(self, now: float) -> None:
        """Something came, or nothing is wanted."""
        self._quiet_since = now
        self._stuck = 0

    def look(self, now: float, positions: Mapping[int, int]) -> None:
        """Do what is due.

        Args:
            positions: The next offset of each partition that is read.

        Raises:
            ConsumerGaveUp: There are records, and the consumer does not get them.
        """
        if now - self._looked_at < COMMIT_SECONDS:
            return
        self._looked_at = now
        self.commit(positions, waits=False)
        self._handover.ends = self._known_ends(positions)
        self._find_gone(now, positions)
        if now - self._counted_at >= (
            TROUBLE_SECONDS if self._handover.trouble else PARTITIONS_SECONDS
        ):
            self._counted_at = now
            self._ask_again()
        if now - self._quiet_since >= QUIET_SECONDS:
            self._quiet_since = now
            self._ask_ends(positions)

    def commit(self, partitions: Sequence[int] | Mapping[int, int], *, waits: bool) -> None:
        """Tell the brokers how far the group is on our disk, if that has changed."""
        if not self._group:
            return
        stored = self._handover.stored
        changed = {
            number: stored[number]
            for number in partitions
            if number in stored and self.committed.get(number) != stored[number]
        }
        if not changed:
            return
        offsets = [
            self._library.TopicPartition(self._topic, number, offset)
            for number, offset in changed.items()
        ]
        self._client.commit(offsets=offsets, asynchronous=not waits)
        self.committed |= changed

    def ask_partitions(self) -> Sequence[int]:
        """The partitions that the topic has.

        Raises:
            ConsumerGaveUp: It does not exist, or may not be read.
            KafkaException: No broker has answered.
        """
        errors = self._library.KafkaError
        # All topics: some brokers make one that they are asked for.
        topics = self._client.list_topics(timeout=ANSWER_SECONDS_MAX).topics
        found = topics.get(self._topic)
        if found is None or (
            found.error is not None
            and found.error.code() in (errors.UNKNOWN_TOPIC_OR_PART, errors._UNKNOWN_TOPIC)
        ):
            raise ConsumerGaveUp(
                f"topic {self._topic} does not exist at {self._brokers}; create it, with all the "
                "partitions that it will ever need"
            )
        if found.error is not None:
            raise ConsumerGaveUp(f"topic {self._topic}: {text_of(found.error)}")
        self._note_count(len(found.partitions))
        return sorted(found.partitions)

    def _ask_again(self) -> None:
        try:
            self.ask_partitions()
        except self._library.KafkaException as error:  # nothing is wrong with what we have
            self._handover.trouble = f"brokers {self._brokers}: {text_of(error.args[0])}"
        else:
            self._handover.trouble = ""

    def _note_count(self, count: int) -> None:
        before, self._count = self._count, count
        self._handover.partitions = count
        if before is None or before == count:
            return
        text = (
            f"topic {self._topic} has {counted(count, 'partition')} now, and had {before}: numbers "
            "of records move between them, so some may come twice or be held back"
        )
        if self._fixed:
            text += "; `partitions` does not change by itself"
        self._handover.put(Warned("partitions", text))

    def _known_ends(self, positions: Mapping[int, int]) -> dict[int, int]:
        """The ends that came with the last records; nobody is asked."""
        ends = {}
        for number in positions:
            known = self._client.get_watermark_offsets(self._partition(number), cached=True)
            if known is not None and known[1] >= 0:
                ends[number] = known[1]
        return ends

    def _find_gone(self, now: float, positions: Mapping[int, int]) -> None:
        ends = self._handover.ends
        behind = [
            number for number, offset in positions.items() if ends.get(number, offset) < offset
        ]
        self._behind = {number: self._behind.get(number, now) for number in behind}
        self.gone = [at for at, since in self._behind.items() if now - since >= RECREATED_SECONDS]
        for number in self.gone:
            del self._behind[number]

    def _ask_ends(self, positions: Mapping[int, int]) -> None:
        """Find out whether there are records that do not come."""
        waiting = []
        for number, offset in positions.items():
            try:
                ends = self._client.get_watermark_offsets(self._partition(number), timeout=1.0)
            except self._library.KafkaException as error:
                self._handover.trouble = f"brokers {self._brokers}: {text_of(error.args[0])}"
                return
            # An end that the consumer has met counts, even if there is a mark of a transaction.
            if ends is not None and ends[1] > max(offset, self.ended.get(number, 0)):
                waiting.append(number)
        if positions:
            self._handover.trouble = ""
        self._stuck = self._stuck + 1 if waiting else 0
        if self._stuck >= STUCK_ANSWERS:
            seconds = QUIET_SECONDS * STUCK_ANSWERS
            raise ConsumerGaveUp(
                f"nothing has come for {seconds:g} s, although partition {waiting[0]} of topic "
                f"{self._topic} has records"
            )

    def _partition(self, number: int) -> PartitionOffset:
        found: PartitionOffset = self._library.TopicPartition(self._topic, number)
        return found
