from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.counters.histogram import SECONDS, Histogram


def test_durations_are_counted_in_the_bucket_whose_bound_they_do_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds, count in ((0.5, 1), (1.0, 2), (1.5, 3), (9.0, 4)):
        histogram.observe(seconds, count)
    assert histogram.counts == [3, 3, 4]
    assert (histogram.total, histogram.sum) == (10, 0.5 + 2 + 4.5 + 36)
    assert histogram.report()["buckets"] == [[1.0, 3], [2.0, 6]]


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    assert histogram.quantile(0.5) is None
    histogram.observe(0.1, 2)
    histogram.observe(1.2, 2)
    assert [histogram.quantile(each) for each in (0.25, 0.5, 0.75, 1.0)] == [0.5, 1.0, 1.5, 2.0]
    histogram.observe(5.0, 100)
    assert histogram.quantile(0.99) == 2.0


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_that_rank(seconds: list[float], fraction: float) -> None:
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    found = histogram.quantile(fraction)
    assert found is not None
    rank = max(1, -(-int(fraction * len(seconds) * 1000) // 1000))
    exact = sorted(seconds)[min(rank, len(seconds)) - 1]
    above = next((bound for bound in SECONDS if exact <= bound), SECONDS[-1])
    below = max((bound for bound in SECONDS if bound < above), default=0.0)
    assert below <= found <= max(above, SECONDS[-1] if exact > SECONDS[-1] else above)


def test_negative_durations_of_a_clock_that_was_set_are_the_shortest() -> None:
    histogram = Histogram((1.0,))
    histogram.observe(-5.0)
    assert histogram.report()["buckets"] == [[1.0, 1]]


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_the_ends(fraction: float) -> None:
    histogram = Histogram((1.0,))
    histogram.observe(0.5)
    assert histogram.quantile(fraction) in (0.0, 1.0)
