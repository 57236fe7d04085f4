from __future__ import annotations

from random import Random

import pytest

from tests.scale.events import Clock, Histogram, Server, poisson


def test_calls_are_made_in_their_order() -> None:
    clock, made = Clock(), list[tuple[str, float]]()
    for name, when in (("b", 2.0), ("a", 1.0), ("c", 2.0), ("late", 4.0)):
        clock.at(when, lambda name: made.append((name, clock.now)), name)
    clock.run(3.0)
    assert made == [("a", 1.0), ("b", 2.0), ("c", 2.0)]
    assert clock.now == 3.0


def test_a_server_does_one_thing_after_the_other() -> None:
    server = Server()
    assert server.add(1.0, 2.0) == 3.0
    assert server.add(2.0, 1.0) == 4.0
    assert server.backlog(2.0) == 2.0
    assert server.add(9.0, 1.0) == 10.0
    assert server.busy == 4.0


def test_quantiles_are_within_two_per_cent() -> None:
    histogram, more = Histogram(), Histogram()
    histogram.add(number / 1000 for number in range(1, 501))
    more.add((number / 1000 for number in range(501, 1001)), 1.0)
    histogram.add_all(more)
    assert histogram.total == 1000
    assert histogram.quantile(0.5) == pytest.approx(0.5, rel=0.02)
    assert histogram.quantile(0.99) == pytest.approx(0.99, rel=0.02)
    assert Histogram().quantile(0.5) == 0.0


@pytest.mark.parametrize("mean", [0.3, 5.0, 80.0])
def test_counts_have_the_mean_and_the_variance_of_poisson(mean: float) -> None:
    random = Random(1)
    found = [poisson(random, mean) for _ in range(5000)]
    average = sum(found) / len(found)
    variance = sum((one - average) ** 2 for one in found) / len(found)
    assert average == pytest.approx(mean, rel=0.05)
    assert variance == pytest.approx(mean, rel=0.1)
