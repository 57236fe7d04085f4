from __future__ import annotations

from collections.abc import Iterator

import pytest

from relay.model.debug import COMMITS, CONNECTIONS, TOPICS
from relay.observe.log_levels import LogLevels


@pytest.fixture
def levels() -> Iterator[LogLevels]:
    """Topics are those of the process, and off again at the end."""
    made = LogLevels()
    yield made
    made.configure("info")


def shown(levels: LogLevels, namespace: str) -> list[str]:
    return [name for name in ("debug", "info", "warn", "error") if levels.shows(namespace, name)]


def test_information_is_written_and_details_are_not(levels: LogLevels) -> None:
    assert shown(levels, "relay") == ["info", "warn", "error"]
    assert levels.report() == {"level": "info", "configured": "info", "namespaces": {}}
    assert not any(topic.is_on for topic in TOPICS)


def test_a_level_is_for_all(levels: LogLevels) -> None:
    levels.set("error")
    assert shown(levels, "relay.commits") == shown(levels, "relay") == ["error"]
    assert levels.shows("relay", "critical")
    levels.set("debug")
    assert all(topic.is_on for topic in TOPICS)


def test_a_namespace_has_its_own_and_so_has_what_is_below(levels: LogLevels) -> None:
    levels.set("debug", "relay.commits")
    assert (COMMITS.is_on, CONNECTIONS.is_on) == (True, False)
    assert levels.level_of("relay.commits.more") == "debug"
    assert levels.level_of("relay") == "info"
    levels.set("debug", "relay")
    assert CONNECTIONS.is_on
    assert levels.names("relay.sessions") and not levels.names("twisted")
    levels.set("warn")
    assert levels.report()["namespaces"] == {}
    assert not any(topic.is_on for topic in TOPICS)


def test_twisted_has_namespaces_too(levels: LogLevels) -> None:
    levels.set("debug", "twisted.internet")
    assert levels.names("twisted.internet.tcp.Port")
    assert not levels.names("twisted")


@pytest.mark.parametrize(
    ("level", "namespace", "problem"),
    [
        ("loud", "", "there is no level 'loud'; the levels are debug, info, warn, error"),
        ("debug", "relay.comits", "nothing is logged as 'relay.comits'; the namespaces are relay,"),
        ("debug", "twisted.a b", "nothing is logged as 'twisted.a b'"),
        ("debug", "x" * 1000, f"nothing is logged as '{'x' * 100}'"),
    ],
)
def test_what_is_refused_changes_nothing(
    level: str, namespace: str, problem: str, levels: LogLevels
) -> None:
    with pytest.raises(ValueError, match=r"nothing is|there is no") as caught:
        levels.set(level, namespace)
    assert str(caught.value).startswith(problem)
    assert levels.report() == {"level": "info", "configured": "info", "namespaces": {}}


def test_there_is_an_end_of_namespaces(levels: LogLevels) -> None:
    for number in range(32):
        levels.set("debug", f"twisted.x{number}")
    with pytest.raises(ValueError, match="32 namespaces have levels"):
        levels.set("debug", "twisted.y")
    levels.set("info", "twisted.x1")


def test_the_configuration_is_where_it_begins(levels: LogLevels) -> None:
    levels.set("debug", "relay.commits")
    levels.configure("warn")
    assert levels.report() == {"level": "warn", "configured": "warn", "namespaces": {}}
