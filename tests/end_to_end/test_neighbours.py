"""A dead and a slow destination beside a healthy one: nothing of the healthy one is lost."""

from __future__ import annotations

from pathlib import Path

from tests.bench.neighbours import Neighbours, number_of
from tests.processes import Programs, wait_until

COUNT = 3000


def test_a_dead_and_a_slow_destination_take_nothing_from_a_healthy_one(
    programs: Programs, tmp_path: Path
) -> None:
    neighbours = Neighbours(programs, tmp_path / "relay", bad=True)
    neighbours.write(COUNT, 3000)
    healthy = neighbours.healthy
    wait_until(lambda: len(healthy.lines) >= COUNT, "all messages at the healthy one")
    assert [number_of(line) for line in healthy.lines] == list(range(COUNT))
    dead, slow = neighbours.report("dead"), neighbours.report("slow")
    assert (dead["queued_records"], dead["connects"]) == (COUNT, 0)
    assert slow["received_records"] == COUNT
    assert slow["delivered_records"] < COUNT / 2
    wait_until(lambda: neighbours.report("healthy")["queued_records"] == 0, "its queue to be empty")
    for each in (dead, slow):
        assert each["dropped_records"] == {}
    neighbours.close()
