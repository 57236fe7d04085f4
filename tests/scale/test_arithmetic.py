from __future__ import annotations

import pytest

from tests.scale.arithmetic import Site, brokers_needed, receivers_needed, window_rate


def test_a_batch_holds_what_comes_within_the_linger() -> None:
    cell = Site(1e6, 13, 48, 0.05, 6)
    assert cell.batch_at_most == pytest.approx(80, rel=0.01)
    assert cell.batch == cell.batch_at_most + 1
    assert cell.requests == pytest.approx(1e6 / 81, rel=0.01)
    assert cell.requests_a_broker == cell.requests / 6


def test_one_cluster_has_nearly_a_request_for_each_record() -> None:
    cluster = Site(1e7, 130, 1200, 0.005, 60)
    assert cluster.batch_at_most == pytest.approx(0.32, rel=0.01)
    assert 0.7 < cluster.requests / 1e7 < 0.8


def test_a_window_bounds_a_connection() -> None:
    assert window_rate(8192, 0.5) == 16384


@pytest.mark.parametrize("rate", [1e5, 1e6, 3e6])
def test_two_zones_are_enough(rate: float) -> None:
    number = receivers_needed(rate, 1e5)
    left = number - number // 3
    assert number % 3 == 0
    assert left * 1e5 * 0.75 >= rate
    assert (left - 2) * 1e5 * 0.75 < rate


def test_brokers_are_at_least_one_in_each_zone() -> None:
    assert brokers_needed(1000, 20_000) == 3
    assert brokers_needed(100_000, 20_000) == 9
