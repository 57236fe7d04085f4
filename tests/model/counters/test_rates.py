from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.model.counters.rates import Rates


def found(rates: Rates, name: str = "messages") -> tuple[float, float]:
    report = rates.report()
    return report["10s"][name], report["60s"][name]


def test_nothing_is_known_before_the_second_sample() -> None:
    rates = Rates("messages", "drops")
    assert rates.report() == {
        "10s": {"messages": 0.0, "drops": 0.0},
        "60s": {"messages": 0.0, "drops": 0.0},
    }
    rates.note(5.0, (1000, 3))
    rates.note(5.0, (2000, 3))
    assert (found(rates), found(rates, "drops")) == ((0.0, 0.0), (0.0, 0.0))


def test_a_burst_leaves_the_short_period_first() -> None:
    rates = Rates("messages")
    seen = {}
    for second in range(80):
        rates.note(second + 0.01 * (second % 3), (600 if second >= 5 else 0,))
        seen[second] = tuple(round(rate) for rate in found(rates))
    assert seen[4] == (0, 0)
    assert seen[6] == (100, 100)
    assert seen[14] == (60, 43)
    assert seen[40] == (0, 15)
    assert seen[64] == (0, 10)
    assert seen[70] == (0, 0)


def test_what_was_taken_back_is_no_negative_rate() -> None:
    rates = Rates("drops")
    rates.note(0.0, (10,))
    rates.note(1.0, (4,))
    assert found(rates, "drops") == (0.0, 0.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 2**40)), max_size=200))
def test_it_is_never_negative_and_bounded(steps: list[tuple[float, int]]) -> None:
    rates, now, count = Rates("messages"), 0.0, 0
    for seconds, more in steps:
        now, count = now + seconds, count + more
        rates.note(now, (count,))
        assert min(found(rates)) >= 0.0
    assert all(now - then <= 60.5 for then, _ in rates._samples)
