from __future__ import annotations

import inspect
from typing import Any

import pytest
from twisted.internet import task
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from relay.model.clock import Clock, DelayedCall, WallClock

DAY, YEAR = 86400.0, 365 * 86400.0


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


class SettableClock:
    """A time of day that can be set, beside a clock that cannot."""

    def __init__(self) -> None:
        self.elapsed = 50.0
        self.offset = 1_700_000_000.0
        self.steps: list[float] = []
        self.wall = WallClock(now=self.now, elapsed=lambda: self.elapsed)
        self.wall.subscribe(self.steps.append)

    def now(self) -> float:
        return self.elapsed + self.offset

    def set(self, seconds: float) -> None:
        self.offset += seconds


def test_an_age_is_what_has_passed_since_a_stamp() -> None:
    clock = SettableClock()
    stamp = clock.now()
    clock.elapsed += 90.0
    assert clock.wall.age(stamp) == 90.0
    assert clock.wall.before(60.0) == stamp + 30.0
    assert clock.steps == []


@pytest.mark.parametrize("step", [3600.0, YEAR])
def test_setting_the_clock_forward_makes_nothing_older(step: float) -> None:
    clock = SettableClock()
    before_step = clock.now()
    clock.elapsed += 10.0
    clock.set(step)
    assert clock.wall.age(before_step) == 10.0
    assert clock.wall.before(60.0) < before_step
    after_step = clock.now()
    clock.elapsed += 45.0
    assert (clock.wall.age(before_step), clock.wall.age(after_step)) == (55.0, 45.0)
    assert clock.wall.before(60.0) < before_step
    clock.elapsed += 10.0
    assert before_step < clock.wall.before(60.0) < after_step
    clock.elapsed += 10.0
    assert clock.wall.before(60.0) > after_step
    assert clock.steps == [step]


@pytest.mark.parametrize("step", [-3600.0, -30 * DAY])
def test_setting_the_clock_back_lets_nothing_leave_early(step: float) -> None:
    clock = SettableClock()
    before_step = clock.now()
    clock.set(step)
    assert (clock.wall.age(before_step), clock.steps) == (0.0, [step])
    after_step = clock.now()
    clock.elapsed += 70.0
    assert clock.wall.age(after_step) == 70.0
    assert after_step < clock.wall.before(60.0) < before_step


def test_a_clock_that_is_set_wrong_and_right_again_makes_nothing_older() -> None:
    clock = SettableClock()
    stamp = clock.now()
    for step in (YEAR, -YEAR, -30 * DAY, 30 * DAY):
        clock.set(step)
        clock.elapsed += 1.0
        clock.wall.watch()
    assert clock.wall.before(60.0) < stamp
    assert clock.wall.age(stamp) <= 4.0
    clock.elapsed += 120.0
    assert clock.wall.before(60.0) > stamp


def test_what_came_before_a_step_back_is_not_old_after_one_forward() -> None:
    clock = SettableClock()
    stamp = clock.now()
    for step in (-30 * DAY, YEAR):
        clock.set(step)
        clock.wall.watch()
    assert clock.wall.age(stamp) == 0.0
    assert clock.wall.before(60.0) < stamp
    clock.elapsed += 61.0
    assert clock.wall.before(60.0) > stamp  # it is as old as that by any reckoning


def test_steps_are_taken_over_from_an_earlier_process() -> None:
    clock = SettableClock()
    stamp = clock.now()
    clock.set(YEAR)
    clock.wall.watch()
    later = WallClock(now=clock.now, elapsed=float)
    later.restore(clock.wall.steps)
    assert later.before(60.0) < stamp and later.age(stamp) < 1.0
    clock.set(-YEAR)  # while none was running
    after_that = WallClock(now=clock.now, elapsed=float)
    after_that.restore(clock.wall.steps)
    assert after_that.steps == ()


def test_a_small_correction_is_no_step() -> None:
    clock = SettableClock()
    for _ in range(10):
        clock.set(0.5)
        clock.wall.watch()
    assert clock.steps == []
