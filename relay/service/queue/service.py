"""The queue's life: when it opens and closes, and the threads that work on it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from relay.flow.exactly_once.lineages import LINEAGES_MAX, RECEIVED, Lineages
from relay.model.errors import QueueError
from relay.model.hops import OwnHop, is_relay_id
from relay.model.text import counted, span
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, CommitPauses, Committer
from relay.queue.compaction.live import LiveCompaction
from relay.queue.cursor import Cursor
from relay.queue.files.map_size import bytes_max_of, map_bytes_for
from relay.queue.history.keep import Histories
from relay.queue.lane_queues import LaneQueues
from relay.queue.ledger import Ledger
from relay.queue.lineage import SENT, Lineage
from relay.queue.repair.replace import Recovery
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction, account_of_lane, account_of_source, destination_of
from relay.service.queue.failures import QueueFailures
from relay.service.queue.given_up import count_given_up
from relay.service.queue.place import QueuePlace
from relay.service.queue.view import QueueParts, QueueView
from relay.service.queue.worker import Worker
from relay.service.refusal import StartRefused

RELAY = "/relay"
"""Where the position is that holds the id of the relay; no source's id contains a slash."""

_REMOVAL_SECONDS = 0.02
_Found = TypeVar("_Found")
_Stored = Callable[[int, Sequence[bytes]], None]
_Evicted = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How the configuration wants the queue."""

    path: str
    """Directory of the queue."""
    destinations: Sequence[str]
    """Ids of the configured destinations."""
    map_bytes: int
    """Size of the map; more if the file that is there already needs it."""
    check_path: Callable[[str], None]
    """Raises StartRefused if `path` is no place for a queue."""
    sources: Sequence[str] = ()
    """Ids of the sources that may set frames aside."""
    lanes: Sequence[str] = ()
    """Ids of those destinations that have a second queue."""
    limits: Sequence[QueueLimit] = ()
    """Those of the destinations."""
    strict: bool = False
    """Do not start with a damaged file; otherwise it is put aside, and what can be read of it is
    in the queue."""
    fully: bool = False
    """Verify all of the file at the start; otherwise long queues as they are read, and the relay
    ends when there is damage."""
    relay_name: str = ""
    """Name of this relay in the hops of messages; empty = it is not to be known as one."""
    commit_seconds_min: float = 0.0
    """From the beginning of one commit to that of the next."""
    lineages_max: int = LINEAGES_MAX
    """Most lineages that are remembered."""

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of the destinations."""
        return (*self.destinations, *map(account_of_lane, self.lanes))


class QueueService(Service):
    """Owns the LMDB environment and the one thread that writes to it.

    twistd calls makeService before it daemonizes, and startService after it has forked and
    changed user.  So startService is the first place that may open the environment, and the files
    belong to the right user.

    Attributes:
        committer: Stores what the flows bring; takes nothing before the start.
        view: Reads the queue.
        failures: What happens when storing fails.
        lineages: What relays have sent that is in this queue.
        place: Of the file.
        lane_queues: The second queues of destinations.
        bytes_max: The largest limit of all queues that the file has been mapped for.
        hop: This relay, in the hops of messages; has its id from the start on.
    """

    name = "queue"
    _log = Logger(namespace="relay")
    _store: QueueStore  # all three exist from startService on
    place: QueuePlace
    lane_queues: LaneQueues

    def __init__(self, settings: QueueSettings, parts: QueueParts) -> None:
        self._settings = settings
        self.bytes_max = bytes_max_of(settings.map_bytes)
        self._parts = parts
        self.histories, self.exit_status = parts.histories, parts.exit_status
        self._limits = {limit.destination: limit for limit in settings.limits}
        self._lineages: dict[str, Lineage] = {}  # of the queues of destinations
        self.hop = OwnHop(settings.relay_name)
        self._stored: dict[str, _Stored] = {}
        self._on_evicted: dict[str, _Evicted] = {}
        self._writer = Worker("queue-writer", call_from_thread=parts.reactor.callFromThread)
        self._readers = ThreadPool(minthreads=1, maxthreads=2, name="queue-reader")
        self._accounts = {*settings.queues, *map(account_of_source, settings.sources)}
        self.view = QueueView(settings.path, self._accounts, parts, self._readers)
        self.lineages = Lineages(
            load=lambda: self.view.positions(RECEIVED),
            now=parts.wall.now,
            lineages_max=settings.lineages_max,
        )
        self.failures = QueueFailures(settings.path, parts)
        self.committer = self.failures.committer = self._new_committer()

    def _new_committer(self) -> Committer:
        return Committer(
            run_in_thread=self._writer,
            clock=self._parts.reactor,
            now=self._parts.wall.now,
            admission=self._parts.admission,
            callbacks=CommitCallbacks(
                on_stored=self._stored,
                on_failure=self.failures.failed,
                on_evicted=self._evicted,
                on_given_up=self.failures.given_up,
            ),
            limits=self._settings.limits,
            pauses=CommitPauses(removal=_REMOVAL_SECONDS, commit=self._settings.commit_seconds_min),
        )

    def startService(self) -> None:
        Service.startService(self)
        path = self._settings.path
        self._store = store = self._opened()
        self.view.store = self.failures.store = store
        store.when_damaged(partial(self._parts.reactor.callFromThread, self.failures.damaged))
        if store.recovery is not None:
            log_recovery(store.recovery, path, self._log)
        log_queues(store.ledgers, self._accounts, self._log)
        count_given_up(store, path, now=self._parts.wall.now, log=self._log)
        self._begin_epochs()
        self._writer.start()
        self._readers.start()
        self.committer.start(store)
        self.place = QueuePlace(store, path, self.committer.probe, self._parts.reactor)
        self.lane_queues = LaneQueues(store, self.committer, self._limits)

    def _opened(self) -> QueueStore:
        settings = self._settings
        try:
            settings.check_path(settings.path)
            return QueueStore.open(
                settings.path,
                destinations=settings.queues,
                sources=settings.sources,
                # After a limit was lowered there may be more than fits: that has to leave, and a
                # full map cannot delete.
                map_bytes=max(settings.map_bytes, self.view.allocated_bytes + map_bytes_for(0)),
                strict=settings.strict,
                histories=self.histories,
                fully=settings.fully,
            )
        except QueueError as error:
            raise StartRefused(str(error)) from error
        except OSError as error:
            raise StartRefused(f"state_dir {os.path.dirname(settings.path)}: {error}") from error

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return ensureDeferred(self._flush_and_close())

    async def _flush_and_close(self) -> None:
        await self.committer.close()
        await self.place.leave(self._writer, self.exit_status)
        self._writer.stop()
        self._readers.stop()
        self._store.close()

    # For drains: where they begin, and notifications of commits.

    def cursor(self, queue: str) -> Cursor:
        """A new cursor at the head of `queue`, for as long as we run."""
        return Cursor(
            self._store,
            queue,
            position=self.view.ledger(queue).acknowledged_seq,
            run_in_thread=self.view.in_reader,
        )

    def subscribe(
        self, queue: str, stored: _Stored, evicted: _Evicted = lambda upto, reason: None
    ) -> None:
        """Have `stored` called after each commit for `queue`: with the next seq, and the payloads
        of the records before it that were stored.

        Args:
            evicted: Called when the records before a seq have left undelivered, with the
                reason.
        """
        self._stored[queue] = stored
        self._on_evicted[queue] = evicted

    def undirect(self, destination: str) -> None:
        """Put what comes for `destination` into the queue with its id from now on."""
        self.committer.entrances.pop(destination, None)
        if (limit := self._limits.get(destination)) is not None:
            limit.queues = (destination,)

    def unsubscribe(self, queue: str) -> None:
        """Tell nobody of `queue` any more."""
        self._stored.pop(queue, None)
        self._on_evicted.pop(queue, None)

    def limit(self, destination: str) -> QueueLimit | None:
        return self._limits.get(destination)

    @property
    def seconds_to_full(self) -> float | None:
        """When the queues of all destinations together will be full; None = not foreseen."""
        return self._parts.admission.seconds_to_full

    def _evicted(self, queue: str, upto: int, count: int, reason: str) -> None:
        if queue in self._on_evicted:
            self._on_evicted[queue](upto, reason)
        if (limit := self._limits.get(destination_of(queue))) is not None:
            limit.dropped(count, reason)

    # The histories of the queues' numbers.

    def lineage(self, queue: str) -> Lineage | None:
        """The history of the numbers of `queue`, or None if it could not be stored."""
        return self._lineages.get(queue)

    def keep_lineage(self, queue: str, lineage: Lineage) -> Deferred[None]:
        """Let `queue` have another history; fires once that is on disk."""
        kept = self.committer.append({}, positions={f"{SENT}/{queue}": lineage.encode()})
        return kept.addCallback(lambda _: self._lineages.update({queue: lineage}))

    # For a reload: other destinations, sources and limits.

    async def open(self, settings: QueueSettings, histories: Histories) -> None:
        """Open the queues of another configuration; `use` follows.

        Args:
            histories: Its limits are those of the configuration; it holds nothing else.

        Raises:
            QueueError: LMDB or the disk failed; the queue is as before.
        """
        accounts = {*settings.queues, *map(account_of_source, settings.sources)}
        await self._writer(partial(self._store.open_accounts, accounts, histories))
        begun, positions = self._begun(settings)
        if positions:
            await self.committer.append({}, positions=positions)
        self._lineages |= begun

    def use(self, settings: QueueSettings) -> None:
        """Have the queues and limits of another configuration, which are open.

        Queues of destinations that are gone become orphans; a new destination whose id is that of
        an orphan adopts its queue.

        Args:
            settings: `path`, `map_bytes`, `check_path`, `strict`, `fully` and `relay_name` are
                those of the start.
        """
        accounts = {*settings.queues, *map(account_of_source, settings.sources)}
        self._lineages = {id: self._lineages[id] for id in settings.queues}
        self._settings = settings
        self._accounts.clear()
        self._accounts.update(accounts)
        self._limits.clear()
        self._limits.update({limit.destination: limit for limit in settings.limits})
        self.committer.use(settings.limits, commit_seconds_min=settings.commit_seconds_min)
        self.lineages.lineages_max = settings.lineages_max

    def _begun(self, settings: QueueSettings) -> tuple[dict[str, Lineage], dict[str, bytes]]:
        """The histories of the queues of `settings` that begin now, and the positions to store."""
        kept = self._store.positions(SENT)
        begun: dict[str, Lineage] = {}
        for queue in settings.queues:
            if queue not in self._lineages:
                begun[queue] = self._next_epoch(queue, kept)
        positions = {f"{SENT}/{id}": lineage.encode() for id, lineage in begun.items()}
        # The records of a second queue that nobody sends any more are adopted, which gives them
        # other numbers: should it be used again, a receiver would miss them.
        unused = {*map(account_of_lane, settings.destinations)} - {*settings.queues}
        return begun, positions | {f"{SENT}/{id}": b"" for id in unused if id in kept}

    def _next_epoch(self, queue: str, kept: Mapping[str, bytes]) -> Lineage:
        ledger, lineage = self._store.ledgers[queue], Lineage.decode(kept.get(queue))
        if lineage is None:
            return Lineage.new(ledger.next_seq)
        return lineage.begun(acknowledged_seq=ledger.acknowledged_seq, next_seq=ledger.next_seq)

    def _begin_epochs(self) -> None:
        """Note in the histories of the queues that the relay has started."""
        begun, positions = self._begun(self._settings)
        if self._settings.relay_name:
            positions |= self._begin_hop()
        try:
            self._store.commit(Transaction(self._parts.wall.now(), positions=positions))
        except QueueError as error:
            self._parts.notices.warn(
                "queue",
                "epochs",
                f"{self._settings.path}: {error}; until the next start, relays get messages at "
                "least once, not exactly once",
            )
            return
        self._lineages = begun

    def _begin_hop(self) -> dict[str, bytes]:
        """Give the relay its id; returns the position to store if that is a new one."""
        kept = self._store.positions(RELAY).get("id", b"").decode("ascii", "replace")
        id = kept if is_relay_id(kept) else secrets.token_hex(8)
        self.hop.begin(id)
        return {} if id == kept else {f"{RELAY}/id": id.encode("ascii")}

    # For compaction.

    def new_compaction(self) -> LiveCompaction:
        return LiveCompaction(self._store, self._settings.path)

    def in_writer(self, call: Callable[[], _Found]) -> Deferred[_Found]:
        """Run `call` between two commits, in their thread."""
        return self._writer(call)


def log_recovery(recovery: Recovery, path: str, log: Logger) -> None:
    """Log that the queue in directory `path` was damaged, and what could be salvaged."""
    salvaged = recovery.salvaged
    lost = [f"the counts of {id} begin anew" for id in salvaged.lost_ledgers]
    if salvaged.may_lack_more:
        lost.append("there may have been more")
    log.critical(
        "queue {path} was damaged: {problem}{more}; {records} could be read, "
        "{unreadable} set aside unread{lost}; the file is kept as {kept}: look at the "
        "disk",
        path=path,
        problem=recovery.problems[0],
        more=f" and {len(recovery.problems) - 1} more" if recovery.problems[1:] else "",
        records=counted(salvaged.records, "record"),
        unreadable=salvaged.unreadable_records,
        lost="".join(f", {text}" for text in lost),
        kept=recovery.kept_as,
    )


def log_queues(ledgers: Mapping[str, Ledger], configured: Container[str], log: Logger) -> None:
    """Log how many records wait in each queue.

    Args:
        configured: Accounts of configured destinations; the others are orphans.
    """
    for id, ledger in sorted(ledgers.items()):
        if ledger.queued:
            log.info(
                "queue of {id}: {records}, {numbers}{orphan}",
                records=counted(ledger.queued, "record"),
                id=id,
                numbers=span("number", ledger.acknowledged_seq, ledger.next_seq - 1),
                orphan="" if id in configured else ", which is not in the configuration",
            )
