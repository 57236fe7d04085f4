"""Simulated outages: what is foreseen against what then happens."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.ledger import Ledger
from relay.service.queue.watches import QueueWatch
from tests.clocks import wall_of
from tests.connections import RecordingNotices
from tests.queue_roles import AllRoles

_PAGE_BYTES, _RECORD_BYTES = 4096, 300
_SETTLED_SECONDS = 10  # after the outage begins or ends
_LAST_SECONDS = 16  # when a single message more or less matters


class Queue(AllRoles):
    """Records that come, wait and leave, as numbers."""

    def __init__(self) -> None:
        self.free_bytes = 10**12
        self.ledgers: dict[str, Ledger] = {}
        self.account = Ledger()

    def ledger(self, destination: str) -> Ledger:
        return self.account


class Outage:
    """A relay whose one upstream is away, and then takes more in a second than comes."""

    def __init__(self, comes: Callable[[int], int], *, bytes_max: int = 0) -> None:
        self.comes = comes
        self.queue: Any = Queue()
        self.clock = Clock()
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=4 * 2**30)
        self.limit = QueueLimit(destination="central", bytes_max=bytes_max)
        self.watch = QueueWatch(
            queue=self.queue,
            admission=self.admission,
            limits={"central": self.limit},
            notices=RecordingNotices(),  # type: ignore[arg-type]
            wall=wall_of(self.clock),
            clock=self.clock,
        )
        self.watch.startService()

    @property
    def queued(self) -> int:
        account: Ledger = self.queue.account
        return account.queued

    def second(self, drain: int) -> None:
        """What comes and leaves in a second."""
        account = self.queue.account
        account.next_seq += self.comes(int(self.clock.seconds()))
        leaves = min(drain, account.queued)
        account.acknowledged_seq += leaves
        account.delivered += leaves
        used = math.ceil(account.queued * _RECORD_BYTES / _PAGE_BYTES) * _PAGE_BYTES
        self.limit.settle(0, used)
        self.admission.set_queue_bytes(used)
        self.clock.advance(1.0)

    def report(self, *, drains: bool) -> dict[str, Any]:
        return self.limit.report(
            backlog_records=self.queued,
            drains=drains,
            relay_seconds_to_full=self.admission.seconds_to_full,
        )


def evenly(second: int) -> int:
    return 100


def by_chance(second: int) -> int:
    return max(0, round(random.Random(second).gauss(100, 10)))


each_traffic = pytest.mark.parametrize("comes", [evenly, by_chance])
each_outage = pytest.mark.parametrize("minutes", [1, 10, 60])


def assert_near(foreseen: list[tuple[float, float | None]], end: float) -> None:
    """Each forecast, with its time, is within 30 % of the time that was left until `end`."""
    for at, seconds in foreseen:
        if end - at >= _LAST_SECONDS:
            assert seconds is not None, at
            assert seconds == pytest.approx(end - at, rel=0.3), at


@each_traffic
@each_outage
@pytest.mark.parametrize("drain", [150, 200])
def test_after_an_outage_it_is_known_when_the_queue_will_be_empty(
    comes: Callable[[int], int], minutes: int, drain: int
) -> None:
    outage = Outage(comes)
    for _ in range(300):  # all is well
        outage.second(10**6)
    for _ in range(60 * minutes):
        outage.second(0)
        assert outage.report(drains=False)["seconds_to_empty"] is None
    foreseen: list[tuple[float, float | None]] = []
    began = outage.clock.seconds()
    while outage.queued:
        outage.second(drain)
        seconds = outage.report(drains=True)["seconds_to_empty"]
        assert seconds is None or seconds > 0
        if outage.clock.seconds() - began >= _SETTLED_SECONDS:
            foreseen.append((outage.clock.seconds(), seconds))
    end = outage.clock.seconds()
    assert foreseen
    assert foreseen[-1] == (end, None)
    assert_near(foreseen, end)


@each_traffic
@each_outage
@pytest.mark.parametrize("has_limit", [True, False])
def test_during_an_outage_it_is_known_when_the_queue_will_be_full(
    comes: Callable[[int], int], minutes: int, has_limit: bool
) -> None:
    bytes_max = 100 * _RECORD_BYTES * 60 * minutes
    outage = Outage(comes, bytes_max=bytes_max if has_limit else 0)
    outage.admission.queue_bytes_max = 2 * bytes_max if has_limit else bytes_max
    for _ in range(300):
        outage.second(10**6)
        assert outage.report(drains=True)["seconds_to_full"] is None
    foreseen: list[tuple[float, float | None]] = []
    began = outage.clock.seconds()
    while outage.admission.queue_bytes < bytes_max:
        outage.second(0)
        if outage.clock.seconds() - began >= _SETTLED_SECONDS:
            foreseen.append(
                (outage.clock.seconds(), outage.report(drains=False)["seconds_to_full"])
            )
    assert_near(foreseen, outage.clock.seconds())


def test_an_upstream_that_takes_less_than_comes_empties_nothing() -> None:
    outage = Outage(by_chance)
    for _ in range(600):
        outage.second(0)
    for _ in range(600):
        outage.second(90)
        report = outage.report(drains=True)
        assert report["seconds_to_empty"] is None
        assert report["seconds_to_full"] is not None
