from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from relay.model.errors import UpstreamError
from relay.transport.kafka.consumer import (
    PAUSE_AFTER_SECONDS,
    ConsumerPlan,
    ConsumerThread,
    new_client,
)
from relay.transport.kafka.fetched import Fetched
from relay.transport.kafka.handover import Began, Ended, Event, Gap, Handover, Warned
from relay.transport.kafka.watch import COMMIT_SECONDS, RECREATED_SECONDS
from tests.kafka_fakes import FakeClient, error_message, library_error, record


class Run:
    """A consumer that lives for as many polls as there are batches."""

    def __init__(
        self, *batches: list[Any], offsets: Mapping[int, int] | None = None, **plan: Any
    ) -> None:
        self.client = FakeClient()
        self.client.batches = list(batches)
        self.client.on_consume = self.polled
        self.given: Mapping[str, Callable[..., object]] = {}
        self.now = 0.0
        self.polls = 0
        self.polls_max = 2 * len(batches) + 1
        self.at_poll: dict[int, Callable[[], object]] = {}
        self.handover = Handover(
            offsets or {}, call_from_thread=lambda call: None, deliver=lambda: None
        )
        if "group" not in plan:
            plan.setdefault("partitions", (0, 1))
        self.plan = ConsumerPlan("logs", "k1:9092", **plan)

    def polled(self) -> None:
        self.polls += 1
        if call := self.at_poll.get(self.polls):
            call()
        if self.polls > self.polls_max:
            self.handover.stop()

    def new(self, plan: ConsumerPlan, callbacks: Mapping[str, Any], on_log: object) -> FakeClient:
        self.given = callbacks
        return self.client

    def run(self) -> list[Event]:
        ConsumerThread(self.plan, self.handover, new=self.new, seconds=lambda: self.now).run()
        return list(self.handover.events)


def test_fixed_partitions_begin_at_stored_offsets() -> None:
    run = Run([record(0, 7, b"a")], offsets={0: 7})
    run.client.marks[1] = (3, 9)
    assert run.run() == [
        Began(0, 7, is_own=True),
        Began(1, 3, is_own=False),
        Fetched(0, 8, [b"a"], [None]),
        Ended(""),
    ]
    assert run.client.calls == [("assign", [(0, 7), (1, 3)]), ("close", None)]
    assert run.handover.assigned == (0, 1)


def test_read_from_the_end() -> None:
    run = Run(partitions=(1,), from_beginning=False)
    run.client.marks[1] = (3, 9)
    assert run.run()[0] == Began(1, 9, is_own=False)


def test_a_partition_that_does_not_exist() -> None:
    (ended,) = Run(partitions=(1, 2)).run()
    assert ended == Ended("topic logs has 2 partitions, and not number 2; correct `partitions`")


def test_settings_that_cannot_be_made() -> None:
    run = Run()

    def refuse(*_: object) -> FakeClient:
        raise UpstreamError("no password")

    run.new = refuse  # type: ignore[method-assign]
    assert run.run() == [Ended("no password")]


def assigned(run: Run, *numbers: int) -> None:
    run.client.callbacks["on_assign"](
        run.client, [TopicPartition("logs", number) for number in numbers]
    )


@pytest.mark.parametrize(
    ("own", "group", "begins"),
    [
        ({0: 7}, {0: 5}, Began(0, 7, is_own=True)),  # stored here, not yet committed there
        ({0: 7}, {0: 7}, Began(0, 7, is_own=True)),
        ({0: 7}, {0: 9}, Began(0, 9, is_own=False)),  # another member went on
        ({}, {0: 9}, Began(0, 9, is_own=False)),
        ({}, {}, Began(0, 2, is_own=False)),
    ],
)
def test_a_group_goes_on_at_the_later_offset(
    own: dict[int, int], group: dict[int, int], begins: Began
) -> None:
    run = Run([], group="central", offsets=own)
    run.client.group, run.client.marks[0] = group, (2, 8)
    run.at_poll[1] = lambda: assigned(run, 0)
    assert run.run()[0] == begins
    assert run.client.calls[:2] == [("subscribe", ["logs"]), ("assign", [(0, begins.offset)])]


def test_partitions_may_come_one_by_one() -> None:
    run = Run([], group="central", is_incremental=True)
    run.at_poll[1] = lambda: assigned(run, 1)
    run.run()
    assert ("add", [(1, 0)]) in run.client.calls


def test_a_partition_that_is_taken_away_waits_for_the_disk() -> None:
    run = Run([], [record(0, 4, b"a")], group="central", offsets={0: 4})
    run.at_poll[1] = lambda: assigned(run, 0)

    def revoke() -> None:
        assert not run.handover.is_settled
        run.handover.stored[0] = 5
        (fetched,) = [each for each in run.handover.events if isinstance(each, Fetched)]
        run.handover.done(fetched.octets)
        run.client.callbacks["on_revoke"](run.client, [TopicPartition("logs", 0)])

    run.at_poll[3] = revoke
    run.run()
    assert ("commit and wait", {0: 5}) in run.client.calls
    assert run.handover.assigned == ()


def test_a_lost_partition_is_not_committed() -> None:
    run = Run([], group="central", offsets={0: 4})
    run.at_poll[1] = lambda: assigned(run, 0)
    run.at_poll[2] = lambda: run.client.callbacks["on_lost"](
        run.client, [TopicPartition("logs", 0)]
    )
    run.run()
    assert not [call for call in run.client.calls if call[0].startswith("commit")]
    assert run.handover.assigned == ()


def test_records_of_a_partition_that_is_gone_are_left_to_its_owner() -> None:
    events = Run([record(1, 4, b"a")], partitions=(0,)).run()
    assert not [event for event in events if isinstance(event, Fetched)]


def test_old_records_were_removed() -> None:
    run = Run([error_message(KafkaError._AUTO_OFFSET_RESET, 0, 4)], offsets={0: 4, 1: 0})
    run.client.marks[0] = (9, 20)
    assert Gap(0, 4, 9, is_recreated=False) in run.run()
    assert ("seek", (0, 9)) in run.client.calls
    assert run.handover.stored[0] == 9


def test_a_topic_was_made_anew() -> None:
    run = Run([error_message(KafkaError._AUTO_OFFSET_RESET, 0, 40)], offsets={0: 40, 1: 0})
    run.client.marks[0] = (0, 20)
    assert Gap(0, 40, 0, is_recreated=True) in run.run()


def test_a_topic_was_made_anew_and_nobody_says_so() -> None:
    run = Run(offsets={0: 40, 1: 0})
    run.client.cached = {0: (0, 3)}
    run.polls_max = 4

    def tick() -> None:
        run.now += max(COMMIT_SECONDS, RECREATED_SECONDS)

    run.at_poll = dict.fromkeys(range(1, 5), tick)
    assert Gap(0, 40, 0, is_recreated=True) in run.run()


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._FATAL,
    ],
)
def test_what_ends_a_consumer(code: int) -> None:
    run = Run([error_message(code)])
    run.polls_max = 100
    assert run.run()[-1] == Ended("topic logs: trouble")
    assert run.client.calls[-1] == ("close", None)


def test_the_group_of_fixed_partitions_needs_no_rights() -> None:
    denied = error_message(KafkaError.GROUP_AUTHORIZATION_FAILED)
    assert Run([denied]).run()[-2:] == [Warned("kafka", "trouble"), Ended("")]
    assert Run([denied], group="central").run()[-1] == Ended("topic logs: trouble")


def test_a_fatal_error_beside_records_ends_it() -> None:
    run = Run([], [])
    run.at_poll[1] = lambda: run.given["error_cb"](
        library_error(KafkaError._FATAL, "fenced", fatal=True)
    )
    assert run.run()[-1] == Ended("topic logs: fenced")


def test_brokers_that_are_away_are_in_the_state_until_something_comes() -> None:
    run = Run([], [record(0, 0, b"a")])
    seen: list[str] = []

    def lose() -> None:
        run.given["error_cb"](library_error(KafkaError._ALL_BROKERS_DOWN, "all down"))
        seen.append(run.handover.trouble)

    run.at_poll[1] = lose
    run.run()
    assert seen == ["brokers k1:9092: all down"]
    assert run.handover.trouble == ""


def test_an_error_of_a_call_ends_it_with_what_was_known() -> None:
    run = Run()

    def fail() -> None:
        run.given["error_cb"](library_error(KafkaError._RESOLVE, "no such host"))
        raise KafkaException(library_error(KafkaError._TRANSPORT, "no answer"))

    run.at_poll[1] = fail
    assert run.run()[-1] == Ended("brokers k1:9092: no such host; no answer")


def test_a_defect_is_told_and_raised() -> None:
    run = Run()

    def fail() -> None:
        raise ZeroDivisionError

    run.at_poll[1] = fail
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert isinstance(run.handover.events[-1], Ended)
    assert run.handover.events[-1].why


def test_back_pressure_waits_then_pauses_and_goes_on_polling() -> None:
    run = Run([record(0, 0, b"a")], [], [], [], [record(0, 1, b"b")])
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        run.now += seconds

    run.handover.wait = wait  # type: ignore[method-assign]
    run.at_poll[2] = run.handover.pause
    run.at_poll[5] = run.handover.resume
    run.polls_max = 6
    events = run.run()
    assert sum(waits) >= PAUSE_AFTER_SECONDS * 0.99
    assert [name for name, _ in run.client.calls] == ["assign", "pause", "resume", "close"]
    frames = [event.frames for event in events if isinstance(event, Fetched)]
    assert frames == [[b"a"], [b"b"]]


def test_a_failed_commit_is_warned_of() -> None:
    run = Run([])
    run.at_poll[1] = lambda: run.given["on_commit"](library_error(KafkaError._TRANSPORT), [])
    run.at_poll[2] = lambda: run.given["on_commit"](library_error(KafkaError._NO_OFFSET), [])
    warned = [event for event in run.run() if isinstance(event, Warned)]
    assert [each.kind for each in warned] == ["commit"]


def test_the_library_takes_the_settings() -> None:
    client = new_client(
        ConsumerPlan("logs", "k1", settings=lambda: {"bootstrap.servers": "127.0.0.1:9"}), {}, print
    )
    client.close()


def test_settings_that_the_library_refuses() -> None:
    with pytest.raises(UpstreamError, match=r"fetch\.min\.bytes"):
        new_client(ConsumerPlan("logs", "k1", settings=lambda: {"fetch.min.bytes": "x"}), {}, print)
