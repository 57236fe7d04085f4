"""From disk to frames: keep an upstream supplied, forget what it acknowledged.

    acknowledged ≤ sent ≤ stored     three positions in one queue

`acknowledged` moves when the upstream answers, and the queue may then forget; `sent` is what
the session was sent, and losing the session sets it back; `stored` moves with each commit.
Nothing else is state of a record: what is in flight lies between the first two, and no crash
can lose track of it.

    stored, not sent ──pump──▶ in flight ──acknowledged──▶ forgotten
           ▲                       │
           └─────session lost──────┤──refused too often───▶ in the quarantine
                                   └──evicted by a limit──▶ overtaken (`late_acknowledgements.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred

from relay.codec import total_bytes
from relay.flow.late_acknowledgements import LateAcknowledgements
from relay.flow.pacing import Allowance
from relay.flow.pump import Fill, Pump, Session
from relay.flow.refusals import Suspects
from relay.model.clock import Clock
from relay.model.counters.latencies import Latencies
from relay.model.seq import SeqRange
from relay.model.text import span
from relay.queue.committer import Committer
from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger

BY_PURGE = "purge"
"""Who holds a drain to take records out of its queue."""


@dataclass(frozen=True, slots=True)
class DrainEvents:
    """What a drain calls."""

    on_progress: Callable[[], None]
    """The upstream has acknowledged something."""
    on_trouble: Callable[[str], None]
    """The queue has failed, or something was set aside."""
    on_session: Callable[[], None] = lambda: None
    """A session begins, and nothing has been sent through it yet."""


class Watch(Protocol):
    """Follows records on their way to the upstream."""

    def stored(self, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        """They are on disk; fewer payloads than numbers are those of the last ones."""

    def sent(self, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        """They are about to be sent, perhaps not for the first time."""

    def acknowledged(self, start: int, upto: int) -> None:
        """The upstream has the records from `start` to before `upto`."""


class Drain:
    """Sends one queue through one session after another.

    Args:
        queue_id: Id of the queue.
        ledger: Where it begins and ends.
        allowance: How much may be sent, and what the upstream has refused, whichever of its
            drains sent it.
        clock: For reading again after a failure of the queue.
        fill: What is done to records before they are sent.

    Attributes:
        acknowledged_seq: The oldest record that is not acknowledged, or the next one.
        sent_seq: Seq after the newest record that this session was sent.
        end: Seq after the newest record on disk of which we have been told.
        sent_records: Records handed to sessions, repeats included.
        resent_records: Those handed to a session more than once.
        latencies: How long records wait until they are sent and acknowledged.
        interruptions: Grows whenever a read that is under way must not be sent.
        watch: Follows its records; None = nobody does.
    """

    def __init__(
        self,
        queue_id: str,
        *,
        cursor: Cursor,
        queue: Committer,
        ledger: Ledger,
        allowance: Allowance,
        clock: Clock,
        events: DrainEvents,
        fill: Fill = lambda payloads: payloads,
    ) -> None:
        self.watch: Watch | None = None
        self.sent_records = self.resent_records = self.interruptions = 0
        self._queue_id = queue_id
        self._cursor = cursor
        self._queue = queue
        self.acknowledged_seq = ledger.acknowledged_seq
        self.end = ledger.next_seq
        self.sent_seq = self.acknowledged_seq
        self._sent_before = self.acknowledged_seq  # highest position that any session reached
        self.latencies = Latencies(self.end, seconds=clock.seconds)
        self._suspects = Suspects(allowance.refusals)
        self._overtaken = LateAcknowledgements(partial(queue.acknowledge_late, queue_id))
        self._allowance = allowance
        self._events = events
        self._session: Session | None = None
        self._finishing: Deferred[None] | None = None  # set = send nothing more
        self._held: set[str] = set()  # by whom; as long as there is one, nothing is sent
        self._known = 0  # what the upstream has, as it said while records were taken out
        trouble = events.on_trouble
        self._pump = Pump(
            self, cursor, allowance=allowance, clock=clock, fill=fill, on_trouble=trouble
        )
        self.pump = self._pump.run
        """Send what there is, as far as the session has room."""

    # Where it is.

    @property
    def in_flight(self) -> int:
        """Records sent and not acknowledged."""
        if self._session is None:
            return 0
        # Suspects that the session goes on behind lie between the two positions, unsent.  And
        # what was set aside may be all that was sent: then `sent` is behind for a moment.
        queued = self.sent_seq - self.acknowledged_seq - self._suspects.passed
        return max(0, queued) + self._overtaken.expected

    @property
    def stored_seq(self) -> int:
        """Seq after the newest record.

        One that was sent has been read from the disk, even if we have not been told of it.
        """
        return max(self.end, self._sent_before)

    @property
    def has_session(self) -> bool:
        return self._session is not None

    @property
    def open_session(self) -> Session | None:
        """Where to send now; None = nowhere."""
        return None if self._held or self._finishing is not None else self._session

    @property
    def has_more(self) -> bool:
        """Whether there are records that it may send, as soon as the session has room."""
        return self.open_session is not None and self.sent_seq < self.end

    @property
    def could_send(self) -> bool:
        """Whether there are records that nothing but a session keeps from being sent."""
        pace = self._allowance.pace
        kept = self._held or self._finishing is not None
        return self.sent_seq < self.end and not (kept or (pace and pace.seconds_to_wait() > 0))

    # Sessions.

    def attach(self, session: Session) -> None:
        """Send through `session` from now on, from the oldest unacknowledged record."""
        self._session = session
        self.interruptions += 1
        self._overtaken.forget()
        self.sent_seq = self.acknowledged_seq + self._suspects.begin_session()
        self.latencies.session_begins(self.sent_seq)
        self._cursor.rewind(self.sent_seq)
        if self._allowance.window is not None:
            self._allowance.window.begin()
        self._events.on_session()  # it may hold the drain
        self.pump()

    def detach(self, session: Session) -> None:
        """`session` is gone; what it did not acknowledge will be sent again."""
        if self._session is session:  # else it has been replaced, and says so late
            self._session = None
            self.interruptions += 1
            self._overtaken.forget()
            self._suspects.end_session()
            self._cursor.rewind(self.acknowledged_seq)
            self._finish_if_answered()

    def send(self, session: Session, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        """Send `payloads`, the records `seqs`, through `session`; for the pump."""
        self.sent_records += len(payloads)
        self.resent_records += max(0, min(self._sent_before, seqs.stop) - seqs.start)
        self._sent_before = max(self._sent_before, seqs.stop)
        self.sent_seq = seqs.stop  # before the session sends: it compares its numbers with this
        self.latencies.sent(seqs.stop)
        if self.watch is not None:  # before the session sends: it may acknowledge at once
            self.watch.sent(seqs, payloads)
        session.send(payloads)
        # After the rest: the other lane may send now, and looks at this drain for that.
        if self._allowance.pace is not None:
            self._allowance.pace.sent(len(payloads), total_bytes(payloads))

    def acknowledged(self, session: Session, count: int) -> bool:
        """The `count` oldest records that `session` was sent are with the upstream.

        Returns:
            False if they are to be sent again through another session all the same, behind
            others that the upstream has refused and may take now.
        """
        if not count or self._session is not session:
            return True
        if self._allowance.window is not None:
            self._allowance.window.answered(count)
        if self._overtaken.expected:
            count -= self._overtaken.take(count)
        if not self._suspects.taken():
            # Something behind the suspects was taken, so they may be at fault themselves.  If
            # it were acknowledged now, they would no longer be what the queue begins with.
            self._events.on_progress()
            return False
        self.acknowledged_seq += count
        assert self.acknowledged_seq <= self.sent_seq, (self.acknowledged_seq, self.sent_seq)
        if count:
            if self.watch is not None:
                self.watch.acknowledged(self.acknowledged_seq - count, self.acknowledged_seq)
            self.latencies.acknowledged(self.acknowledged_seq)
            self._queue.acknowledge(self._queue_id, self.acknowledged_seq)
        self._events.on_progress()
        self._finish_if_answered()
        self.pump()
        return True

    def refused(
        self, session: Session, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        """The upstream refused the oldest record that was sent and that it has not answered.

        Args:
            in_row: How many it has refused, this one and those sent right after it.
            others_taken: It has taken one that was sent later.

        Returns:
            True if `session` can go on after the record; False if it is to be sent again
            through another session.
        """
        if self._session is not session:
            return False
        goes_on = self._overtaken.refused()
        if not goes_on:
            waiting = self.end - self.acknowledged_seq
            reasons, goes_on = self._suspects.refused(
                reason, in_row=in_row, others_taken=others_taken, waiting=waiting
            )
            self._set_oldest_aside(reasons)
        self._finish_if_answered()
        return goes_on

    def finish(self) -> Deferred[None]:
        """Send nothing more.  Fires when nothing is in flight, which may be never."""
        finished = self._finishing = Deferred()
        self.interruptions += 1
        self._pump.stop()
        self._finish_if_answered()
        return finished

    def skip_to(self, upto: int) -> None:
        """The upstream has said that it has the records before `upto`; no session may be on.

        While somebody takes records out by other ways, it waits for the release: a record may
        leave the queue by one way only.
        """
        assert self._session is None and self.acknowledged_seq <= upto <= self.stored_seq
        if BY_PURGE in self._held:
            self._known = upto
        else:
            self._take_for_acknowledged(upto)
            self._cursor.rewind(upto)
            self._events.on_progress()

    # What happens to the queue.

    def stored(self, upto: int, payloads: Sequence[bytes] = ()) -> None:
        """Records before `upto` are on disk, the last of them with `payloads`.

        They must not be changed any more.
        """
        if self.watch is not None:
            self.watch.stored(SeqRange(self.end, upto), payloads)
        self._cursor.stored(upto, payloads)
        if self._allowance.pace is not None:
            self._allowance.pace.came_in(upto - self.end)
        self.end = upto
        self.latencies.stored(upto)
        self.pump()

    def evicted(self, upto: int, reason: str) -> None:
        """The records before `upto` have left the queue undelivered."""
        if upto <= self.acknowledged_seq:
            return  # they were answered meanwhile
        overtaken = min(upto, self.sent_seq) - self.acknowledged_seq - self._suspects.passed
        if self._session is not None and overtaken > 0:
            self._overtaken.expect(overtaken, reason)
        known = min(upto, self._known) - self.acknowledged_seq
        if known > 0:  # the upstream had them before they left
            self._queue.acknowledge_late(self._queue_id, known, reason)
        self._suspects.forget(upto - self.acknowledged_seq)
        self.latencies.left(upto)
        self.acknowledged_seq = upto
        self.sent_seq = max(self.sent_seq, upto)
        if self._cursor.position < upto:
            self._cursor.rewind(upto)
        self.pump()

    def is_held(self, by: str) -> bool:
        return by in self._held

    def hold(self, by: str) -> None:
        """Send nothing more until `release`; answers are still taken."""
        self._held.add(by)
        self.interruptions += 1

    def release(self, by: str) -> None:
        """Send again, unless somebody else holds it, or `by` does not."""
        if by not in self._held:
            return  # setting the cursor back would throw away what is being read
        self._held.remove(by)
        if by == BY_PURGE and self._known > self.acknowledged_seq:
            self._take_for_acknowledged(self._known)
        if self.open_session is not None:
            self._cursor.rewind(self.sent_seq)  # what was read before the hold was not sent
            self.pump()

    def skip(self, upto: int) -> None:
        """The records before `upto` have left the queue by other ways than ours.

        Only while it is held for that and nothing is in flight.
        """
        assert self._held and self.in_flight == 0, (self._held, self.in_flight)
        self._suspects.forget(upto - self.acknowledged_seq)
        self.latencies.left(upto)
        self.acknowledged_seq = max(self.acknowledged_seq, upto)
        self.sent_seq = self.acknowledged_seq + self._suspects.passed
        self._sent_before = max(self._sent_before, self.sent_seq)

    def set_unfit_aside(self, seqs: SeqRange, reason: str) -> bool:
        """The next records cannot be read, or are not to be sent; for the pump.

        Returns:
            Whether to read on behind them.
        """
        if seqs.start != self.acknowledged_seq + self._suspects.passed:
            return False  # only the head can leave: first what is in flight; its answers call again
        self._set_oldest_aside(self._suspects.take_passed())
        self._set_aside(seqs, reason)
        return True

    def _take_for_acknowledged(self, upto: int) -> None:
        self._suspects.forget(upto - self.acknowledged_seq)
        self.latencies.acknowledged(upto)
        if self.watch is not None:
            self.watch.acknowledged(self.acknowledged_seq, upto)
        self.acknowledged_seq = self.sent_seq = upto
        self._queue.acknowledge(self._queue_id, upto)

    def _set_oldest_aside(self, reasons: Sequence[str]) -> None:
        for reason in reasons:
            self._set_aside(SeqRange(self.acknowledged_seq, self.acknowledged_seq + 1), reason)

    def _set_aside(self, seqs: SeqRange, reason: str) -> None:
        records = span("record", seqs.start, seqs.stop - 1)
        self._events.on_trouble(f"{records} set aside in the quarantine: {reason}")
        self.latencies.left(seqs.stop)
        self.acknowledged_seq = seqs.stop
        if self._cursor.position < seqs.stop:
            self._cursor.rewind(seqs.stop)
        self._queue.set_aside(self._queue_id, seqs, reason)
        self._finish_if_answered()

    def _finish_if_answered(self) -> None:
        finishing = self._finishing
        if finishing is not None and not finishing.called and self.in_flight == 0:
            finishing.callback(None)
