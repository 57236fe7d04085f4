from __future__ import annotations

from relay.flow.reckoning import Reckoning
from relay.model.seq import SeqRange

# That all of it adds up however the two sides' words cross is in
# tests/service/test_remote_destination.py.


def test_nothing_has_left() -> None:
    reckoning = Reckoning(5)
    assert reckoning.acknowledged(9) == []
    assert reckoning.head == 9
    assert reckoning.set_aside(SeqRange(9, 10)) == SeqRange(9, 10)
    assert reckoning.begin() == 10


def test_what_is_acknowledged_by_an_old_head_is_late() -> None:
    reckoning = Reckoning(1)
    reckoning.acknowledged(11)
    reckoning.evicted(101, "too-old")
    assert reckoning.head == 101
    assert reckoning.acknowledged(41) == [(30, "too-old")]
    assert reckoning.acknowledged(121) == [(60, "too-old")]
    assert reckoning.head == 121
    assert reckoning.acknowledged(130) == []


def test_records_that_left_for_several_reasons() -> None:
    reckoning = Reckoning(1)
    reckoning.evicted(11, "too-old")
    reckoning.evicted(21, "too-old")
    reckoning.evicted(31, "queue-full")
    assert reckoning.acknowledged(26) == [(20, "too-old"), (5, "queue-full")]
    assert reckoning.acknowledged(40) == [(5, "queue-full")]


def test_what_the_drain_has_heard_of_is_its_own_affair() -> None:
    reckoning = Reckoning(1)
    reckoning.evicted(11, "too-old")
    reckoning.evicted(21, "too-old")
    reckoning.heard(11)
    assert reckoning.acknowledged(15) == [(4, "too-old")]
    reckoning.heard(21)
    assert reckoning.acknowledged(30) == []
    reckoning.evicted(25, "too-old")  # it has acknowledged more than that
    assert reckoning.head == 30


def test_what_left_cannot_be_set_aside() -> None:
    reckoning = Reckoning(1)
    reckoning.evicted(11, "too-old")
    assert reckoning.set_aside(SeqRange(3, 4)) is None
    assert reckoning.acknowledged(6) == [(2, "too-old")]
    assert reckoning.set_aside(SeqRange(6, 21)) == SeqRange(11, 21)
    assert reckoning.head == 21


def test_a_new_drain_begins_after_all_that_left() -> None:
    reckoning = Reckoning(1)
    reckoning.evicted(11, "too-old")
    assert reckoning.begin() == 11
    assert reckoning.acknowledged(12) == []
