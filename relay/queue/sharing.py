"""One queue in two processes: one that owns it, and one beside it that only reads.

LMDB is made for it: a reader sees the snapshot of the newest commit, takes no lock, and
says in the table of readers (`lock.mdb`) which pages it still needs.  A reader that was
killed leaves its line there, and the pages that it saw would never be used again: the
file would grow.  So the owner has such lines removed when it has seen a reader end.

A file that is replaced (`replacement.py`) may not be open anywhere: another file with
the same table of readers would not be the one that the table speaks of.
"""

from __future__ import annotations

from collections.abc import Iterable

from relay.queue.store import QueueStore, _LmdbErrors, _open_environment

__all__ = ["QueueBeside", "forget_dead_readers", "map_bytes_of"]


class QueueBeside(QueueStore):
    """The queue of another process, to read from.  Nothing is locked and nothing written."""

    @classmethod
    def open_beside(cls, path: str, *, destinations: Iterable[str], map_bytes: int) -> QueueBeside:
        """Open the queue in directory `path`, which its owner has open.

        Args:
            destinations: Ids whose queues its owner has made.
            map_bytes: As the owner has it: see `map_bytes_of`.

        Raises:
            QueueError: It cannot be opened or read.
        """
        with _LmdbErrors():
            environment = _open_environment(path, map_bytes, readonly=True, create=False)
            try:
                store = cls(environment, -1)
                store._open_queues(destinations, (), checks=False)
            except BaseException:
                environment.close()
                raise
        return store

    def close(self) -> None:
        self._environment.close()


def map_bytes_of(store: QueueStore) -> int:
    """Size of the map of `store`."""
    size: int = store._environment.info()["map_size"]
    return size


def forget_dead_readers(store: QueueStore) -> int:
    """Let go of the pages that processes were reading which have ended; returns how many."""
    with _LmdbErrors():
        count: int = store._environment.reader_check()
    return count
