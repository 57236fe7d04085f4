from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.flow.turns import AHEAD_RECORDS_MAX, RUN_RECORDS, Supply, Turns

NOTHING = Supply(0, False)
COMING = Supply(0, True)
PLENTY = Supply(10_000, True)

percents = st.integers(1, 99)


def sent(turns: Turns, live: Supply, backlog: Supply, records: int) -> tuple[int, int]:
    """How much of each lane goes when about `records` do and both stay as they are."""
    counts = {True: 0, False: 0}
    while sum(counts.values()) < records and (turn := turns.next(live, backlog)) is not None:
        counts[turn.is_live] += turn.records
    return counts[True], counts[False]


@given(percents)
def test_each_lane_gets_its_share(percent: int) -> None:
    live, backlog = sent(Turns(backlog_percent=percent), PLENTY, PLENTY, 10_000)
    assert abs(backlog - (live + backlog) * percent / 100) <= RUN_RECORDS


@given(percents, st.lists(st.tuples(st.integers(1, 100), st.integers(1, 100)), max_size=200))
def test_the_shares_hold_at_every_moment(percent: int, supplies: list[tuple[int, int]]) -> None:
    turns = Turns(backlog_percent=percent)
    live = backlog = 0
    for of_live, of_backlog in supplies:
        turn = turns.next(Supply(of_live, False), Supply(of_backlog, False))
        assert turn is not None
        assert 1 <= turn.records <= (of_live if turn.is_live else of_backlog)
        live, backlog = (
            (live + turn.records, backlog) if turn.is_live else (live, backlog + turn.records)
        )
        assert abs(backlog * (100 - percent) - live * percent) <= RUN_RECORDS * 100


@pytest.mark.parametrize("is_live", [True, False])
def test_what_nobody_else_wants_goes_to_one(is_live: bool) -> None:
    turns = Turns(backlog_percent=25)
    supplies = (PLENTY, NOTHING) if is_live else (NOTHING, PLENTY)
    assert sent(turns, *supplies, 9600) == ((9600, 0) if is_live else (0, 9600))


@pytest.mark.parametrize("was_live", [True, False])
def test_nobody_has_to_make_up_for_what_nobody_wanted(was_live: bool) -> None:
    turns = Turns(backlog_percent=25)
    sent(turns, *((PLENTY, NOTHING) if was_live else (NOTHING, PLENTY)), 10_000)
    live, backlog = sent(turns, PLENTY, PLENTY, 400)
    assert abs(live - 3 * backlog) <= 100 * RUN_RECORDS / 25


def test_the_live_lane_is_first() -> None:
    turn = Turns(backlog_percent=99).next(PLENTY, PLENTY)
    assert turn is not None and turn.is_live


@given(percents, st.booleans())
def test_a_lane_that_is_being_read_keeps_its_claim_up_to_a_limit(
    percent: int, waits_for_live: bool
) -> None:
    turns = Turns(backlog_percent=percent)
    supplies = (COMING, PLENTY) if waits_for_live else (PLENTY, COMING)
    live, backlog = sent(turns, *supplies, 10**6)
    assert AHEAD_RECORDS_MAX <= live + backlog < AHEAD_RECORDS_MAX + RUN_RECORDS
    assert turns.next(*supplies) is None
    # It gets what it has missed, and then it is as it always is.
    more = sent(turns, PLENTY, PLENTY, 200_000)
    live, backlog = live + more[0], backlog + more[1]
    assert abs(backlog - (live + backlog) * percent / 100) <= RUN_RECORDS


def test_there_is_no_turn_without_records() -> None:
    turns = Turns(backlog_percent=25)
    for supplies in ((NOTHING, NOTHING), (COMING, NOTHING), (NOTHING, COMING), (COMING, COMING)):
        assert turns.next(*supplies) is None


def test_it_begins_anew() -> None:
    turns = Turns(backlog_percent=50)
    sent(turns, PLENTY, COMING, 10**6)
    turns.begin()
    turn = turns.next(PLENTY, COMING)
    assert turn is not None and turn.is_live
