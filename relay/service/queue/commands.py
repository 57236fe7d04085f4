"""Commands of the control socket for queues, quarantines and histories.

Queries run in the threads that read for the drains, a page at a time.  Changes go through the
committer, one transaction at a time, with what sources append in between.  A change of many steps
runs for up to two seconds; its answer says what is left, and the client asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred

from relay.flow.drain import BY_PURGE, Drain
from relay.model.clock import Clock
from relay.model.errors import QueueError
from relay.model.text import counted, size
from relay.observe.control import Asked
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.changes import OPERATOR
from relay.queue.inspect.commands import Adopt, Adopted, Purge, Replayed, ReplayHistory
from relay.queue.inspect.quarantine_commands import PurgeQuarantined, ReplayQuarantined, TakenOut
from relay.queue.inspect.queries import QUERIES, Period, Query
from relay.queue.ledger import Ledger
from relay.queue.transaction import destination_of
from relay.queue.view import TransactionView
from relay.service.queue.service import QueueService

__all__ = [
    "HistoryTools",
    "ReplayDelivered",
    "ReplayedSoFar",
    "AdoptQueue",
    "Appended",
    "AppendTo",
    "PurgeQueue",
    "Purged",
    "QueueTools",
    "ReplayEntries",
    "TakeEntries",
]

_STEP_RECORDS = 10_000
_STEP_BYTES = 4 * 1024 * 1024
_STEPS_PER_LIMIT = 8  # where the oldest leave for what is moved
_RECORD_BYTES = 4  # what a record takes in its block beside its bytes
_STEPS_SECONDS_MAX = 2.0  # of one answer
_ANSWERS_SECONDS_MAX = 2.0  # what a purge waits for what is in flight
_POLL_SECONDS = 0.05

_T = TypeVar("_T")
_Wanted = TypeVar("_Wanted", "AdoptQueue", "PurgeQueue")


class AppendTo(msgspec.Struct, forbid_unknown_fields=True):
    destination: str
    payloads: list[bytes]


class Appended(msgspec.Struct):
    records: int


class PurgeQueue(msgspec.Struct, forbid_unknown_fields=True):
    queue: str
    upto: int = 0
    """Seq of the first record to keep; 0 = none that is there now."""
    reason: str = OPERATOR


class Purged(msgspec.Struct):
    records: int
    upto: int
    """For the next query."""
    left: int
    """Records that are still to be purged."""


class AdoptQueue(msgspec.Struct, forbid_unknown_fields=True):
    orphan: str
    to: str


class TakeEntries(msgspec.Struct, forbid_unknown_fields=True):
    """Which entries of a quarantine to purge."""

    account: str
    seqs: list[int] = []
    """Empty = all that are there from `start` on and before `upto`."""
    start: int = 0
    upto: int = 2**63
    reason: str = OPERATOR


class ReplayEntries(msgspec.Struct, forbid_unknown_fields=True):
    """Which entries of a quarantine to put into the queue of `to`."""

    account: str
    to: str
    seqs: list[int] = []
    start: int = 0
    upto: int = 2**63


class Destination(Protocol):
    """A destination's service, as far as it is needed here."""

    id: str

    def drain_of(self, queue: str) -> Drain | None: ...

    def break_link(self, why: str) -> None: ...


class QueueTools:
    """Answers queries about the queue and changes it by hand.

    Args:
        destinations: The configured ones; all other queues are orphans.
        limits: Those of the destinations.
    """

    def __init__(
        self,
        *,
        queue: QueueService,
        destinations: Sequence[Destination],
        admission: Admission,
        clock: Clock,
        limits: Mapping[str, QueueLimit] | None = None,
    ) -> None:
        self._queue = queue
        self._limits = {} if limits is None else limits
        self._destinations = {destination.id: destination for destination in destinations}
        self._admission = admission
        self._clock = clock
        self._busy: set[str] = set()  # queues that are being purged or adopted

    def commands(self) -> dict[str, Asked]:
        """What the control socket offers, by name."""
        queries = {name: self._asked(query) for name, query in QUERIES.items()}
        return {
            **queries,
            "queue-append": Asked(AppendTo, self.append),
            "queue-purge": Asked(PurgeQueue, self._alone(self._purge)),
            "queue-adopt": Asked(AdoptQueue, self._alone(self._adopt)),
            "quarantine-purge": Asked(TakeEntries, self.purge_entries),
            "quarantine-replay": Asked(ReplayEntries, self.replay_entries),
        }

    def _asked(self, query: Query) -> Asked:
        def answer(arguments: msgspec.Struct) -> Deferred[object]:
            return self._queue.view.look(partial(_apply, query, arguments))

        return Asked(query.arguments, answer)

    def append(self, wanted: AppendTo) -> Deferred[Appended]:
        """Put messages at the end of a destination's queue; empty ones are left out."""
        id = self._destination(wanted.destination).id
        if self._admission.closed:
            raise QueueError(f"the queue takes nothing now: {self._admission.reason}")
        payloads = [payload for payload in wanted.payloads if payload]
        self.step_bytes(id, wanted=sum(map(len, payloads)) + _RECORD_BYTES * len(payloads))
        stored = self._queue.committer.append({id: payloads})
        return stored.addCallback(lambda _: Appended(len(payloads)))

    def purge_entries(self, wanted: TakeEntries) -> Deferred[TakenOut]:
        """Give up entries of a quarantine."""
        upto = self._account(wanted.account, wanted.upto)
        return self._queue.committer.operate(
            PurgeQuarantined(
                wanted.account,
                seqs=wanted.seqs,
                start=wanted.start,
                upto=upto,
                reason=wanted.reason,
            )
        )

    def replay_entries(self, wanted: ReplayEntries) -> Deferred[TakenOut]:
        """Send entries of a quarantine again, to one destination."""
        upto = self._account(wanted.account, wanted.upto)
        to = self._destination(wanted.to).id
        return self._queue.committer.operate(
            ReplayQuarantined(
                wanted.account,
                to,
                seqs=wanted.seqs,
                start=wanted.start,
                upto=upto,
                bytes_max=self.step_bytes(to),
            )
        )

    def step_bytes(self, id: str, *, wanted: int = 1) -> int:
        """What may be added to the queue of `id` in one step; what is moved keeps its limit.

        Raises:
            QueueError: There is no room for `wanted` bytes.
        """
        limit = self._limits.get(id)
        if limit is None or not limit.bytes_max:
            return _STEP_BYTES
        room = limit.room_by_hand
        if room is None:
            return min(_STEP_BYTES, limit.bytes_max // _STEPS_PER_LIMIT)
        if room < wanted:
            raise QueueError(
                f"the queue of {id} has room for {size(room)} (queue_bytes_max of destinations."
                f"{id} is {size(limit.bytes_max)}, when_full {limit.when_full!r}): no more is put "
                "there, and what is left stays where it is; let the upstream take some of it, or "
                "raise the limit"
            )
        return min(_STEP_BYTES, room // 2 + 1)  # a page may be half empty

    def _account(self, id: str, upto: int) -> int:
        """`upto`, but not beyond what has a number now: what is replayed gets a new one."""
        if id not in self._queue.view.ledgers:
            known = ", ".join(sorted(self._queue.view.ledgers))
            raise QueueError(f"there is no quarantine {id!r}; there is: {known}")
        return min(upto, self._queue.view.ledgers[id].next_seq)

    def _destination(self, id: str) -> Destination:
        if id not in self._destinations:
            known = ", ".join(sorted(self._destinations))
            raise QueueError(f"there is no destination {id!r}; there is: {known}")
        return self._destinations[id]

    def _alone(
        self, do: Callable[[_Wanted], Coroutine[Deferred[object], object, _T]]
    ) -> Callable[[_Wanted], Deferred[_T]]:
        """`do` for one queue at a time."""

        async def guarded(wanted: _Wanted) -> _T:
            id = wanted.orphan if isinstance(wanted, AdoptQueue) else wanted.queue
            if id not in self._queue.view.ledgers or id.startswith("source/"):
                known = ", ".join(sorted(self._queue.view.ledgers))
                raise QueueError(f"there is no queue {id!r}; there is: {known}")
            if id in self._busy:
                raise QueueError(
                    f"queue of {id}: another command is at work on it; ask again later"
                )
            self._busy.add(id)
            try:
                return await do(wanted)
            finally:
                self._busy.discard(id)

        return lambda wanted: ensureDeferred(guarded(wanted))

    async def _adopt(self, wanted: AdoptQueue) -> Adopted:
        of = self._destinations.get(destination_of(wanted.orphan))
        if of is not None and of.drain_of(wanted.orphan) is not None:
            raise QueueError(f"{wanted.orphan} is no orphan but a destination of the configuration")
        to = self._destination(wanted.to).id
        done = Adopted()
        until = self._clock.seconds() + _STEPS_SECONDS_MAX
        while True:
            try:
                bytes_max = self.step_bytes(to)
            except QueueError:
                if done.records or not self._queue.view.ledgers[wanted.orphan].queued:
                    return done  # what is left is refused when it is asked for
                raise
            step = await self._queue.committer.operate(
                Adopt(wanted.orphan, to, bytes_max=bytes_max)
            )
            done.records += step.records
            done.set_aside += step.set_aside
            done.left = step.left
            if not step.left or self._clock.seconds() >= until:
                return done

    async def _purge(self, wanted: PurgeQueue) -> Purged:
        destination = self._destinations.get(destination_of(wanted.queue))
        drain = None if destination is None else destination.drain_of(wanted.queue)
        if destination is None or drain is None:
            return await self._purge_steps(wanted, lambda upto: None)
        drain.hold(BY_PURGE)
        try:
            await self._wait_for_answers(destination, wanted.queue, drain)
            return await self._purge_steps(wanted, drain.skip)
        finally:
            drain.release(BY_PURGE)

    async def _purge_steps(self, wanted: PurgeQueue, skip: Callable[[int], object]) -> Purged:
        ledger = self._queue.view.ledgers[wanted.queue]
        upto = min(wanted.upto or ledger.next_seq, ledger.next_seq)
        done = Purged(0, upto, 0)
        until = self._clock.seconds() + _STEPS_SECONDS_MAX
        while True:
            head = self._queue.view.ledgers[wanted.queue].acknowledged_seq
            stop = min(upto, head + _STEP_RECORDS)
            if stop > head:
                done.records += await self._queue.committer.operate(
                    Purge(wanted.queue, head, stop, reason=wanted.reason)
                )
                skip(stop)
            done.left = max(0, upto - stop)
            if not done.left or self._clock.seconds() >= until:
                return done

    async def _wait_for_answers(self, destination: Destination, queue: str, drain: Drain) -> None:
        """Until what was sent is answered for, and that is on disk.

        An upstream that does not answer is cut off: whether it has the records that
        are in flight is unknown, and they are purged with the others.
        """
        for patience in (_ANSWERS_SECONDS_MAX, _ANSWERS_SECONDS_MAX / 2):
            until = self._clock.seconds() + patience
            while self._clock.seconds() < until:
                if self._is_settled(queue, drain):
                    return
                await self._pause()
            destination.break_link("its queue is being purged, and it does not answer")
        if not self._is_settled(queue, drain):
            raise QueueError(
                f"{destination.id} does not answer for {counted(drain.in_flight, 'record')} on "
                "the way to it, or the disk is failing; nothing was purged"
            )

    def _is_settled(self, queue: str, drain: Drain) -> bool:
        stored = self._queue.view.ledgers[queue].acknowledged_seq
        return drain.in_flight == 0 and drain.acknowledged_seq == stored

    def _pause(self) -> Deferred[None]:
        passed: Deferred[None] = Deferred()
        self._clock.callLater(_POLL_SECONDS, passed.callback, None)
        return passed


def _apply(query: Query, arguments: msgspec.Struct, view: TransactionView) -> object:
    return query.function(view, arguments)


class ReplayDelivered(msgspec.Struct, forbid_unknown_fields=True):
    """Which delivered records to put into the queue of `to`."""

    queue: str
    to: str
    period: Period
    start: int = 0
    upto: int = 0
    """Seq of the first record to leave out; 0 = none that has been delivered so far."""


class ReplayedSoFar(Replayed):
    """What one answer comes to; `next_seq` and `upto` are for the next query."""

    upto: int = 0
    waits: str = ""
    """Why it cannot go on now; the client asks again later."""


class HistoryTools:
    """Sends delivered records again.

    Args:
        destinations: Ids of those that there are in the configuration.
        step_bytes: What may be added to a queue in one step; QueueError says why nothing may.
    """

    def __init__(
        self,
        *,
        queue: QueueService,
        destinations: Iterable[str],
        admission: Admission,
        clock: Clock,
        step_bytes: Callable[[str], int],
    ) -> None:
        self._queue = queue
        self._destinations = frozenset(destinations)
        self._admission = admission
        self._clock = clock
        self._step_bytes = step_bytes

    def commands(self) -> dict[str, Asked]:
        """What the control socket offers, by name."""
        return {
            "history-replay": Asked(
                ReplayDelivered, lambda wanted: ensureDeferred(self._replay(wanted))
            )
        }

    async def _replay(self, wanted: ReplayDelivered) -> ReplayedSoFar:
        if wanted.to not in self._destinations:
            known = ", ".join(sorted(self._destinations))
            raise QueueError(f"there is no destination {wanted.to!r}; there is: {known}")
        ledger = self._queue.view.ledgers.get(wanted.queue, Ledger())
        # What is replayed is delivered once more, with new seqs: that is not part of it.
        upto = wanted.upto or ledger.acknowledged_seq
        done = ReplayedSoFar(next_seq=wanted.start, upto=upto)
        until = self._clock.seconds() + _STEPS_SECONDS_MAX
        while True:
            done.waits, bytes_max = self._room(wanted.to)
            if done.waits:
                return done
            step = await self._queue.committer.operate(
                ReplayHistory(
                    wanted.queue, wanted.to, wanted.period, done.next_seq, upto, bytes_max
                )
            )
            done.records += step.records
            done.damaged += step.damaged
            done.gone += step.gone
            done.begins_at = step.begins_at if done.begins_at is None else done.begins_at
            done.next_seq = step.next_seq
            if not step.next_seq or self._clock.seconds() >= until:
                return done

    def _room(self, to: str) -> tuple[str, int]:
        """Why nothing may be added to the queue of `to`, and how much may in one step."""
        if self._admission.closed:
            return f"the queue takes nothing now: {self._admission.reason}", 0
        try:
            return "", self._step_bytes(to)
        except QueueError as error:
            return str(error), 0
