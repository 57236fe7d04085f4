from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.queue.admission.commit_delay import CommitDelay


class Commits:
    """Commits at an interval of 2 s, which take no time."""

    def __init__(self, **keys: Any) -> None:
        self.clock = Clock()
        self.interval = CommitDelay(clock=self.clock, **{"seconds": 2.0, **keys})

    def commit(self, *senders: str | None, records: int = 1) -> None:
        """One commit of what these sent."""
        self.add(*senders, records=records)
        self.interval.begin()
        self.interval.stored()

    def add(self, *senders: str | None, records: int = 1) -> None:
        for sender in senders:
            self.interval.add(records, () if sender is None else {sender})

    def seconds(self) -> float:
        """How long the next commit has to wait."""
        began = self.clock.seconds()
        waiting = self.interval.wait()
        while waiting is not None and not waiting.called:
            self.clock.advance(0.25)
        return self.clock.seconds() - began


@pytest.fixture
def commits() -> Commits:
    return Commits()


def test_the_first_one_begins_at_once(commits: Commits) -> None:
    commits.add(None, None)
    assert commits.seconds() == 0


def test_of_a_stream_one_begins_no_sooner_than_the_interval_after_the_last(
    commits: Commits,
) -> None:
    commits.commit(None, None)
    commits.clock.advance(0.5)  # which it took
    commits.add(None)
    assert commits.seconds() == 1.5
    commits.commit(None)  # the second of this one
    commits.clock.advance(3)
    assert commits.seconds() == 0


def test_after_a_single_message_nothing_waits(commits: Commits) -> None:
    commits.commit(None)
    assert commits.seconds() == 0
    commits.interval.begin()  # of nothing but removals
    assert commits.seconds() == 0


def test_what_is_enough_does_not_wait() -> None:
    commits = Commits(records_enough=5)
    commits.commit(None, records=2)
    commits.add(None, records=5)
    assert commits.seconds() == 0
    commits.commit(None, records=2)
    waiting = commits.interval.wait()
    assert waiting is not None
    commits.add(None, records=4)
    assert not waiting.called
    commits.add(None)
    assert waiting.called
    assert commits.clock.getDelayedCalls() == []


def test_nobody_waits_when_all_who_were_answered_have_sent_again(commits: Commits) -> None:
    commits.commit("a", "b")
    waiting = commits.interval.wait()
    assert waiting is not None
    commits.add("a", "c", "a")
    assert not waiting.called
    commits.add("b")
    assert waiting.called
    commits.interval.begin()
    commits.interval.stored()
    commits.add("a", "b", "c")
    assert commits.seconds() == 0


@pytest.mark.parametrize("missing", ["b", None])
def test_who_has_not_or_need_not_answer_is_waited_for(
    commits: Commits, missing: str | None
) -> None:
    commits.commit("a", missing)
    commits.add("a")
    assert commits.seconds() == 2


def test_a_wait_can_be_ended_and_an_interval_of_nothing_is_none(commits: Commits) -> None:
    commits.commit(None, None)
    waiting = commits.interval.wait()
    assert waiting is not None
    commits.interval.end()
    assert waiting.called
    commits.interval.end()
    assert commits.clock.getDelayedCalls() == []
    none = Commits(seconds=0.0)
    none.commit(None, None)
    assert none.seconds() == 0


def test_a_clock_that_is_set_back_delays_nothing(commits: Commits) -> None:
    commits.clock.advance(100)
    commits.commit(None, None)
    commits.clock.rightNow = 50.0
    assert commits.interval.wait() is None


def test_who_sends_on_without_an_answer_is_a_stream(commits: Commits) -> None:
    commits.add("a", records=2)
    commits.interval.begin()
    commits.add("a")  # which does not wait, then
    commits.interval.stored()
    assert commits.seconds() == 2
    commits.interval.begin()  # with that message, which has not waited
    commits.interval.stored()
    commits.commit("a", records=2)
    commits.add("a")  # after its answer
    assert commits.seconds() == 0


def test_others_may_come_while_a_commit_is_under_way(commits: Commits) -> None:
    commits.add("a", "b")
    commits.interval.begin()
    commits.add("c")
    commits.interval.stored()
    commits.add("a", "b")
    assert commits.seconds() == 0
