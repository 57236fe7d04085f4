from __future__ import annotations

from relay.service.configuration.model import (
    Url,
)
from tests.destination_setup import Setup, lane_of


def test_how_long_it_waits_before_it_connects_again(setup: Setup) -> None:
    url = Url("relp", host="up.example.com", port=20514)
    state = lane_of(setup.build(url, retry_seconds_min=2.0, retry_seconds_max=5.0)).state
    pauses = []
    for failures in range(20):
        state.failed("refused")
        pauses.append(state.retry_policy(failures))
    assert 1.5 <= pauses[0] <= 2.5
    assert 3.75 <= pauses[-1] <= 6.25
