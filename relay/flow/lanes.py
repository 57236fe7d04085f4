"""Fresh messages first: two queues of one destination, sent through one session.

    newer ──drain──▶ outbox ──┐ turns
                              ├──────▶ Session.send ──▶ one stream of records
    older ──drain──▶ outbox ──┘   runs: (lane, records) as they were sent
                                    │
    each drain ◀── its part of ─────┴── answers, always as a prefix of what was sent

What comes in goes into the newer queue, and as long as the older one is empty there is
one lane.  When a session begins and there is a backlog, the boundary is moved:

* the older queue is empty: the two change places.  The backlog is the older one now, and
  what comes from now on goes into the other, the live lane.
* it is not, because a session was lost while there were two lanes: what waits in the live
  lane moves to the end of the backlog, step by step; until then the live lane waits.

So each queue is an ordinary one, of which only a prefix leaves, with an account, a cursor
and a `Drain` of its own, and no crash can find more than two of those.  Which of them is
the newer one is stored with the first record that depends on it.  Neither drain knows of
the other: to each of them its outbox is the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults

from relay.codec import octets_of
from relay.flow.drain import BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Drain, Session
from relay.flow.pacing import START_RECORDS, Pace, Window
from relay.flow.throughput import Throughput
from relay.flow.turns import Supply, Turns
from relay.model.clock import Clock, DelayedCall
from relay.model.errors import QueueError
from relay.model.words import counted

__all__ = ["BACKLOG_RECORDS_MIN", "LaneQueue", "Lanes"]

BACKLOG_RECORDS_MIN = START_RECORDS + 1
"""Fewer records go out with the first window: two lanes would only change their order."""

_AHEAD_RECORDS = 512  # that a lane reads ahead
_PACED_RECORDS = 64  # the same for a backlog that has to go slowly
_BY_MOVE = "move"
_NOTHING = Supply(0, False)


class LaneQueue(Protocol):
    """The queue, as far as lanes change it."""

    def direct(self, destination: str, *, older: str, newer: str) -> None:
        """Put what comes for `destination` into the queue `newer` from now on."""

    def move(self, queue: str, *, to: str, start: int, upto: int) -> Deferred[int]:
        """Move some of the oldest records of `queue`, `start` to before `upto`, to the end of `to`.

        Fires with where `queue` begins then, once on disk.  Fails with QueueError.
        """


class Outbox:
    """What one drain has read ahead; to the drain it is the session."""

    def __init__(self, records_max: Callable[[], int], on_more: Callable[[], None]) -> None:
        self._payloads: list[bytes] = []
        self._octets = 0
        self._records_max = records_max
        self._on_more = on_more

    def __len__(self) -> int:
        return len(self._payloads)

    @property
    def room(self) -> int:
        if self._octets >= BATCH_BYTES_MAX:
            return 0
        return max(0, self._records_max() - len(self._payloads))

    def send(self, payloads: Sequence[bytes]) -> None:
        self._payloads += payloads
        self._octets += octets_of(payloads)
        self._on_more()

    def fitting(self, octets_max: int) -> int:
        """How many of the oldest records have no more octets than that; one at least."""
        for count, octets in enumerate(accumulate(map(len, self._payloads))):
            if octets > octets_max:
                return max(1, count)
        return len(self._payloads)

    def take(self, records: int) -> list[bytes]:
        """The oldest `records`."""
        taken = self._payloads[:records]
        del self._payloads[:records]
        self._octets -= octets_of(taken)
        return taken


class _Lane:
    """One of the two queues."""

    outbox: Outbox  # exists from the first session on

    def __init__(self, queue: str, drain: Drain, clock: Clock) -> None:
        self.queue = queue
        self.drain = drain
        self.throughput = Throughput(clock=clock)

    @property
    def queued(self) -> int:
        return self.drain.stored_seq - self.drain.acknowledged_seq


class _Run(NamedTuple):
    """Consecutive records of one lane, as they were sent."""

    lane: _Lane
    records: int


class Lanes:
    """In the place of a `Drain`, for a destination that sends fresh messages first.

    Args:
        older, newer: The two queues.  Records come into `newer`.
        new_drain: Makes the drain of a queue, with neither window nor pace.
        backlog_percent: What the backlog gets while both have something to send.
        window: How many records may be in flight; None = what a session takes.
        pace: How fast to send the backlog; None = as fast as its share allows.
        on_trouble: Called with what went wrong.
        on_change: Called with words when there are two lanes, or one again.
        backlog_records_min: What is less does not become a lane.
    """

    def __init__(
        self,
        *,
        destination: str,
        older: str,
        newer: str,
        new_drain: Callable[[str], Drain],
        queue: LaneQueue,
        backlog_percent: int,
        clock: Clock,
        on_trouble: Callable[[str], None],
        on_change: Callable[[str], None],
        window: Window | None = None,
        pace: Pace | None = None,
        backlog_records_min: int = BACKLOG_RECORDS_MIN,
    ) -> None:
        self._destination = destination
        self._older = _Lane(older, new_drain(older), clock)
        self._newer = _Lane(newer, new_drain(newer), clock)
        self._queue = queue
        self._turns = Turns(backlog_percent=backlog_percent)
        self._backlog_records_min = backlog_records_min
        self._clock = clock
        self._on_trouble = on_trouble
        self._on_change = on_change
        self._window = window
        self._pace = pace if pace is not None and pace.is_limited else None
        self._session: Session | None = None
        self._runs: deque[_Run] = deque()  # sent and not answered, oldest first
        self._unanswered = 0  # how many records that is
        self._pumping = False
        self._has_more = False  # something came into an outbox meanwhile
        self._wake: DelayedCall | None = None  # while the backlog waits for its pace
        self._boundary: int | None = None  # while the live lane moves: up to where
        self._finishing = False
        self._are_two = bool(self._older.queued)

    @property
    def in_flight(self) -> int:
        """Records sent and not acknowledged; to the drains also what was read ahead is."""
        return self._unanswered

    @property
    def sent_records(self) -> int:
        return self._older.drain.sent_records + self._newer.drain.sent_records

    @property
    def resent_records(self) -> int:
        return self._older.drain.resent_records + self._newer.drain.resent_records

    @property
    def sent_seq(self) -> int:
        """That of the live lane; nobody numbers the records of a session with two."""
        return self._newer.drain.sent_seq

    @property
    def could_send(self) -> bool:
        """Whether there are records that nothing but a session keeps from being sent."""
        paced = self._pace is not None and self._pace.seconds_to_wait() > 0
        return self._newer.drain.could_send or (self._older.drain.could_send and not paced)

    @property
    def queues(self) -> tuple[str, str]:
        """The older queue and the newer one."""
        return self._older.queue, self._newer.queue

    def report(self) -> dict[str, Any]:
        """The lanes for status, the backlog first."""
        names = ("backlog", self._older), ("live", self._newer)
        return {
            name: {
                "queue": lane.queue,
                "queued_records": lane.queued,
                "in_flight_records": lane.drain.in_flight,
                "delivered_per_second": round(lane.throughput.per_second, 1),
            }
            for name, lane in names
        }

    def drain_of(self, queue: str) -> Drain:
        """The drain of one of the two queues."""
        return self._lane_of(queue).drain

    # What a session does.

    def attach(self, session: Session) -> None:
        """Send through `session` from now on; a backlog becomes a lane of its own."""
        if self._session is not None:
            self.detach(self._session)
        self._session = session
        self._turns.begin()
        if self._window is not None:
            self._window.begin()
        self._arrange()
        for lane in (self._newer, self._older):
            lane.outbox = Outbox(self._ahead_max(lane), self._came_into_outbox)
        for lane in (self._newer, self._older):
            lane.drain.attach(lane.outbox)

    def detach(self, session: Session) -> None:
        """`session` is gone; what it did not acknowledge will be sent again."""
        if self._session is session:
            self._forget_session()
            for lane in (self._newer, self._older):
                lane.drain.detach(lane.outbox)

    def acknowledged(self, session: Session, count: int) -> bool:
        """The `count` oldest records that `session` was sent are with the upstream; see
        `Drain.acknowledged`."""
        if not count or self._session is not session:
            return True
        if self._window is not None:
            self._window.answered(count)
        answered: dict[_Lane, int] = {}
        while count:
            lane, records = self._pop_run(count)
            answered[lane] = answered.get(lane, 0) + records
            count -= records
        goes_on = True
        for lane, records in answered.items():
            lane.throughput.note(records)
            goes_on &= lane.drain.acknowledged(lane.outbox, records)
        self._say_if_one_again()
        if goes_on:
            self.pump()
        return goes_on

    def refused(
        self, session: Session, words: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        """The upstream refused the oldest record that was sent; see `Drain.refused`."""
        if self._session is not session:
            return False
        lane = self._runs[0].lane
        if not lane.drain.refused(lane.outbox, words, in_row=in_row, others_taken=others_taken):
            return False
        self._pop_run(1)
        self._say_if_one_again()
        return True

    def pump(self) -> None:
        """Send what is at hand, as far as the session has room, and have more read."""
        if self._pumping:
            return
        self._pumping = True
        try:
            self._has_more = True
            while self._has_more and self._session is not None:
                self._has_more = False
                self._send_some(self._session)
                for lane in (self._newer, self._older):
                    lane.drain.pump()
        finally:
            self._pumping = False

    # What others do.

    def stored(self, queue: str, upto: int) -> None:
        """Records of `queue` before `upto` are on disk."""
        lane = self._lane_of(queue)
        if lane is self._newer and self._pace is not None:
            self._pace.came_in(upto - lane.drain.stored_seq)
        lane.drain.stored(upto)

    def finish(self) -> Deferred[Any]:
        """Read nothing more.  Fires when nothing is in flight, which may be never."""
        self._finishing = True
        drains = (self._newer.drain, self._older.drain)
        return gatherResults([drain.finish() for drain in drains], consumeErrors=True)

    def is_held(self, by: str) -> bool:
        return self._newer.drain.is_held(by)

    def hold(self, by: str) -> None:
        """Read nothing more until `release`; what was read is sent."""
        for lane in (self._newer, self._older):
            lane.drain.hold(by)

    def release(self, by: str) -> None:
        """Send again, as after an outage, unless somebody else holds it."""
        if self._session is not None and self.is_held(by):
            self._arrange()
        for lane in (self._newer, self._older):
            lane.drain.release(by)

    # Lanes.

    def _lane_of(self, queue: str) -> _Lane:
        return self._newer if queue == self._newer.queue else self._older

    def _arrange(self) -> None:
        """Move the boundary to where the queue ends now, if there is a backlog before it."""
        newer, older = self._newer, self._older
        if newer.queued < self._backlog_records_min:
            return
        if self._boundary is not None:
            self._boundary = newer.drain.stored_seq
        elif not older.queued:
            self._older, self._newer = newer, older
            self._queue.direct(self._destination, older=newer.queue, newer=older.queue)
            self._are_two = True
            self._on_change(f"a backlog of {counted(newer.queued, 'message')}: new ones go first")
        elif not newer.drain.in_flight:
            self._boundary = newer.drain.stored_seq
            self._on_change(f"these join the backlog: {counted(newer.queued, 'message')}")
            newer.drain.hold(_BY_MOVE)
            ensureDeferred(self._move(newer, older))

    async def _move(self, newer: _Lane, older: _Lane) -> None:
        try:
            while self._boundary is not None and not self._finishing:
                before = newer.drain.acknowledged_seq
                if before >= self._boundary:
                    break
                begins = await self._queue.move(
                    newer.queue, to=older.queue, start=before, upto=self._boundary
                )
                newer.drain.skip(begins)
                if newer.drain.acknowledged_seq == before:
                    break  # somebody else has taken them out
        except QueueError as error:
            self._on_trouble(
                f"until the next connection {counted(newer.queued, 'message')} cannot join the "
                f"backlog and will go before the new ones: {error}"
            )
        finally:
            self._boundary = None
            newer.drain.release(_BY_MOVE)

    def _say_if_one_again(self) -> None:
        if self._are_two and not self._older.queued:
            self._are_two = False
            self._on_change("the backlog is over: one lane again")

    # Sending.

    def _ahead_max(self, lane: _Lane) -> Callable[[], int]:
        def records() -> int:
            paced = self._pace is not None and lane is self._older
            return _PACED_RECORDS if paced else _AHEAD_RECORDS

        return records

    def _came_into_outbox(self) -> None:
        self._has_more = True
        self.pump()

    def _send_some(self, session: Session) -> None:
        """Send from both outboxes, in turns."""
        room = self._room(session)
        payloads: list[bytes] = []
        while room > len(payloads):
            left = room - len(payloads)
            turn = self._turns.next(self._supply(self._newer, left), self._backlog(left))
            if turn is None:
                break
            lane = self._newer if turn.is_live else self._older
            taken = lane.outbox.take(turn.records)
            payloads += taken
            if self._pace is not None and not turn.is_live:
                self._pace.sent(len(taken), octets_of(taken))
            self._push_run(lane, len(taken))
        if payloads:
            session.send(payloads)

    def _room(self, session: Session) -> int:
        room = min(session.room, BATCH_RECORDS_MAX)
        return room if self._window is None else min(room, self._window.room(self._unanswered))

    def _supply(self, lane: _Lane, records_max: int) -> Supply:
        return Supply(min(len(lane.outbox), records_max), lane.drain.is_coming)

    def _backlog(self, records_max: int) -> Supply:
        supply = self._supply(self._older, records_max)
        if self._pace is None or supply.is_over:
            return supply
        seconds = self._pace.seconds_to_wait()
        if not seconds:
            fitting = self._older.outbox.fitting(self._pace.octets_max(BATCH_BYTES_MAX))
            records = min(supply.records, self._pace.room(records_max), fitting)
            return Supply(records, supply.is_coming)
        if self._wake is None:
            self._wake = self._clock.callLater(seconds, self._woken)
        return _NOTHING  # it has to wait, and nobody has to wait for it

    def _woken(self) -> None:
        self._wake = None
        self.pump()

    def _push_run(self, lane: _Lane, records: int) -> None:
        self._unanswered += records
        if self._runs and self._runs[-1].lane is lane:
            records += self._runs.pop().records
        self._runs.append(_Run(lane, records))

    def _pop_run(self, records_max: int) -> _Run:
        """Take the oldest run off, or its oldest `records_max`."""
        lane, records = self._runs.popleft()
        if records > records_max:
            self._runs.appendleft(_Run(lane, records - records_max))
            records = records_max
        self._unanswered -= records
        return _Run(lane, records)

    def _forget_session(self) -> None:
        self._session = None
        self._runs.clear()
        self._unanswered = 0
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
