from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from relay.queue.gathering import Gathering


class Reader:
    """Keeps what it was asked; waits again as long as `waits`."""

    def __init__(self, *, waits: bool = True) -> None:
        self.asked: list[str] = []
        self.waits = waits
        self.meanwhile: Callable[[], None] = lambda: None

    def read_now(self) -> bool:
        self.asked.append("now")
        self.meanwhile()
        return self.waits

    def read_at_once(self) -> None:
        self.asked.append("at once")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gathering(clock: Clock) -> Gathering:
    return Gathering(clock=clock, seconds_max=0.02)


def test_each_commit_has_a_number_while_it_runs(gathering: Gathering) -> None:
    assert gathering.commit == 0
    numbers = []
    for _ in range(2):
        gathering.begin()
        numbers.append(gathering.commit)
    gathering.end()
    assert numbers == [1, 2]
    assert gathering.commit == 0


def test_who_waits_is_read_before_each_commit(gathering: Gathering) -> None:
    reader = Reader()
    gathering.begin()
    gathering.wait(reader)
    assert reader.asked == []
    gathering.gather()
    gathering.begin()
    gathering.gather()
    assert reader.asked == ["now", "now"]


def test_who_has_nothing_more_to_gain_is_read_at_once(gathering: Gathering) -> None:
    reader = Reader(waits=False)
    gathering.begin()
    gathering.wait(reader)
    gathering.gather()
    gathering.gather()
    assert reader.asked == ["now", "at once"]


def test_nobody_waits_for_a_commit_that_does_not_come(gathering: Gathering) -> None:
    reader = Reader()
    gathering.begin()
    gathering.wait(reader)
    gathering.end()
    gathering.end()
    assert reader.asked == ["at once"]


def test_readers_that_go_meanwhile_are_left_alone(gathering: Gathering) -> None:
    first, second = Reader(), Reader()
    gathering.begin()
    gathering.wait(first)
    gathering.wait(second)
    first.meanwhile = lambda: gathering.forget(second)
    gathering.gather()
    gathering.end()
    assert (first.asked, second.asked) == (["now", "at once"], [])


def test_a_disk_that_stops_holds_nobody_up(gathering: Gathering, clock: Clock) -> None:
    reader = Reader()
    gathering.begin()
    gathering.wait(reader)
    clock.advance(0.019)
    assert reader.asked == []
    clock.advance(0.001)
    assert reader.asked == ["at once"]
    assert gathering.commit == 0  # for the rest of this one nobody waits again
    assert clock.getDelayedCalls() == []


def test_a_later_commit_that_stops_holds_nobody_up_either(
    gathering: Gathering, clock: Clock
) -> None:
    reader = Reader()
    gathering.begin()
    gathering.wait(reader)
    gathering.gather()
    gathering.begin()
    clock.advance(0.02)
    assert reader.asked == ["now"]
    clock.advance(0.02)
    assert reader.asked == ["now", "at once"]


def test_there_is_no_timer_for_nobody(gathering: Gathering, clock: Clock) -> None:
    reader = Reader()
    gathering.begin()
    gathering.wait(reader)
    gathering.end()
    gathering.begin()
    clock.advance(0.02)
    assert clock.getDelayedCalls() == []
