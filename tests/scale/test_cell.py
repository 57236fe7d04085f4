from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scale.arithmetic import Site
from tests.scale.cell import IN_FLIGHT_MAX, RECEIVER_SECONDS, Cell, Plan
from tests.scale.figures import figure
from tests.scale.outage import lose_zone

SMALL = Site(60_000, 6, 12, 0.05, 6)


def steps(cell: Cell, until: int) -> Iterator[None]:
    for tenth in range(1, until * 10 + 1):
        cell.run(tenth / 10)
        yield


def check_invariants(cell: Cell) -> None:
    """No message is lost or made up, and nothing is negative."""
    assert cell.made == cell.answered + cell.waiting + cell.in_flight + cell.away
    for receiver in cell.receivers:
        assert 0 <= receiver.pending <= cell.plan.pending
        for stream in receiver.streams:
            assert 0 <= stream.read <= stream.waiting
            assert stream.waiting == sum(cohort.number for cohort in stream.cohorts)
    assert all(link.in_flight >= 0 for link in cell.links.values())


@pytest.mark.parametrize(
    "site",
    [
        Site(1e6, 21, 48, 0.05, 6),
        Site(3e5, 10, 24, 0.02, 6),
        Site(1e5, 4, 12, 0.05, 3),
        Site(2e4, 4, 48, 0.005, 6),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_batches_are_those_of_the_arithmetic(site: Site, seed: int) -> None:
    cell = Cell(Plan(site), seed)
    cell.run(1.5)
    assert cell.made / cell.requests == pytest.approx(site.batch, rel=0.03)
    assert cell.requests / 1.5 == pytest.approx(site.requests, rel=0.08)
    if site.batch > 30:
        assert cell.made / cell.requests == pytest.approx(site.batch_at_most, rel=0.05)


def test_messages_are_conserved_and_answered_within_the_linger_and_a_little() -> None:
    cell = Cell(Plan(SMALL))
    for _ in steps(cell, 3):
        check_invariants(cell)
        assert all(link.in_flight <= IN_FLIGHT_MAX for link in cell.links.values())
    assert cell.made == pytest.approx(180_000, rel=0.03)
    assert cell.twice == 0
    latencies = cell.answers(1)
    assert 0.025 < latencies.quantile(0.5) < 0.05 < latencies.quantile(0.99) < 0.07
    assert latencies.quantile(0.5) < cell.arrivals.quantile(0.5) + 0.005


def test_the_same_seed_is_the_same_run() -> None:
    def run(seed: int) -> tuple[int, int]:
        cell = Cell(Plan(SMALL), seed)
        cell.run(1)
        return cell.made, cell.requests

    assert run(1) == run(1) != run(2)


def test_brokers_work_for_all_copies_of_a_receiver() -> None:
    one, ten = Cell(Plan(SMALL)), Cell(Plan(SMALL, copies=10))
    for cell in (one, ten):
        cell.run(1)
    assert ten.brokers[0].threads.busy == pytest.approx(10 * one.brokers[0].threads.busy, rel=0.05)


def test_slow_brokers_make_batches_grow_instead_of_queues() -> None:
    """Five requests are in flight at most; the rest waits with the receiver, and goes as one."""
    site = Site(60_000, 1, 300, 0.005, 3)
    cell = Cell(Plan(site, copies=20))
    for _ in steps(cell, 2):
        check_invariants(cell)
    assert cell.made / cell.requests > 2 * site.batch
    assert cell.answers(1).total == pytest.approx(60_000, rel=0.1)


def test_too_many_messages_stay_with_their_senders() -> None:
    cell = Cell(Plan(Site(400_000, 3, 12, 0.02, 3)))
    for _ in steps(cell, 2):
        check_invariants(cell)
    assert cell.answers(1).total == pytest.approx(3 / RECEIVER_SECONDS, rel=0.1)
    assert cell.waiting > 100_000


@pytest.mark.parametrize("zone", [0, 1, 2])
def test_a_lost_zone_loses_no_message(zone: int) -> None:
    cell = Cell(Plan(SMALL))
    lose_zone(cell, zone, 2.05)
    for _ in steps(cell, 26):
        check_invariants(cell)
    assert {broker.zone for broker in cell.brokers if broker.is_alive} == {0, 1, 2} - {zone}
    assert len(cell.receivers) == 4
    assert cell.away == 0
    assert all(partition.leader.is_alive for partition in cell.partitions)
    assert cell.waiting + cell.in_flight < 6_000  # worked off
    still = cell.answers(3, int(2 + figure("fence")))
    assert still.total == 0  # all replicas in sync have to answer, until they are fenced


def test_senders_of_a_lost_receiver_send_again_what_is_in_the_log_already() -> None:
    cell = Cell(Plan(SMALL._replace(linger=0.005)))
    lose_zone(cell, 0, 1.05)
    cell.run(12)
    assert 0 < cell.twice < 1000
    check_invariants(cell)


def test_a_receiver_reads_no_more_than_it_may_keep() -> None:
    cell = Cell(Plan(SMALL, pending=20_000))
    lose_zone(cell, 0, 1.05)
    for _ in steps(cell, 12):
        check_invariants(cell)
    assert cell.seconds[8].pending == 20_000
    assert cell.seconds[8].unanswered > 300_000
