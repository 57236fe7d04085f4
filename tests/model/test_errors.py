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

OURS = [
    kind for kind in vars(errors).values() if getattr(kind, "__module__", "") == errors.__name__
]


@pytest.mark.parametrize("kind", OURS)
def test_whoever_catches_relay_errors_catches_all_of_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, RelayError)


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
