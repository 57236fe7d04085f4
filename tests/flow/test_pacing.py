from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from relay.flow.pacing import BATCH_RECORDS_MAX, START_RECORDS, Allowance, Pace, Window
from relay.model.policy import DrainRate
from tests.flow_fakes import new_refusals


def through_a_line(
    window: Window, clock: Clock, *, round_trip: float, per_second: float, seconds: float
) -> int:
    """Send as fast as the window allows; return how many records were answered."""
    step = 0.001
    on_the_way: deque[float] = deque()  # when each record's answer is due
    free_at = clock.seconds()
    answered = 0
    for _ in range(round(seconds / step)):
        now = clock.seconds()
        count = 0
        while on_the_way and on_the_way[0] <= now:
            on_the_way.popleft()
            count += 1
        if count:
            window.answered(count)
            answered += count
        for _ in range(window.room(len(on_the_way))):
            free_at = max(free_at, now) + 1 / per_second
            on_the_way.append(free_at + round_trip)
        clock.advance(step)
    return answered


@pytest.mark.parametrize("round_trip", [0.002, 0.05, 0.2])
def test_a_window_grows_until_the_line_is_full(round_trip: float) -> None:
    clock = Clock()
    window = Window(records_max=100_000, clock=clock)
    through_a_line(window, clock, round_trip=round_trip, per_second=20_000, seconds=8)
    answered = through_a_line(window, clock, round_trip=round_trip, per_second=20_000, seconds=1)
    assert answered > 15_000
    assert window.records <= 8 * max(START_RECORDS, 20_000 * round_trip)


def test_it_stays_within_its_bounds_and_begins_anew_with_a_session() -> None:
    clock = Clock()
    window = Window(records_max=1000, clock=clock)
    assert window.records == START_RECORDS
    through_a_line(window, clock, round_trip=0.5, per_second=1e5, seconds=10)
    assert window.records == 1000
    window.begin()
    assert window.records == START_RECORDS
    assert Window(records_max=10, clock=clock).records == 10


def test_a_window_that_is_never_full_does_not_grow() -> None:
    clock = Clock()
    window = Window(records_max=100_000, clock=clock)
    for _ in range(1000):
        assert window.room(10) > 0
        clock.advance(0.01)
        window.answered(10)
    assert window.records == START_RECORDS


def drained(pace: Pace, clock: Clock, *, size: int, seconds: float, live: int = 0) -> int:
    """Records of `size` bytes that go out, while `live` come in each tenth of a second."""
    sent = 0
    until = clock.seconds() + seconds
    next_live = clock.seconds()
    while clock.seconds() < until:
        if live and clock.seconds() >= next_live:
            pace.came_in(live)
            next_live += 0.1
        wait = pace.seconds_to_wait()
        if wait:
            clock.advance(min(wait, 0.05))
            continue
        records = max(1, min(pace.room(4096), pace.bytes_max(512 * 1024) // size))
        pace.sent(records, records * size)
        sent += records
    return sent


@given(size=st.integers(10, 100_000), rate=st.sampled_from([10_000, 1_000_000]))
def test_bytes_per_second(size: int, rate: int) -> None:
    clock = Clock()
    pace = Pace(DrainRate(bytes_per_second=rate), clock=clock)
    seconds = max(20.0, 20 * size / rate)
    sent_bytes = drained(pace, clock, size=size, seconds=seconds) * size
    assert 0.7 * rate * seconds <= sent_bytes <= 1.2 * rate * seconds + size


def test_a_multiple_of_what_comes_in() -> None:
    clock = Clock()
    pace = Pace(DrainRate(live_multiple=2), clock=clock)
    drained(pace, clock, size=100, seconds=60, live=500)
    records = drained(pace, clock, size=100, seconds=20, live=500)
    assert 1.6 * 5000 * 20 <= records <= 2.4 * 5000 * 20


def test_a_backlog_drains_even_when_nothing_comes_in() -> None:
    clock = Clock()
    pace = Pace(DrainRate(live_multiple=1.5), clock=clock)
    assert drained(pace, clock, size=100, seconds=10) > 1000


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(DrainRate(), clock=Clock())
    pace.sent(10**6, 10**9)
    assert pace.seconds_to_wait() == 0
    assert (pace.room(5), pace.bytes_max(7)) == (5, 7)


# What a drain is allowed.


def test_without_limits_only_the_session_and_the_batch_count() -> None:
    allowance = Allowance(new_refusals(3))
    assert allowance.room(7, in_flight=10**6) == 7
    assert allowance.room(10**6, in_flight=0) == BATCH_RECORDS_MAX


def test_the_smallest_limit_counts() -> None:
    clock = Clock()
    window = Window(records_max=100, clock=clock)
    pace = Pace(DrainRate(live_multiple=1.0, bytes_per_second=1000), clock=clock)
    allowance = Allowance(new_refusals(3), window=window, pace=pace)
    assert allowance.room(1000, in_flight=95) == 5
    assert allowance.room(1000, in_flight=0) == 10  # a tenth of a second of 100
    assert allowance.room(3, in_flight=0) == 3
    assert pace.bytes_max(10_000) == 100
    clock.advance(1)
    assert pace.seconds_to_wait() == 0
    pace.sent(2, 1000)
    assert pace.seconds_to_wait() > 0.5


def test_an_upstream_that_refuses_everything_gets_one_record_at_a_time() -> None:
    refusals = new_refusals(3)
    allowance = Allowance(refusals)
    refusals.hold()
    assert (allowance.room(100, in_flight=0), allowance.room(100, in_flight=1)) == (1, 0)
