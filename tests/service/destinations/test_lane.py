from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.queue.ledger import Ledger
from relay.service.destinations.lane import Lane
from relay.transport.upstream import UpstreamState
from tests.connections import fired


class Queues:
    def __init__(self) -> None:
        self.account = Ledger()
        self.view = self

    def ledger(self, queue: str) -> Ledger:
        assert queue == "lane/out"
        return self.account


class Link:
    """Says what is asked of it; a stop takes until the test ends it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stops: list[Deferred[None]] = []

    def start(self) -> None:
        self.asked.append("start")

    async def stop(self) -> None:
        self.asked.append("stop")
        self.stops.append(Deferred())
        await self.stops[-1]

    def connect(self) -> None:
        self.asked.append("connect")

    def cut(self, why: str) -> None:
        self.asked.append(f"cut: {why}")


class Drain:
    stored_seq, acknowledged_seq, in_flight, could_send = 12, 7, 2, True


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.queues: Any = Queues()
        self.lane = Lane(
            "out",
            "lane/out",
            queues=self.queues,
            state=UpstreamState(
                target="up",
                clock=self.clock,
                on_ready=lambda text: None,
                on_failure=lambda text: None,
                retry_seconds_min=1,
                retry_seconds_max=60,
            ),
            stall_seconds=120.0,
        )
        self.link = Link()
        made: Any = self.link
        drain: Any = Drain()
        self.lane.link, self.lane.drain = made, drain


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_it_connects_when_it_is_open_and_nothing_is_missing(setup: Setup) -> None:
    setup.lane.open()
    assert (setup.lane.is_open, setup.link.asked) == (True, [])
    setup.lane.permit()
    setup.lane.open()
    assert setup.link.asked == ["start"]


def test_it_connects_again_only_when_the_old_connection_has_ended(setup: Setup) -> None:
    setup.lane.permit()
    setup.lane.open()
    setup.lane.state.became_ready("connected")
    closed = fired(setup.lane.close())
    assert (setup.lane.is_open, setup.lane.state.ready) == (False, False)
    setup.lane.open()
    assert (setup.link.asked, closed) == (["start", "stop"], [])
    setup.lane.state.failed("closed")  # as it was asked to
    assert setup.lane.failures == 0
    setup.link.stops[0].callback(None)
    assert (setup.link.asked, closed) == (["start", "stop", "start"], [None])
    setup.lane.state.failed("refused")
    assert setup.lane.failures == 1


def test_it_stays_closed_if_it_is_closed_meanwhile(setup: Setup) -> None:
    setup.lane.permit()
    setup.lane.open()
    setup.lane.close()
    setup.lane.open()
    again = fired(setup.lane.close())
    setup.link.stops[0].callback(None)
    assert (setup.link.asked, again) == (["start", "stop"], [None])


def test_after_a_stop_it_is_not_opened_any_more(setup: Setup) -> None:
    setup.lane.permit()
    setup.lane.open()
    stopped = fired(setup.lane.stop())
    setup.lane.open()
    setup.link.stops[0].callback(None)
    assert (setup.link.asked, stopped) == (["start", "stop"], [None])


def test_a_stop_without_a_connection_has_nothing_to_wait_for(setup: Setup) -> None:
    assert fired(setup.lane.stop()) == [None]
    assert setup.link.asked == []


def test_only_a_lane_that_is_connected_is_hurried(setup: Setup) -> None:
    setup.lane.connect()
    assert setup.link.asked == []
    setup.lane.permit()
    setup.lane.open()
    setup.lane.connect()
    setup.lane.break_link("why")
    assert setup.link.asked == ["start", "connect", "cut: why"]


def test_what_it_says_of_itself(setup: Setup) -> None:
    setup.queues.account = Ledger(next_seq=12, acknowledged_seq=7, delivered=4, quarantined=2)
    setup.lane.state.progressed()
    assert (setup.lane.queue, setup.lane.queued) == ("lane/out", 5)
    standing = setup.lane.standing()
    assert standing.answers == (1, 2)
    assert (standing.connected, standing.in_flight, standing.could_send) == (False, 2, True)
