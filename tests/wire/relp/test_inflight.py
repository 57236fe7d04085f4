from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.relp.client import Inflight


@pytest.fixture
def inflight() -> Inflight:
    frames = Inflight(first_txnr=2, frames_max=8)
    assert frames.add(5) == 2  # to 6
    return frames


def test_the_window_is_what_has_no_answer(inflight: Inflight) -> None:
    assert (len(inflight), inflight.room, inflight.next_txnr) == (5, 3, 7)
    inflight.answer(2)
    assert (len(inflight), inflight.room, inflight.next_txnr) == (4, 4, 7)
    assert inflight.add(4) == 7
    assert inflight.room == 0
    with pytest.raises(AssertionError):
        inflight.add(1)


def test_early_answers_count_when_their_turn_comes(inflight: Inflight) -> None:
    counts = []
    for txnr in (4, 3, 6, 2, 5):
        assert inflight.answer(txnr)
        counts.append(inflight.take_acknowledged())
    assert counts == [0, 0, 0, 3, 2]


def test_what_was_taken_is_not_reported_again(inflight: Inflight) -> None:
    inflight.answer(2)
    assert [inflight.take_acknowledged(), inflight.take_acknowledged()] == [1, 0]


@pytest.mark.parametrize("txnr", [0, 1, 7, 77])
def test_an_answer_to_nothing_is_told_and_changes_nothing(inflight: Inflight, txnr: int) -> None:
    assert not inflight.answer(txnr)
    assert not inflight.answer(txnr, refusal="no")
    assert (inflight.take_acknowledged(), len(inflight)) == (0, 5)


@pytest.mark.parametrize("refusals", [(None, None), ("no", None), (None, "no"), ("no", "no")])
@pytest.mark.parametrize("txnr", [2, 4])
def test_a_second_answer_is_told(
    inflight: Inflight, txnr: int, refusals: tuple[str | None, str | None]
) -> None:
    assert inflight.answer(txnr, refusal=refusals[0])
    assert not inflight.answer(txnr, refusal=refusals[1])


def test_a_refused_frame_stays_in_the_way_until_it_is_skipped(inflight: Inflight) -> None:
    inflight.answer(3, refusal="too long")
    inflight.answer(4)
    assert (inflight.refusal, inflight.take_acknowledged()) == (None, 0)
    inflight.answer(2)
    assert (inflight.refusal, inflight.take_acknowledged()) == ("too long", 1)
    assert len(inflight) == 4
    inflight.skip_refused()
    assert (inflight.refusal, inflight.take_acknowledged()) == (None, 1)  # 4 and not 3
    assert len(inflight) == 2


def test_two_refused_frames_are_skipped_one_after_the_other(inflight: Inflight) -> None:
    inflight.answer(3, refusal="second")
    inflight.answer(2, refusal="first")
    assert inflight.refusal == "first"
    inflight.skip_refused()
    assert inflight.refusal == "second"
    inflight.skip_refused()
    assert (inflight.refusal, inflight.take_acknowledged(), len(inflight)) == (None, 0, 3)


def test_nothing_is_kept_of_what_is_done(inflight: Inflight) -> None:
    for txnr in (4, 3, 6, 2, 5):
        inflight.answer(txnr, refusal="no" if txnr == 2 else None)
    inflight.skip_refused()
    assert [kept for kept in vars(inflight).values() if kept in (set(), {})] == [set(), {}]


orders = st.integers(1, 30).flatmap(lambda count: st.permutations(range(count)))


@given(orders, st.data())
def test_what_is_acknowledged_is_a_prefix_of_what_was_answered(order: list[int], data: Any) -> None:
    inflight = Inflight(first_txnr=2, frames_max=len(order))
    inflight.add(len(order))
    answered: set[int] = set()
    acknowledged = 0
    for index in order:
        assert inflight.answer(2 + index)
        answered.add(index)
        if data.draw(st.booleans()):
            acknowledged += inflight.take_acknowledged()
            assert answered.issuperset(range(acknowledged))
            assert acknowledged not in answered  # and it is the longest one
    assert acknowledged + inflight.take_acknowledged() == len(order)
    assert len(inflight) == 0


@given(orders, st.sets(st.integers(0, 29)))
def test_a_refused_frame_is_never_acknowledged(order: list[int], refused: set[int]) -> None:
    inflight = Inflight(first_txnr=2, frames_max=len(order))
    inflight.add(len(order))
    acknowledged, skipped = 0, []
    for index in order:
        inflight.answer(2 + index, refusal="no" if index in refused else None)
        acknowledged += inflight.take_acknowledged()
        while inflight.refusal is not None:
            skipped.append(acknowledged + len(skipped))
            inflight.skip_refused()
            acknowledged += inflight.take_acknowledged()
    assert skipped == sorted(refused & set(order))
    assert acknowledged == len(order) - len(skipped)


def test_the_oldest_can_be_answered_at_once() -> None:
    inflight = Inflight(first_txnr=2, frames_max=8)
    first = inflight.add(3)
    assert inflight.oldest_txnr == first
    assert inflight.take_oldest(2)
    assert (inflight.take_acknowledged(), len(inflight)) == (0, 1)  # no second time
    inflight.answer(first + 2)
    assert inflight.take_acknowledged() == 1


def test_at_once_is_only_for_what_is_usual() -> None:
    inflight = Inflight(first_txnr=2, frames_max=8)
    first = inflight.add(3)
    assert not inflight.take_oldest(4)  # more than were sent
    inflight.answer(first + 1)
    assert not inflight.take_oldest(1)  # there is an early one
    assert inflight.take_acknowledged() == 0
