"""From disk to frames: keep an upstream supplied, forget what it acknowledged.

    acknowledged ≤ sent ≤ stored     three positions in one queue

`acknowledged` moves when the upstream answers, and the queue may then forget;
`sent` is the cursor, and losing the session sets it back; `stored` moves with
each commit.  Nothing else is state: what is in flight is what lies between the
first two, and no crash can lose track of it.

Where a limit lets the head of the queue leave undelivered, what is in flight of it is
*overtaken*: its answers are still awaited, and each moves a record from the dropped ones
to the delivered ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from relay.codec import octets_of
from relay.flow.pacing import Pacing, Window
from relay.flow.refusals import Refusals, Suspects
from relay.model.clock import Clock, DelayedCall
from relay.model.errors import DamagedRange, QueueError
from relay.model.seq import SeqRange
from relay.model.words import span
from relay.queue.cursor import Batch, Cursor

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_RECORDS_MAX",
    "BY_PURGE",
    "Drain",
    "Fill",
    "Forgets",
    "Session",
]

BY_PURGE = "purge"
"""Who holds a drain to take records out of its queue."""
# A batch is sent when all of the one before it is with the kernel, so it is what a busy turn of
# the reactor can send: less than sources bring in a turn would let the drain fall behind them.
BATCH_RECORDS_MAX = 8192
BATCH_BYTES_MAX = 2 * 1024 * 1024
_RETRY_SECONDS = 1.0  # after a failure to read the queue

Fill = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Makes of records what is sent of them, one each; QueueError says why that cannot be done."""


class Session(Protocol):
    """A connection to the upstream that is ready for records."""

    @property
    def room(self) -> int:
        """How many records it takes now; 0 = `Drain.pump` will be called later."""

    def send(self, payloads: Sequence[bytes]) -> None:
        """Send at most `room` records, none empty."""


class Forgets(Protocol):
    """The queue, as far as the drain changes it."""

    def acknowledge(self, destination: str, upto: int) -> None: ...

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None: ...

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None: ...


class Drain:
    """Sends one destination's queue through one session after another.

    Args:
        acknowledged: Where the queue begins.
        stored: Where it ends.
        refusals: What the upstream has refused, whichever of its drains sent it.
        clock: For reading again after a failure of the queue.
        on_progress: Called when the upstream has acknowledged something.
        on_trouble: Called with errors of the queue and with what was set aside.
        window: How many records may be in flight; None = what the session takes.
        pace: How fast to send; None = as fast as possible.
        fill: What is done to records before they are sent.
        on_session: Called when a session begins, before anything is sent through it.

    Attributes:
        sent_records: Records handed to sessions, repeats included.
        resent_records: Those handed to a session more than once.
    """

    def __init__(
        self,
        *,
        destination: str,
        cursor: Cursor,
        queue: Forgets,
        acknowledged: int,
        stored: int,
        refusals: Refusals,
        clock: Clock,
        on_progress: Callable[[], None],
        on_trouble: Callable[[str], None],
        window: Window | None = None,
        pace: Pacing | None = None,
        fill: Fill = lambda payloads: payloads,
        on_session: Callable[[], None] = lambda: None,
    ) -> None:
        self.sent_records = 0
        self.resent_records = 0
        self._destination = destination
        self._cursor = cursor
        self._queue = queue
        self._acknowledged = acknowledged
        self._stored = stored
        self._sent = acknowledged  # what this session was sent ends here
        self._sent_before = acknowledged  # highest position that any session reached
        self._upstream = refusals
        self._suspects = Suspects(refusals)
        self._overtaken: deque[tuple[int, str]] = deque()  # counts and reasons, oldest first
        self._missing: int | None = None  # nothing was found there
        self._clock = clock
        self._on_progress = on_progress
        self._on_trouble = on_trouble
        self._session: Session | None = None
        self._pumping = False
        self._window = window
        self._fill = fill
        self._pace = pace
        self._on_session = on_session
        self._retry: DelayedCall | None = None  # while waiting to read again, or for the pace
        self._finishing: Deferred[None] | None = None  # set = send nothing more
        self._held: set[str] = set()  # by whom; as long as there is one, nothing is sent
        self._holds = 0  # a read from before one is thrown away
        self._known = 0  # what the upstream has, as it said while records were taken out

    @property
    def in_flight(self) -> int:
        """Records sent and not acknowledged."""
        if self._session is None:
            return 0
        overtaken = sum(count for count, _ in self._overtaken)
        return max(0, self._sent - self._acknowledged - self._suspects.passed) + overtaken

    @property
    def acknowledged_seq(self) -> int:
        """The oldest record that is not acknowledged, or the next one."""
        return self._acknowledged

    @property
    def sent_seq(self) -> int:
        """Seq after the newest record that this session was sent."""
        return self._sent

    @property
    def stored_seq(self) -> int:
        """Seq after the newest record.

        One that was sent has been read from the disk, even if we have not been told of it.
        """
        return max(self._stored, self._sent_before)

    @property
    def has_session(self) -> bool:
        return self._session is not None

    @property
    def has_more(self) -> bool:
        """Whether there are records that it may send, as soon as the session has room."""
        return self._can_send() and self._sent < self._stored

    @property
    def could_send(self) -> bool:
        """Whether there are records that nothing but a session keeps from being sent."""
        waits = self._pace is not None and self._pace.seconds_to_wait() > 0
        kept = waits or self._held or self._finishing is not None
        return self._sent < self._stored and not kept

    def skip_to(self, upto: int) -> None:
        """The upstream has said that it has the records before `upto`; no session may be on.

        While somebody takes records out by other ways, it waits for the release.
        """
        assert self._session is None and self._acknowledged <= upto <= self.stored_seq
        if BY_PURGE in self._held:
            self._known = upto
            return
        self._suspects.forget(upto - self._acknowledged)
        self._acknowledged = self._sent = upto
        self._cursor.rewind(upto)
        self._queue.acknowledge(self._destination, upto)
        self._on_progress()

    def attach(self, session: Session) -> None:
        """Send through `session` from now on, from the oldest unacknowledged record."""
        self._session = session
        self._overtaken.clear()
        self._sent = self._acknowledged + self._suspects.begin_session()
        self._cursor.rewind(self._sent)
        if self._window is not None:
            self._window.begin()
        self._on_session()  # this may hold it
        self.pump()

    def detach(self, session: Session) -> None:
        """`session` is gone; what it did not acknowledge will be sent again."""
        if self._session is session:
            self._session = None
            self._overtaken.clear()  # whether they have arrived will not be known
            self._suspects.end_session()
            self._cursor.rewind(self._acknowledged)
            self._finish_if_answered()

    def finish(self) -> Deferred[None]:
        """Send nothing more.  Fires when nothing is in flight, which may be never."""
        self._finishing = Deferred()
        finished = self._finishing
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._finish_if_answered()
        return finished

    def is_held(self, by: str) -> bool:
        return by in self._held

    def hold(self, by: str) -> None:
        """Send nothing more until `release`; answers are still taken."""
        self._held.add(by)
        self._holds += 1

    def release(self, by: str) -> None:
        """Send again, unless somebody else holds it, or `by` does not."""
        if by not in self._held:
            return  # setting the cursor back would throw away what is being read
        self._held.remove(by)
        if by == BY_PURGE and self._known > self._acknowledged:
            self._suspects.forget(self._known - self._acknowledged)
            self._acknowledged = self._sent = self._known
            self._queue.acknowledge(self._destination, self._known)
        if not self._held and self._session is not None:
            self._cursor.rewind(self._sent)
            self.pump()

    def skip(self, upto: int) -> None:
        """The records before `upto` have left the queue by other ways than ours.

        Only while it is held for that and nothing is in flight.
        """
        assert self._held and self.in_flight == 0, (self._held, self.in_flight)
        self._suspects.forget(upto - self._acknowledged)
        self._acknowledged = max(self._acknowledged, upto)
        self._sent = self._acknowledged + self._suspects.passed
        self._sent_before = max(self._sent_before, self._sent)

    def stored(self, upto: int) -> None:
        """Records before `upto` are on disk."""
        if self._pace is not None:
            self._pace.came_in(upto - self._stored)
        self._stored = upto
        self.pump()

    def evicted(self, upto: int, reason: str) -> None:
        """The records before `upto` have left the queue undelivered."""
        if upto <= self._acknowledged:
            return  # they were answered meanwhile
        overtaken = min(upto, self._sent) - self._acknowledged - self._suspects.passed
        if self._session is not None and overtaken > 0:
            self._overtaken.append((overtaken, reason))
        known = min(upto, self._known) - self._acknowledged
        if known > 0:  # the upstream had them before they left
            self._queue.acknowledge_late(self._destination, known, reason)
        self._suspects.forget(upto - self._acknowledged)
        self._acknowledged = upto
        self._sent = max(self._sent, upto)
        if self._cursor.position < upto:
            self._cursor.rewind(upto)
        self.pump()

    def acknowledged(self, session: Session, count: int) -> bool:
        """The `count` oldest records that `session` was sent are with the upstream.

        Returns:
            False if they are to be sent again through another session all the same, behind
            others that the upstream has refused and may take now.
        """
        if count and self._session is session:
            if self._window is not None:
                self._window.answered(count)
            count -= self._answered_late(count)
            if not self._suspects.taken():
                self._on_progress()
                return False
            self._acknowledged += count
            assert self._acknowledged <= self._sent, (self._acknowledged, self._sent)
            if count:
                self._queue.acknowledge(self._destination, self._acknowledged)
            self._on_progress()
            self._finish_if_answered()
            self.pump()
        return True

    def refused(
        self, session: Session, words: str, *, in_row: int = 1, others_taken: bool = False
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
        if self._overtaken:  # it was dropped already
            self._pop_overtaken(1)
            self._finish_if_answered()
            return True
        reasons, goes_on = self._suspects.refused(
            words,
            in_row=in_row,
            others_taken=others_taken,
            waiting=self._stored - self._acknowledged,
        )
        self._set_aside_oldest(reasons)
        self._finish_if_answered()
        return goes_on

    def _set_aside_oldest(self, reasons: Sequence[str]) -> None:
        for reason in reasons:
            self._set_aside(SeqRange(self._acknowledged, self._acknowledged + 1), reason)

    def _answered_late(self, count: int) -> int:
        """How many of the `count` oldest records in flight had been overtaken."""
        late = 0
        while self._overtaken and late < count:
            taken, reason = self._pop_overtaken(count - late)
            late += taken
            self._queue.acknowledge_late(self._destination, taken, reason)
        return late

    def _pop_overtaken(self, count_max: int) -> tuple[int, str]:
        """Forget up to `count_max` of the records that were overtaken first."""
        count, reason = self._overtaken.popleft()
        if count > count_max:
            self._overtaken.appendleft((count - count_max, reason))
        return min(count, count_max), reason

    def pump(self) -> None:
        """Send what there is, as far as the session has room."""
        if not self._pumping and self._can_send() and self._cursor.position < self._stored:
            self._pumping = True
            ensureDeferred(self._pump()).addErrback(self._failed)

    def _can_send(self) -> bool:
        return self._session is not None and self._finishing is None and not self._held

    async def _pump(self) -> None:
        try:
            while self._can_send():
                session, holds = self._session, self._holds
                assert session is not None
                room = self._room(session)
                position = self._cursor.position
                if room <= 0 or position >= self._stored or self._has_to_wait():
                    break
                octets = (
                    BATCH_BYTES_MAX
                    if self._pace is None
                    else self._pace.octets_max(BATCH_BYTES_MAX)
                )
                try:
                    batch = await self._cursor.take(records_max=room, bytes_max=octets)
                except DamagedRange as damage:
                    if holds != self._holds:
                        continue
                    if damage.seqs.start != self._acknowledged + self._suspects.passed:
                        break  # first what lies before it; its answers call again
                    self._set_aside_oldest(self._suspects.take_passed())
                    self._set_aside(damage.seqs, damage.reason)
                    continue
                if session is not self._session or holds != self._holds or self._finishing:
                    continue  # the cursor was set back meanwhile
                if not batch.payloads:
                    if batch.seqs.start == position:  # else what was there has left
                        self._not_found(position)
                        break
                    continue
                self._send(session, batch)
        finally:
            self._pumping = False

    def _not_found(self, position: int) -> None:
        """Nothing is at `position`: it may have left, and we shall be told; or it is a hole."""
        known, self._missing = self._missing == position, position
        if known:
            raise QueueError(f"record {position} is missing, reading again")
        self._read_again_later()

    def _room(self, session: Session) -> int:
        """How many records to send now."""
        room = min(session.room, BATCH_RECORDS_MAX)
        if self._upstream.is_held:
            room = min(room, 1 - min(1, self.in_flight))
        if self._window is not None:
            room = min(room, self._window.room(self.in_flight))
        if self._pace is not None and room > 0:
            room = self._pace.room(room)
        return room

    def _has_to_wait(self) -> bool:
        """Whether the pace wants a pause; it goes on by itself."""
        seconds = 0.0 if self._pace is None else self._pace.seconds_to_wait()
        if seconds and self._retry is None:
            self._retry = self._clock.callLater(seconds, self._read_again)
        return seconds > 0

    def _send(self, session: Session, batch: Batch) -> None:
        payloads = self._filled(batch)
        self.sent_records += len(payloads)
        self.resent_records += max(0, min(self._sent_before, batch.seqs.stop) - batch.seqs.start)
        self._sent_before = max(self._sent_before, batch.seqs.stop)
        self._sent = batch.seqs.stop
        session.send(payloads)
        if self._pace is not None:
            # After the rest: the other lane may send now, and looks at this drain for that.
            self._pace.sent(len(payloads), octets_of(payloads))

    def _filled(self, batch: Batch) -> Sequence[bytes]:
        try:
            return self._fill(batch.payloads)
        except QueueError:
            self._cursor.rewind(batch.seqs.start)
            raise

    def _set_aside(self, seqs: SeqRange, reason: str) -> None:
        self._on_trouble(
            f"{span('record', seqs.start, seqs.stop - 1)} set aside in the quarantine: {reason}"
        )
        self._acknowledged = seqs.stop
        if self._cursor.position < seqs.stop:
            self._cursor.rewind(seqs.stop)
        self._queue.set_aside(self._destination, seqs, reason)
        self._finish_if_answered()

    def _finish_if_answered(self) -> None:
        finishing = self._finishing
        if finishing is not None and not finishing.called and self.in_flight == 0:
            finishing.callback(None)

    def _failed(self, failure: Failure) -> Failure | None:
        if failure.check(QueueError) is None:
            return failure
        self._on_trouble(str(failure.value))
        self._read_again_later()
        return None

    def _read_again_later(self) -> None:
        if self._retry is None and self._finishing is None:
            self._retry = self._clock.callLater(_RETRY_SECONDS, self._read_again)

    def _read_again(self) -> None:
        self._retry = None
        self.pump()
