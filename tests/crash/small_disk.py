"""The random workload on a disk that ends at a certain byte: python -m tests.crash.small_disk.

In a process of its own, see interposer.py.  Arguments: a folder, a seed, and the sizes of
the disk.  For each size the same happens: transactions until three in a row do not fit,
then removals alone, as the committer does it, then there is room again.  A line for each
size says how it went; a failure is an exception.

A write that reaches beyond the end is cut short or refused, as a file system does it, and
one time in three it is the sync that fails, as where blocks are given out late.  The
queue's headroom takes room on the disk too, beside its file: removals have to fit.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from relay.model.errors import QueueFull
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, Transaction
from tests.crash.interposer import interpose
from tests.crash.workload import DESTINATIONS, drain, open_queue, payload, random_transaction

__all__: list[str] = []

TRANSACTIONS_MAX = 200
_UNLIMITED = 2**40


class _Disk:
    """Has room for `end` bytes of the queue's file, and for the first headroom beside it."""

    def __init__(self, queue: Path) -> None:
        self._queue = queue
        self.end = _UNLIMITED
        self.headroom_bytes = 0
        self.is_late = False  # refuses at the sync instead
        self.refusals = 0
        self._is_exceeded = False

    def write(self, fd: int, offset: int, data: bytes) -> int:
        if offset + len(data) <= self._room():
            return 0
        if self.is_late:
            self._is_exceeded = True
            return 0
        self.refusals += 1
        return errno.ENOSPC

    def allocate(self, fd: int, offset: int, size: int) -> None:
        """In the place of posix_fallocate: the headroom is made."""
        used = (self._queue / "data.mdb").stat().st_size
        if used + size > self.end + self.headroom_bytes:
            raise OSError(errno.ENOSPC, "full")
        os.ftruncate(fd, size)
        if self.end == _UNLIMITED:
            self.headroom_bytes = size

    def _room(self) -> int:
        try:
            return self.end + self.headroom_bytes - (self._queue / "headroom").stat().st_size
        except FileNotFoundError:
            return self.end + self.headroom_bytes

    def sync(self, fd: int) -> int:
        exceeded, self._is_exceeded = self._is_exceeded, False
        self.refusals += exceeded
        return errno.ENOSPC if exceeded else 0

    def other(self, name: str) -> int:
        return 0

    def done(self, fd: int) -> None:
        pass


def _fill(store: QueueStore, dice: random.Random) -> int:
    """Commit until it does not fit any more; the number of commits."""
    commits = failures = 0
    while failures < 3 and commits < TRANSACTIONS_MAX:
        before = dict(store.ledgers)
        try:
            # What an eviction frees is free two commits later, and to the last byte of a
            # disk there may be no next one: so removals would wait more often.
            store.commit(random_transaction(store, dice, evicts=False))
            commits += 1
            failures = 0
        except QueueFull:
            failures += 1
            assert store.ledgers == before, "something changed"
    return commits


def _check(store: QueueStore, destination: str) -> None:
    ledger = store.ledgers[destination]
    seq = ledger.acknowledged_seq
    while seq < ledger.next_seq:
        for data in store.read(destination, start=seq, records_max=500, bytes_max=2**20):
            assert data == payload(destination, seq), (destination, seq)
            seq += 1


def _remove(store: QueueStore) -> bool:
    """Removals alone, one queue after the other in ten parts; whether all found their room."""
    for destination in DESTINATIONS:
        ledger: Ledger = store.ledgers[destination]
        for part in range(1, 11):
            upto = ledger.acknowledged_seq + ledger.queued * part // 10
            try:
                store.commit(Transaction(1.7e9, {}, {destination: Removal(upto)}))
            except QueueFull:
                return False
    return True


def _one(folder: Path, seed: int, size: int, disk: _Disk) -> str:
    queue = folder / "queue"
    shutil.rmtree(queue, ignore_errors=True)
    dice = random.Random(f"{seed} {size}")
    disk.end, disk.is_late, disk.refusals = _UNLIMITED, dice.random() < 0.33, 0
    disk.headroom_bytes = 0
    store = open_queue(str(queue))
    assert disk.headroom_bytes
    disk.end = size
    commits = _fill(store, dice)
    for destination in DESTINATIONS:
        _check(store, destination)  # reading needs no room
    ledgers = dict(store.ledgers)
    store.close()
    try:
        store = open_queue(str(queue))  # a restart while it is full
    except QueueFull:  # only what has to be written first could stop it
        return "restart refused"
    assert store.ledgers == ledgers, "the restart changed something"
    text = "removals fit" if _remove(store) else "removals wait"
    if text == "removals fit":
        commits += _fill(store, dice)
    full = disk.refusals
    disk.end = _UNLIMITED
    commits_after = _fill(store, dice)
    assert commits_after == TRANSACTIONS_MAX, "there is room again"
    for destination in DESTINATIONS:
        ledger = store.ledgers[destination]
        records, damaged = drain(store, destination)
        assert not damaged and len(records) == ledger.queued
        assert all(data == payload(destination, seq) for seq, data in records.items())
    store.close()
    open_queue(str(queue)).close()
    return text if full else "never full"


def main(folder: str, seed: str, *sizes: str) -> None:
    disk = _Disk(Path(folder) / "queue")
    os.posix_fallocate = disk.allocate
    alive = interpose(disk)
    counts: Counter[str] = Counter()
    for size in map(int, sizes):
        text = _one(Path(folder), int(seed), size, disk)
        counts[text] += 1
        print(f"{size}: {text}", flush=True)
    del alive


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
