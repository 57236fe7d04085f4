from __future__ import annotations

from relay.model.policy import DrainRate


def test_a_rate_limits_nothing_unless_asked() -> None:
    assert (DrainRate().bytes_per_second, DrainRate().live_multiple) == (0, 0)
