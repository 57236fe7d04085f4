from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from twisted.internet.task import Clock

from relay.service.destinations.lane import Progress, Standing
from relay.service.destinations.stall_detector import StallDetector
from tests.connections import RecordingNotices


class Destination:
    """One with one lane, which is itself."""

    def __init__(self, id: str) -> None:
        self.subject = f"destination {id}"
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
        self.watch = StallDetector(
            destinations=[self.one, self.other],
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
    watch = StallDetector(
        destinations=[quick],
        notices=RecordingNotices(),  # type: ignore[arg-type]
        clock=clock,
    )
    watch.startService()
    clock.pump([0.1] * 9)
    assert len(quick.broken) == 1


# What one lane is found to do.


class Looks:
    """Looks at a destination every second, which stalls after eight."""

    def __init__(self) -> None:
        self.progress = Progress(seconds_max=8.0)
        self.now = 0.0
        self.said = 0

    def look(
        self, seconds: int = 1, *, answers: int = 0, in_flight: int = 3, **changes: bool
    ) -> None:
        found = {"connected": True, "could_send": True, **changes}
        for _ in range(seconds):
            standing = Standing(answers=answers, in_flight=in_flight, **found)
            self.said += self.progress.look(self.now, standing)
            self.now += 1


def test_no_answer_for_long_is_a_stall_and_an_answer_ends_it() -> None:
    looks = Looks()
    looks.look(8)  # from 0 to 7
    assert (looks.said, looks.progress.stalled_seconds) == (0, None)
    looks.look()
    assert (looks.said, looks.progress.stalled_seconds) == (1, 8.0)
    looks.look(7)
    assert (looks.said, looks.progress.stalled_seconds) == (1, 15.0)
    looks.look()
    assert (looks.said, looks.progress.stalls) == (2, 2)
    looks.look(answers=1)
    assert (looks.progress.stalled_seconds, looks.progress.stalls) == (None, 0)
    looks.look(7, answers=1)
    assert looks.said == 2


def test_answers_in_time_are_no_stall() -> None:
    looks = Looks()
    for answers in range(20):
        looks.look(7, answers=answers)
    assert looks.said == 0


def test_who_has_nothing_to_do_does_not_stall() -> None:
    looks = Looks()
    looks.look(7)
    looks.look(100, in_flight=0, could_send=False)
    looks.look(7)
    assert looks.said == 0
    looks.look(2)
    assert looks.said == 1


def test_an_upstream_that_is_away_is_none_and_one_that_comes_and_goes_is() -> None:
    looks = Looks()
    looks.look(100, connected=False)
    assert looks.said == 0
    for _ in range(3):
        looks.look(3)
        looks.look(5, connected=False)
    assert looks.progress.stalled_seconds == 9.0


def test_only_what_is_not_even_sent_is_our_own_fault() -> None:
    waiting = Looks()
    waiting.look(40)
    assert waiting.progress.stalls == 4 and not waiting.progress.stuck
    idle = Looks()
    idle.look(16, in_flight=0)
    assert idle.progress.stalls == 1 and not idle.progress.stuck
    idle.look(1, in_flight=0)
    assert idle.progress.stuck
    idle.look(1, in_flight=0, answers=1)
    assert not idle.progress.stuck


def test_who_did_not_look_for_long_knows_nothing_of_that_time() -> None:
    looks = Looks()
    looks.look()
    looks.now = 1e6
    looks.look()
    assert looks.said == 0


def test_a_log_that_answers_a_source_can_stall_as_well() -> None:
    setup = Setup()
    answering = Destination("net")
    answering.subject = "source net"
    answering.progress.seconds_max = 8.0
    buffered, direct = SimpleNamespace(answering=None), SimpleNamespace(answering=answering)
    setup.watch.sources = (buffered, direct)
    setup.watch.follow()
    assert setup.watch.interval_seconds == 1.0
    answering.found = replace(answering.found, in_flight=5)
    setup.pass_time(10)
    assert answering.broken == ["nothing acknowledged in 8 s of being connected"]
    assert setup.notices.said[0][:2] == ("source net", "stall")
    assert setup.watch.is_well
