from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from relay.service.periodic import PeriodicService


class Looking(PeriodicService):
    error: Exception | None = None

    def __init__(self, clock: Clock, *, looks_at_once: bool = True) -> None:
        super().__init__(interval_seconds=2.0, clock=clock)
        self.looks: list[float] = []
        self.looks_at_once = looks_at_once

    def look(self) -> None:
        self.looks.append(self.clock.seconds())
        if self.error is not None:
            raise self.error


def test_it_looks_at_once_and_then_after_each_interval_until_it_is_stopped() -> None:
    service = Looking(clock := Clock())
    service.startService()
    clock.pump([1.0, 1.0, 1.9, 0.1])
    assert service.looks == [0.0, 2.0, 4.0]
    service.stopService()
    service.stopService()
    clock.advance(10.0)
    assert service.looks == [0.0, 2.0, 4.0]
    assert clock.getDelayedCalls() == []


def test_the_first_look_may_wait_for_an_interval() -> None:
    service = Looking(clock := Clock(), looks_at_once=False)
    service.startService()
    clock.pump([1.9, 0.1, 2.0])
    assert service.looks == [2.0, 4.0]
    service.stopService()
    assert clock.getDelayedCalls() == []


def test_a_look_that_fails_is_not_the_last_one() -> None:
    service = Looking(clock := Clock())
    service.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        service.startService()
    service.error = None
    clock.advance(2.0)
    assert service.looks == [0.0, 2.0]


def test_another_interval_begins_now() -> None:
    service = Looking(clock := Clock())
    service.change_interval(8.0)  # it does not run yet
    assert not clock.getDelayedCalls()
    service.startService()
    clock.advance(4)
    service.change_interval(5.0)
    clock.pump([5, 5])
    assert service.looks == [0.0, 9.0, 14.0]
    service.change_interval(0.0)
    assert not clock.getDelayedCalls()
    service.change_interval(1.0)
    service.stopService()
    assert not clock.getDelayedCalls()
