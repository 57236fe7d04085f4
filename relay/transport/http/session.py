"""A drain's session over HTTP: several requests at a time, each with a batch of records.

    sent by the drain ──▶ open batch ──▶ batches that wait ──▶ requests ──▶ verdicts ──▶ drain
                                               ▲                  │
                                               └─ again, or split ┘

The drain is told of a prefix only.  What the server has decided is not sent again, as long as
the session lasts: a request brings the records that it has not decided.  After a failure one
request at a time is sent, with a pause before each, until one gets through.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.flow.pump import SessionDrain
from relay.model.clock import Clock, Now
from relay.transport.connections import Timers
from relay.transport.http.requests import NO_CONNECTION
from relay.transport.http.uploads import Outcome, Uploads
from relay.transport.upstream import UpstreamState
from relay.wire.http.answers import FAILED_ITEM, FORBIDDEN_ITEM, Fate, Verdict
from relay.wire.http.bodies import Record

_HOLD_SECONDS_MIN, _HOLD_SECONDS_MAX = 30.0, 900.0
_DAY_SECONDS = 86400.0
_FAILURES_MAX = 10  # with pauses up to a minute, five minutes
_STEPS = (
    32  # from the smallest request to the largest: if they grew fast, each other would time out
)


@dataclass(frozen=True, slots=True)
class Batches:
    """When a batch is sent, and how many at a time."""

    records_max: int
    bytes_max: int
    """Of payloads; a larger one goes alone."""
    seconds_max: float
    """How long the first record waits for more."""
    requests_max: int


class _Item:
    """A record of the session."""

    __slots__ = ("failures", "fate", "in_company", "reason", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.fate: Fate | None = None  # DELIVERED or REFUSED; None = not decided
        self.reason = ""  # why it was refused
        self.failures = 0  # of the server with it, since one at which others were taken
        self.in_company = False  # of records of the same request that were taken


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What a session works for, and tells."""

    drain: SessionDrain
    state: UpstreamState
    to_record: Callable[[int, bytes], Record]
    """Makes what a request brings of a seq and a record of the queue."""
    on_failure: Callable[[str], None]
    """Called once with text if the drain wants another session."""
    causes: Counter[str]
    """Records that a request did not deliver, by cause."""
    how: str
    """The state as text while all is well."""


class HttpSession:
    """Sends records of one drain."""

    _log = Logger(namespace="relay")

    def __init__(
        self, parts: SessionParts, uploads: Uploads, batches: Batches, *, now: Now, clock: Clock
    ) -> None:
        self._parts = parts
        self._uploads = uploads
        self._batches = batches
        self._now = now
        self._timers = Timers(clock)
        self._items: deque[_Item] = deque()  # in the order of the queue
        self._held_bytes = 0
        self._open: list[_Item] = []  # the batch that is not full
        self._open_bytes = 0
        self._waiting: deque[list[_Item]] = deque()
        self._active: set[Deferred[None]] = set()
        self._size = batches.records_max  # of the next request
        self._in_trouble = False
        self._holds = 0  # in a row
        self._closed = False

    @property
    def room(self) -> int:
        batches = self._batches
        if self._closed or self._held_bytes >= batches.bytes_max * batches.requests_max:
            return 0
        return max(0, batches.records_max * batches.requests_max - len(self._items))

    def send(self, payloads: Sequence[bytes]) -> None:
        seq = self._parts.drain.sent_seq - len(payloads)
        for number, data in enumerate(payloads, seq):
            record = self._parts.to_record(number, data)
            size = len(record.payload)
            if self._open_bytes + size > self._batches.bytes_max and self._open:
                self._close_batch()
            item = _Item(record)
            self._items.append(item)
            self._held_bytes += size
            self._open.append(item)
            self._open_bytes += size
            if len(self._open) >= self._batches.records_max:
                self._close_batch()
        if self._open and "flush" not in self._timers:
            self._timers.set("flush", self._batches.seconds_max, self._flush)
        self._go()

    def hurry(self) -> None:
        """Try now what would be tried after a pause."""
        if "pause" in self._timers:
            self._timers.cancel("pause")
            self._resume()

    def close(self) -> None:
        """End all requests; what they have not decided is sent again by another session."""
        if self._closed:
            return
        self._closed = True
        self._timers.cancel_all()
        for request in list(self._active):
            request.cancel()
        self._uploads.close()
        self._parts.drain.detach(self)

    def _flush(self) -> None:
        self._close_batch()
        self._go()

    def _close_batch(self) -> None:
        self._timers.cancel("flush")
        if self._open:
            self._waiting.append(self._open)
        self._open, self._open_bytes = [], 0

    def _go(self) -> None:
        """Send the batches that wait, as far as may be."""
        while self._waiting and not self._closed and "pause" not in self._timers:
            if len(self._active) >= (1 if self._in_trouble else self._batches.requests_max):
                return
            batch = self._waiting.popleft()
            size = 1 if self._holds else self._size
            if len(batch) > size:
                self._waiting.appendleft(batch[size:])
            self._post(batch[:size])

    def _post(self, batch: list[_Item]) -> None:
        is_probe = self._in_trouble
        sent = self._uploads.send([item.record for item in batch])
        request: Deferred[None] = sent.addCallback(self._answered, batch, is_probe)
        self._active.add(request)

        def ended(result: Failure | None) -> None:
            self._active.discard(request)
            if isinstance(result, Failure):
                self._broken(result)
            else:
                self._settle()
                self._go()

        request.addBoth(ended)

    def _broken(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("a request over HTTP failed", failure)
        if not self._closed:
            self._end("a request failed unexpectedly; the log says more")

    def _answered(self, outcome: Outcome, batch: list[_Item], is_probe: bool) -> None:
        company = any(verdict.fate is Fate.DELIVERED for verdict in outcome.verdicts)
        pairs = zip(outcome.verdicts, batch, strict=True)
        verdicts = [_of_its_own(verdict, item, company) for verdict, item in pairs]
        again: list[_Item] = []
        for item, verdict in zip(batch, verdicts, strict=True):
            if verdict.fate in (Fate.DELIVERED, Fate.REFUSED):
                item.fate, item.reason = verdict.fate, verdict.reason
                item.in_company = company or item.failures > 0
            else:
                again.append(item)
            if verdict.fate is not Fate.DELIVERED:
                self._parts.causes[verdict.cause] += 1
        troubles = [each for each in verdicts if each.fate in (Fate.RETRY, Fate.HOLD)]
        if again and not troubles:
            middle = len(again) // 2
            self._waiting.extendleft((again[middle:], again[:middle]))
        elif again:
            self._waiting.appendleft(again)
        if troubles:
            self._pause(next((e for e in troubles if e.fate is Fate.HOLD), troubles[0]), outcome)
        elif is_probe and self._in_trouble:
            self._recovered()
        if troubles and troubles[0].cause == "timeout":
            self._size = max(1, len(batch) // 2)  # the line may be too slow for so much
        elif not troubles:
            most = self._batches.records_max
            self._size = min(self._size + max(1, most // _STEPS), most)

    def _pause(self, verdict: Verdict, outcome: Outcome) -> None:
        """Send nothing for a while, because of `verdict`."""
        is_hold = verdict.fate is Fate.HOLD
        if "pause" in self._timers and (self._holds or not is_hold):
            return  # requests that were sent together have failed together
        self._in_trouble = True
        seconds, reason = outcome.pause, verdict.reason
        if is_hold:
            seconds = min(_HOLD_SECONDS_MIN * 2**self._holds, _HOLD_SECONDS_MAX)
            self._holds = min(self._holds + 1, 30)
            reason = f"held, nothing is lost: {reason}"
        if verdict.until_midnight:
            seconds = min(seconds, _DAY_SECONDS - self._now() % _DAY_SECONDS)
        state = self._parts.state
        state.failed(reason if verdict.cause == NO_CONNECTION else f"{state.target}: {reason}")
        delay = state.retry_policy(seconds_min=seconds)
        self._timers.set("pause", delay, self._resume)

    def _resume(self) -> None:
        self._parts.state.connecting()
        self._go()

    def _recovered(self) -> None:
        self._in_trouble, self._holds = False, 0
        self._parts.state.became_ready(self._parts.how)

    def _settle(self) -> None:
        """Tell the drain of the records at the head that are decided."""
        while self._items and not self._closed:
            if delivered := self._leading(Fate.DELIVERED):
                self._forget(delivered)
                if not self._parts.drain.acknowledged(self, delivered):
                    self._end("sends again what was refused")
            elif refused := self._leading(Fate.REFUSED):
                if not self._settle_refused(refused):
                    return
            else:
                return

    def _settle_refused(self, in_row: int) -> bool:
        """Tell of the record at the head, the first of `in_row` that were refused.

        Returns:
            Whether it was told: it waits as long as later records may show whose fault it is.
        """
        head, *others = self._items
        is_alone = not head.in_company
        if is_alone and not any(item.fate is Fate.DELIVERED for item in others):
            if any(item.fate is None for item in others):
                return False
        else:
            is_alone = False
        self._forget(1)
        reason = head.reason
        if not self._parts.drain.refused(self, reason, in_row=in_row, others_taken=not is_alone):
            self._end(f"refused: {reason}")
        return True

    def _leading(self, fate: Fate) -> int:
        """How many records at the head have `fate`."""
        count = 0
        for item in self._items:
            if item.fate is not fate:
                break
            count += 1
        return count

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._held_bytes -= len(self._items.popleft().record.payload)

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._parts.on_failure(f"{self._parts.state.target}: {reason}")


def _of_its_own(verdict: Verdict, item: _Item, company: bool) -> Verdict:
    """`verdict`, but a record alone is refused where nothing but itself is at fault.

    Else any sender could stop all others: by an index that is forbidden, or by a document at
    which the server fails each time.

    Args:
        company: Others of the same request were taken.
    """
    if verdict.fate is Fate.HOLD and verdict.cause in FORBIDDEN_ITEM and item.record.index:
        return replace(verdict, fate=Fate.REFUSED)
    if verdict.fate is Fate.RETRY and verdict.cause == FAILED_ITEM and (company or item.failures):
        item.failures += 1
        if item.failures >= _FAILURES_MAX:
            return replace(verdict, fate=Fate.REFUSED)
    return verdict
