from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.observe.alerts.baseline import (
    ALL_SAMPLES_MIN,
    HOUR_SAMPLES_MIN,
    MEMORY_SAMPLES,
    Baseline,
    Increase,
    Level,
)
from relay.observe.alerts.incidents import Finding

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MIDNIGHT = 1_700_006_400.0 - 1_700_006_400.0 % DAY


class Setup:
    """One minute after another."""

    def __init__(self, factor: float = 5.0, per_second_min: float = 10.0) -> None:
        self.increase = Increase(factor, per_second_min)
        self.now = 0.0

    def minutes(self, count: int, rate: float, listen: str = "udp://:514") -> list[Finding]:
        found: list[Finding] = []
        for _ in range(count):
            self.now += MINUTE
            found += self.look(rate, listen)
        return found

    def look(self, rate: float, listen: str = "udp://:514") -> list[Finding]:
        document: dict[str, Any] = {
            "uptime_seconds": self.now,
            "sources": [
                {"id": "net", "listen": listen, "rates": {"60s": {"messages": rate}}},
            ],
        }
        return [*self.increase.look(document, MIDNIGHT - MINUTE + self.now)]


def test_nothing_is_unusual_before_what_is_usual_is_known() -> None:
    setup = Setup()
    assert setup.minutes(ALL_SAMPLES_MIN, 100.0) == []
    (finding,) = setup.minutes(1, 1000.0)
    assert (finding.rule, finding.subject, finding.begins) == ("increase", "source net", True)
    assert finding.text == (
        "1,000.0 messages a second; usual at this hour are 100.0, and up to 500.0"
    )


def test_the_first_minute_says_nothing() -> None:
    setup = Setup()
    setup.now = 30.0
    assert setup.look(1e6) == []
    assert setup.increase.baselines == {}


def test_it_is_found_within_seconds_and_learnt_once_a_minute() -> None:
    setup = Setup()
    setup.minutes(100, 100.0)
    samples = setup.increase.baselines["net"].every.samples
    for _ in range(5):
        setup.now += 5
        (finding,) = setup.look(600.0)
        assert finding.begins
    assert setup.increase.baselines["net"].every.samples == samples


def test_an_alert_goes_on_a_little_below_the_limit() -> None:
    setup = Setup()
    setup.minutes(100, 100.0)
    assert [finding.begins for finding in setup.minutes(1, 400.0)] == [False]
    assert setup.minutes(1, 300.0) == []


def test_what_is_usual_at_one_hour_is_unusual_at_another() -> None:
    setup = Setup(per_second_min=1.0)
    for _ in range(3):  # days, with a backup at midnight
        setup.minutes(60, 500.0)
        setup.minutes(23 * 60, 20.0)
    assert setup.minutes(65, 500.0) == []  # at the full hour nobody is exact
    assert [each.begins for each in setup.minutes(2, 500.0)][-1]
    setup.minutes(24 * 60 - 67 - 4, 20.0)
    assert setup.minutes(4, 500.0) == []


def test_bursts_that_are_usual_are_no_increase() -> None:
    setup = Setup()
    for _ in range(40):
        setup.minutes(4, 10.0)
        setup.minutes(1, 200.0)
    assert setup.minutes(1, 250.0) == []
    assert [each.begins for each in setup.minutes(1, 5000.0)] == [True]


def test_few_messages_are_no_increase() -> None:
    setup = Setup()
    setup.minutes(100, 0.01)
    assert setup.minutes(1, 6.9) == []
    assert [each.begins for each in setup.minutes(1, 10.1)] == [True]


def test_an_attack_teaches_little() -> None:
    setup = Setup()
    setup.minutes(10 * 60, 100.0)
    assert [each.begins for each in setup.minutes(30, 1e9)] == [True] * 30
    assert setup.increase.baselines["net"].every.mean < 200
    assert [each.begins for each in setup.minutes(1, 1e9)] == [True]


def test_a_lasting_change_becomes_usual() -> None:
    setup = Setup()
    for _ in range(5):
        setup.minutes(24 * 60, 100.0)
    assert setup.minutes(1, 600.0)
    for _ in range(10):
        setup.minutes(24 * 60 - 1, 600.0)
    assert setup.minutes(60, 600.0) == []


def test_the_relay_s_own_log_is_left_out() -> None:
    setup = Setup()
    assert setup.minutes(100, 100.0, "internal://") == []
    assert setup.minutes(1, 1e6, "internal://") == []
    assert setup.increase.baselines == {}


def test_sources_that_are_gone_are_forgotten_and_nonsense_is() -> None:
    setup = Setup()
    sane = Baseline(every=Level(100, 5.0, 1.0))
    setup.increase.restore(
        {
            "net": sane,
            "gone": Baseline(),
            "short": Baseline(hours=[]),
            "odd": Baseline(every=Level(1, float("nan"), 0.0)),
        }
    )
    assert set(setup.increase.baselines) == {"net", "gone"}
    (finding,) = setup.minutes(1, 26.0)  # it is known already
    assert finding.begins
    assert set(setup.increase.baselines) == {"net"}


@pytest.mark.parametrize("samples", [HOUR_SAMPLES_MIN, MEMORY_SAMPLES, 3000])
def test_a_steady_rate_is_learnt_exactly(samples: int) -> None:
    level = Level()
    for _ in range(samples):
        level.learn(7.0)
    assert (level.mean, level.distance) == (pytest.approx(7.0), pytest.approx(0.0))
    assert level.samples == min(samples, MEMORY_SAMPLES)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=400))
def test_a_level_stays_within_what_it_has_seen(rates: list[float]) -> None:
    level = Level()
    for rate in rates:
        level.learn(rate)
    assert min(rates) * 0.999 <= level.mean <= max(rates) * 1.001
    assert 0 <= level.distance <= max(rates) * 1.001
    assert level.is_sane
