from __future__ import annotations

import inspect
from typing import Any

import pytest
from twisted.internet import task
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.model.clock import Clock, DelayedCall


@pytest.mark.parametrize(
    ("protocol", "interface"), [(Clock, IReactorTime), (DelayedCall, IDelayedCall)]
)
def test_it_asks_for_nothing_that_a_reactor_does_not_promise(
    protocol: type, interface: Any
) -> None:
    functions = inspect.getmembers(protocol, inspect.isfunction)
    asked_for = {name for name, _ in functions if not name.startswith("_")}
    assert asked_for
    assert asked_for <= set(interface)


def test_the_clock_of_the_tests_does_what_the_protocols_say() -> None:
    twisted_clock = task.Clock()
    clock: Clock = twisted_clock
    called: list[str] = []
    first: DelayedCall = clock.callLater(2.0, called.append, "first")
    second: DelayedCall = clock.callLater(2.0, called.append, "second")
    third: DelayedCall = clock.callLater(2.0, called.append, "third")
    second.cancel()
    third.reset(5.0)
    twisted_clock.advance(2.0)
    assert (called, clock.seconds()) == (["first"], 2.0)
    assert [call.active() for call in (first, second, third)] == [False, False, True]
