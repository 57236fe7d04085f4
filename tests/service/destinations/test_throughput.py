from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from relay.service.destinations.throughput import Throughput


@pytest.mark.parametrize("step", [0.01, 0.5])
def test_a_steady_flow_and_its_end(step: float) -> None:
    clock = Clock()
    throughput = Throughput(clock=clock)
    assert throughput.per_second == 0
    for _ in range(round(60 / step)):
        clock.advance(step)
        throughput.note(round(1000 * step))
    assert throughput.per_second == pytest.approx(1000, rel=0.05)
    clock.advance(5)
    assert throughput.per_second == pytest.approx(500, rel=0.05)
    clock.advance(6)
    assert throughput.per_second == 0
