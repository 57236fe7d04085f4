from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Origin, Received, Transport
from relay.queue.admission.backpressure import Admission
from relay.transport.kafka.consumer import ConsumerPlan
from relay.transport.kafka.fetched import Fetched
from relay.transport.kafka.handover import Began, Ended, Gap, Handover, Warned
from relay.transport.kafka.reader import STOP_SECONDS_MAX, TURN_RECORDS, KafkaReader
from relay.transport.kafka.taking import Taking
from relay.transport.log.sieve import Sieve
from relay.transport.reception import OversizePolicy, Reception
from relay.wire.record_number import RecordNumber, format_record_number
from tests.connections import RecordingNotices, fired

LINEAGE = "0" * 8 + "-0000" * 3 + "-" + "0" * 12


def number(seq: int, prev: int) -> bytes:
    return format_record_number(RecordNumber(LINEAGE, seq, prev))


class Reactor(Clock):
    """Does in `advance` what threads have asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        self.asked.append((call, arguments))

    def turn(self) -> None:
        asked, self.asked = self.asked, []
        for call, arguments in asked:
            call(*arguments)


class Intake:
    def __init__(self) -> None:
        self.batches: list[Sequence[Received]] = []
        self.positions: list[Mapping[str, bytes]] = []
        self.stored: list[Deferred[None]] = []

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        self.batches.append(batches)
        self.positions.append(positions or {})
        self.stored.append(Deferred())
        return self.stored[-1]

    @property
    def frames(self) -> list[bytes]:
        return [frame for batch in self.batches for part in batch for frame in part.frames]


class Thread:
    """The thread of a consumer, which ends when the test lets it."""

    def __init__(self, plan: ConsumerPlan, handover: Handover) -> None:
        self.plan, self.handover = plan, handover
        self.ran = threading.Event()

    def run(self) -> None:
        self.ran.set()


class Reading:
    """A reader with everything that it talks to."""

    def __init__(
        self, positions: Mapping[str, bytes] = {}, group: str = "", oversize: str = "truncate"
    ) -> None:
        self.on_disk = dict(positions)
        self.reactor: Any = Reactor()
        self.intake = Intake()
        self.notices: Any = RecordingNotices()
        self.counters = SourceCounters()
        self.admission = Admission(pending_bytes_max=1000, queue_bytes_max=1000)
        self.threads: list[Thread] = []
        reception = Reception("bus", self.intake, self.admission, self.counters, self.notices)
        sieve = Sieve(
            reception,
            origin=Origin("bus", Transport.TCP, "k1", 9092),
            lineages=ReadLineages("bus", load=lambda: self.on_disk, now=lambda: 0.0),
            oversize=OversizePolicy(oversize, frame_bytes_max=10, counters=self.counters),
        )
        self.reader = KafkaReader(
            reception,
            ConsumerPlan("logs", "k1:9092", () if group else (0, 1), group),
            taking=Taking(reception, topic="logs", sieve=sieve),
            retry_seconds=lambda failures: 2.0**failures,
            reactor=self.reactor,
            new_thread=self.new_thread,
        )
        self.reader.start(lambda: positions)
        self.reactor.advance(0)

    def new_thread(self, plan: ConsumerPlan, handover: Handover) -> Any:
        self.threads.append(Thread(plan, handover))
        return self.threads[-1]

    @property
    def handover(self) -> Handover:
        return self.threads[-1].handover

    def put(self, *events: Any) -> None:
        for event in events:
            self.handover.put(event)
        self.reactor.turn()

    def store(self) -> None:
        """Everything that waits is on disk."""
        for positions, stored in zip(self.intake.positions, self.intake.stored, strict=True):
            if not stored.called:
                for name, value in positions.items():
                    self.on_disk[name.removeprefix("bus/")] = value
                stored.callback(None)

    def warnings(self) -> list[str]:
        return [text for _, _, text in self.notices.said]


def run(partition: int, next_offset: int, *frames: bytes, numbers: Sequence[Any] = ()) -> Fetched:
    return Fetched(partition, next_offset, frames, numbers or [None] * len(frames))


def test_records_and_where_to_go_on_are_stored_together() -> None:
    reading = Reading({"offset/0": b"5 logs"})
    assert reading.handover.stored == {0: 5}
    reading.put(run(0, 7, b"a", b"b", numbers=[None, number(4, 3)]), run(1, 1, b"c"))
    assert reading.intake.frames == [b"a", b"b", b"c"]
    (positions,) = reading.intake.positions
    assert positions["bus/offset/0"] == b"7 logs"
    assert positions["bus/offset/1"] == b"1 logs"
    assert positions[f"bus/have/0/{LINEAGE}"].startswith(b"4,")
    assert {part.origin.peer for part in reading.intake.batches[0]} == {"k1:9092"}
    assert reading.handover.stored == {0: 5}  # not on disk yet
    reading.store()
    assert reading.handover.stored == {0: 7, 1: 1}
    assert reading.handover.is_settled


def test_duplicates_are_counted_and_their_offset_stored() -> None:
    reading = Reading()
    reading.put(run(0, 2, b"a", b"b", numbers=[number(1, 0), number(2, 1)]))
    reading.put(run(0, 4, b"a", b"b", numbers=[number(1, 0), number(2, 1)]))
    assert reading.intake.frames == [b"a", b"b"]
    assert reading.counters.duplicate_records == 2
    assert reading.intake.positions[1]["bus/offset/0"] == b"4 logs"


def test_records_behind_a_missing_one_are_held_back() -> None:
    reading = Reading()
    reading.put(run(0, 1, b"a", numbers=[number(1, 0)]))
    reading.put(run(0, 3, b"c", b"d", numbers=[number(3, 2), number(4, 3)]))
    assert reading.intake.frames == [b"a"]
    assert reading.reader.report()["held_back_records"] == 2
    (text,) = reading.warnings()
    assert "partition 0, before offset 3: 2 records held back" in text
    # Their sender comes again with all of it.
    numbers = [number(2, 0), number(3, 2), number(4, 3)]
    reading.put(run(0, 6, b"b", b"c", b"d", numbers=numbers))
    assert reading.intake.frames == [b"a", b"b", b"c", b"d"]


def test_a_malformed_number_is_warned_of() -> None:
    reading = Reading()
    reading.put(run(0, 1, b"a", numbers=[b"x"]))
    assert reading.intake.frames == [b"a"]
    assert "header syslogrelay that no relay writes" in reading.warnings()[0]


@pytest.mark.parametrize(
    ("policy", "frames"), [("truncate", [b"a", b"0123456789"]), ("drop", [b"a"])]
)
def test_records_above_the_limit(policy: str, frames: list[bytes]) -> None:
    reading = Reading(oversize=policy)
    reading.put(run(0, 2, b"a", b"0123456789x"))
    assert reading.intake.frames == frames
    assert "longer than frame_bytes_max" in reading.warnings()[0]


def test_a_turn_takes_only_so_much() -> None:
    reading = Reading()
    many = [b"x"] * TURN_RECORDS
    reading.put(run(0, TURN_RECORDS, *many), run(0, TURN_RECORDS + 1, b"y"))
    assert len(reading.intake.frames) == TURN_RECORDS
    reading.reactor.advance(0)
    assert reading.intake.frames[-1] == b"y"


def test_records_before_an_event_are_stored_before_it() -> None:
    reading = Reading()
    reading.put(run(0, 3, b"a"), Gap(0, 3, 9, is_recreated=False), run(0, 10, b"b"))
    reading.reactor.advance(0)
    offsets = [positions["bus/offset/0"] for positions in reading.intake.positions]
    assert offsets == [b"3 logs", b"9 logs", b"10 logs"]


def test_removed_records_are_counted_and_their_lineages_forgotten() -> None:
    reading = Reading({"offset/0": b"5 logs", f"have/0/{LINEAGE}": b"5,0"})
    reading.put(Gap(0, 5, 9, is_recreated=False))
    assert reading.counters.missing_records == 4
    assert "4 records were removed before they were read, 5 to 8" in reading.warnings()[0]
    assert reading.intake.positions[0] == {"bus/offset/0": b"9 logs", f"bus/have/0/{LINEAGE}": b""}
    reading.put(run(0, 10, b"a", numbers=[number(9, 8)]))
    assert reading.intake.frames == [b"a"]


def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    reading = Reading({"offset/0": b"5 logs"})
    reading.put(Gap(0, 5, 0, is_recreated=True))
    assert reading.counters.missing_records == 0
    assert "offset 5 is behind the end" in reading.warnings()[0]
    assert reading.intake.positions == [{"bus/offset/0": b"0 logs"}]


def test_a_partition_that_others_have_read_on_is_begun_without_numbers() -> None:
    reading = Reading({"offset/0": b"5 logs", f"have/0/{LINEAGE}": b"5,0"}, group="central")
    reading.put(Began(0, 50, is_own=False), run(0, 51, b"a", numbers=[number(50, 49)]))
    reading.reactor.advance(0)
    assert reading.intake.frames == [b"a"]


def test_a_partition_that_goes_on_where_we_stopped_knows_its_numbers() -> None:
    reading = Reading({"offset/0": b"5 logs", f"have/0/{LINEAGE}": b"5,0"})
    reading.put(Began(0, 5, is_own=True), run(0, 6, b"a", numbers=[number(5, 4)]))
    assert reading.intake.frames == []
    assert reading.counters.duplicate_records == 1


def test_where_new_records_begin_is_stored_before_the_first_one_comes() -> None:
    reading = Reading()
    reading.put(Began(0, 40, is_own=False))
    assert reading.intake.positions == [{"bus/offset/0": b"40 logs"}]


def test_a_consumer_that_ends_is_followed_by_another_one() -> None:
    reading = Reading()
    reading.put(run(0, 5, b"a"))
    reading.store()
    reading.put(Ended("topic logs does not exist"))
    assert reading.reader.state == "topic logs does not exist; next try in 1 s"
    assert not reading.reader.is_reading
    reading.reactor.advance(1)
    assert len(reading.threads) == reading.reader.consumers == 2
    assert reading.handover.stored == {0: 5}
    reading.put(Ended("again"))
    assert reading.warnings() == [
        "topic logs does not exist; next try in 1 s",
        "again; next try in 2 s",
    ]
    reading.reactor.advance(2)
    reading.reactor.advance(100)
    reading.put(Ended("after long"))
    assert "next try in 1 s" in reading.reader.state


def test_a_failed_commit_is_read_again_by_a_new_consumer() -> None:
    reading = Reading({"offset/0": b"5 logs"})
    numbers = [number(7, 0)], [number(8, 7)], [number(9, 8)]
    reading.put(run(0, 6, b"a", numbers=numbers[0]))
    reading.put(run(0, 7, b"b", numbers=numbers[1]))
    reading.put(run(0, 8, b"c", numbers=numbers[2]))
    reading.intake.stored[0].callback(None)
    reading.on_disk[f"have/0/{LINEAGE}"] = b"7,0"
    reading.intake.stored[1].errback(QueueError("disk"))
    assert reading.handover.is_stopping
    reading.put(run(0, 9, b"d"), Ended(""))  # what is under way comes again as well
    assert reading.intake.frames == [b"a", b"b", b"c"]
    reading.reactor.advance(1)
    assert len(reading.threads) == 1  # until nothing is on its way any more
    reading.intake.stored[2].errback(QueueError("disk"))
    reading.reactor.advance(1)
    assert reading.handover.stored == {0: 6}
    reading.put(Began(0, 6, is_own=True), run(0, 7, b"b", numbers=numbers[1]))
    assert reading.intake.frames[-1] == b"b"


def test_admission_pauses_the_consumer_and_the_next_one() -> None:
    reading = Reading()
    reading.admission.set_queue_bytes(2000)
    assert reading.handover.is_paused
    assert reading.counters.pauses == 1
    reading.put(Ended("x"))
    reading.reactor.advance(1)
    assert reading.handover.is_paused
    reading.admission.set_queue_bytes(0)
    assert not reading.handover.is_paused


def test_a_stop_waits_for_the_thread() -> None:
    reading = Reading()
    stopped = fired(reading.reader.stop())
    assert reading.handover.is_stopping
    assert stopped == []
    reading.put(run(0, 1, b"a"), Ended(""))
    reading.reactor.advance(0)
    assert stopped == [None]
    assert reading.intake.frames == []  # to be read after the next start
    assert reading.handover.is_settled
    assert reading.reader.state == "stopped"
    assert reading.reactor.getDelayedCalls() == []


def test_a_thread_that_does_not_end_is_left() -> None:
    reading = Reading()
    stopped = fired(reading.reader.stop())
    reading.reactor.advance(STOP_SECONDS_MAX)
    assert stopped == [None]
    assert "has not ended within 1.5 s" in reading.warnings()[0]


def test_a_stop_between_consumers() -> None:
    reading = Reading()
    reading.put(Ended("x"))
    assert fired(reading.reader.stop()) == [None]
    reading.reactor.advance(100)
    assert len(reading.threads) == 1


def test_its_state() -> None:
    reading = Reading(group="central")
    reader, handover = reading.reader, reading.handover
    assert (reader.state, reader.is_reading) == ("joins the group central", False)
    handover.assigned, handover.partitions = (), 4
    assert "has no partition: other members of the group central have all 4" in reader.state
    handover.assigned, handover.stored, handover.ends = (1, 3), {1: 5}, {1: 9}
    assert (reader.state, reader.is_reading) == ("reads 2 partitions of 4", True)
    assert reader.report()["partitions"] == {"1": {"lag_records": 4}, "3": {"lag_records": None}}
    handover.pause()
    assert reader.state == "reads 2 partitions of 4, paused"
    handover.trouble = "brokers k1:9092: refused"
    assert (reader.state, reader.is_reading) == ("brokers k1:9092: refused", False)
    reading.put(Warned("commit", "text"))
    assert reading.warnings() == ["text"]
