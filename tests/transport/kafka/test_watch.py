from __future__ import annotations

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException

from relay.transport.kafka.handover import Handover, Warned
from relay.transport.kafka.watch import (
    COMMIT_SECONDS,
    PARTITIONS_SECONDS,
    QUIET_SECONDS,
    RECREATED_SECONDS,
    STUCK_ANSWERS,
    ConsumerGaveUp,
    ConsumerWatch,
)
from tests.kafka_fakes import FakeClient, library_error


class Watched:
    def __init__(self, group: str = "central", fixed: tuple[int, ...] = ()) -> None:
        self.client = FakeClient()
        self.handover = Handover({0: 10}, call_from_thread=lambda call: None, deliver=lambda: None)
        self.watch = ConsumerWatch(
            *(self.client, self.handover, confluent_kafka),
            topic="logs",
            brokers="k1:9092",
            group=group,
            fixed=fixed,
            seconds=lambda: 0.0,
        )

    def texts(self) -> list[str]:
        return [event.text for event in self.handover.events if isinstance(event, Warned)]


def test_offsets_are_committed_after_they_are_on_disk() -> None:
    watched = Watched()
    watched.watch.look(COMMIT_SECONDS, {0: 15, 1: 3})
    watched.handover.stored[0] = 12
    watched.watch.look(COMMIT_SECONDS * 1.5, {0: 15, 1: 3})  # not yet
    watched.watch.look(COMMIT_SECONDS * 2, {0: 15, 1: 3})
    watched.watch.look(COMMIT_SECONDS * 3, {0: 15, 1: 3})  # nothing has changed
    assert watched.client.calls == [("commit", {0: 10}), ("commit", {0: 12})]


def test_a_partition_that_is_taken_away_is_committed_at_once() -> None:
    watched = Watched()
    watched.watch.commit([0], waits=True)
    assert watched.client.calls == [("commit and wait", {0: 10})]


def test_fixed_partitions_commit_nothing_to_brokers() -> None:
    watched = Watched(group="", fixed=(0,))
    watched.watch.look(COMMIT_SECONDS, {0: 15})
    assert watched.client.calls == []


def test_ends_come_from_what_the_client_knows() -> None:
    watched = Watched()
    watched.client.cached = {0: (0, 40), 1: (-1001, -1001)}
    watched.watch.look(COMMIT_SECONDS, {0: 15, 1: 3})
    assert watched.handover.ends == {0: 40}


def test_a_topic_that_does_not_exist() -> None:
    watched = Watched()
    watched.client.topic_error = library_error(KafkaError.UNKNOWN_TOPIC_OR_PART)
    with pytest.raises(ConsumerGaveUp, match="topic logs does not exist at k1:9092; create it"):
        watched.watch.ask_partitions()


def test_a_topic_that_may_not_be_read() -> None:
    watched = Watched()
    watched.client.topic_error = library_error(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied")
    with pytest.raises(ConsumerGaveUp, match="topic logs: denied"):
        watched.watch.ask_partitions()


def test_another_number_of_partitions_is_warned_of() -> None:
    watched = Watched()
    assert watched.watch.ask_partitions() == [0, 1]
    watched.client.partitions = 3
    watched.watch.look(PARTITIONS_SECONDS, {})
    watched.watch.look(PARTITIONS_SECONDS * 2, {})
    (text,) = watched.texts()
    assert "topic logs has 3 partitions now, and had 2" in text
    assert watched.handover.partitions == 3


def test_brokers_that_do_not_answer_are_in_the_state_until_they_do() -> None:
    watched = Watched()
    client = watched.client

    def fail(*, timeout: float) -> None:
        raise KafkaException(library_error(KafkaError._TRANSPORT, "refused"))

    client.list_topics, answer = fail, client.list_topics  # type: ignore[method-assign]
    watched.watch.look(PARTITIONS_SECONDS, {})
    assert watched.handover.trouble == "brokers k1:9092: refused"
    client.list_topics = answer  # type: ignore[method-assign]
    watched.watch.look(PARTITIONS_SECONDS * 2, {})
    assert watched.handover.trouble == ""


def test_records_that_do_not_come_end_the_consumer() -> None:
    watched = Watched()
    watched.client.marks[0] = (0, 20)
    for number in range(1, STUCK_ANSWERS):
        watched.watch.look(number * QUIET_SECONDS, {0: 15})
    with pytest.raises(ConsumerGaveUp, match="partition 0 of topic logs has records"):
        watched.watch.look(STUCK_ANSWERS * QUIET_SECONDS, {0: 15})


def test_a_consumer_that_gets_something_is_not_stuck() -> None:
    watched = Watched()
    watched.client.marks[0] = (0, 20)
    for number in range(1, 3 * STUCK_ANSWERS):
        watched.watch.look(number * QUIET_SECONDS, {0: 15})
        watched.watch.note_arrival(number * QUIET_SECONDS)


def test_the_mark_of_a_transaction_at_the_end_is_no_record() -> None:
    watched = Watched()
    watched.client.marks[0] = (0, 20)
    watched.watch.ended[0] = 20
    for number in range(1, 3 * STUCK_ANSWERS):
        watched.watch.look(number * QUIET_SECONDS, {0: 19})


def test_an_offset_behind_the_end_is_gone_when_that_lasts() -> None:
    watched = Watched()
    watched.client.cached = {0: (0, 3)}
    watched.watch.look(1.0, {0: 15})
    watched.watch.look(RECREATED_SECONDS, {0: 15})
    assert watched.watch.gone == []
    watched.watch.look(1.0 + RECREATED_SECONDS, {0: 15})
    assert watched.watch.gone == [0]


def test_a_leader_that_catches_up_has_lost_nothing() -> None:
    watched = Watched()
    watched.client.cached = {0: (0, 3)}
    watched.watch.look(1.0, {0: 15})
    watched.client.cached = {0: (0, 15)}
    watched.watch.look(5.0, {0: 15})
    watched.client.cached = {0: (0, 3)}
    watched.watch.look(1.0 + RECREATED_SECONDS, {0: 15})
    assert watched.watch.gone == []
