"""A drain's session over HTTP: several requests at a time, each with a batch of records.

    sent by the drain ──▶ open batch ──▶ batches that wait ──▶ requests ──▶ verdicts ──▶ drain
                                               ▲                  │
                                               └─ again, or split ┘

The drain is told of a prefix only.  What the server has decided is not sent again, as long as
the session lasts: a request brings the records that it has not decided.  After a failure one
request at a time is sent, with a pause before each, until one gets through.  If the first one
fails each time, single records are tried in its place; if one of them is taken, the others go on
while the first ones are tried apart (see `Suspects`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.flow.pump import SessionDrain
from relay.model.clock import Clock, Now
from relay.model.text import counted
from relay.transport.connections import Timers
from relay.transport.http.batches import Batches, Waiting
from relay.transport.http.suspects import Item, Suspects, halves
from relay.transport.http.uploads import Outcome, Uploads
from relay.transport.upstream import UpstreamState
from relay.wire.http.answers import (
    FORBIDDEN_ITEM,
    NO_CONNECTION,
    NO_CREDENTIALS,
    Fate,
    Verdict,
    is_failure,
)
from relay.wire.http.bodies import Record

_HOLD_SECONDS_MIN, _HOLD_SECONDS_MAX = 30.0, 900.0
_DAY_SECONDS = 86400.0
_WITNESSES_MAX = 64  # records beyond the window, to see whether the server takes any
_STEPS = (
    32  # from the smallest request to the largest: if they grew fast, each other would time out
)


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
        self._items: deque[Item] = deque()  # in the order of the queue
        self._held_bytes = 0
        self._waiting = Waiting(batches)
        self._active: set[Deferred[None]] = set()
        self._size = batches.records_max  # of the next request
        self._in_trouble = False
        self._holds = 0  # in a row
        self._failures = 0  # likewise
        self._suspects = Suspects(batches.failing_seconds_min, clock)
        self._witnesses = 0  # since the head has moved
        self._closed = False

    @property
    def room(self) -> int:
        return self._free or int(self._needs_witness)

    @property
    def _free(self) -> int:
        """Records that requests have room for."""
        batches = self._batches
        if self._closed or self._held_bytes >= batches.bytes_max * batches.requests_max:
            return 0
        return max(0, batches.records_max * batches.requests_max - len(self._items))

    @property
    def _needs_witness(self) -> bool:
        """Whether the server has failed with all that there is to send: is it all the same?"""
        if self._closed or self._holds or self._active or self._waiting.open or not self._items:
            return False
        batches = self._batches
        is_full = self._held_bytes >= batches.bytes_max * (batches.requests_max + 1)
        if is_full or self._witnesses >= _WITNESSES_MAX:
            return False
        return all(item.seen for item in chain(self._waiting, *self._suspects.batches))

    def send(self, payloads: Sequence[bytes]) -> None:
        self._witnesses += not self._free
        seq = self._parts.drain.sent_seq - len(payloads)
        for number, data in enumerate(payloads, seq):
            item = Item(number, self._parts.to_record(number, data))
            self._items.append(item)
            self._held_bytes += item.size
            if self._waiting.add(item):
                self._timers.cancel("flush")
        if self._waiting.open and "flush" not in self._timers:
            self._timers.set("flush", self._batches.seconds_max, self._flush)
        self._go()

    def hurry(self) -> None:
        """Try now what would be tried after a pause."""
        if "pause" in self._timers:
            self._timers.cancel("pause")
            self._resume()
        elif "suspects" in self._timers:
            self._try_suspects()

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
        self._waiting.close()
        self._go()

    def _go(self) -> None:
        """Send the batches that wait, as far as may be."""
        tries_max = self._batches.tries_max
        while self._waiting and not self._closed and "pause" not in self._timers:
            if len(self._active) >= (1 if self._in_trouble else self._batches.requests_max):
                return
            if self._failures >= tries_max and not self._holds:
                self._post(self._waiting.take_single(self._failures - tries_max))
            else:
                self._post(self._waiting.take(1 if self._holds else self._size))

    def _try_suspects_later(self) -> None:
        pause = self._parts.state.pause_after(self._suspects.rounds + 1)
        self._timers.set("suspects", pause, self._try_suspects)

    def _try_suspects(self) -> None:
        if self._in_trouble:  # which says nothing of them
            self._try_suspects_later()
            return
        self._waiting.put_first(self._suspects.take())
        self._go()

    def _post(self, batch: list[Item]) -> None:
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
                if self._needs_witness:
                    self._parts.drain.pump()

        request.addBoth(ended)

    def _broken(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("a request over HTTP failed", failure)
        if not self._closed:
            self._end("a request failed unexpectedly; the log says more")

    def _answered(self, outcome: Outcome, batch: list[Item], is_probe: bool) -> None:
        if outcome.moves:
            self._move(outcome, batch)
            return
        pairs = [*zip(batch, outcome.verdicts, strict=True)]
        taken = {item.record.index for item, each in pairs if each.fate is Fate.DELIVERED}
        if company := bool(taken):
            self._suspects.took(taken)
        left = [pair for pair in pairs if not self._is_decided(*pair, company=company)]
        failing = [pair for pair in left if is_failure(pair[1])]
        if failing and self._are_suspects(failing, company):
            left = [pair for pair in left if not is_failure(pair[1])]
        troubles = [each for _, each in left if each.fate in (Fate.RETRY, Fate.HOLD)]
        again = [item for item, _ in left]
        for part in [again] if troubles else halves(again):
            self._waiting.put_back(part)
        if troubles:
            self._pause(next((e for e in troubles if e.fate is Fate.HOLD), troubles[0]), outcome)
        elif is_probe and self._in_trouble:
            self._recovered()
        if troubles and troubles[0].cause == "timeout":
            self._size = max(1, len(batch) // 2)  # the line may be too slow for so much
        elif not troubles:
            most = self._batches.records_max
            self._size = min(self._size + max(1, most // _STEPS), most)

    def _move(self, outcome: Outcome, batch: list[Item]) -> None:
        """Have another server asked at once: what one fails with says nothing of the records."""
        verdict = outcome.verdicts[0]
        self._parts.causes[verdict.cause] += len(batch)
        self._waiting.put_back(batch)
        state = self._parts.state
        state.count_failure(_cause_of(verdict))
        text = _named(outcome.server, verdict, verdict.reason)
        state.remark(f"{text}; another server is asked")

    def _is_decided(self, item: Item, verdict: Verdict, *, company: bool) -> bool:
        """Note what `verdict` says of `item`."""
        if verdict.fate is not Fate.DELIVERED:
            self._parts.causes[verdict.cause] += 1
        is_forbidden = verdict.fate is Fate.HOLD and verdict.cause in FORBIDDEN_ITEM
        if is_forbidden and item.record.index:  # a sender's own index must not stop all others
            verdict = replace(verdict, fate=Fate.REFUSED)
        if verdict.fate not in (Fate.DELIVERED, Fate.REFUSED):
            return False
        self._held_bytes -= item.decide(verdict.fate, verdict.reason, company=company)
        return True

    def _are_suspects(self, failing: list[tuple[Item, Verdict]], company: bool) -> bool:
        """Whether the server fails with these records and takes others; then they are apart."""
        if not self._suspects.failed(failing, others_taken=company):
            return False
        for item, verdict in failing:
            if reason := self._suspects.reason_of(item, verdict.reason):
                self._held_bytes -= item.decide(Fate.REFUSED, reason, company=True)
        if self._suspects.batches and "suspects" not in self._timers:
            self._try_suspects_later()
        state = self._parts.state
        what = f"{failing[0][1].reason}, with {counted(len(failing), 'message')}; others are taken"
        state.remark(f"{state.target}: {what}")
        return True

    def _pause(self, verdict: Verdict, outcome: Outcome) -> None:
        """Send nothing for a while, because of `verdict`."""
        is_hold = verdict.fate is Fate.HOLD
        if "pause" in self._timers and (self._holds or not is_hold):
            return  # requests that were sent together have failed together
        self._in_trouble = True
        self._failures += is_failure(verdict)
        seconds, reason = outcome.pause, verdict.reason
        if is_hold:
            is_local = verdict.cause == NO_CREDENTIALS  # a look at a file costs nothing
            longest = _HOLD_SECONDS_MIN if is_local else _HOLD_SECONDS_MAX
            seconds = min(_HOLD_SECONDS_MIN * 2**self._holds, longest)
            self._holds = min(self._holds + 1, 30)
            reason = f"held: {reason}"
        if verdict.until_midnight:
            seconds = min(seconds, _DAY_SECONDS - self._now() % _DAY_SECONDS)
        state = self._parts.state
        state.failed(
            _named(outcome.server or state.target, verdict, reason), cause=_cause_of(verdict)
        )
        delay = state.retry_policy(seconds_min=seconds)
        self._timers.set("pause", delay, self._resume)

    def _resume(self) -> None:
        self._parts.state.connecting()
        self._go()

    def _recovered(self) -> None:
        self._in_trouble, self._holds, self._failures = False, 0, 0
        self._parts.state.became_ready(self._parts.how)

    def _settle(self) -> None:
        """Tell the drain of the records at the head that are decided."""
        while self._items and not self._closed:
            if delivered := _leading(self._items, Fate.DELIVERED):
                self._forget(delivered)
                if not self._parts.drain.acknowledged(self, delivered):
                    self._end("sends again what was refused")
            elif refused := _leading(self._items, Fate.REFUSED):
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

    def _forget(self, count: int) -> None:
        self._witnesses = 0
        for _ in range(count):
            self._items.popleft()

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._parts.on_failure(f"{self._parts.state.target}: {reason}")


def _named(server: str, verdict: Verdict, reason: str) -> str:
    """A reason with the server that it is about."""
    return reason if verdict.cause == NO_CONNECTION else f"{server}: {reason}"


def _cause_of(verdict: Verdict) -> str:
    """The cause of a failure, as docs/operations.md lists them."""
    return f"http-{verdict.cause}".replace(" ", "-")


def _leading(items: Iterable[Item], fate: Fate) -> int:
    """How many records at the head have `fate`."""
    return sum(1 for _ in takewhile(lambda item: item.fate is fate, items))
