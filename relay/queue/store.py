"""Queue records in LMDB: the only module that imports lmdb.

On-disk layout, format 1
========================

One LMDB environment in a directory of its own, with these named databases:

    meta                key: b"format"              value: b"1"
                        key: b"ledger/" + id        value: JSON, see ledger.py
    blocks/<id>         key: seq, uint64 big endian value: block, see block.py
    quarantine/<id>     key: seq, uint64 big endian value: JSON line, LF, octets
    history/<id>        key: seq, uint64 big endian value: time and block, see history.py
    positions           key: source, "/", name      value: octets of the source's own

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
"records" says how many records that was.
What a source sets aside instead of queueing it has the id "source/" + the source's
id, a ledger and a quarantine, but no blocks; its kind is "frame", "peer" says who
sent it, and "original_bytes" how long it was if it was cut.

A history has records that were delivered, for as long as the configuration says; most
queues have none.

A position says how far a source has read what it can read again, such as a file. It
changes in the transaction that holds what was read up to there.  Three names are no
sources' but the relay's: "/received" has how far other relays have sent
(`flow/lineages.py`), "/sent" by what they know our queues (`lineage.py`), "/lanes" which
queue of a destination takes what comes, where it has two: its id and "lane/" + its id
(`lane_queues.py`).

Next to the environment lies `owner.lock`, held (flock) by the relay that works
with the queue; its text is that process's number.  A new `data.mdb` is made in the
directory `new` and renamed; one that was damaged stays as `data.mdb.damaged-` with the
time, see replacement.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import lmdb
import msgspec

from relay.model.errors import DamagedRange, QueueError, QueueFormatError, QueueFull
from relay.model.seq import SeqRange
from relay.queue.block import BlockDamaged, decode_block, encode_block, split
from relay.queue.books import KEY as _KEY
from relay.queue.books import Books, Operation, count_never_queued, database_bytes, forget
from relay.queue.eviction import count_late, evict
from relay.queue.format import FORMAT, is_older, migrate, put_format, refuse_format
from relay.queue.guarded import Guard
from relay.queue.history import Histories
from relay.queue.ledger import Ledger, decode_ledger
from relay.queue.ownership import hold_existing, take_ownership
from relay.queue.positions import positions_of, put_positions
from relay.queue.quarantine import refuse, set_aside
from relay.queue.replacement import Recovery, prepare_file
from relay.queue.transaction import (
    Eviction,
    Refusal,
    Removal,
    SetAside,
    Transaction,
    account_of_source,
    is_of_source,
)

__all__ = [
    "DamagedRange",
    "Eviction",
    "QueueStore",
    "Refusal",
    "Removal",
    "SetAside",
    "Transaction",
    "account_of_source",
]

_DATABASES_MAX = 2048

_Found = TypeVar("_Found")
_Measured = tuple[dict[str, int], dict[str, int]]


class QueueStore:
    """The queues of all destinations in one LMDB environment.

    `commit` is called from one thread; `read` and `oldest_received_at` from any.
    """

    def __init__(self, environment: Any, lock_fd: int) -> None:
        self._environment = environment
        self._lock_fd = lock_fd
        self._meta = environment.open_db(b"meta")
        self._blocks: dict[str, Any] = {}
        self._quarantine: dict[str, Any] = {}
        self._positions = environment.open_db(b"positions")
        self.histories = Histories()
        """What is kept of delivered records; none of it counts in `used_bytes`."""
        self.ledgers: dict[str, Ledger] = {}
        """The accounts as of the last commit, destinations without a configuration
        included.  Values are replaced, never changed in place."""
        self.recovery: Recovery | None = None
        """Set if the file was damaged when it was opened."""
        self._guard = Guard("", fully=True)
        self.used_bytes = 0
        """Octets of the map that queues and quarantines took as of the last commit.

        A lone short record takes a page, so this, not the payload, is what has to
        stay below the size of the map."""
        self.destination_bytes: dict[str, int] = {}
        """What the queue of each destination took of that."""
        self._quarantine_bytes: dict[str, int] = {}

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
            fully: Look through all of the file first; otherwise long queues are looked at
                as they are read, see late_examination.py.

        Raises:
            QueueInUse: Another process works with it.
            QueueFormatError: Not a queue, one of an unknown format, or damaged.
            QueueError: It cannot be made, opened or read.
        """
        lock_fd = take_ownership(path)
        with _opening(path, lock_fd):
            open_environment = partial(_open_environment, map_bytes=map_bytes)
            guard = Guard(path, fully=fully or strict)
            recovery = prepare_file(
                path, open_environment, _put_format, strict=strict, look=guard.look
            )
            guard.settled()
            environment = open_environment(path)
            try:
                _check_format(environment, path)
                store = cls(environment, lock_fd)
                store.recovery, store._guard = recovery, guard
                store.histories = histories or store.histories
                store._open_queues(destinations, sources)
                return store
            except BaseException:
                environment.close()
                guard.close()
                raise

    @classmethod
    def open_read_only(cls, path: str) -> QueueStore:
        """Open the queue in directory `path` to look into it, and change nothing.

        Accounts that do not add up are no reason to refuse: somebody wants to see that.

        Raises:
            QueueInUse: A relay works with it.
            QueueError: There is none, or it cannot be read.
        """
        lock_fd = hold_existing(path)
        with _opening(path, lock_fd):
            # Without LMDB's own lock file: it would belong to whoever looks.
            environment = _open_environment(path, 0, readonly=True, lock=False, create=False)
            try:
                _check_format(environment, path, read_only=True)
                store = cls(environment, lock_fd)
                store._open_queues((), (), checks=False)
                return store
            except BaseException:
                environment.close()
                raise

    def close(self) -> None:
        """Close the environment and let others have it."""
        self._environment.close()
        self._guard.close()
        os.close(self._lock_fd)

    def commit(self, transaction: Transaction) -> dict[str, Ledger]:
        """Make all of `transaction` durable, or nothing of it.

        Returns:
            The ledgers that changed.  They are also in `ledgers` from then on.

        Raises:
            QueueFull: The map or the file system is full.
            QueueError: LMDB or the disk failed.  In both cases nothing was changed.
        """
        changed: dict[str, Ledger] = {}
        with _LmdbErrors(), self._begin(write=True, buffers=True) as txn:
            for destination, payloads in transaction.appends.items():
                if payloads:
                    ledger = self._changed_ledger(destination, changed)
                    self._append(txn, destination, ledger, payloads, transaction.received_at)
            for destination, removal in transaction.removals.items():
                ledger = self._changed_ledger(destination, changed)
                self._remove(txn, destination, ledger, removal, transaction.received_at)
            for destination, reasons in transaction.drops.items():
                count_never_queued(self._changed_ledger(destination, changed), reasons)
            for destination, eviction in transaction.evictions.items():
                ledger = self._changed_ledger(destination, changed)
                database = self._blocks[destination]
                size = partial(database_bytes, txn, database)
                evict(txn, database, ledger, eviction, used_bytes=size)
            for refusal in transaction.refusals:
                account = account_of_source(refusal.source)
                ledger = self._changed_ledger(account, changed)
                refuse(txn, self._quarantine[account], ledger, refusal, transaction.received_at)
            put_positions(txn, self._positions, transaction.positions)
            used = self._store_ledgers(txn, changed)
        self._note_measured(*used)
        self.ledgers.update(changed)
        return changed

    def operate(self, operation: Operation, *, at: float) -> tuple[dict[str, Ledger], Any]:
        """Make all of `operation` durable, or nothing of it; from the thread of `commit`.

        Args:
            at: Seconds since 1970-01-01 UTC.

        Returns:
            The ledgers that changed, and what the operation returned.

        Raises:
            QueueError: The operation, LMDB or the disk refused.  Nothing was changed.
        """
        changed: dict[str, Ledger] = {}
        with _LmdbErrors(), self._begin(write=True, buffers=True) as txn:
            result = operation.apply(
                self._books(txn, lambda id: self._changed_ledger(id, changed), at)
            )
            used = self._store_ledgers(txn, changed)
        self._note_measured(*used)
        self.ledgers.update(changed)
        return changed, result

    def look(self, reading: Callable[[Books], _Found]) -> _Found:
        """What `reading` finds, in a read transaction that ends with it.

        Pages that a reader can see are not used again before it ends: keep it short.

        Raises:
            QueueError: `reading` refused, or LMDB failed.
        """
        with _LmdbErrors(), self._begin(buffers=True) as txn:
            return reading(self._books(txn, lambda id: self._stored_ledger(txn, id), 0.0))

    def copy_compacted(self, fd: int) -> None:
        """Write the environment, without the pages that are free, to the file `fd`."""
        with _LmdbErrors():
            self._guard.look_at_rest(self._environment)  # before LMDB reads it all
            self._environment.copyfd(fd, compact=True)

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
        payloads: list[bytes] = []
        size = 0
        with _LmdbErrors(), self._begin(db=self._blocks[destination]) as txn:
            cursor = txn.cursor()
            found = cursor.set_range(_KEY.pack(start))
            if not found or _KEY.unpack(cursor.key())[0] != start:
                found = cursor.prev() if found else cursor.last()
            while found and len(payloads) < records_max and size < bytes_max:
                (first,) = _KEY.unpack(cursor.key())
                value = cursor.value()
                found = cursor.next()
                stop = (
                    _KEY.unpack(cursor.key())[0]
                    if found
                    else self._stored_ledger(txn, destination).next_seq
                )
                try:
                    block = decode_block(value).payloads
                    if len(block) != stop - first:  # its key is not under the checksum
                        raise BlockDamaged(f"{len(block)} records in the place of {stop - first}")
                except BlockDamaged as damage:
                    if payloads:
                        break  # deliver what comes before it first
                    if start >= stop:
                        break  # it lies before the first record asked for
                    raise DamagedRange(destination, SeqRange(start, stop), str(damage)) from damage
                skip = max(0, start - first)
                payloads += block[skip:] if skip else block
                size += len(value)
        return payloads

    def positions(self, source: str) -> dict[str, bytes]:
        """How far `source` has read, by name, as of the last commit."""
        with _LmdbErrors(), self._environment.begin() as txn:
            return positions_of(txn, self._positions, source)

    def oldest_received_at(self, destination: str) -> float | None:
        """When the oldest queued record came in (seconds since 1970), or None."""
        with _LmdbErrors(), self._begin(db=self._blocks[destination]) as txn:
            cursor = txn.cursor()
            if not cursor.first():
                return None
            try:
                return decode_block(cursor.value()).received_at
            except BlockDamaged:
                return None

    def when_damaged(self, call: Callable[[str], None]) -> None:
        """Have `call` called, from any thread, if the file turns out to be damaged.

        It cannot be used on then; the next start looks through all of it.
        """
        self._guard.on_damage = call

    def _begin(self, **options: Any) -> Any:
        return self._guard.begin(self._environment, self._blocks, **options)

    def _books(self, txn: Any, ledger: Callable[[str], Ledger], at: float) -> Books:
        def append(destination: str, payloads: Sequence[bytes], *, received_at: float) -> None:
            self._append(txn, destination, ledger(destination), payloads, received_at)

        kept = self.histories.databases
        return Books(txn, self._blocks, self._quarantine, ledger, append, at, kept)

    def _store_ledgers(self, txn: Any, changed: Mapping[str, Ledger]) -> _Measured:
        """Store the accounts with what they account for; return what `_measured` finds then."""
        for id, ledger in changed.items():
            assert ledger.gap == 0, (id, ledger)
            txn.put(b"ledger/" + id.encode(), msgspec.json.encode(ledger), db=self._meta)
        queues, quarantines = self._measured(txn, changed)  # nothing else has changed
        self.histories.trim(txn, sum(queues.values()) + sum(quarantines.values()))
        return queues, quarantines

    def _stored_ledger(self, txn: Any, id: str) -> Ledger:
        """The account as the transaction sees it, whether it adds up or not."""
        value = txn.get(b"ledger/" + id.encode(), db=self._meta)
        return decode_ledger(id, value, checks=False) if value else Ledger()

    def _measured(self, txn: Any, ids: Iterable[str]) -> _Measured:
        """What each queue and each quarantine takes of the map; only `ids` are looked at."""
        queues, quarantines = dict(self.destination_bytes), dict(self._quarantine_bytes)
        for id in ids:
            quarantines[id] = database_bytes(txn, self._quarantine[id])
            if id in self._blocks:
                queues[id] = database_bytes(txn, self._blocks[id])
        return queues, quarantines

    def _note_measured(self, queues: dict[str, int], quarantines: dict[str, int]) -> None:
        self.destination_bytes, self._quarantine_bytes = queues, quarantines
        self.used_bytes = sum(queues.values()) + sum(quarantines.values())

    def _open_queues(
        self, destinations: Iterable[str], sources: Iterable[str], *, checks: bool = True
    ) -> None:
        with self._environment.begin(db=self._meta) as txn:
            for key, value in txn.cursor():
                if bytes(key).startswith(b"ledger/"):
                    destination = bytes(key)[len(b"ledger/") :].decode()
                    self.ledgers[destination] = decode_ledger(destination, value, checks=checks)
        for id in {*destinations, *map(account_of_source, sources), *self.ledgers}:
            self.ledgers.setdefault(id, Ledger())
            if not is_of_source(id):
                self._blocks[id] = self._environment.open_db(f"blocks/{id}".encode())
            self._quarantine[id] = self._environment.open_db(f"quarantine/{id}".encode())
        with self._environment.begin() as txn:
            self._note_measured(*self._measured(txn, self._quarantine))
        self.histories.open(self._environment, self.used_bytes)

    def _changed_ledger(self, destination: str, changed: dict[str, Ledger]) -> Ledger:
        if destination not in changed:
            ledger = self.ledgers[destination]
            changed[destination] = msgspec.structs.replace(ledger, dropped=dict(ledger.dropped))
        return changed[destination]

    def _append(
        self,
        txn: Any,
        destination: str,
        ledger: Ledger,
        payloads: Sequence[bytes],
        received_at: float,
    ) -> None:
        for run in split(payloads):
            block = encode_block(run, received_at=received_at)
            key = _KEY.pack(ledger.next_seq)
            if not txn.put(key, block, db=self._blocks[destination], append=True):
                raise QueueError(
                    f"queue of {destination}: there are blocks beyond record {ledger.next_seq}"
                )
            ledger.next_seq += len(run)
            ledger.queued_bytes += sum(map(len, run))

    def _remove(
        self, txn: Any, destination: str, ledger: Ledger, removal: Removal, at: float
    ) -> None:
        assert removal.upto <= ledger.next_seq, (removal, ledger)
        upto = max(removal.upto, ledger.acknowledged_seq)  # some may have been evicted
        count_late(ledger, removal.late)
        quarantined = ledger.quarantined
        blocks, quarantine = self._blocks[destination], self._quarantine[destination]
        for aside in removal.set_aside:
            set_aside(txn, blocks, quarantine, ledger, aside, at)
        aside_records = ledger.quarantined - quarantined
        ledger.delivered += upto - ledger.acknowledged_seq - aside_records
        left = SeqRange(ledger.acknowledged_seq, upto)
        self.histories.keep(txn, destination, blocks, left, removal.set_aside, at=at)
        forget(txn, blocks, ledger, upto)


@contextmanager
def _opening(path: str, lock_fd: int) -> Iterator[None]:
    """Let others have the queue if it cannot be opened, and say why."""
    try:
        yield
    except BaseException as error:
        os.close(lock_fd)
        if isinstance(error, lmdb.Error | OSError):
            reason = error.strerror if isinstance(error, OSError) else error
            raise QueueError(f"queue {path}: {reason}") from error
        raise


def _open_environment(path: str, map_bytes: int, **options: bool) -> Any:
    try:
        return lmdb.open(
            path,
            map_size=map_bytes,
            max_dbs=_DATABASES_MAX,
            max_readers=126,
            mode=0o600,
            readahead=False,  # a queue is read once, from one end
            **options,
        )
    except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
        raise QueueFormatError(
            f"queue {path}: data.mdb is not an LMDB file that can be read ({error}); "
            "it was left as it is: move it away to start with an empty queue"
        ) from error


def _put_format(environment: Any) -> None:
    # One transaction: half of a new queue would be a foreign environment.
    with environment.begin(write=True) as txn:
        put_format(environment, txn)


def _check_format(environment: Any, path: str, *, read_only: bool = False) -> None:
    """Make sure that this is a queue of our format, or nothing yet, before any change.

    One of an older format is brought to ours, unless it is only looked at.
    """
    with environment.begin() as txn:
        empty = not txn.cursor().first()
    if empty:
        _put_format(environment)
        return
    found: bytes | None = None
    with suppress(lmdb.NotFoundError, lmdb.IncompatibleError):
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(db=meta) as txn:
            found = txn.get(b"format")
    if found is None:
        raise QueueFormatError(f"queue {path}: this LMDB environment is not a queue of syslogrelay")
    if found != FORMAT:
        if read_only or not is_older(found):
            raise refuse_format(path, found, read_only=read_only)
        migrate(environment, found)


class _LmdbErrors:
    """Turn LMDB's exceptions into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, lmdb.PanicError):
            return  # LMDB is done for until it is opened again: not for another try
        if isinstance(error, lmdb.MapFullError):
            raise QueueFull("the queue's map is full") from error
        if isinstance(error, lmdb.DiskError):
            raise QueueFull(f"no space for the queue: {error}") from error
        if isinstance(error, lmdb.Error):
            raise QueueError(f"the queue's storage failed: {error}") from error
