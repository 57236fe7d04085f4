"""The queue's life: when it opens and closes, and the threads that work on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from relay.flow.lineages import RECEIVED, Lineages
from relay.model.clock import WallClock
from relay.model.errors import QueueError, QueueMisplaced
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.commit_delay import CommitDelay
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import Committer
from relay.queue.compaction.live import LiveCompaction
from relay.queue.cursor import Cursor
from relay.queue.history.keep import Histories, PruneHistories
from relay.queue.lane_queues import LaneQueues
from relay.queue.ledger import Ledger
from relay.queue.lineage import SENT, Lineage
from relay.queue.repair.replace import damaged_files
from relay.queue.store import QueueStore, Refusal, Transaction, account_of_source
from relay.queue.transaction import account_of_lane, destination_of
from relay.queue.view import Command, TransactionView
from relay.service.exit_status import ExitStatus
from relay.service.queue.given_up_messages import count_given_up, note_given_up
from relay.service.queue.place import QueuePlace
from relay.service.queue.startup_report import log_queues, log_recovery
from relay.service.queue.worker import Worker
from relay.service.refusal import StartRefused
from relay.transport.notices import Notices

__all__ = ["QueueService"]

_MAP_SLACK_BYTES = 1024**3
_REMOVAL_SECONDS = 0.02
_SHED_BYTES = 64 * 1024**2  # that histories give up after a commit that failed
_Found = TypeVar("_Found")


class QueueService(Service):
    """Owns the LMDB environment and the one thread that writes to it.

    twistd calls makeService before it daemonizes, and startService after it has
    forked and changed user.  So startService is the first place that may open the
    environment, and the files belong to the right user.

    Args:
        path: Directory of the queue.
        destinations: Ids of the configured destinations.
        sources: Ids of the sources that may set frames aside.
        map_bytes: Size of the map; more if what is there already needs it.
        exit_status: Of the process: it ends with 1 where the queue gives up.
        check_path: Raises StartRefused if `path` is no place for a queue.
        limits: Those of the destinations.
        lanes: Ids of those destinations that have a second queue.
        strict: Do not start with a damaged file; otherwise it is put aside, and what
            can be read of it is in the queue.
        histories: For which destinations, what is delivered is kept.
        fully: Look through all of the file at the start; of long queues otherwise as they
            are read, and the relay ends when there is damage.
        commit_seconds_min: As for `CommitDelay`.

    Attributes:
        histories: What is kept of delivered messages; open while the queue is.
        place: Of the file.
        lineages: What relays have sent that is in this queue.
        exit_status: Of the process.
        lane_queues: The second queues of destinations.
    """

    name = "queue"
    _log = Logger(namespace="relay")
    _store: QueueStore  # all five exist from startService on
    _committer: Committer
    place: QueuePlace
    lane_queues: LaneQueues
    _quarantine_full: dict[str, int]  # what quarantines had to drop, as far as it was said

    def __init__(
        self,
        *,
        path: str,
        destinations: Iterable[str],
        sources: Iterable[str] = (),
        map_bytes: int,
        admission: Admission,
        notices: Notices,
        reactor: Any,
        wall: WallClock,
        exit_status: ExitStatus,
        check_path: Callable[[str], None],
        limits: Iterable[QueueLimit] = (),
        lanes: Iterable[str] = (),
        strict: bool = False,
        histories: Histories | None = None,
        fully: bool = False,
        commit_seconds_min: float = 0.0,
    ) -> None:
        self._path = path
        self._destinations = tuple(destinations)
        self._sources = tuple(sources)
        self._lanes = tuple(lanes)
        self._queues = (*self._destinations, *map(account_of_lane, self._lanes))
        self._accounts = {*self._queues, *map(account_of_source, self._sources)}
        self._map_bytes = map_bytes
        self._admission = admission
        self._notices = notices
        self._reactor = reactor
        self._wall = wall
        self.exit_status = exit_status
        self._check_path = check_path
        self._limits = {limit.destination: limit for limit in limits}
        self.lineages = Lineages(load=lambda: self.positions(RECEIVED), now=wall.now)
        self._lineages: dict[str, Lineage] = {}  # of the destinations
        self._strict = strict
        self.histories = histories or Histories()
        self._cursors: dict[str, list[Cursor]] = {}
        self._fully = fully
        self._commit_seconds_min = commit_seconds_min
        self._is_damaged = False  # found while it is in use
        self._subscribers: dict[str, Callable[[int], None]] = {}
        self._evicted_subscribers: dict[str, Callable[[int, str], None]] = {}
        self._writer = Worker("queue-writer", call_from_thread=reactor.callFromThread)
        self._readers = ThreadPool(minthreads=1, maxthreads=2, name="queue-reader")

    def startService(self) -> None:
        Service.startService(self)
        try:
            self._check_path(self._path)
            self._store = QueueStore.open(
                self._path,
                destinations=self._queues,
                sources=self._sources,
                # After a limit was lowered there may be more than fits: that has to leave.
                map_bytes=max(self._map_bytes, self.allocated_bytes + _MAP_SLACK_BYTES),
                strict=self._strict,
                histories=self.histories,
                fully=self._fully,
            )
        except QueueError as error:
            raise StartRefused(str(error)) from error
        except OSError as error:
            raise StartRefused(f"state_dir {os.path.dirname(self._path)}: {error}") from error
        self._store.when_damaged(partial(self._reactor.callFromThread, self._damaged))
        if self._store.recovery is not None:
            log_recovery(self._store.recovery, self._path, self._log)
        log_queues(self._store.ledgers, self._accounts, self._log)
        count_given_up(self._store, self._path, now=self._wall.now, log=self._log)
        self._begin_epochs()
        self._quarantine_full = {
            id: ledger.dropped.get("quarantine-full", 0)
            for id, ledger in self._store.ledgers.items()
        }
        self._writer.start()
        self._readers.start()
        self._committer = Committer(
            self._store,
            run_in_thread=self._writer,
            clock=self._reactor,
            now=self._wall.now,
            admission=self._admission,
            on_stored=self._stored,
            on_failure=self.failed,
            on_given_up=self._note_given_up,
            limits=self._limits.values(),
            on_evicted=self._evicted,
            removal_seconds=_REMOVAL_SECONDS,
            interval=CommitDelay(clock=self._reactor, seconds=self._commit_seconds_min),
        )
        self.place = QueuePlace(self._store, self._path, self._committer.probe, self._reactor)
        self.lane_queues = LaneQueues(self._store, self._committer, self._limits)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._flush_and_close())

    async def _flush_and_close(self) -> None:
        await self._committer.close()
        await self.place.leave(self._writer, self.exit_status)
        self._writer.stop()
        self._readers.stop()
        self._store.close()

    # What the flows use.
    def append(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        refusals: Sequence[Refusal] = (),
        positions: Mapping[str, bytes] | None = None,
        drops: Mapping[str, Mapping[str, int]] | None = None,
        senders: Collection[Hashable] = (),
    ) -> Deferred[None]:
        """Store payloads by destination; fires once they are on disk."""
        entered = self.lane_queues.entered(payloads)
        stored = self._committer.append(entered, refusals, positions, drops, senders)
        for source in {refusal.source for refusal in refusals}:
            stored.addCallback(self._look_at_quarantine, source)
        return stored

    def positions(self, source: str) -> dict[str, bytes]:
        """How far `source` has read, by name, as of the last commit; empty where damaged."""
        found = self._store.positions(source)
        damaged = sum(not position for position in found.values())
        if damaged:
            self._notices.warn(
                f"source {source}",
                "positions",
                f"how far {damaged} of {len(found)} were read is damaged: read from the beginning, "
                "so messages may come twice; look at the disk",
            )
        return found

    def sources_with_positions(self) -> list[str]:
        """The sources that have read something, whether they are configured or not."""
        return self._store.sources_with_positions()

    def acknowledge(self, destination: str, upto: int) -> None:
        self._committer.acknowledge(destination, upto)

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        self._committer.acknowledge_late(destination, count, reason)

    def expire(self, destination: str, received_before: float) -> None:
        """Let the records leave that came in before (seconds since 1970 UTC)."""
        self._committer.expire(destination, received_before)

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        self._committer.set_aside(destination, seqs, reason)

    def cursor(self, destination: str) -> Cursor:
        """A new cursor at the head of the queue of `destination`, for as long as we run."""
        cursor = Cursor(
            self._store,
            destination,
            position=self.ledger(destination).acknowledged_seq,
            run_in_thread=partial(deferToThreadPool, self._reactor, self._readers),
        )
        self._cursors.setdefault(destination, []).append(cursor)
        return cursor

    def lineage(self, destination: str) -> Lineage | None:
        """The history of the numbers of `destination`, or None if it could not be stored."""
        return self._lineages.get(destination)

    def keep_lineage(self, destination: str, lineage: Lineage) -> Deferred[None]:
        """Let `destination` have another history; fires once that is on disk."""
        return self._committer.append({}, positions={f"{SENT}/{destination}": lineage.encode()})

    # What people ask for.
    def look(self, reading: Callable[[TransactionView], _Found]) -> Deferred[_Found]:
        """What `reading` finds, in a short read transaction and a thread that may wait."""
        return deferToThreadPool(self._reactor, self._readers, self._store.look, reading)

    def operate(self, operation: Command) -> Deferred[Any]:
        """Do `operation`; fires with its result, once on disk, or fails with QueueError."""
        return self._committer.operate(operation)

    # For compaction.
    def new_compaction(self) -> LiveCompaction:
        return LiveCompaction(self._store, self._path)

    def in_writer(self, call: Callable[[], _Found]) -> Deferred[_Found]:
        """Run `call` between two commits, in their thread."""
        return self._writer(call)

    def in_reader(self, call: Callable[[], _Found]) -> Deferred[_Found]:
        """Run `call` in a thread that may wait."""
        return deferToThreadPool(self._reactor, self._readers, call)

    @property
    def ledgers(self) -> Mapping[str, Ledger]:
        """All accounts as of the last commit, those of sources and orphans included."""
        return self._store.ledgers

    def subscribe(
        self,
        destination: str,
        stored: Callable[[int], None],
        evicted: Callable[[int, str], None] = lambda upto, reason: None,
    ) -> None:
        """Have `stored` called with the next seq after each commit for `destination`.

        Args:
            evicted: Called when the records before a seq have left undelivered, with the
                reason.
        """
        self._subscribers[destination] = stored
        self._evicted_subscribers[destination] = evicted

    # What status asks.
    def ledger(self, destination: str) -> Ledger:
        """The account as of the last commit."""
        return self._store.ledgers[destination]

    def source_ledger(self, source: str) -> Ledger | None:
        """The account of what `source` set aside, or None if it does not do that."""
        return self._store.ledgers.get(account_of_source(source))

    @property
    def orphans(self) -> list[str]:
        """Ids that have records in the queue and no destination in the configuration."""
        return sorted(
            destination
            for destination, ledger in self._store.ledgers.items()
            if destination not in self._accounts and (ledger.queued or ledger.quarantined)
        )

    def limit(self, destination: str) -> QueueLimit | None:
        return self._limits.get(destination)

    @property
    def used_bytes(self) -> int:
        """Octets of the file that queues and quarantines took as of the last commit."""
        return self._store.used_bytes

    @property
    def in_use_bytes(self) -> int:
        """Octets of the file that are not free: `used_bytes`, and the histories."""
        return self._store.in_use_bytes

    @property
    def allocated_bytes(self) -> int:
        """Octets that the file takes on the disk.  Until it is compacted, what is free in it
        is used again."""
        try:
            return os.stat(os.path.join(self._path, "data.mdb")).st_blocks * 512
        except OSError:
            return 0

    @property
    def free_bytes(self) -> int:
        """Room for the queue: what is free on the disk and in the file, or would be
        without the histories, which leave before anybody has to wait.

        Raises:
            OSError: The file system cannot be asked.
        """
        disk = os.statvfs(self._path)
        in_file = max(0, self.allocated_bytes - self.used_bytes)
        return disk.f_bavail * disk.f_frsize + in_file

    @property
    def damaged_files(self) -> list[str]:
        """Paths of the files that were damaged when a relay was started."""
        return damaged_files(self._path)

    def oldest_received_at(self, destination: str) -> float | None:
        """When the oldest queued record came in, or None (seconds since 1970 UTC)."""
        return self._store.oldest_received_at(destination)

    def _note_given_up(self, lost: Mapping[str, int]) -> None:
        """Nobody sends these messages again, and they cannot be stored."""
        self.exit_status.fail()
        self._store.give_up_reserve()
        note_given_up(lost, self._path, self._log)

    def _begin_epochs(self) -> None:
        """Note in the histories of the queues that the relay has started."""
        kept = self._store.positions(SENT)
        begun: dict[str, Lineage] = {}
        for destination in {*self._destinations} - {*self._lanes}:
            ledger = self._store.ledgers[destination]
            lineage = Lineage.decode(kept.get(destination))
            begun[destination] = (
                Lineage.new(ledger.next_seq)
                if lineage is None
                else lineage.begun(
                    acknowledged_seq=ledger.acknowledged_seq, next_seq=ledger.next_seq
                )
            )
        positions = {f"{SENT}/{id}": lineage.encode() for id, lineage in begun.items()}
        # What lanes send has no numbers, and afterwards the old ones would mean nothing.
        positions |= {f"{SENT}/{id}": b"" for id in self._lanes if id in kept}
        try:
            self._store.commit(Transaction(self._wall.now(), positions=positions))
        except QueueError as error:
            self._notices.warn(
                "queue",
                "epochs",
                f"{self._path}: {error}; until the next start, relays get messages at least once, "
                "not exactly once",
            )
            return
        self._lineages = begun

    def _stored(self, destination: str, next_seq: int, payloads: Sequence[bytes]) -> None:
        for cursor in self._cursors.get(destination, ()):
            cursor.stored(next_seq, payloads)
        subscriber = self._subscribers.get(destination)
        if subscriber is not None:
            subscriber(next_seq)

    def _evicted(self, destination: str, upto: int, count: int, reason: str) -> None:
        subscriber = self._evicted_subscribers.get(destination)
        if subscriber is not None:
            subscriber(upto, reason)
        limit = self._limits.get(destination_of(destination))
        if limit is not None:
            limit.dropped(count, reason)

    def _look_at_quarantine(self, _: None, source: str) -> None:
        """Say it if the quarantine of `source` was too full for what has come."""
        account = account_of_source(source)
        dropped = self._store.ledgers[account].dropped.get("quarantine-full", 0)
        more = dropped - self._quarantine_full.get(account, 0)
        self._quarantine_full[account] = dropped
        if more > 0:
            self._notices.warn(
                f"source {source}",
                "quarantine-full",
                f"{more} dropped: its quarantine is full (quarantine_bytes_max)",
            )

    def _make_room(self) -> None:
        """Let some of what is kept of delivered messages go, in case the disk is full.

        LMDB says so in many ways.  HistoryWatch sees when there is room again.
        """
        self.histories.disk_full = True
        if self.histories.used_bytes:
            whole = dict.fromkeys(self.histories.databases, 0.0)
            making = self._committer.operate(PruneHistories(self.histories, whole, _SHED_BYTES))
            making.addErrback(lambda failure: failure.trap(QueueError))  # then next time

    def _damaged(self, problem: str) -> None:
        """LMDB must not read on.  The next start looks at everything and saves what it can."""
        if not self._is_damaged:
            self._is_damaged = True
            self._admission.set_failure(f"the queue is damaged: {problem}", self._wall.now())
            self._log.critical(
                "queue {path} is damaged: {problem}; stopping: the next start saves what can be "
                "read of it; look at the disk",
                path=self._path,
                problem=problem,
            )
            self.exit_status.give_up()

    def failed(self, error: BaseException) -> None:
        """Say what the store could not do; stop the relay if that is a defect."""
        if isinstance(error, QueueMisplaced):
            return  # `PlaceWatch` says so
        if isinstance(error, QueueError):
            self._make_room()
            self._notices.warn(
                "queue",
                "commit",
                f"{self._path}: {error}; senders are kept waiting and it is tried again every "
                "second; if the disk is full, make room on it",
            )
            return
        # A defect.  Without commits nothing works any more; whoever supervises the
        # process starts it again, and the queue is whole.
        words = f"nothing can be stored until the relay is started again: {error!r}"
        self._admission.set_failure(words, self._wall.now())
        self._log.critical("queue: {words}; stopping", words=words)
        self.exit_status.give_up()
