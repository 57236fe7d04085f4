from __future__ import annotations

import pytest

from relay.queue.trend import Trend


def test_nothing_is_known_at_first() -> None:
    trend = Trend()
    assert (trend.per_second, trend.seconds_to(10)) == (0.0, None)
    trend.note(5.0, 100)
    assert (trend.per_second, trend.seconds_to(10)) == (0.0, None)


def test_what_grows_will_be_full_and_not_empty() -> None:
    trend = Trend()
    trend.note(0.0, 100)
    trend.note(10.0, 150)
    assert trend.per_second == 5.0
    assert (trend.seconds_to(200), trend.seconds_to(0)) == (10.0, None)


def test_what_shrinks_will_be_empty_and_not_full() -> None:
    trend = Trend()
    trend.note(0.0, 100)
    trend.note(10.0, 50)
    assert (trend.seconds_to(200), trend.seconds_to(0)) == (None, 10.0)


def test_what_was_longer_ago_does_not_count() -> None:
    trend = Trend(seconds=60.0)
    for now, size in ((0.0, 0), (10.0, 1000), (70.0, 1000)):
        trend.note(now, size)
    assert trend.per_second == pytest.approx(0.0)
