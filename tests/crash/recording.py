"""Record what a queue's file is told to be, write by write: python -m tests.crash.recording.

In a process of its own, see interposer.py.  Arguments: a directory, a seed, a number of
transactions, and the file for the events.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from relay.queue.compaction.live import LiveCompaction
from relay.queue.store import QueueStore
from tests.crash.events import Committed, Event, Renamed, Sync, Write
from tests.crash.interposer import interpose
from tests.crash.workload import ledgers_of, open_queue, random_transaction


@dataclass
class _Recorder:
    events: list[Event] = field(default_factory=list)
    _syncing: str = ""

    def write(self, fd: int, offset: int, data: bytes) -> int:
        path = _path_of(fd)
        if os.path.basename(path) == "data.mdb":
            is_synced = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_DSYNC | os.O_SYNC))
            self.events.append(Write(path, offset, data, is_synced))
        return 0

    def sync(self, fd: int) -> int:
        self._syncing = _path_of(fd)
        return 0

    def other(self, name: str) -> int:
        assert name == "ftruncate", f"{name}: not a call that this understands"  # of lock.mdb
        return 0

    def done(self, fd: int) -> None:
        if self._syncing:
            self.events.append(Sync(self._syncing))
            self._syncing = ""


def _watch_renames(recorder: _Recorder) -> None:
    rename = os.rename

    def recorded(path: str, to: str) -> None:
        rename(path, to)
        if os.path.basename(path) == "data.mdb":
            recorder.events.append(Renamed(path, to))

    os.rename = recorded  # type: ignore[assignment]


def _compact(store: QueueStore, path: str, commit: Callable[[], None]) -> None:
    """With commits between the steps."""
    compaction = LiveCompaction(store, path)
    compaction.begin()
    compaction.step()
    commit()
    compaction.step()
    commit()
    assert compaction.switch()
    compaction.abandon()


def _path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def main(path: str, seed: str, transactions: str, output: str) -> None:
    recorder = _Recorder()
    alive = interpose(recorder)
    _watch_renames(recorder)
    dice = random.Random(seed)
    store = open_queue(path, keeps=True)
    recorder.events.append(Committed(ledgers_of(store)))

    def commit() -> None:
        store.commit(random_transaction(store, dice))
        recorder.events.append(Committed(ledgers_of(store)))

    for number in range(int(transactions)):
        commit()
        if number % 5 == 4:
            _compact(store, path, commit)
        if number % 7 == 6:  # a new environment in between
            store.close()
            store = open_queue(path, keeps=True)
    store.close()
    del alive
    with open(output, "wb") as file:
        pickle.dump(recorder.events, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
