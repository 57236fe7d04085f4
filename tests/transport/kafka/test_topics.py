from __future__ import annotations

import pytest

from relay.model.errors import UpstreamError
from relay.transport.kafka.topics import TopicFacts, look_up, weak_topic
from tests.fake_kafka import Cluster, FakeError, replace_library


def test_what_brokers_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"min.insync.replicas": "2", "max.message.bytes": "5000"}
    replace_library(monkeypatch, Cluster(settings=settings))
    (facts,) = look_up({}, ["logs"], 1)
    assert facts == TopicFacts("logs", 4, 3, 3, 2, False, 5000)
    assert facts.promised == 2
    assert facts.text == "topic logs: 4 partitions, 3 replicas, min.insync.replicas = 2"


def test_settings_that_are_not_told_are_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_library(monkeypatch, Cluster())
    (facts,) = look_up({}, ["logs"], 1)
    assert (facts.in_sync_min, facts.message_bytes_max) == (None, None)


def test_a_missing_topic_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_library(monkeypatch, Cluster())
    with pytest.raises(UpstreamError, match="the brokers know no topic web, "):
        look_up({}, ["web"], 1)


def test_it_asks_until_the_time_is_over_or_nobody_wants_to_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_library(monkeypatch, Cluster(is_away=True))
    with pytest.raises(UpstreamError, match="_TRANSPORT"):
        look_up({}, ["logs"], 10)
    asked: list[None] = []
    with pytest.raises(UpstreamError):
        look_up({}, ["logs"], 10, lambda: asked.append(None))  # type: ignore[func-returns-value, arg-type, return-value]
    assert len(asked) == 1


def test_brokers_that_cannot_be_reached_are_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = [FakeError("_SSL"), FakeError("_ALL_BROKERS_DOWN")]
    replace_library(monkeypatch, Cluster(is_away=True, client_errors=errors))
    asked: list[bool] = []

    def is_wanted() -> bool:
        asked.append(True)
        return True

    with pytest.raises(UpstreamError, match="Broker: _SSL"):
        look_up({}, ["logs"], 10, is_wanted)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("replicas", "in_sync_min", "replicas_min", "is_weak"),
    [
        (3, 2, 2, False),
        (3, 1, 2, True),
        (1, 2, 2, True),
        (3, None, 2, False),
        (1, None, 2, True),
        (1, 1, 0, False),
    ],
)
def test_what_a_topic_has_to_promise(
    replicas: int, in_sync_min: int | None, replicas_min: int, is_weak: bool
) -> None:
    facts = TopicFacts("logs", 4, replicas, replicas, in_sync_min)
    assert bool(weak_topic(facts, replicas_min)) == is_weak


def test_a_leader_that_is_missing_is_trouble() -> None:
    assert TopicFacts("logs", 4, 3, 0).trouble() == "a partition of topic logs has no leader"
    assert TopicFacts("logs", 4, 3, 3, 2).trouble() == ""
