"""Moves records from a queue's cursor into the session of its drain, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure

from relay.codec import beginning_with, total_bytes
from relay.flow.pacing import Allowance
from relay.model.clock import Clock, DelayedCall
from relay.model.errors import DamagedRange, QueueError
from relay.model.output import SizeLimit
from relay.model.seq import SeqRange
from relay.queue.cursor import Batch, Cursor

if TYPE_CHECKING:
    from relay.flow.drain import Drain

# A batch is sent when all of the one before it is with the kernel, so it is what a busy turn of
# the reactor can send: less than sources bring in a turn would let the drain fall behind them.
BATCH_BYTES_MAX = 2 * 1024 * 1024
_RETRY_SECONDS = 1.0  # after a failure to read the queue

_NUL = 0  # begins every record that has something before its payload, or in it

Fill = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Makes of records what is sent of them, one each; QueueError says why that cannot be done.

It changes only records that begin with NUL, so it need not be called where there are none."""


class TooLong(QueueError):
    """A record that is not to be sent.

    Attributes:
        index: Which one of those to be filled.
        reason: Why, for the quarantine.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


def check_sizes(payloads: Sequence[bytes], limit: SizeLimit) -> None:
    """Raise `TooLong` for the first payload that is longer than the limit."""
    if total_bytes(payloads) > limit.bytes_max:
        for index, payload in enumerate(payloads):
            if len(payload) > limit.bytes_max:
                text = f"too-long: {len(payload):,} bytes, and the limit of {limit.whose} is"
                raise TooLong(index, f"{text} {limit.bytes_max:,}")


class Session(Protocol):
    """A connection to the upstream that is ready for records."""

    @property
    def room(self) -> int:
        """How many records it takes now; 0 = `Drain.pump` will be called later."""

    def send(self, payloads: Sequence[bytes]) -> None:
        """Send at most `room` records, none empty."""


class SessionDrain(Protocol):
    """A drain as its sessions know it, or what divides one among several connections."""

    @property
    def sent_seq(self) -> int:
        """Seq after the last record that was sent."""

    def attach(self, session: Session) -> None:
        """A session is ready; what is in flight is sent again through it."""

    def detach(self, session: Session) -> None:
        """The session has ended."""

    def pump(self) -> None:
        """The session has room again."""

    def acknowledged(self, session: Session, count: int) -> bool:
        """The oldest `count` records in flight are delivered; false = the session has to end."""

    def refused(
        self, session: Session, reason: str, *, in_row: int = 1, others_taken: bool = False
    ) -> bool:
        """The oldest record in flight was refused; false = the session has to end."""


class Pump:
    """Reads for one drain; one read at a time.

    Args:
        fill: What is done to records before they are sent.
        on_trouble: Called with errors of the queue.
    """

    def __init__(
        self,
        drain: Drain,
        cursor: Cursor,
        *,
        allowance: Allowance,
        clock: Clock,
        fill: Fill,
        on_trouble: Callable[[str], None],
    ) -> None:
        self._drain = drain
        self._cursor = cursor
        self._allowance = allowance
        self._clock = clock
        self._fill = fill
        self._on_trouble = on_trouble
        self._running = False
        self._stopped = False
        self._retry: DelayedCall | None = None  # while waiting to read again, or for the pace
        self._missing: int | None = None  # nothing was found at this seq when it was last read

    def run(self) -> None:
        """Send what there is, as far as the session has room."""
        # Everybody calls this, also from within a send: a second loop would take the batch
        # that the first one waits for.
        drain = self._drain
        if self._running or drain.open_session is None or self._cursor.position >= drain.end:
            return
        self._running = True
        ensureDeferred(self._run()).addErrback(self._failed)

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _run(self) -> None:
        drain, cursor, allowance = self._drain, self._cursor, self._allowance
        try:
            while cursor.position < drain.end and (session := drain.open_session) is not None:
                before, position = drain.interruptions, cursor.position
                room = allowance.room(session.room, in_flight=drain.in_flight)
                if room <= 0:
                    break  # an answer or a commit calls `run` again
                bytes_max = BATCH_BYTES_MAX
                if allowance.pace is not None:
                    if seconds := allowance.pace.seconds_to_wait():
                        self._run_later(seconds)
                        break
                    bytes_max = allowance.pace.bytes_max(bytes_max)
                try:
                    batch = await cursor.take(records_max=room, bytes_max=bytes_max)
                except DamagedRange as damage:
                    if before == drain.interruptions and not drain.set_unfit_aside(
                        damage.seqs, damage.reason
                    ):
                        break
                    continue
                # The read may have taken long: to another session, or behind a hold, the batch
                # would be sent out of its order.  The cursor is, or will be, set back.
                if before != drain.interruptions:
                    continue
                if batch.payloads:
                    if allowance.limit is None and not beginning_with(batch.payloads, _NUL):
                        drain.send(session, batch.seqs, batch.payloads)
                    elif not self._send_filled(session, batch):
                        break
                elif batch.seqs.start == position:
                    self._not_found(position)
                    break
                # Else what was at `position` has left, and the cursor is behind it.
        finally:
            self._running = False

    def _send_filled(self, session: Session, batch: Batch) -> bool:
        """Fill and send a batch; False = what is in flight has to be answered first."""
        seqs, start, limit = batch.seqs, batch.seqs.start, self._allowance.limit
        try:
            payloads = self._fill(batch.payloads)
            if limit is not None:
                check_sizes(payloads, limit)
        except TooLong as found:
            self._cursor.rewind(start + found.index)
            if not found.index:
                return self._drain.set_unfit_aside(SeqRange(start, start + 1), found.reason)
            seqs = SeqRange(start, start + found.index)
            payloads = self._fill(batch.payloads[: found.index])
        except QueueError:
            self._cursor.rewind(start)  # they have been taken and were not sent
            raise
        self._drain.send(session, seqs, payloads)
        return True

    def _not_found(self, position: int) -> None:
        """Nothing is at `position`, although records behind it are on disk."""
        # An eviction or a purge commits before the drain is told.  So the first time may be no
        # hole, and the second time is one.
        known, self._missing = self._missing == position, position
        if known:
            raise QueueError(f"record {position} is missing, reading again")
        self._run_later(_RETRY_SECONDS)

    def _failed(self, failure: Failure) -> Failure | None:
        if failure.check(QueueError) is None:
            return failure  # a defect
        self._on_trouble(str(failure.value))
        self._run_later(_RETRY_SECONDS)
        return None

    def _run_later(self, seconds: float) -> None:
        if self._retry is None and not self._stopped:
            self._retry = self._clock.callLater(seconds, self._run_again)

    def _run_again(self) -> None:
        self._retry = None
        self.run()
