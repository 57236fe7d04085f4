"""Fresh messages first: two queues of one destination, with a session each.

    newer queue ──Drain──▶ session ──▶ ┐
                                       ├─▶ upstream        shares: `shares.py`
    older queue ──Drain──▶ session ──▶ ┘

What comes in goes into the newer queue, and as long as the older one is empty there is one
lane, with one session.  When a session of the newer queue begins and there is a backlog in
it, the boundary between backlog and fresh messages is moved to where the queue ends:

* the older queue is empty: the two change places.  The backlog goes on through the session
  that has just begun, and what comes from now on goes into the other queue, which gets a
  session of its own.
* it is not, because the session was lost while there were two lanes: what waits in the newer
  queue is moved to the end of the older one, step by step; until then fresh messages wait.

So each queue is an ordinary one, of which only a prefix leaves, with an account, a cursor, a
lineage and a `Drain` of its own, and no crash can find more than two of those.  Which of them
is the newer one is stored with the first record that depends on it.  A record that moves gets
a number of another lineage; so records are moved only when nothing is known to be in flight
and the upstream has said what it has of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred

from relay.flow.drain import BY_PURGE, Drain
from relay.flow.pacing import START_RECORDS
from relay.flow.shares import Shares
from relay.model.errors import QueueError
from relay.model.text import counted
from relay.queue.lane_queues import LaneQueues

BACKLOG_RECORDS_MIN = START_RECORDS + 1
"""Fewer records go out with the first window: two lanes would only change their order."""

_BY_MOVE = "move"


class Lane(Protocol):
    """One of the two queues, and what sends it."""

    queue: str
    drain: Drain

    @property
    def queued(self) -> int:
        """Records that are not acknowledged."""

    @property
    def failures(self) -> int:
        """How many connections of the lane ended or could not be made."""

    def open(self) -> None:
        """Connect, and stay connected."""

    def close(self) -> Deferred[None]:
        """End the connection, if there is one, and make no more.  Fires when it has ended."""

    def connect(self) -> object:
        """Try now what would be tried after a pause."""

    def renew(self) -> Awaitable[None]:
        """Take a lineage of which no receiver has heard.  Fails with QueueError."""


class Lanes:
    """Decides which of the two queues of a destination is the backlog, and what is connected.

    Args:
        older, newer: Records come into the queue of `newer`.
        on_trouble: Called with what went wrong.
        on_change: Called with text when there are two lanes, or one again.
        backlog_records_min: What is less does not become a lane.
    """

    def __init__(
        self,
        older: Lane,
        newer: Lane,
        *,
        destination: str,
        queue: LaneQueues,
        shares: Shares,
        on_trouble: Callable[[str], None],
        on_change: Callable[[str], None],
        backlog_records_min: int = BACKLOG_RECORDS_MIN,
    ) -> None:
        self.older = older
        self.newer = newer
        self._destination = destination
        self._queue = queue
        self._shares = shares
        self._on_trouble = on_trouble
        self._on_change = on_change
        self._backlog_records_min = backlog_records_min
        self._boundary: int | None = None  # while records are moved: up to where
        self._failures: int | None = None  # of the newer lane, when it was arranged last
        self._finishing = False
        self._are_two = False
        self._has_yielded = False  # the newer lane, its connection to the older one

    def begin(self) -> None:
        """Connect the newer lane, and the older one if it has records."""
        self.newer.open()
        self.look()

    def look(self) -> None:
        """Connect or disconnect the older lane, after its queue has changed."""
        if self._has_yielded and (self.newer.queued or not self.older.queued):
            self._has_yielded = False
            self.newer.open()
        # Without records it has no connection: an idle one may be dead without a sign, and
        # would hold up what comes after the two have changed places.
        if self.older.queued or self._boundary is not None:
            self._are_two = True
            self.older.open()
        elif self._are_two:
            self._are_two = False
            self.older.close()
            self._on_change("the backlog is delivered: one lane again")

    def session_begins(self, lane: Lane) -> None:
        """`lane` has a session, and nothing has been sent through it."""
        # What came since the lanes were arranged, while the new connection was made, is no
        # backlog yet; it is one if a connection has failed in between.
        if lane is self.newer and lane.failures != self._failures:
            self._arrange()

    def connection_failed(self, queue: str) -> None:
        """A connection of the lane of `queue` has ended or could not be made."""
        # The upstream may allow one connection only.  An idle live lane would keep it for ever,
        # so it is given to the backlog until there is something to send.
        newer, older = self.newer, self.older
        is_idle = newer.drain.has_session and not (newer.queued or newer.drain.in_flight)
        if queue == older.queue and is_idle and self._boundary is None and not self._finishing:
            self._has_yielded = True
            newer.close().addCallback(lambda _: older.connect())

    def release(self, by: str) -> None:
        """Send again after `by` has held both drains, as after an outage."""
        if self.newer.drain.is_held(by) and self.newer.drain.has_session:
            self._arrange()
        for lane in (self.newer, self.older):
            lane.drain.release(by)

    def is_to_reconnect(self, queue: str) -> bool:
        """Whether the connection of the lane of `queue` ends at once, because records move."""
        return self._boundary is not None and queue == self.newer.queue

    def finish(self) -> None:
        """Move nothing more."""
        self._finishing = True

    def _arrange(self) -> None:
        """Move the boundary to where the newer queue ends now, if there is a backlog in it."""
        newer, older = self.newer, self.older
        if newer.queued < self._backlog_records_min or self._finishing:
            return
        if self._boundary is not None:
            self._boundary = newer.drain.stored_seq
        elif not older.queued:
            self._swap()
        elif not newer.drain.in_flight and not newer.drain.is_held(BY_PURGE):
            self._boundary = newer.drain.stored_seq
            self._on_change(
                f"{counted(newer.queued, 'message')} of the live lane join the backlog; "
                "it reconnects for that"
            )
            newer.drain.hold(_BY_MOVE)
            ensureDeferred(self._move(newer, older))

    def _swap(self) -> None:
        newer, older = self.newer, self.older
        self.older, self.newer = newer, older
        self._shares.swap()
        self._queue.direct(self._destination, older=newer.queue, newer=older.queue)
        self._are_two = True
        self._failures = older.failures
        self._on_change(f"new messages go before a backlog of {counted(newer.queued, 'message')}")
        older.open()

    async def _move(self, newer: Lane, older: Lane) -> None:
        drain = newer.drain
        try:
            # The lineage is forgotten, so what the receiver has must not come back with a crash.
            await self._queue.settle(newer.queue, start=drain.acknowledged_seq)
            # The numbers of a session have no gaps, and a receiver counts gaps between two
            # sessions as missing records: what stays gets another session and a new lineage.
            await newer.close()
            await newer.renew()
            while self._boundary is not None and not self._finishing:
                before = drain.acknowledged_seq
                if before >= self._boundary:
                    break
                drain.skip(await self._queue.move(newer.queue, to=older.queue, upto=self._boundary))
                if drain.acknowledged_seq == before:
                    break  # somebody else has taken them out
        except QueueError as error:
            self._on_trouble(
                "the live lane goes on; until its next connection "
                f"{counted(newer.queued, 'message')} cannot join the backlog and will go before "
                f"the new ones: {error}"
            )
        finally:
            self._boundary = None
            self._failures = newer.failures
            drain.release(_BY_MOVE)
            if not self._finishing:
                newer.open()
                self.look()
