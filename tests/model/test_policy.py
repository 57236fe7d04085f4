from __future__ import annotations

from relay.model.policy import DrainRate


def test_a_rate_limits_nothing_unless_asked() -> None:
    assert (DrainRate().bytes_per_second, DrainRate().live_multiple) == (0, 0)
    assert not DrainRate().is_limited
    assert DrainRate(bytes_per_second=1.0).is_limited
    assert DrainRate(live_multiple=1.0).is_limited
