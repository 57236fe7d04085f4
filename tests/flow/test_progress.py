from __future__ import annotations

from relay.flow.progress import Progress, Standing


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
