from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.queue.admission.forecast import Flow, Forecast, seconds_to_fill


def flow(*samples: tuple[float, int]) -> Flow:
    made = Flow()
    for now, number in samples:
        made.note(now, number)
    return made


def test_nothing_is_known_at_first() -> None:
    for nothing in (flow(), flow((5.0, 100)), flow((5.0, 100), (5.0, 90))):
        assert nothing.per_second == 0.0
        assert seconds_to_fill(nothing, 10) is None


def test_one_interval_is_better_than_nothing() -> None:
    assert flow((0.0, 100), (10.0, 150)).per_second == 5.0
    assert flow((0.0, 100), (10.0, 50)).per_second == -5.0


def test_it_fills_while_it_grows_and_there_is_room() -> None:
    growing = flow((0.0, 100), (10.0, 150))
    found = [seconds_to_fill(growing, room) for room in (100, 0, -1)]
    assert found == [20.0, None, None]
    assert seconds_to_fill(flow((0.0, 100), (10.0, 50)), 100) is None
    assert seconds_to_fill(flow((0.0, 0), (10.0, 1)), 10**9) is None  # in 300 years


@pytest.mark.parametrize("before", [3, 20, 100, 1000])
def test_a_change_is_seen_within_four_seconds_and_stays_seen(before: int) -> None:
    changed, number = Flow(), 0
    for sample in range(before):
        changed.note(2.0 * sample, 0)
    for sample in range(before, before + 400):
        number += 1000
        changed.note(2.0 * sample, number)
        if sample > before:
            assert changed.per_second == pytest.approx(500.0, rel=0.1)


def bursts(seconds: int) -> Callable[[int], int]:
    return lambda second: 100 * seconds if second % seconds == 0 else 0


def by_chance(second: int) -> int:
    return int(random.Random(second).gauss(100, 10))


@pytest.mark.parametrize("more", [by_chance, bursts(4), bursts(10)])
def test_what_comes_unevenly_has_a_steady_rate(more: Callable[[int], int]) -> None:
    uneven, number, found = Flow(), 0, []
    for second in range(1200):
        number += more(second)
        if second % 2 == 0:
            uneven.note(second, number)
            found.append(uneven.per_second)
    assert 80 < min(found[300:]) <= max(found[300:]) < 120


def test_samples_are_few_however_long_it_runs() -> None:
    long = Flow()
    for second in range(0, 20_000, 2):
        long.note(second, second)
    assert len(long._older) + len(long._recent) < 70
    assert long.per_second == 1.0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 60), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=60)
)
def test_no_forecast_is_negative_and_none_is_made_of_nothing(
    steps: list[tuple[float, int, int]],
) -> None:
    forecast, now, queued, delivered = Forecast(), 0.0, 0, 0
    for seconds, more, less in steps:
        now, queued = now + seconds, queued + more
        delivered = min(queued, delivered + less)
        waiting = queued - delivered
        forecast.note(now, queued=queued, delivered={"d": delivered}, size=waiting)
        for found in (forecast.seconds_to_empty(waiting), forecast.seconds_to_fill(10**7)):
            assert found is None or found > 0
        assert forecast.seconds_to_empty(0) is None
