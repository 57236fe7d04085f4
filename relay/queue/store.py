"""Queue records in LMDB: the only module that imports lmdb.

On-disk layout, format 1
========================

One LMDB environment in a directory of its own, with these named databases:

    meta                key: b"format"              value: b"1"
                        key: b"ledger/" + id        value: JSON, see ledger.py
    blocks/<id>         key: seq, uint64 big endian value: block, see block.py
    quarantine/<id>     key: seq, uint64 big endian value: JSON line, LF, octets
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
kind "record" is followed by the payload, kind "block" by a block as it was found.
What a source sets aside instead of queueing it has the id "source/" + the source's
id, a ledger and a quarantine, but no blocks; its kind is "frame", and "peer" says
who sent it.

A position says how far a source has read what it can read again, such as a file. It
changes in the transaction that holds what was read up to there.

Next to the environment lies `owner.lock`, held (flock) by the relay that works
with the queue; its text is that process's number.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

import lmdb
import msgspec

from relay.model.errors import QueueError, QueueFormatError, QueueFull
from relay.model.seq import SeqRange
from relay.queue.block import BlockDamaged, decode_block, encode_block, payload_bytes, split
from relay.queue.eviction import count_late, evict
from relay.queue.ledger import Ledger
from relay.queue.ownership import sync_names, take_ownership
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

_FORMAT = b"1"
_KEY = struct.Struct(">Q")
_DATABASES_MAX = 2048


class DamagedRange(QueueError):
    """Records that cannot be read: the block they are in is damaged.

    Attributes:
        seqs: All records of the block that are still queued.
    """

    def __init__(self, destination: str, seqs: SeqRange, reason: str) -> None:
        super().__init__(
            f"queue of {destination}: records {seqs.start} to {seqs.stop - 1} "
            f"cannot be read: {reason}"
        )
        self.seqs = seqs
        self.reason = reason


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
        self.ledgers: dict[str, Ledger] = {}
        """The accounts as of the last commit, destinations without a configuration
        included.  Values are replaced, never changed in place."""
        self.used_bytes = 0
        """Octets of the map that queues and quarantines took as of the last commit.

        A lone short record takes a page, so this, not the payload, is what has to
        stay below the size of the map."""
        self.destination_bytes: dict[str, int] = {}
        """What the queue of each destination took of that."""

    @classmethod
    def open(
        cls,
        path: str,
        *,
        destinations: Iterable[str],
        sources: Iterable[str] = (),
        map_bytes: int,
    ) -> QueueStore:
        """Open the queue in directory `path`, or make it.

        Args:
            path: Made with mode 0700 if missing.
            destinations: Ids that will be appended to.
            sources: Ids of sources that may set frames aside.
            map_bytes: Size of the map, far above what admission lets in: a full
                map cannot even delete.

        Raises:
            QueueInUse: Another process works with it.
            QueueFormatError: Not a queue, or one of an unknown format.
            QueueError: It cannot be made, opened or read.
        """
        lock_fd = take_ownership(path)
        try:
            environment = _open_environment(path, map_bytes)
            try:
                _check_format(environment, path)
                store = cls(environment, lock_fd)
                store._open_queues(destinations, sources)
                return store
            except BaseException:
                environment.close()
                raise
        except lmdb.Error as error:
            os.close(lock_fd)
            raise QueueError(f"queue {path}: {error}") from error
        except BaseException:
            os.close(lock_fd)
            raise

    def close(self) -> None:
        """Close the environment and let others have it."""
        self._environment.close()
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
        with _LmdbErrors(), self._environment.begin(write=True, buffers=True) as txn:
            for destination, payloads in transaction.appends.items():
                if payloads:
                    ledger = self._changed_ledger(destination, changed)
                    self._append(txn, destination, ledger, payloads, transaction.received_at)
            for destination, removal in transaction.removals.items():
                ledger = self._changed_ledger(destination, changed)
                self._remove(txn, destination, ledger, removal, transaction.received_at)
            for destination, reasons in transaction.drops.items():
                _count_drops(self._changed_ledger(destination, changed), reasons)
            for destination, eviction in transaction.evictions.items():
                ledger = self._changed_ledger(destination, changed)
                database = self._blocks[destination]
                size = partial(self._database_bytes, txn, database)
                evict(txn.cursor(db=database), ledger, eviction, used_bytes=size)
            for refusal in transaction.refusals:
                account = self._changed_ledger(account_of_source(refusal.source), changed)
                self._refuse(txn, account, refusal, transaction.received_at)
            for name, position in transaction.positions.items():
                if position:
                    txn.put(name.encode(), position, db=self._positions)
                else:
                    txn.delete(name.encode(), db=self._positions)
            for destination, ledger in changed.items():
                assert ledger.gap == 0, (destination, ledger)
                key = b"ledger/" + destination.encode()
                txn.put(key, msgspec.json.encode(ledger), db=self._meta)
            used = self._measured(txn)
        self.used_bytes, self.destination_bytes = used
        self.ledgers.update(changed)
        return changed

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
        with _LmdbErrors(), self._environment.begin(db=self._blocks[destination]) as txn:
            cursor = txn.cursor()
            found = cursor.set_range(_KEY.pack(start))
            if not found or _KEY.unpack(cursor.key())[0] != start:
                found = cursor.prev() if found else cursor.last()
            while found and len(payloads) < records_max and size < bytes_max:
                (first,) = _KEY.unpack(cursor.key())
                value = cursor.value()
                found = cursor.next()
                try:
                    block = decode_block(value).payloads
                except BlockDamaged as damage:
                    if payloads:
                        break  # deliver what comes before it first
                    stop = (
                        _KEY.unpack(cursor.key())[0] if found else self._next_seq(txn, destination)
                    )
                    if start >= stop:
                        break  # it lies before the first record asked for
                    raise DamagedRange(destination, SeqRange(start, stop), str(damage)) from damage
                skip = max(0, start - first)
                payloads += block[skip:] if skip else block
                size += len(value)
        return payloads

    def positions(self, source: str) -> dict[str, bytes]:
        """How far `source` has read, by name, as of the last commit."""
        start = f"{source}/".encode()
        found: dict[str, bytes] = {}
        with _LmdbErrors(), self._environment.begin(db=self._positions) as txn:
            cursor = txn.cursor()
            more = cursor.set_range(start)
            while more and cursor.key().startswith(start):
                found[cursor.key()[len(start) :].decode()] = cursor.value()
                more = cursor.next()
        return found

    def oldest_received_at(self, destination: str) -> float | None:
        """When the oldest queued record came in (seconds since 1970), or None."""
        with _LmdbErrors(), self._environment.begin(db=self._blocks[destination]) as txn:
            cursor = txn.cursor()
            if not cursor.first():
                return None
            try:
                return decode_block(cursor.value()).received_at
            except BlockDamaged:
                return None

    def _measured(self, txn: Any) -> tuple[int, dict[str, int]]:
        """What all queues and quarantines take of the map, and what each queue takes."""
        queues = {id: self._database_bytes(txn, queue) for id, queue in self._blocks.items()}
        aside = sum(self._database_bytes(txn, queue) for queue in self._quarantine.values())
        return sum(queues.values()) + aside, queues

    def _database_bytes(self, txn: Any, database: Any) -> int:
        """What `database` takes of the map, in whole pages."""
        stat = txn.stat(database)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return int(pages * stat["psize"])

    def _open_queues(self, destinations: Iterable[str], sources: Iterable[str]) -> None:
        with self._environment.begin(db=self._meta) as txn:
            for key, value in txn.cursor():
                if bytes(key).startswith(b"ledger/"):
                    destination = bytes(key)[len(b"ledger/") :].decode()
                    self.ledgers[destination] = _decode_ledger(destination, value)
        for id in {*destinations, *map(account_of_source, sources), *self.ledgers}:
            self.ledgers.setdefault(id, Ledger())
            if not is_of_source(id):
                self._blocks[id] = self._environment.open_db(f"blocks/{id}".encode())
            self._quarantine[id] = self._environment.open_db(f"quarantine/{id}".encode())
        with self._environment.begin() as txn:
            self.used_bytes, self.destination_bytes = self._measured(txn)

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
        for aside in removal.set_aside:
            self._put_in_quarantine(txn, destination, aside, at)
        aside_records = sum(len(aside.seqs) for aside in removal.set_aside)
        ledger.quarantined += aside_records
        ledger.delivered += upto - ledger.acknowledged_seq - aside_records
        ledger.acknowledged_seq = upto
        cursor = txn.cursor(db=self._blocks[destination])
        while cursor.first():
            size = payload_bytes(cursor.value())
            stop = _KEY.unpack(cursor.key())[0] if cursor.next() else ledger.next_seq
            if stop > upto:
                break
            ledger.queued_bytes -= size
            cursor.first()
            cursor.delete()
        if ledger.queued == 0:
            ledger.queued_bytes = 0  # whatever a damaged block claimed

    def _put_in_quarantine(self, txn: Any, destination: str, aside: SetAside, at: float) -> None:
        cursor = txn.cursor(db=self._blocks[destination])
        key = _KEY.pack(aside.seqs.start)
        if not cursor.set_range(key):
            cursor.last()
        elif bytes(cursor.key()) != key:
            cursor.prev()
        (first,) = _KEY.unpack(cursor.key())
        value = bytes(cursor.value())
        try:
            payloads = decode_block(value).payloads[aside.seqs.start - first :]
            kind, kept = "record", payloads[: len(aside.seqs)]
        except BlockDamaged:
            kind, kept = "block", [value]
        label = msgspec.json.encode({"reason": aside.reason, "at": at, "kind": kind})
        for seq, octets in enumerate(kept, aside.seqs.start):
            txn.put(_KEY.pack(seq), label + b"\n" + octets, db=self._quarantine[destination])

    def _refuse(self, txn: Any, ledger: Ledger, refusal: Refusal, at: float) -> None:
        label = msgspec.json.encode(
            {"reason": refusal.reason, "at": at, "kind": "frame", "peer": refusal.peer}
        )
        database = self._quarantine[account_of_source(refusal.source)]
        for frame in refusal.frames:
            value = label + b"\n" + frame
            if ledger.quarantine_bytes + len(value) > refusal.quarantine_bytes_max:
                ledger.dropped["quarantine-full"] = ledger.dropped.get("quarantine-full", 0) + 1
            else:
                txn.put(_KEY.pack(ledger.next_seq), value, db=database)
                ledger.quarantined += 1
                ledger.quarantine_bytes += len(value)
            ledger.next_seq += 1
        ledger.acknowledged_seq = ledger.next_seq

    def _next_seq(self, txn: Any, destination: str) -> int:
        value = txn.get(b"ledger/" + destination.encode(), db=self._meta)
        return _decode_ledger(destination, value).next_seq if value else 1


def _count_drops(ledger: Ledger, reasons: Mapping[str, int]) -> None:
    for reason, count in reasons.items():
        ledger.dropped[reason] = ledger.dropped.get(reason, 0) + count
        ledger.never_queued += count


def _decode_ledger(destination: str, value: bytes) -> Ledger:
    try:
        ledger = msgspec.json.decode(value, type=Ledger)
    except msgspec.MsgspecError as error:
        raise QueueFormatError(
            f"queue of {destination}: its ledger cannot be read: {error}"
        ) from error
    if ledger.gap or ledger.queued < 0:
        raise QueueFormatError(f"queue of {destination}: its ledger does not add up: {value!r}")
    return ledger


def _open_environment(path: str, map_bytes: int) -> Any:
    try:
        return lmdb.open(
            path,
            map_size=map_bytes,
            max_dbs=_DATABASES_MAX,
            max_readers=126,
            mode=0o600,
            readahead=False,  # a queue is read once, from one end
        )
    except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
        raise QueueFormatError(
            f"queue {path}: data.mdb is not an LMDB file that can be read ({error}); "
            "it was left as it is: move it away to start with an empty queue"
        ) from error


def _check_format(environment: Any, path: str) -> None:
    """Make sure that this is a queue of our format, or nothing yet, before any change."""
    with environment.begin() as txn:
        empty = not txn.cursor().first()
    if empty:
        # One transaction: half of a new queue would be a foreign environment.
        with environment.begin(write=True) as txn:
            txn.put(b"format", _FORMAT, db=environment.open_db(b"meta", txn=txn))
        sync_names(path)
        return
    found: bytes | None = None
    with suppress(lmdb.NotFoundError, lmdb.IncompatibleError):
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(db=meta) as txn:
            found = txn.get(b"format")
    if found is None:
        raise QueueFormatError(f"queue {path}: this LMDB environment is not a queue of syslogrelay")
    if found != _FORMAT:
        raise QueueFormatError(
            f"queue {path} has format {found.decode('ascii', 'replace')!r}, this version knows "
            f"format {_FORMAT.decode()!r} only; it was left as it is: use the version that made it"
        )


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
