"""Group commit: everything that waits shares one transaction.

    append ──▶ waiting ──▶ on its way to disk (writer thread) ──▶ stored, answered
                  ▲                     │
                  └──── held again ◀────┘ the disk is full or failing

At most one transaction runs at a time.  Whatever arrives meanwhile becomes the
next one, so a batch grows exactly as far as the disk is slow, and a lone message
waits for one fsync and nothing else.

A removal alone is not worth a transaction: it waits a little for an append with which it
can go, unless so much is acknowledged that a crash would send too much of it again.

When a transaction fails nothing is given up: removals are tried alone (they make
room), appends wait and are tried again, in smaller batches (`pending.py`).  Admission
closes until everything that waits is on disk; that is how a full disk becomes backward
pressure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.python.failure import Failure

from relay.model.clock import Clock, DelayedCall, Now
from relay.model.errors import QueueError, QueueFull, QueueMisplaced, StorageFailed
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.commit_delay import CommitDelay
from relay.queue.admission.limits import QUEUE_FULL, TOO_OLD, QueueLimit
from relay.queue.ledger import Ledger
from relay.queue.pending import PendingAppends, PendingRemovals
from relay.queue.store import Eviction, Refusal, Removal, SetAside, Transaction
from relay.queue.transaction import Append, size_of, transaction_of
from relay.queue.view import Command

__all__ = ["Commits", "Committer", "RunInThread"]

_REMOVALS_MAX = 1000  # records that a crash may send again, beside what is in flight

RunInThread = Callable[[Callable[[], Any]], Deferred[Any]]
"""Calls a function in a thread of its own; the Deferred has what it returned."""


class Commits(Protocol):
    """A store, as far as the committer needs one."""

    ledgers: dict[str, Ledger]
    used_bytes: int
    destination_bytes: dict[str, int]

    @property
    def misplaced(self) -> str: ...

    def commit(self, transaction: Transaction) -> dict[str, Ledger]: ...

    def operate(self, operation: Command, *, at: float) -> tuple[dict[str, Ledger], Any]: ...

    def probe(self) -> None: ...


class Committer:
    """Collect appends and removals while a transaction is on its way to disk.

    Args:
        run_in_thread: Must run one call at a time.
        clock: For trying again.
        now: For the time of receipt.
        on_stored: Called with a destination's id, its next seq and the payloads before
            that after a commit that appended to it; without payloads after an operation.
        limits: Those of the destinations.
        on_evicted: Called after a commit by which records left undelivered: with the
            destination's id, where its queue begins now, how many and the reason.
        on_failure: Called with every error of the store.  One that is no QueueError is
            a defect: nothing is committed any more, and the relay has to stop.
        on_given_up: Called at the end with the messages that could not be stored and that
            nobody sends again: how many, by account.
        retry_seconds: Pause before a failed transaction is tried again.
        removal_seconds: What an acknowledgement waits for an append, at most.
        interval: How soon one transaction may follow another; None = at once.
    """

    def __init__(
        self,
        store: Commits,
        *,
        run_in_thread: RunInThread,
        clock: Clock,
        now: Now,
        admission: Admission,
        on_stored: Callable[[str, int, Sequence[bytes]], None],
        on_failure: Callable[[BaseException], None],
        limits: Iterable[QueueLimit] = (),
        on_evicted: Callable[[str, int, int, str], None] = lambda *_: None,
        on_given_up: Callable[[Mapping[str, int]], None] = lambda lost: None,
        retry_seconds: float = 1.0,
        removal_seconds: float = 0.0,
        interval: CommitDelay | None = None,
    ) -> None:
        self._store = store
        self._run_in_thread = run_in_thread
        self._clock = clock
        self._now = now
        self._admission = admission
        self._on_stored = on_stored
        self._on_failure = on_failure
        self._limits = {limit.destination: limit for limit in limits}
        self._bounded = {id: limit for id, limit in self._limits.items() if limit.bytes_max}
        self._on_evicted = on_evicted
        self._on_given_up = on_given_up
        self._expiries: dict[str, float] = {}
        self._retry_seconds = retry_seconds
        self._removal_seconds = removal_seconds
        self._interval = interval or CommitDelay(clock=clock)
        self._waiting = PendingAppends()
        self._removals = PendingRemovals()
        self._removals_due = False  # also without an append
        self._removals_call: DelayedCall | None = None  # makes them due
        self._operations: list[tuple[Command, Deferred[Any]]] = []
        self._hold_appends = False  # after a failure, until something succeeds
        self._probes = False  # nothing waits, and whether the disk is well is to be found out
        self._over = False  # a limit was exceeded by what is there, not by what comes
        self._closing = False
        self._closed = False  # nothing is committed any more
        self._pumping: Deferred[None] | None = None  # while a transaction runs
        self._retry: DelayedCall | None = None  # while waiting to try again
        self._settle_limits(())
        self._publish_queue_bytes()

    def append(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
    ) -> Deferred[None]:
        """Store `payloads`, by destination.  Fires once they are on disk, never before.

        Fails with QueueError only if the queue closes before it could be done.

        Args:
            refusals: What goes to the quarantine of a source instead.
            positions: How far sources have read with this, by ``source/name``.
            drops: How many records rewrites and limits dropped, by destination and reason.
            senders: Those that wait for the answer.
        """
        if self._closed:
            return fail(QueueError("the queue is closed"))
        done: Deferred[None] = Deferred()
        runs = [*payloads.values(), *(refusal.frames for refusal in refusals)]
        comes_again = bool(senders or positions)
        limited = {
            id: sum(
                limit.add_pending(payloads[queue]) for queue in limit.queues if queue in payloads
            )
            for id, limit in self._bounded.items()
        }
        rest = (positions or {}, drops or {}, size_of(runs), done, limited, comes_again)
        self._waiting.add(Append(payloads, refusals, *rest))
        self._publish_pending_bytes()
        self._interval.came(sum(map(len, runs)), senders)
        self._start_pump()
        return done

    def acknowledge(self, destination: str, upto: int) -> None:
        """Forget the records before `upto` with the next transaction.

        A crash before it sends them again.
        """
        self._removals.of(destination, upto)
        if upto - self._store.ledgers[destination].acknowledged_seq >= _REMOVALS_MAX:
            self._start_removing()
        else:
            self._start_removing_soon()

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        """Records that were dropped under `reason` have arrived all the same."""
        self._removals.of(destination).late[reason] += count
        self._start_removing()

    def expire(self, destination: str, received_before: float) -> None:
        """Let the records leave that came in before (seconds since 1970-01-01 UTC)."""
        self._expiries[destination] = received_before
        self._start_pump()

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        """Move the records `seqs`, the head of the queue, to the quarantine."""
        # Whole before the pump starts, which may take it away at once.
        self._removals.of(destination, seqs.stop).set_aside.append(SetAside(seqs, reason))
        self._start_removing()

    def operate(self, operation: Command) -> Deferred[Any]:
        """Do `operation` in a transaction of its own.  Fires with its result, once on disk.

        Fails with QueueError if it could not be done; it is not tried again.
        """
        if self._closing or self._closed:
            return fail(QueueError("the queue is closed"))
        done: Deferred[Any] = Deferred()
        self._operations.append((operation, done))
        self._interval.end()
        self._start_pump()
        return done

    async def close(self) -> None:
        """Commit what is left.  Appends that cannot be stored now fail."""
        self._closing = True
        self._cancel_retry()
        self._hold_appends = False
        self._interval.end()
        self._start_removing()
        if self._pumping is not None:
            await self._pumping
        self._closed = True
        self._fail_appends()

    def _start_removing_soon(self) -> None:
        """With the next append, or after a while."""
        if not self._removal_seconds or self._hold_appends or self._closing:
            self._start_removing()
        elif self._removals_call is None and not self._removals_due:
            self._removals_call = self._clock.callLater(self._removal_seconds, self._start_removing)

    def _start_removing(self) -> None:
        self._set_removals_due(True)
        self._start_pump()

    def _set_removals_due(self, is_due: bool) -> None:
        self._removals_due = is_due
        if self._removals_call is not None:
            if self._removals_call.active():
                self._removals_call.cancel()
            self._removals_call = None

    def _start_pump(self) -> None:
        if self._pumping is None and not self._closed and self._has_work():
            self._pumping = Deferred()
            ensureDeferred(self._pump()).addErrback(self._defect)

    def _has_work(self) -> bool:
        return bool(self._operations) or self._has_changes() or self._probes

    def _has_changes(self) -> bool:
        if (self._removals and self._removals_due) or self._expiries or self._over:
            return True
        return bool(self._waiting) and not self._hold_appends

    def _defect(self, failure: Failure) -> None:
        """Stop for good, but leave nobody waiting: whoever closes has to get there."""
        assert failure.value is not None
        self._closed = True
        self._cancel_retry()
        self._set_removals_due(False)
        self._on_failure(failure.value)
        self._fail_appends()
        self._pump_ended()

    def _fail_appends(self) -> None:
        waiting: list[Deferred[Any]]
        waiting, lost = self._waiting.give_up()
        waiting += [done for _, done in self._operations]
        self._operations = []
        for done in waiting:
            done.errback(QueueError("the relay stopped while nothing could be stored"))
        if lost:
            self._on_given_up(lost)

    def _pump_ended(self) -> None:
        done, self._pumping = self._pumping, None
        assert done is not None
        done.callback(None)

    async def _pump(self) -> None:
        await self._until_due()
        while self._has_work():
            if self._operations:
                await self._operate()
            if self._has_changes():
                if not await self._commit():
                    break
            elif self._probes:
                await self._probe()
        self._pump_ended()

    async def _commit(self) -> bool:
        """Run a transaction with what waits.  Returns whether to go on without a pause."""
        self._interval.begin()
        appends = [] if self._hold_appends else self._waiting.take()
        removals = self._removals.take()
        self._set_removals_due(False)
        evictions = self._take_evictions()
        heads = {id: self._head(id, removals) for id in evictions}
        transaction = transaction_of(self._now(), appends, removals, evictions)
        try:
            changed = await self._run_in_thread(partial(self._store.commit, transaction))
        except QueueError as error:
            return self._not_committed(error, appends, removals)
        self._interval.stored()
        for id, head in heads.items():  # before anybody is told of anything else
            self._evicted(id, head, changed[id].acknowledged_seq, evictions[id].reason)
        self._committed(appends, transaction, changed)
        # One commit lets so many blocks leave.  Where none could, none will now.
        if any(changed[id].acknowledged_seq > head for id, head in heads.items()):
            self._over = self._has_to_evict()
        await self._until_due()
        return True

    def _not_committed(
        self, error: QueueError, appends: list[Append], removals: dict[str, Removal]
    ) -> bool:
        """Returns whether there is something to try at once."""
        has_smaller = self._waiting.take_back() and isinstance(error, QueueFull)
        self._removals.take_back(removals)
        self._set_removals_due(True)
        self._failed(error)
        if appends and self._removals:
            self._hold_appends = True
            return True  # with the removals alone: they may make room
        if has_smaller:
            return True
        self._hold_appends = True
        self._try_again_later()
        return False

    def _failed(self, error: QueueError) -> None:
        """Nothing comes in until everything that waits has been stored."""
        self._admission.set_failure(str(error), self._now())
        self._on_failure(error)

    async def _probe(self) -> None:
        self._probes = False
        try:
            await self._run_in_thread(self._store.probe)
        except QueueError as error:
            self._failed(error)
            self._try_again_later()
        else:
            self._recovered()

    def probe(self) -> None:
        """Find out whether something can be stored, if that is in doubt."""
        self._probes = True
        self._interval.end()
        self._start_pump()

    def _recovered(self, appends: Sequence[Append] = (), *, wholly: bool = True) -> None:
        """Something was stored; `wholly` if nothing is left."""
        if wholly:
            self._probes = False
            self._admission.clear_failure()
        for append in self._waiting.answered(appends):
            append.done.callback(None)

    async def _until_due(self) -> None:
        hurries = self._closing or self._operations
        waiting = None if hurries else self._interval.wait()
        if waiting is not None:
            await waiting

    def _take_evictions(self) -> dict[str, Eviction]:
        expiries, self._expiries = self._expiries, {}
        self._over = False
        evictions = {
            queue: Eviction(QUEUE_FULL, bytes_max=bytes_max)
            for limit in self._bounded.values()
            if limit.has_to_evict
            for queue, bytes_max in limit.bytes_max_of_queues(self._store.destination_bytes).items()
        }
        for id, before in expiries.items():
            evictions[id] = Eviction(TOO_OLD, received_before=before)
        return evictions

    def _has_to_evict(self) -> bool:
        return any(limit.has_to_evict for limit in self._bounded.values())

    def _head(self, destination: str, removals: Mapping[str, Removal]) -> int:
        """Where the queue of `destination` begins after `removals`."""
        head = self._store.ledgers[destination].acknowledged_seq
        return max(head, removals[destination].upto) if destination in removals else head

    def _evicted(self, destination: str, start: int, stop: int, reason: str) -> None:
        """The records from `start` to `stop` have left, if there are any."""
        if start == stop:
            return
        self._removals.evicted(destination, start, stop, reason)
        self._on_evicted(destination, stop, stop - start, reason)

    async def _operate(self) -> None:
        """Do the oldest operation; the others let the next transaction go first."""
        operation, done = self._operations[0]  # a defect leaves it there to be answered
        operate = partial(self._store.operate, operation, at=self._now())
        try:
            changed, result = await self._run_in_thread(operate)
        except QueueError as error:
            self._operations.pop(0)
            if isinstance(error, StorageFailed):
                self._admission.set_failure(str(error), self._now())
                self._try_again_later()
            done.errback(error)
            return
        self._operations.pop(0)
        self._settle_limits(())
        self._over = self._has_to_evict()
        self._publish_queue_bytes()
        for id, ledger in changed.items():
            self._on_stored(id, ledger.next_seq, ())
        done.callback(result)

    def _committed(
        self, appends: list[Append], transaction: Transaction, changed: Mapping[str, Ledger]
    ) -> None:
        if not appends and self._hold_appends:
            self._hold_appends = False  # there may be room now
        self._settle_limits(appends)
        is_everything = self._waiting.stored(appends)
        # In this order, what moves from one watermark to the other does not open admission.
        self._publish_queue_bytes()
        self._publish_pending_bytes()
        if self._store.misplaced:
            self._waiting.withhold(appends)
            self._failed(QueueMisplaced(self._store.misplaced))
            self._try_again_later()
        else:
            self._recovered(appends, wholly=is_everything)
        for destination, payloads in transaction.appends.items():
            if destination in changed:
                self._on_stored(destination, changed[destination].next_seq, payloads)

    def _try_again_later(self) -> None:
        if not self._closing and self._retry is None:
            self._retry = self._clock.callLater(self._retry_seconds, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._hold_appends = False
        self._probes = not self._waiting and self._admission.failure is not None
        self._start_removing()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _publish_pending_bytes(self) -> None:
        self._admission.set_pending_bytes(self._waiting.size)

    def _publish_queue_bytes(self) -> None:
        self._admission.set_queue_bytes(self._store.used_bytes)

    def _settle_limits(self, appends: Sequence[Append]) -> None:
        for id, limit in self._limits.items():
            pending = 0
            if id in self._bounded:
                pending = sum(append.limited.get(id, 0) for append in appends)
            used = self._store.destination_bytes
            limit.settle(pending, sum(used[queue] for queue in limit.queues))
