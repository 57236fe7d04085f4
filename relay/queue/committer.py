"""Group commit: everything that waits shares one transaction.

    append ──▶ waiting ──▶ on its way to disk (writer thread) ──▶ stored, answered
                  ▲                     │
                  └──── held again ◀────┘ the disk is full or failing

At most one transaction runs at a time.  Whatever arrives meanwhile becomes the next one, so a
batch grows exactly as far as the disk is slow, and a lone message waits for one fsync and nothing
else.

What the committer does next depends on what happened last:

    state     appends                   removals          admission   ends with
    running   all in the next commit    with them         open        a commit that fails
    smaller   half as many, no pause    with them         closed      a commit that succeeds
    held      wait                      tried alone       closed      removals stored, or a second
    probing   none wait                 none wait         closed      a probe that succeeds
    closing   once more, no pause       with them         as it was   all stored, or a failure
    closed    fail at once              ignored           as it was

Nothing is given up when a transaction fails.  Removals are tried alone, because they make room;
appends are tried again, in smaller batches where the disk is full (`pending.py`).  Admission is
closed until everything that waits is on disk: that is how a full disk becomes backpressure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.model.clock import Clock, DelayedCall, Now
from relay.model.debug import COMMITS
from relay.model.errors import QueueError, QueueFull, QueueMisplaced, StorageFailed
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.commit_delay import CommitDelay
from relay.queue.admission.limits import QueueLimit, QueueLimits
from relay.queue.changes import Command
from relay.queue.commit_times import CommitTimes
from relay.queue.pending import PendingAppends, PendingRemovals
from relay.queue.store import QueueStore
from relay.queue.transaction import (
    Append,
    Counted,
    Eviction,
    Refusal,
    Removal,
    SetAside,
    size_of,
    transaction_of,
)

_log = Logger(namespace=COMMITS.namespace)

_REMOVALS_MAX = 1000  # records that a crash may send again, beside what is in flight

_Result = TypeVar("_Result")


class RunInThread(Protocol):
    """Calls a function in a thread of its own; the Deferred has what it returned."""

    def __call__(self, call: Callable[[], _Result], /) -> Deferred[_Result]: ...


@dataclass(frozen=True, slots=True)
class CommitCallbacks:
    """Whom the committer calls, in the reactor's thread."""

    on_stored: Mapping[str, Callable[[int, Sequence[bytes]], None]]
    """After a commit that appended to a queue, by its id: with its next seq and the payloads
    before that; without payloads after a command.  Queues may be added at any time."""
    on_failure: Callable[[BaseException], None]
    """With every error of the store.  One that is no QueueError is a defect: nothing is committed
    any more, and the relay has to stop."""
    on_evicted: Callable[[str, int, int, str], None] = lambda *_: None
    """After a commit by which records left undelivered: with the queue's id, where it begins now,
    how many left and the reason."""
    on_given_up: Callable[[Mapping[str, int]], None] = lambda lost: None
    """At the end, with the messages that could not be stored and that nobody sends again: how
    many, by account."""


@dataclass(frozen=True, slots=True)
class CommitPauses:
    """How long the committer waits, in seconds."""

    retry: float = 1.0
    """Before a transaction that failed is tried again."""
    removal: float = 0.0
    """For an append with which an acknowledgement can go, at most."""
    commit: float = 0.0
    """From the beginning of one commit to that of the next; see `CommitDelay`."""


class _Commits:
    """One transaction after the other while something is pending."""

    _store: QueueStore  # from `start` on

    def __init__(
        self,
        *,
        run_in_thread: RunInThread,
        clock: Clock,
        now: Now,
        admission: Admission,
        callbacks: CommitCallbacks,
        limits: Iterable[QueueLimit] = (),
        pauses: CommitPauses = CommitPauses(),
    ) -> None:
        self.entrances: dict[str, str] = {}
        self.times = CommitTimes(clock)
        self._run_in_thread = run_in_thread
        self._clock = clock
        self._now = now
        self._admission = admission
        self._callbacks = callbacks
        self._retry_seconds = pauses.retry
        self._appends = PendingAppends()
        self._removals = PendingRemovals(
            clock=clock, seconds=pauses.removal, on_due=self.start_removing
        )
        self._commands: list[tuple[Command[Any], Deferred[Any]]] = []
        self._limits = QueueLimits(limits)
        self._delay = CommitDelay(clock=clock, seconds=pauses.commit)
        self._holds_appends = False  # until something else was stored, or for another try
        self._probes = False  # nothing waits, and whether the disk works is to be found out
        self._closing = False  # nothing is awaited any more
        self._closed = False  # nothing is committed any more
        self._running: Deferred[None] | None = None  # fires when nothing is left to do
        self._retry: DelayedCall | None = None  # while waiting to try again

    def start_removing(self) -> None:
        """Forget what was acknowledged with the next transaction, which waits for no append."""
        self._removals.set_due()
        self._wake()

    def _wake(self) -> None:
        """Commit what is pending, unless that is under way."""
        if self._running is None and not self._closed:
            self._running = Deferred()
            ensureDeferred(self._run()).addErrback(self._defect)

    async def _run(self) -> None:
        while True:
            hurries = self._closing or self._commands or self._admission.failure is not None
            if not (hurries or self._appends.was_cut):
                waiting = self._delay.wait()
                if waiting is not None:
                    await waiting
            operates = bool(self._commands)
            if operates:
                await self._operate()
            # Also after a command, so that many of them in a row hold up no sender.
            if (
                (self._appends.waiting and not self._holds_appends)
                or (self._removals.are_due and self._removals)
                or self._limits.have_evictions
            ):
                if not await self._commit():
                    break
            elif self._probes:
                await self._probe()
            elif not operates:
                break
        self._ended()

    def _ended(self) -> None:
        done, self._running = self._running, None
        assert done is not None
        done.callback(None)

    def _defect(self, failure: Failure) -> None:
        """Stop for good, and fail everything that waits, or `close` would never end."""
        assert failure.value is not None
        self._closed = True
        self._cancel_retry()
        self._removals.set_due(False)
        self._callbacks.on_failure(failure.value)
        self._give_up()
        self._ended()

    def _give_up(self) -> None:
        """Forget all that is not on disk."""
        waiting, lost = self._appends.give_up()
        commands, self._commands = self._commands, []
        for done in (*waiting, *(done for _, done in commands)):
            done.errback(QueueError("the relay stopped while nothing could be stored"))
        if lost:
            self._callbacks.on_given_up(lost)

    async def _commit(self) -> bool:
        """Run a transaction with what waits.  Returns whether to go on without a pause."""
        self._delay.begin()
        appends = [] if self._holds_appends else self._appends.take()
        removals = self._removals.take()
        evictions = self._limits.take_evictions(self._store.destination_bytes)
        heads = self._heads(evictions, removals) if evictions else {}
        transaction = transaction_of(self._now(), appends, removals, evictions)
        ended = self.times.begin()
        commit = self.times.measured(partial(self._store.commit, transaction))
        try:
            changed = await self._run_in_thread(commit)
        except QueueError as error:
            return self._not_committed(error, appends, removals)
        finally:
            ended()
        self._delay.stored()
        if COMMITS.is_on:
            self._tell(appends, removals, evictions)
        for kept, stored, aside in transaction.counted:
            kept.committed(stored, aside)
        # Before `on_stored` makes drains send: they must not send what has left.
        for id, head in heads.items():
            self._evicted(id, head, changed[id].acknowledged_seq, evictions[id])
        if not appends:
            self._holds_appends = False  # removals alone were stored: there may be room now
        if self._limits.are_bounded:
            self._limits.settle(appends, self._store.destination_bytes)
        is_everything = self._appends.stored(appends)
        # In this order, or what moves from one watermark to the other would open admission for
        # a moment in between.
        self._admission.set_queue_bytes(self._store.used_bytes)
        self._admission.set_pending_bytes(self._appends.size)
        if self._store.misplaced:
            # It is on disk, but in a file that the next start would not find: no answer yet.
            self._appends.withheld += appends
            self._failed(QueueMisplaced(self._store.misplaced))
            self._try_again_later()
        else:
            self._recovered(appends, wholly=is_everything)
        for destination, payloads in transaction.appends.items():
            if destination in changed and destination in self._callbacks.on_stored:
                next_seq = changed[destination].next_seq
                self._callbacks.on_stored[destination](next_seq, payloads)
        # One commit lets so many blocks leave.  Where none could, none will now.
        if any(changed[id].acknowledged_seq > head for id, head in heads.items()):
            self._limits.look_again()
        return True

    def _tell(
        self,
        appends: Sequence[Append],
        removals: Mapping[str, Removal],
        evictions: Mapping[str, Eviction],
    ) -> None:
        _log.debug(
            "commit: {records} records of {size} bytes stored in {appends} appends, answers of "
            "{removals} queues, limits of {evictions} queues",
            records=sum(append.records for append in appends),
            size=sum(append.size for append in appends),
            appends=len(appends),
            removals=len(removals),
            evictions=len(evictions),
        )

    def _heads(
        self, evictions: Mapping[str, Eviction], removals: Mapping[str, Removal]
    ) -> dict[str, int]:
        """Where the queues that lose records to a limit begin once `removals` have left."""
        heads = {id: self._store.ledgers[id].acknowledged_seq for id in evictions}
        for id in heads.keys() & removals.keys():
            heads[id] = max(heads[id], removals[id].upto)
        return heads

    def _not_committed(
        self, error: QueueError, appends: list[Append], removals: dict[str, Removal]
    ) -> bool:
        """Returns whether there is something to try at once."""
        has_smaller = self._appends.take_back() and isinstance(error, QueueFull)
        self._removals.take_back(removals)
        self._failed(error)
        if appends and self._removals:
            self._holds_appends = True
            return True  # with the removals alone: they may make room
        if has_smaller:
            return True
        self._holds_appends = True
        self._try_again_later()
        return False

    def _evicted(self, destination: str, start: int, stop: int, eviction: Eviction) -> None:
        """The records from `start` to `stop` have left, if there are any."""
        if start != stop:
            self._removals.evicted(destination, start, stop, eviction.reason)
            self._callbacks.on_evicted(destination, stop, stop - start, eviction.reason)

    async def _operate(self) -> None:
        """Carry out the oldest command; the others let the next transaction go first."""
        command, done = self._commands[0]  # a defect leaves it there to be answered
        operate = partial(self._store.operate, command, at=self._now())
        try:
            changed, result = await self._run_in_thread(operate)
        except QueueError as error:
            self._commands.pop(0)
            if isinstance(error, StorageFailed):
                self._admission.set_failure(str(error), self._now())
                self._try_again_later()
            done.errback(error)
            return
        self._commands.pop(0)
        self._limits.settle((), self._store.destination_bytes)
        self._limits.look_again()
        self._admission.set_queue_bytes(self._store.used_bytes)
        for id, ledger in changed.items():
            if id in self._callbacks.on_stored:
                self._callbacks.on_stored[id](ledger.next_seq, ())
        done.callback(result)

    # When storing fails, and when it works again.

    async def _probe(self) -> None:
        self._probes = False
        try:
            await self._run_in_thread(self._store.probe)
        except QueueError as error:
            self._failed(error)
            self._try_again_later()
        else:
            self._recovered()

    def _failed(self, error: QueueError) -> None:
        """Nothing comes in until everything that waits has been stored."""
        self._admission.set_failure(str(error), self._now())
        self._callbacks.on_failure(error)

    def _recovered(self, appends: Sequence[Append] = (), *, wholly: bool = True) -> None:
        """Something was stored; `wholly` if nothing is left."""
        if wholly:
            self._probes = False
            if self._admission.failure is not None:
                self._admission.clear_failure()
        withheld, self._appends.withheld = self._appends.withheld, []
        for append in (*withheld, *appends):
            append.done.callback(None)

    def _try_again_later(self) -> None:
        if not self._closing and self._retry is None:
            self._retry = self._clock.callLater(self._retry_seconds, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._holds_appends = False
        # Without a failure of its own to repeat, only a probe can tell that the disk works.
        self._probes = not self._appends.waiting and self._admission.failure is not None
        self._removals.set_due()
        self._wake()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


class Committer(_Commits):
    """Collects appends and removals while a transaction is on its way to disk.

    Args:
        run_in_thread: Must run one call at a time.
        clock: For pauses.
        now: For the time of receipt.
        limits: Those of the destinations.

    Attributes:
        entrances: The queue that takes what comes for a destination, where that is not the queue
            with the destination's id.
        times: How long transactions take.
    """

    def start(self, store: QueueStore) -> None:
        """Commit to `store` from now on."""
        self._store = store
        self._limits.start(lambda: store.destination_bytes)
        self._admission.set_queue_bytes(store.used_bytes)

    def use(self, limits: Iterable[QueueLimit], *, commit_seconds_min: float) -> None:
        """These are the limits of destinations, and the shortest time between two commits, from
        now on; the queues of all destinations are open."""
        self._limits.use(limits)
        self._delay.seconds = commit_seconds_min
        if self._limits.have_evictions:
            self._wake()

    def append(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
        counted: Counted | None = None,
    ) -> Deferred[None]:
        """Store `payloads`, by destination.  Fires once they are on disk, never before.

        Fails with QueueError only if the queue closes before it could be done.

        Args:
            refusals: What goes to the quarantine of a source instead.
            positions: How far sources have read with this, by ``source/name``.
            drops: How many records rewrites and limits dropped, by destination and reason.
            senders: Those that wait for the answer.
            counted: What the source counts, which is stored with it.
        """
        if self._closed:
            return fail(QueueError("the queue is closed"))
        if self.entrances:
            payloads = {self.entrances.get(id, id): run for id, run in payloads.items()}
        append = Append(
            *(payloads, refusals, positions or {}, drops or {}),
            size=size_of(payloads, refusals),
            done=Deferred(),
            limited=self._limits.add_pending(payloads) if self._limits.are_bounded else {},
            comes_again=bool(senders or any(not name.startswith("/") for name in positions or ())),
            counted=counted,
        )
        self._appends.add(append)
        self._admission.set_pending_bytes(self._appends.size)
        self._delay.add(append.records, senders)
        self._wake()
        return append.done

    def acknowledge(self, destination: str, upto: int) -> None:
        """Forget the records before `upto` with the next transaction.

        A crash before it sends them again.
        """
        self._removals.of(destination, upto)
        acknowledged = upto - self._store.ledgers[destination].acknowledged_seq
        # While appends are held nothing comes with which the removal could go.
        hurries = self._holds_appends or self._closing or acknowledged >= _REMOVALS_MAX
        if hurries or not self._removals.wait():
            self.start_removing()

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        """Records that were dropped under `reason` have arrived all the same."""
        self._removals.of(destination).late[reason] += count
        self.start_removing()

    def expire(self, destination: str, received_before: float) -> None:
        """Let the records leave that came in before (seconds since 1970-01-01 UTC)."""
        self._limits.expire(destination, received_before)
        self._wake()

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        """Move the records `seqs`, the head of the queue, to the quarantine."""
        # Whole before a commit begins, which may take it away at once.
        self._removals.of(destination, seqs.stop).set_aside.append(SetAside(seqs, reason))
        self.start_removing()

    def operate(self, command: Command[_Result]) -> Deferred[_Result]:
        """Carry out `command` in a transaction of its own.  Fires with its result, once on disk.

        Fails with QueueError if it could not be done; it is not tried again.
        """
        if self._closing or self._closed:
            return fail(QueueError("the queue is closed"))
        done: Deferred[_Result] = Deferred()
        self._commands.append((command, done))
        self._delay.end()
        self._wake()
        return done

    def probe(self) -> None:
        """Find out whether something can be stored, if that is in doubt."""
        self._probes = True
        self._delay.end()
        self._wake()

    async def close(self) -> None:
        """Commit what is left, without pauses.  Appends that cannot be stored now fail."""
        self._holds_appends = False
        self._removals.set_due()
        self._closing = True
        self._cancel_retry()
        self._delay.end()
        self._wake()
        if self._running is not None:
            await self._running
        self._closed = True
        self._give_up()
