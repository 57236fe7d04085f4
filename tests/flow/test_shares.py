from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from relay.flow.pacing import Pace
from relay.flow.shares import AHEAD_RECORDS_MAX, Share, Shares
from relay.model.policy import DrainRate

percents = st.integers(1, 99)


class Sender:
    """A drain whose session takes `room` records, and whose records are numbers only."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.queued = self.room = self.sent = self.in_flight = 0
        self._pumping = False
        share.drain = self

    @property
    def has_more(self) -> bool:
        return self.queued > 0

    def pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        while self.queued and self.room and not self.share.seconds_to_wait():
            size = self.share.bytes_max(100 * min(self.queued, self.room))
            records = self.share.room(max(1, size // 100))
            if not records:
                break
            self.queued -= records
            self.room -= records
            self.sent += records
            self.in_flight += records
            self.share.sent(records, 100 * records)
        self._pumping = False

    def offer(self, room: int) -> None:
        self.room += room
        self.pump()

    def answer(self, records: int) -> None:
        self.in_flight -= records
        self.offer(records)


class Setup:
    def __init__(self, percent: int, *, window: int = 0, rate: DrainRate | None = None) -> None:
        self.clock = Clock()
        self.shares = Shares(
            backlog_percent=percent,
            window_records=window,
            pace=None if rate is None else Pace(rate, clock=self.clock),
            clock=self.clock,
        )
        self.live, self.backlog = Sender(self.shares.live), Sender(self.shares.backlog)

    def queue(self, records: int) -> None:
        """Both lanes get so many records, and send one."""
        for sender in (self.live, self.backlog):
            sender.queued = records
            sender.offer(1)


@given(percents, st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=100))
def test_no_lane_gets_far_ahead_of_its_share(percent: int, offers: list[tuple[bool, int]]) -> None:
    setup = Setup(percent)
    setup.queue(10**7)
    for is_live, room in offers:
        (setup.live if is_live else setup.backlog).offer(room)
        live = setup.live.sent * percent
        backlog = setup.backlog.sent * (100 - percent)
        assert live - backlog <= (AHEAD_RECORDS_MAX + 2) * percent
        assert backlog - live <= (AHEAD_RECORDS_MAX + 2) * (100 - percent)


@pytest.mark.parametrize("percent", [1, 25, 50, 99])
def test_both_get_their_share_of_what_an_upstream_takes(percent: int) -> None:
    setup = Setup(percent)
    setup.queue(10**7)
    for _ in range(1000):
        setup.live.offer(5000)
        setup.backlog.offer(5000)
    total = setup.live.sent + setup.backlog.sent
    assert total > 500_000 * min(percent, 100 - percent) / 100
    assert abs(setup.backlog.sent / total - percent / 100) < 0.01


@pytest.mark.parametrize("is_live", [True, False])
def test_what_the_other_lane_does_not_want_goes_to_one(is_live: bool) -> None:
    setup = Setup(25)
    one = setup.live if is_live else setup.backlog
    one.queued = 100_000
    one.offer(100_000)
    assert one.sent == 100_000


def test_a_lane_saves_nothing_up() -> None:
    setup = Setup(50)
    setup.backlog.queued = 200_000
    setup.backlog.offer(100_000)
    setup.live.queued = 100_000
    setup.live.offer(100_000)
    assert setup.live.sent <= AHEAD_RECORDS_MAX + 1


def test_fresh_messages_go_at_once_beside_a_backlog() -> None:
    setup = Setup(99)
    setup.queue(10_000)
    setup.backlog.offer(5000)
    setup.live.offer(100)
    assert setup.live.sent >= 1 + 100 // 99


def test_a_lane_whose_session_is_stuck_is_waited_for_a_second_at_most() -> None:
    setup = Setup(25)
    setup.queue(100_000)
    setup.backlog.offer(50_000)
    stopped = setup.backlog.sent
    assert stopped <= AHEAD_RECORDS_MAX + 2
    assert setup.shares.backlog.seconds_to_wait() > 0
    setup.clock.advance(1)
    assert setup.shares.backlog.seconds_to_wait() == 0
    setup.backlog.pump()
    assert setup.backlog.sent == 50_001


def test_a_lane_that_waits_goes_on_when_the_other_has_sent() -> None:
    setup = Setup(50)
    setup.queue(100_000)
    setup.backlog.offer(50_000)
    before = setup.backlog.sent
    setup.live.offer(300)
    assert setup.backlog.sent == before + 300


def test_lanes_that_change_places_take_their_shares_with_them() -> None:
    setup = Setup(10)
    setup.shares.swap()
    assert (setup.shares.live, setup.shares.backlog) == (setup.backlog.share, setup.live.share)
    setup.queue(10**7)
    for _ in range(1000):
        setup.live.offer(1000)
        setup.backlog.offer(1000)
    assert setup.backlog.sent > 8 * setup.live.sent


# The window.


def test_the_window_is_shared_by_weight_while_both_have_records() -> None:
    setup = Setup(25, window=1000)
    setup.backlog.queued = 10**7
    setup.backlog.offer(10_000)
    assert setup.backlog.in_flight == 1000  # nobody else needs it
    setup.live.queued = 10**7
    setup.live.offer(10_000)
    assert setup.live.in_flight == AHEAD_RECORDS_MAX
    before = setup.backlog.sent
    for _ in range(1000):
        setup.clock.advance(0.01)
        for sender in (setup.live, setup.backlog):
            sender.answer(sender.in_flight)
    assert setup.live.in_flight + setup.backlog.in_flight <= 1000
    assert 0.24 < (setup.backlog.sent - before) / (setup.live.sent + setup.backlog.sent) < 0.26
    assert setup.live.sent > 500_000


def test_each_lane_may_have_one_record_in_flight_whatever_the_window() -> None:
    setup = Setup(1, window=1)
    setup.live.queued = setup.backlog.queued = 10
    setup.live.offer(10)
    setup.backlog.offer(10)
    assert (setup.live.in_flight, setup.backlog.in_flight) == (1, 1)


# The pace.


def test_the_pace_is_that_of_the_backlog_alone() -> None:
    setup = Setup(50, rate=DrainRate(bytes_per_second=10_000))
    setup.queue(100_000)
    setup.live.offer(50_000)
    setup.backlog.offer(50_000)
    for _ in range(100):
        setup.clock.advance(0.1)
        setup.backlog.pump()
        setup.live.pump()
    assert setup.live.sent == 50_001
    assert 800 <= setup.backlog.sent <= 1200
    assert setup.shares.backlog.bytes_max(10**6) == 1000
    assert setup.shares.live.bytes_max(10**6) == 10**6


def test_what_comes_into_the_live_lane_sets_the_pace() -> None:
    setup = Setup(50, rate=DrainRate(live_multiple=2.0))
    for _ in range(1000):
        setup.shares.live.came_in(50)
        setup.shares.backlog.came_in(50_000)
        setup.clock.advance(0.1)
    assert 80 <= setup.shares.backlog.room(10_000) <= 120
    assert setup.shares.live.room(10_000) == 10_000
