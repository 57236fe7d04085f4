"""One queue in two processes: one that owns it, and one beside it that only reads.

LMDB is made for it: a reader sees the snapshot of the newest commit, takes no lock, and
says in the table of readers (`lock.mdb`) which pages it still needs.  A reader that was
killed leaves its line there, and the pages that it saw would never be used again: the
file would grow.  So the owner has such lines removed when it has seen a reader end.

Whoever replaces the file replaces the table of readers with it.  Who has the old two open
sees no new commit, and has to open the queue again: `is_replaced` says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from relay.model.errors import QueueError
from relay.queue.environment import OurErrors, open_environment
from relay.queue.store import QueueStore

__all__ = ["QueueBeside", "forget_dead_readers", "map_bytes_of"]

_TRIES = 5  # at opening files that are being replaced


class QueueBeside(QueueStore):
    """The queue of another process, to read from.  Nothing is locked and nothing written."""

    _path: str  # both exist when it is open
    _opened: tuple[int, int]

    @classmethod
    def open_beside(cls, path: str, *, destinations: Iterable[str], map_bytes: int) -> QueueBeside:
        """Open the queue in directory `path`, which its owner has open.

        Args:
            destinations: Ids whose queues its owner has made.
            map_bytes: As the owner has it: see `map_bytes_of`.

        Raises:
            QueueError: It cannot be opened or read.
        """
        destinations = tuple(destinations)
        for _ in range(_TRIES):
            files = _files(path)
            with OurErrors():
                environment = open_environment(path, map_bytes, readonly=True, create=False)
                try:
                    store = cls(environment, -1)
                    store._open_queues(destinations, (), checks=False)
                    store._path, store._opened = path, files
                except BaseException:
                    environment.close()
                    raise
            if _files(path) == files:
                return store
            store.close()  # it was being replaced: these may be one new and one old file
        raise QueueError(f"queue {path}: its files change all the time")

    @property
    def is_replaced(self) -> bool:
        """Whether other files are in the place of those that are open."""
        data, table = _files(self._path)
        return data != self._opened[0] and table != self._opened[1]

    def close(self) -> None:
        self._environment.close()


def map_bytes_of(store: QueueStore) -> int:
    """Size of the map of `store`."""
    size: int = store._environment.info()["map_size"]
    return size


def forget_dead_readers(store: QueueStore) -> int:
    """Let go of the pages that processes were reading which have ended; returns how many."""
    with OurErrors():
        count: int = store._environment.reader_check()
    return count


def _files(path: str) -> tuple[int, int]:
    """Which files the queue and its table of readers are."""
    try:
        data, table = (os.stat(os.path.join(path, name)) for name in ("data.mdb", "lock.mdb"))
    except OSError as error:
        raise QueueError(f"queue {path}: {error.strerror}") from error
    return data.st_ino, table.st_ino
