"""Commands of the control socket for queues, quarantines and histories.

Queries run in the threads that read for the drains, a page at a time.  Changes go through the
committer, one transaction at a time, with what sources append in between.  A change of many steps
runs for up to two seconds; its answer says what is left, and the client asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred, ensureDeferred

from relay.flow.drain import BY_PURGE, Drain
from relay.model.clock import Clock
from relay.model.errors import QueueError
from relay.model.text import counted, size
from relay.observe.control import Asked
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.inspect.commands import (
    STEP_BYTES_MAX,
    Adopt,
    Adopted,
    Purge,
    PurgeQuarantined,
    Replayed,
    ReplayHistory,
    ReplayQuarantined,
    TakenOut,
)
from relay.queue.inspect.queries import QUERIES, known, unknown
from relay.queue.ledger import Ledger
from relay.queue.transaction import destination_of
from relay.service.destinations.service import DestinationService
from relay.service.queue.service import QueueService

_STEP_RECORDS = 10_000
_STEPS_PER_LIMIT = 8  # where the oldest leave for what is moved
_RECORD_BYTES = 4  # what a record takes in its block beside its bytes
_STEPS_SECONDS_MAX = 2.0  # of one answer
_ANSWERS_SECONDS_MAX = 2.0  # what a purge waits for what is in flight
_POLL_SECONDS = 0.05


_Answer = Callable[..., object]


class AppendTo(msgspec.Struct, forbid_unknown_fields=True):
    destination: str
    payloads: list[bytes]


class Purged(msgspec.Struct):
    records: int
    upto: int
    """For the next request."""
    left: int
    """Records that are still to be purged."""


@dataclass(eq=False, repr=False, kw_only=True)
class QueueTools:
    """Answers queries about the queue and changes it by hand."""

    queue: QueueService
    destinations: Sequence[DestinationService]
    """The configured ones; all other queues are orphans."""
    admission: Admission
    clock: Clock
    limits: Mapping[str, QueueLimit]
    """Those of the destinations."""

    def __post_init__(self) -> None:
        self._busy: set[str] = set()  # queues that are being purged or adopted

    @property
    def _destinations(self) -> dict[str, DestinationService]:
        return {destination.id: destination for destination in self.destinations}

    def commands(self) -> dict[str, Asked]:
        """The commands of the control socket, by name."""

        def look(function: Callable[..., object], arguments: msgspec.Struct) -> Deferred[object]:
            return self.queue.view.look(lambda view: function(view, arguments))

        def steps(do: Callable[..., Coroutine[Deferred[object], object, object]]) -> _Answer:
            return lambda wanted: ensureDeferred(do(wanted))

        return {
            **{name: Asked(kind, partial(look, of)) for name, (kind, of) in QUERIES.items()},
            "queue-append": Asked(AppendTo, self.append),
            "queue-purge": Asked(Purge, steps(self._purge)),
            "queue-adopt": Asked(Adopt, steps(self._adopt)),
            "quarantine-purge": Asked(PurgeQuarantined, self.purge_entries),
            "quarantine-replay": Asked(ReplayQuarantined, self.replay_entries),
            "history-replay": Asked(ReplayHistory, steps(self._replay)),
        }

    def append(self, wanted: AppendTo) -> Deferred[int]:
        """Put messages at the end of a destination's queue, and return how many; empty ones are
        left out."""
        id = self._destination(wanted.destination).id
        if self.admission.closed:
            raise QueueError(f"the queue takes nothing now: {self.admission.reason}")
        payloads = [payload for payload in wanted.payloads if payload]
        self.step_bytes(id, wanted=sum(map(len, payloads)) + _RECORD_BYTES * len(payloads))
        stored = self.queue.committer.append({id: payloads})
        return stored.addCallback(lambda _: len(payloads))

    def purge_entries(self, wanted: PurgeQuarantined) -> Deferred[TakenOut]:
        """Discard entries of a quarantine."""
        upto = self._upto(wanted.account, wanted.upto)
        return self.queue.committer.operate(replace(wanted, upto=upto))

    def replay_entries(self, wanted: ReplayQuarantined) -> Deferred[TakenOut]:
        """Send entries of a quarantine again, to one destination."""
        upto = self._upto(wanted.account, wanted.upto)
        bytes_max = self.step_bytes(self._destination(wanted.to).id)
        return self.queue.committer.operate(replace(wanted, upto=upto, bytes_max=bytes_max))

    def step_bytes(self, id: str, *, wanted: int = 1) -> int:
        """Bytes that may be added to the queue of `id` in one step, within its limit.

        Raises:
            QueueError: There is no room for `wanted` bytes.
        """
        limit = self.limits.get(id)
        if limit is None or not limit.bytes_max:
            return STEP_BYTES_MAX
        room = limit.room_by_hand
        if room is None:
            return min(STEP_BYTES_MAX, limit.bytes_max // _STEPS_PER_LIMIT)
        if room < wanted:
            raise QueueError(
                f"the queue of {id} has room for {size(room)} (queue_bytes_max of destinations."
                f"{id} is {size(limit.bytes_max)}, when_full {limit.when_full!r}): no more is put "
                "there, and what is left stays where it is; let the upstream take some of it, or "
                "raise the limit"
            )
        return min(STEP_BYTES_MAX, room // 2 + 1)  # a page may be half empty

    def _upto(self, id: str, upto: int) -> int:
        """`upto`, but not beyond the numbers of now: replayed records get new ones."""
        return min(upto, known("quarantine", id, self.queue.view.ledgers).next_seq)

    def _destination(self, id: str) -> DestinationService:
        return known("destination", id, self._destinations)

    def _drain_of(self, queue: str) -> tuple[DestinationService, Drain] | None:
        """The sender of the records of `queue`; None = it is an orphan."""
        destination = self._destinations.get(destination_of(queue))
        drain = None if destination is None else destination.drain_of(queue)
        return None if destination is None or drain is None else (destination, drain)

    @contextmanager
    def _alone(self, id: str) -> Iterator[None]:
        """Work on the queue `id`, one command at a time."""
        if id not in self.queue.view.ledgers or id.startswith("source/"):
            raise unknown("queue", id, self.queue.view.ledgers)
        if id in self._busy:
            raise QueueError(f"queue of {id}: another command is at work on it; ask again later")
        self._busy.add(id)
        try:
            yield
        finally:
            self._busy.discard(id)

    async def _adopt(self, wanted: Adopt) -> Adopted:
        with self._alone(wanted.orphan):
            if self._drain_of(wanted.orphan) is not None:
                raise QueueError(
                    f"{wanted.orphan} is no orphan but a destination of the configuration"
                )
            to = self._destination(wanted.to).id
            done = Adopted()
            until = self.clock.seconds() + _STEPS_SECONDS_MAX
            while True:
                try:
                    bytes_max = self.step_bytes(to)
                except QueueError:
                    if done.records or not self.queue.view.ledgers[wanted.orphan].queued:
                        return done  # what is left is refused when it is asked for
                    raise
                step = await self.queue.committer.operate(replace(wanted, bytes_max=bytes_max))
                done.records += step.records
                done.set_aside += step.set_aside
                done.left = step.left
                if not step.left or self.clock.seconds() >= until:
                    return done

    async def _purge(self, wanted: Purge) -> Purged:
        with self._alone(wanted.queue):
            if (sending := self._drain_of(wanted.queue)) is None:
                return await self._purge_steps(wanted, lambda upto: None)
            destination, drain = sending
            drain.hold(BY_PURGE)
            try:
                await self._wait_for_answers(destination, wanted.queue, drain)
                return await self._purge_steps(wanted, drain.skip)
            finally:
                drain.release(BY_PURGE)

    async def _purge_steps(self, wanted: Purge, skip: Callable[[int], object]) -> Purged:
        ledger = self.queue.view.ledgers[wanted.queue]
        upto = min(wanted.upto or ledger.next_seq, ledger.next_seq)
        done = Purged(0, upto, 0)
        until = self.clock.seconds() + _STEPS_SECONDS_MAX
        while True:
            head = self.queue.view.ledgers[wanted.queue].acknowledged_seq
            stop = min(upto, head + _STEP_RECORDS)
            if stop > head:
                step = replace(wanted, start=head, upto=stop)
                done.records += await self.queue.committer.operate(step)
                skip(stop)
            done.left = max(0, upto - stop)
            if not done.left or self.clock.seconds() >= until:
                return done

    async def _wait_for_answers(
        self, destination: DestinationService, queue: str, drain: Drain
    ) -> None:
        """Until what was sent is answered for, and that is on disk.

        An upstream that does not answer is cut off: whether it has the records that
        are in flight is unknown, and they are purged with the others.
        """
        for patience in (_ANSWERS_SECONDS_MAX, _ANSWERS_SECONDS_MAX / 2):
            until = self.clock.seconds() + patience
            while self.clock.seconds() < until:
                if self._is_settled(queue, drain):
                    return
                passed: Deferred[None] = Deferred()
                self.clock.callLater(_POLL_SECONDS, passed.callback, None)
                await passed
            destination.break_link("its queue is being purged, and it does not answer")
        if not self._is_settled(queue, drain):
            raise QueueError(
                f"{destination.id} does not answer for {counted(drain.in_flight, 'record')} on "
                "the way to it, or the disk is failing; nothing was purged"
            )

    def _is_settled(self, queue: str, drain: Drain) -> bool:
        stored = self.queue.view.ledgers[queue].acknowledged_seq
        return drain.in_flight == 0 and drain.acknowledged_seq == stored

    async def _replay(self, wanted: ReplayHistory) -> Replayed:
        to = self._destination(wanted.to).id
        ledger = self.queue.view.ledgers.get(wanted.queue, Ledger())
        # Replayed records are delivered once more, with new seqs, which are not part of this.
        upto = wanted.upto or ledger.acknowledged_seq
        done = Replayed(next_seq=wanted.start, upto=upto)
        until = self.clock.seconds() + _STEPS_SECONDS_MAX
        while True:
            done.waits, bytes_max = self._room(to)
            if done.waits:
                return done
            step = await self.queue.committer.operate(
                replace(wanted, start=done.next_seq, upto=upto, bytes_max=bytes_max)
            )
            done.records += step.records
            done.damaged += step.damaged
            done.gone += step.gone
            done.begins_at = step.begins_at if done.begins_at is None else done.begins_at
            done.next_seq = step.next_seq
            if not step.next_seq or self.clock.seconds() >= until:
                return done

    def _room(self, to: str) -> tuple[str, int]:
        """Why nothing may be added to the queue of `to`, and how much may in one step."""
        if self.admission.closed:
            return f"the queue takes nothing now: {self.admission.reason}", 0
        try:
            return "", self.step_bytes(to)
        except QueueError as error:
            return str(error), 0
