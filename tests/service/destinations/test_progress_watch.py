from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock

from relay.flow.progress import Progress, Standing
from relay.service.destinations.progress_watch import ProgressWatch
from tests.connections import RecordingNotices


class Destination:
    """One with one lane, which is itself."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.stall_seconds = 16.0
        self.lanes = [self]
        self.progress = Progress(seconds_max=16.0)
        self.found = Standing(answers=0, connected=True, in_flight=0, could_send=False)
        self.broken: list[str] = []

    def standing(self) -> Standing:
        return self.found

    def break_link(self, why: str) -> None:
        self.broken.append(why)


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.notices = RecordingNotices()
        self.one, self.other = Destination("one"), Destination("other")
        self.watch = ProgressWatch(
            [self.one, self.other],
            notices=self.notices,  # type: ignore[arg-type]
            clock=self.clock,
        )
        self.watch.startService()

    def pass_time(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)


def test_a_destination_that_stalls_is_connected_again_and_said() -> None:
    setup = Setup()
    setup.one.found = replace(setup.one.found, in_flight=5, could_send=True)
    setup.pass_time(15)
    assert setup.one.broken == []
    setup.pass_time(1)
    assert setup.one.broken == ["nothing acknowledged in 16 s of being connected"]
    assert setup.notices.said == [
        (
            "destination one",
            "stall",
            "nothing acknowledged in 16 s of being connected: 5 records in flight, more could be "
            "sent; connecting again",
        )
    ]
    setup.pass_time(16)
    assert len(setup.one.broken) == 2
    assert setup.other.broken == []
    assert setup.watch.is_well  # the upstream has them, nobody here can do more


def test_a_lane_that_moves_does_not_hide_that_the_other_one_stalls() -> None:
    setup = Setup()
    stalled, moving = Destination("one"), Destination("one")
    setup.one.lanes = [stalled, moving]
    for answers in range(18):
        stalled.found = replace(stalled.found, in_flight=5)
        moving.found = replace(moving.found, in_flight=5, answers=answers)
        setup.pass_time(1)
    assert (len(stalled.broken), moving.broken) == (1, [])


def test_records_that_are_not_sent_even_then_are_no_sign_of_life() -> None:
    setup = Setup()
    setup.other.found = replace(setup.other.found, could_send=True)
    setup.pass_time(31)
    assert setup.watch.is_well
    setup.pass_time(1)
    assert not setup.watch.is_well
    setup.other.found = replace(setup.other.found, answers=1)
    setup.pass_time(2)
    assert setup.watch.is_well


def test_nothing_goes_on_after_the_stop() -> None:
    setup = Setup()
    setup.watch.stopService()
    assert setup.clock.getDelayedCalls() == []


def test_short_stalls_are_looked_for_more_often() -> None:
    clock = Clock()
    quick = Destination("quick")
    quick.stall_seconds = 0.8
    quick.progress = Progress(seconds_max=0.8)
    quick.found = replace(quick.found, in_flight=1)
    watch = ProgressWatch(
        [quick],
        notices=RecordingNotices(),  # type: ignore[arg-type]
        clock=clock,
    )
    watch.startService()
    clock.pump([0.1] * 9)
    assert len(quick.broken) == 1
