"""Dead and slow destinations beside a healthy one: nothing of the healthy one is lost."""

from __future__ import annotations

from pathlib import Path

from tests.bench.neighbours import BAD, Neighbours, number_of
from tests.processes import Programs, wait_until

COUNT = 3000


def test_dead_and_slow_destinations_take_nothing_from_a_healthy_one(
    programs: Programs, tmp_path: Path
) -> None:
    neighbours = Neighbours(programs, tmp_path / "relay", BAD)
    neighbours.write(COUNT, 3000)
    healthy = neighbours.healthy
    wait_until(lambda: len(healthy.lines) >= COUNT, "all messages at the healthy one")
    assert [number_of(line) for line in healthy.lines] == list(range(COUNT))
    refusing, silent, slow = map(neighbours.report, ("refusing", "silent", "slow"))
    assert (refusing["queued_records"], refusing["connects"]) == (COUNT, 0)
    assert silent["queued_records"] == COUNT
    assert slow["received_records"] == COUNT
    assert slow["delivered_records"] < COUNT / 2
    wait_until(lambda: neighbours.report("healthy")["queued_records"] == 0, "its queue to be empty")
    for each in (refusing, silent, slow):
        assert each["dropped_records"] == {}
    neighbours.close()
