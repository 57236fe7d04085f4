"""Fair queueing of two lanes: each has a session of its own, and a share of what both send.

While both lanes have records to send, they are kept to their shares in two ways:

* of the order: the lane that has had more than its share may run ahead of the other one by
  `AHEAD_RECORDS_MAX` records and then waits for it;
* of the window: a lane may have in flight what the other one leaves of the destination's
  window, and its share of that window in any case.

A lane without anything to send loses what it might have had: the other one gets everything,
and no lane saves up for a burst.  A lane that has records and has sent none for a second is
not waited for either: its session, its disk or its upstream is stuck, and that must not hold
up the other one.

A `Share` stands where an ordinary drain has its `Pace`, so a drain knows nothing of lanes.
"""

from __future__ import annotations

from relay.flow.drain import Drain
from relay.flow.pacing import Pace
from relay.model.clock import Clock

AHEAD_RECORDS_MAX = 512
"""How far a lane may get ahead of its share, in records."""

_STUCK_SECONDS = 1.0  # without a record sent, although there are some to send
_LOOK_SECONDS = 0.05  # a lane that stops to contend does not say so; the other one looks


class Shares:
    """The shares of the two lanes of one destination.

    Args:
        backlog_percent: What the backlog gets while both have something to send, 1 to 99; the
            live lane gets the rest.
        window_records: Most records in flight over both sessions; 0 = as many as they take.
        pace: How fast to send the backlog; None = as fast as its share allows.

    Attributes:
        live, backlog: The shares; they change places with their lanes.
    """

    def __init__(
        self,
        *,
        backlog_percent: int,
        clock: Clock,
        window_records: int = 0,
        pace: Pace | None = None,
    ) -> None:
        assert 0 < backlog_percent < 100, backlog_percent
        self.backlog_percent = backlog_percent
        self.clock = clock
        self.window_records = window_records
        self.pace = pace
        self.live = Share(self)
        self.backlog = Share(self)

    def swap(self) -> None:
        """The live lane is the backlog from now on, and the other way round."""
        self.live, self.backlog = self.backlog, self.live
        self.forget()

    def forget(self) -> None:
        """Neither lane has had anything."""
        self.live.served = self.backlog.served = 0


class Share:
    """How fast and how much one lane may send; its drain's `Pacing`.

    Attributes:
        drain: That of the lane; to be set before the first session.
        served: What it has had: records, each times the percentage of the other lane.
    """

    drain: Drain

    def __init__(self, shares: Shares) -> None:
        self.served = 0
        self._shares = shares
        self._sent_at = float("-inf")
        self._waits = False  # for the other lane to send something

    @property
    def contends(self) -> bool:
        """Whether the lane has records to send, and does send."""
        if self._pace is not None and self._pace.seconds_to_wait():
            return False  # or a slow pace of the backlog would be one of the live lane too
        since = self._shares.clock.seconds() - self._sent_at
        return since < _STUCK_SECONDS and self.drain.has_more

    def came_in(self, records: int) -> None:
        """`records` more have been stored in the lane's queue."""
        # What comes in sets the pace of the backlog; what joins the backlog does not.
        if self._shares.pace is not None and not self._is_backlog:
            self._shares.pace.came_in(records)

    def seconds_to_wait(self) -> float:
        """How long to wait before more may be sent; 0 = not at all."""
        if self._pace is not None and (seconds := self._pace.seconds_to_wait()):
            return seconds
        self._waits = self._ahead() >= AHEAD_RECORDS_MAX
        return _LOOK_SECONDS if self._waits else 0.0

    def room(self, records: int) -> int:
        """How many of `records` to send in one go, when there is nothing to wait for."""
        shares, other = self._shares, self._other
        if self._pace is not None:
            records = self._pace.room(records)
        if shares.window_records:
            part = max(1, shares.window_records * self._percent // 100)
            left = shares.window_records - other.drain.in_flight
            records = min(records, max(part, left) - self.drain.in_flight)
        if other.contends:
            records = min(records, AHEAD_RECORDS_MAX - self._ahead())
        return max(0, records)

    def bytes_max(self, size: int) -> int:
        """How many of `size` bytes to send in one go."""
        return size if self._pace is None else self._pace.bytes_max(size)

    def sent(self, records: int, size: int) -> None:
        """So much was sent."""
        if self._pace is not None:
            self._pace.sent(records, size)
        self._sent_at = self._shares.clock.seconds()
        other = self._other
        if other.contends:
            self.served += records * other._percent
        else:
            self._shares.forget()
        if other._waits:
            other._waits = False
            other.drain.pump()

    def _ahead(self) -> int:
        """How many records the lane is ahead of its share."""
        other = self._other
        if not other.contends:
            self._shares.forget()
            return 0
        return (self.served - other.served) // other._percent

    @property
    def _is_backlog(self) -> bool:
        return self is self._shares.backlog

    @property
    def _other(self) -> Share:
        return self._shares.live if self._is_backlog else self._shares.backlog

    @property
    def _percent(self) -> int:
        percent = self._shares.backlog_percent
        return percent if self._is_backlog else 100 - percent

    @property
    def _pace(self) -> Pace | None:
        return self._shares.pace if self._is_backlog else None
