from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.base import ReactorBase

from relay.service.process.steady_reactor import run_steadily


class Waiting(ReactorBase):
    """Twisted's own timers, with nothing to wait for beside them."""

    def installWaker(self) -> None:
        pass


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time of day, as every reactor asks for it."""
    offset = 0.0
    monkeypatch.setattr(ReactorBase, "seconds", staticmethod(lambda: time.monotonic() + offset))

    def set_by(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    return set_by


@pytest.mark.parametrize("step", [-30 * 86400.0, -3600.0, 365 * 86400.0])
def test_a_timer_takes_as_long_as_it_should_when_the_clock_is_set(
    wall: Callable[[float], None], step: float
) -> None:
    reactor: Any = Waiting()
    called: list[str] = []
    wall(1e9)
    reactor.callLater(1000.0, called.append, "made before")
    run_steadily(reactor)
    reactor.callLater(500.0, called.append, "made afterwards")
    reactor.callLater(0.0, called.append, "due")
    wall(step)
    assert reactor.timeout() == 0
    reactor.runUntilCurrent()
    assert called == ["due"]
    assert 490 < reactor.timeout() <= 500
    remaining = sorted(call.getTime() - reactor.seconds() for call in reactor.getDelayedCalls())
    assert remaining == pytest.approx([500, 1000], abs=10)


def test_it_is_done_once() -> None:
    reactor: Any = Waiting()
    run_steadily(reactor)
    call = reactor.callLater(5.0, list)
    due = call.getTime()
    run_steadily(reactor)
    assert call.getTime() == due
