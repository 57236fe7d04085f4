from __future__ import annotations

import pytest

from relay.model import errors
from relay.model.errors import (
    ConfigurationError,
    QueueError,
    QueueFormatError,
    QueueFull,
    QueueInUse,
    RelayError,
    RelpError,
)


@pytest.mark.parametrize("name", errors.__all__)
def test_whoever_catches_relay_errors_catches_all_of_ours(name: str) -> None:
    assert issubclass(getattr(errors, name), RelayError)


@pytest.mark.parametrize("kind", [QueueFull, QueueInUse, QueueFormatError])
def test_whoever_catches_queue_errors_catches_what_a_queue_raises(kind: type[QueueError]) -> None:
    assert issubclass(kind, QueueError)
    assert not issubclass(RelpError, QueueError)


def test_a_configuration_error_keeps_its_problems_apart() -> None:
    problems = ["sources.a: no listen", "destinations.b: no connect"]
    error = ConfigurationError(problems)
    problems.clear()
    assert error.problems == ["sources.a: no listen", "destinations.b: no connect"]
    assert str(error) == "sources.a: no listen; destinations.b: no connect"
