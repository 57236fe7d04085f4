"""Queue records in LMDB.

On-disk layout, format 1
========================

One LMDB environment in a directory of its own, with these named databases:

    meta                key: b"format"              value: b"1"
                        key: b"ledger/" + id        value: JSON, see ledger.py
    blocks/<id>         key: seq, uint64 big endian value: block, see block.py
    quarantine/<id>     key: seq, uint64 big endian value: JSON line, LF, bytes
    history/<id>        key: seq, uint64 big endian value: time and block, see history/keep.py
    positions           key: source, "/", name      value: checksum, see positions.py, and
                                                    bytes of the source's own

`<id>` is a destination's key in the configuration.  A block's key is the seq of
its first record; the blocks of a destination are consecutive, so the key of the
next block, or `next_seq`, is also the end of a block.  That lets a damaged block
be accounted for without reading it.  Big endian keeps keys in numeric order:
appending never splits a page (MDB_APPEND) and the head of the queue is the first
key.

A record is present (it will be sent, perhaps again) or gone.  There is no third
state: what is on its way to the upstream is in no way marked.  Only a prefix
leaves; a block is deleted when all of its records have left, until then the
ledger's `acknowledged_seq` says where the queue begins.

A quarantined record's value starts with {"reason": …, "at": …, "kind": …};
kind "record" is followed by the payload, kind "block" by a block as it was found, and
"records" says how many records that was.  Before all that stands "crc", see quarantine.py.
What a source sets aside instead of queueing it has the id "source/" + the source's
id, a ledger and a quarantine, but no blocks; its kind is "frame", "peer" says who
sent it, and "original_bytes" how long it was if it was cut.

A history has records that were delivered, for as long as the configuration says; most
queues have none.

A position says how far a source has read what it can read again, such as a file. It
changes in the transaction that holds what was read up to there.  Names that begin with a
slash are no source's but the relay's:

    /received   how far other relays have sent (`flow/exactly_once/lineages.py`)
    /sent       by what they know our queues (`lineage.py`)
    /lanes      which queue of a destination takes what comes, where it has two: its id
                and "lane/" + its id (`lane_queues.py`)
    /paused     since when a destination is paused (`service/destinations/commands.py`)
    /groups     members of groups that are not complete (`rewrite/steps/grouping.py`)
    /counted    what sources have counted (`relay/model/counters/kept.py`)
    /clock      by how much the time of day was set forward (`positions.py`)
    /given-up   which note of lost messages was counted last (`service/queue/given_up.py`)

Next to the environment lies `owner.lock`, held (flock), like the directory itself, by the
relay that works with the queue; its text is that process's number.  A new `data.mdb` is made in the
directory `new` or `compacted` and renamed; one that was damaged stays as
`data.mdb.damaged-` with the time, see repair/replace.py.  `headroom` holds nothing but room
on the disk, see files/reserve_file.py, `given-up` how many messages could not be stored, see
service/queue/given_up.py, and `data.mdb.kept-` with a time is a queue whose place another
program's file took, see service/queue/place.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import TypeVar

from relay.model.errors import QueueError, QueueMisplaced
from relay.queue.changes import Changes, Command, RemovesOnly
from relay.queue.compaction.handles import Handles
from relay.queue.files.environment import (
    check_format,
    open_environment,
    opening,
    our_errors,
)
from relay.queue.files.format import make_queue
from relay.queue.files.ownership import Ownership, hold_existing, take_ownership
from relay.queue.files.place import Placement
from relay.queue.files.reserve_file import ReserveFile
from relay.queue.files.trees import Environment
from relay.queue.history.keep import Histories
from relay.queue.ledger import Ledger
from relay.queue.repair.guarded import Guard, GuardedTransaction
from relay.queue.repair.replace import Recovery, prepare_file, remove_unfinished
from relay.queue.transaction import Transaction, account_of_source
from relay.queue.view import MapUsage, TransactionView

_PROBE_BYTES = 64 * 1024
_AS_IT_IS = 1  # LMDB maps all of the file, whatever less it is told
_Found = TypeVar("_Found")


class QueueStore:
    """The queues of all destinations in one LMDB environment.

    `commit` is called from one thread; `read` and `oldest_received_at` from any.
    """

    def __init__(
        self,
        environment: Environment,
        ownership: Ownership,
        path: str | None = None,
        guard: Guard | None = None,
        histories: Histories | None = None,
    ) -> None:
        self._path = path
        self.placement = Placement(path, ownership)
        """Whether the next start finds the file."""
        self.histories = histories or Histories()
        """What is kept of delivered records; none of it counts in `used_bytes`."""
        self.reserve = ReserveFile(path)
        """Room on the disk for removals."""
        self._use(Handles(environment, guard))
        self.ledgers: dict[str, Ledger] = {}
        """The accounts as of the last commit, destinations without a configuration
        included.  Values are replaced, never changed in place."""
        self.recovery: Recovery | None = None
        """Set if the file was damaged when it was opened."""
        self._usage = MapUsage({}, {})  # as of the last commit
        # After a rename whose directory could not be synced a power cut may bring the old file
        # back, and with it the loss of everything that was committed since.
        self._is_spoilt = False

    @classmethod
    def open(
        cls,
        path: str,
        *,
        destinations: Iterable[str],
        sources: Iterable[str] = (),
        map_bytes: int,
        strict: bool = True,
        histories: Histories | None = None,
        fully: bool = True,
    ) -> QueueStore:
        """Open the queue in directory `path`, or make it.

        Args:
            path: Made with mode 0700 if missing.
            destinations: Ids that will be appended to.
            sources: Ids of sources that may set frames aside.
            map_bytes: Size of the map, far above what admission lets in: a full
                map cannot even delete.
            strict: Refuse a damaged file; otherwise it is put aside and what can be
                read of it is in the queue (see `recovery`).
            histories: For which destinations, what is delivered is kept.
            fully: Verify all of the file first; otherwise long queues are verified as they
                are read, see repair/verify_lazily.py.

        Raises:
            QueueInUse: Another process works with it.
            QueueFormatError: Not a queue, one of an unknown format, or damaged.
            QueueError: It cannot be made, opened or read.
        """
        ownership = take_ownership(path)
        with opening(path, ownership):
            remove_unfinished(path)
            open_file = partial(open_environment, map_bytes=map_bytes)
            guard = Guard(path, fully=fully or strict)
            recovery = prepare_file(path, open_file, make_queue, strict=strict, verify=guard.verify)
            guard.settled()
            environment = open_file(path)
            try:
                check_format(environment, path)
                store = cls(environment, ownership, path, guard, histories)
                store.recovery = recovery
                store._open_queues(destinations, sources)
                store.reserve.make()
                return store
            except BaseException:
                environment.close()
                guard.close()
                raise

    @classmethod
    def open_read_only(cls, path: str) -> QueueStore:
        """Open the queue in directory `path` read-only.

        Accounts that do not add up are no reason to refuse: an operator may want to see that.

        Raises:
            QueueInUse: A relay works with it.
            QueueError: There is none, or it cannot be read.
        """
        ownership = hold_existing(path)
        with opening(path, ownership):
            guard = Guard("", fully=False)
            guard.require_sound(path)
            # Without LMDB's own lock file: it would belong to this user, not the relay's.
            environment = open_environment(path, _AS_IT_IS, readonly=True, lock=False, create=False)
            try:
                check_format(environment, path, read_only=True)
                store = cls(environment, ownership, guard=guard)
                store._open_queues((), (), checks=False)
                return store
            except BaseException:
                environment.close()
                raise

    def close(self) -> None:
        """Close the environment and let others have it."""
        self._handles.leave()
        self.placement.close()

    def own_again(self) -> None:
        """Own the directory with the queue's path, which may be a new one; as `Placement` does."""
        self.placement.own_again()
        self.reserve.is_there = False  # that which was kept may have gone too

    @property
    def misplaced(self) -> str:
        """Why what was committed last must not be answered; empty = it may be."""
        return self.placement.misplaced

    @property
    def used_bytes(self) -> int:
        """Bytes of the map that queues and quarantines took as of the last commit."""
        return self._usage.total

    @property
    def destination_bytes(self) -> dict[str, int]:
        """What the queue of each destination took of that."""
        return self._usage.queues

    @property
    def in_use_bytes(self) -> int:
        """Bytes of the map that are not free: `used_bytes`, and what is kept of deliveries."""
        return self.used_bytes + self.histories.used_bytes

    def commit(self, transaction: Transaction) -> dict[str, Ledger]:
        """Make all of `transaction` durable, or nothing of it.

        Returns:
            The ledgers that changed.  They are also in `ledgers` from then on.

        Raises:
            QueueFull: The map or the file system is full.
            StorageFailed: LMDB or the disk failed, or the file is not in its place.  In all
                cases nothing was changed.
        """
        self._refuse_if_spoilt()
        # An answer promises that the next start finds what it is for, so the file's place is
        # looked at before the commit, which then need not be made, and after it.
        if transaction.is_answered:
            self.placement.require()
        growth = transaction.growth
        apply = partial(Changes.apply, transaction=transaction)
        write = partial(self._write, apply, transaction.received_at, growth)
        if not growth:
            changed, _ = self.reserve.with_room(write)
        else:
            # What adds something must leave room for removals, or a full disk could never empty.
            if not self.reserve.is_there:
                self.reserve.before_growth(wanted_bytes=growth, used_bytes=self.in_use_bytes)
            changed, _ = write()
        with suppress(QueueMisplaced):  # it has been committed, but not there: see `misplaced`
            self.placement.require()
        return changed

    def _write(
        self, apply: Callable[[Changes], _Found], at: float, wanted_bytes: int = 0
    ) -> tuple[dict[str, Ledger], _Found]:
        """The ledgers that `apply` changed in a transaction, and what it returned."""
        with self._errors(wanted_bytes), self._handles.begin(write=True) as txn:
            changes = Changes(txn, self._handles, self.ledgers, self.histories, at=at)
            found = apply(changes)
            usage = changes.finish(self._usage)
        # Only now: a transaction that failed has changed nothing here either.
        self._usage = usage
        self.ledgers.update(changes.changed)
        return changes.changed, found

    def open_accounts(self, ids: Iterable[str], histories: Histories) -> None:
        """Open the queues and quarantines of more accounts, or make them; from the thread of
        `commit`.

        Args:
            ids: Of destinations, and those of sources as `account_of_source` has them.
            histories: Has the limits to keep to from now on, and nothing else.

        Raises:
            QueueError: LMDB or the disk failed.  What was opened by then stays empty.
        """
        self._refuse_if_spoilt()
        with self._errors():
            self._open_accounts({*ids} - self._handles.quarantine.keys())
            self.histories.change(self._handles.environment, histories)

    def probe(self) -> None:
        """Find out whether something can be stored: write what is there once more.

        Raises:
            StorageFailed: It cannot.
        """
        self._refuse_if_spoilt()
        self.placement.require()
        self.reserve.before_growth(wanted_bytes=_PROBE_BYTES, used_bytes=self.in_use_bytes)
        meta = self._handles.meta
        with self._errors(_PROBE_BYTES), self._handles.begin(write=True) as txn:
            found = txn.get(b"format", db=meta)
            assert found is not None  # `check_format` has read it
            txn.put(b"format", found, db=meta)

    def operate(self, command: Command[_Found], *, at: float) -> tuple[dict[str, Ledger], _Found]:
        """Make all changes of `command` durable, or none; from the thread of `commit`.

        Args:
            at: Seconds since 1970-01-01 UTC.

        Returns:
            The ledgers that changed, and what the command returned.

        Raises:
            QueueError: The command, LMDB or the disk refused.  Nothing was changed.
        """
        self._refuse_if_spoilt()
        self.placement.require()
        write = partial(self._write, command.apply, at)
        return self.reserve.with_room(write) if isinstance(command, RemovesOnly) else write()

    def look(self, query: Callable[[TransactionView], _Found]) -> _Found:
        """What `query` finds, in a read transaction that ends with it.

        Pages that a reader can see are not used again before it ends: keep it short.

        Raises:
            QueueError: `query` refused, or LMDB failed.
        """
        with self._reading() as view:
            return query(view)

    def new_environment(self, path: str) -> Environment:
        """An empty one in the directory `path`, with a map of the same size.

        Raises:
            QueueError: LMDB or the disk failed.
        """
        with self._errors():
            return open_environment(path, self._handles.environment.info()["map_size"])

    @contextmanager
    def snapshot(self) -> Iterator[GuardedTransaction]:
        """A read transaction that sees everything, with buffers; keep it short."""
        with self._reading() as view:
            yield view.txn

    @contextmanager
    def writing(self) -> Iterator[Handles]:
        """The environment in use, with LMDB's exceptions as ours and their true reasons.

        Only the thread of `commit` may write to it.
        """
        with self._errors():
            yield self._handles

    def replace_environment(
        self, environment: Environment, put_in_place: Callable[[], bool]
    ) -> None:
        """Go on with `environment`, which holds the same; from the thread of `commit`.

        Args:
            put_in_place: Gives its file the name of the one in use, durably.  Raises
                OSError if that has not happened; False = it has, but a power cut may
                undo it.

        Raises:
            QueueError, OSError: It could not be put in place; nothing was changed.
            RuntimeError: A power cut may undo it.  Nothing is committed any more.
        """
        with self._errors():
            handles = self._handles.like(environment)
            with handles.begin() as txn:
                view = TransactionView(txn, handles)
                usage = MapUsage({}, {}).updated(view, view.quarantine)
        is_durable = put_in_place()
        left, self._usage = self._handles, usage
        self._use(handles)
        self.placement.moved()
        left.leave()  # closed after the last reader that is under way in it
        if not is_durable:
            self._is_spoilt = True
            self._refuse_if_spoilt()

    def _use(self, handles: Handles) -> None:
        self._handles = handles
        self.histories.databases = handles.history

    @contextmanager
    def _reading(self) -> Iterator[TransactionView]:
        while not (handles := self._handles).enter():
            if handles is self._handles:  # otherwise it was replaced since we looked
                raise QueueError("the queue is closed")
        errors = our_errors("the queue cannot be read")
        with errors, handles.transaction() as txn:
            yield TransactionView(txn, handles)

    def _refuse_if_spoilt(self) -> None:
        if self._is_spoilt:
            raise RuntimeError("the names of the queue's files could not be synced")

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        """Consecutive payloads from record `start` on, in a short transaction.

        Whole blocks are read until one of the limits is reached, so more may come
        back; nothing comes back if there is nothing.

        Raises:
            DamagedRange: The block with `start` in it is damaged.
            QueueError: LMDB failed.
        """
        limits = {"records_max": records_max, "bytes_max": bytes_max}
        with self._reading() as view:
            return view.records(destination, start=start, **limits)

    def positions(self, source: str) -> dict[str, bytes]:
        """How far `source` has read, by name, as of the last commit."""
        with self._reading() as view:
            return view.positions_of(source)

    def sources_with_positions(self) -> list[str]:
        """The sources that have read something, whether they are configured or not."""
        with self._reading() as view:
            return view.sources_with_positions()

    def oldest_received_at(self, destination: str) -> float | None:
        """When the oldest queued record came in (seconds since 1970), or None."""
        with self._reading() as view:
            return view.oldest_received_at(destination)

    def when_damaged(self, call: Callable[[str], None]) -> None:
        """Have `call` called, from any thread, if the file turns out to be damaged.

        It must not be used on then; the next start verifies all of it.
        """
        self._handles.guard.on_damage = call

    def _errors(self, wanted_bytes: int = 0) -> AbstractContextManager[None]:
        return our_errors(path=self._path, wanted_bytes=wanted_bytes)

    def _open_queues(
        self, destinations: Iterable[str], sources: Iterable[str], *, checks: bool = True
    ) -> None:
        handles = self._handles
        with handles.begin() as txn:
            self.ledgers = TransactionView(txn, handles).ledgers(checks=checks)
        self._open_accounts({*destinations, *map(account_of_source, sources), *self.ledgers})
        self.histories.open(handles.environment, self.used_bytes)

    def _open_accounts(self, ids: Iterable[str]) -> None:
        handles = self._handles
        for id in ids:
            self.ledgers.setdefault(id, Ledger())
            handles.open_account(id)
        with handles.begin() as txn:
            view = TransactionView(txn, handles)
            self._usage = self._usage.updated(view, view.quarantine)
