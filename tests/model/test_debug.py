from __future__ import annotations

from relay.model.debug import LEVELS, TOPICS, Topic


def test_a_topic_is_off_until_somebody_wants_it() -> None:
    assert not Topic("relay.x").is_on
    assert not any(topic.is_on for topic in TOPICS)


def test_topics_are_parts_of_the_log_of_the_relay() -> None:
    names = [topic.namespace for topic in TOPICS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("relay.") for name in names)
    assert LEVELS[0] == "debug"
