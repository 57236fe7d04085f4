"""Restore the queue's file if it was removed, moved or replaced while in use.

The file is open, so everything is still in it.  A live compaction makes a new one in its
place, if nothing else lies there.  A file that another program put there is never overwritten: the
queue is kept beside it then, under another name.
"""

from __future__ import annotations

import os

from relay.model.errors import QueueError, QueueMisplaced
from relay.queue.compaction.live import LiveCompaction
from relay.queue.files.ownership import sync_names
from relay.queue.files.place import Place
from relay.queue.repair.replace import free_name, put_back
from relay.queue.store import QueueStore

_KEPT = "data.mdb.kept-"


class Restoration:
    """Brings the file of `store` back into the directory `path`; in the thread of the commits."""

    def __init__(self, store: QueueStore, path: str) -> None:
        self._store = store
        self._path = path
        self._kept_as = ""

    def bring_back(self, place: Place) -> str:
        """Put a new file into the place of the one that is open.

        Returns:
            What was found and done, for people.

        Raises:
            QueueMisplaced: It cannot be done; the words say why, and where the queue is.
        """
        found = place.trouble()
        if place.is_taken:
            raise QueueMisplaced(f"{found}; {self._kept_words(place)}")
        left = place.whereabouts
        try:
            self._store.own_again()
            self._copy()
        except (QueueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise QueueMisplaced(f"{found}, and cannot be written anew: {reason}") from error
        stale = f"; what lies at {left} is an old copy now" if left else ""
        return f"{found}; it was written anew with everything that is in it, and is in use{stale}"

    def _copy(self) -> None:
        compaction = LiveCompaction(self._store, self._path, put=put_back)
        compaction.begin()
        try:
            while not compaction.switch():
                pass
        finally:
            compaction.abandon()

    def _kept_words(self, place: Place) -> str:
        if left := place.whereabouts:
            return (
                f"the queue in use is {left}: put the one in its place that is wanted, and restart"
            )
        try:
            if not self._kept_as:
                self.keep()
        except (QueueError, OSError) as error:
            return f"the queue in use cannot be kept beside it: {error}"
        return (
            f"the queue in use is kept as {self._kept_as}: stop the relay, let data.mdb be the "
            "one that is wanted, and start it"
        )

    def keep_again(self) -> None:
        """What was kept beside the place is brought up to date.

        Raises:
            QueueError, OSError: That cannot be done.
        """
        if self._kept_as:
            self.keep()

    def keep(self) -> None:
        """Write the queue as it is now to a file of its own, the same as before.

        Raises:
            QueueError, OSError: That cannot be done.
        """
        name = self._kept_as or free_name(os.path.join(self._path, _KEPT))
        unfinished = f"{name}.unfinished"
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with self._store.writing() as handles:
                handles.environment.copyfd(fd, compact=True)
            os.fsync(fd)
            os.rename(unfinished, name)
        finally:
            os.close(fd)
        sync_names(self._path)
        self._kept_as = name
