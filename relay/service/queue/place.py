"""Brings the queue's file back that was removed, moved or replaced while the relay runs.

The file is open, so everything is still in it.  A live compaction makes a new one in its
place, if nothing else lies there.  A file that another program put there is never overwritten: the
queue is kept beside it then, under another name.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.logger import Logger

from relay.model.clock import Reactor
from relay.model.errors import QueueError, QueueMisplaced
from relay.queue.committer import RunInThread
from relay.queue.compaction.live import LiveCompaction
from relay.queue.files.ownership import sync_names
from relay.queue.files.place import Place
from relay.queue.repair.replace import free_name, put_back
from relay.queue.store import QueueStore
from relay.service.exit_status import ExitStatus
from relay.service.queue.given_up import GivenUp

_log = Logger(namespace="relay")
_KEPT = "data.mdb.kept-"


class QueuePlace:
    """Has the file of `store` brought back into the directory `path`, and logs that.

    Args:
        probe: Tries whether something can be stored.
        reactor: Provides IReactorFromThreads.
    """

    def __init__(
        self, store: QueueStore, path: str, probe: Callable[[], None], reactor: Reactor
    ) -> None:
        self.probe = probe
        self._store = store
        self._path = path
        self._kept_as = ""
        self._reactor = reactor
        store.placement.bring_back = self._bring_back

    @property
    def trouble(self) -> str:
        """Why a restart would not find the file that is in use; empty = it would."""
        return self._store.placement.trouble

    def _bring_back(self, place: Place) -> None:
        text = self.restore(place)
        GivenUp(self._path).clear()  # the room for its note may have gone as well
        self._reactor.callFromThread(_log.critical, "queue: {text}", text=text)

    def restore(self, place: Place) -> str:
        """Put a new file into the place of the one that is open.

        Returns:
            The finding and the remedy, for people.

        Raises:
            QueueMisplaced: It cannot be done; the text says why, and where the queue is.
        """
        found = place.trouble()
        if place.is_taken:
            raise QueueMisplaced(f"{found}; {self._kept_text(place)}")
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

    def _kept_text(self, place: Place) -> str:
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

    async def leave(self, run_in_writer: RunInThread, exit_status: ExitStatus) -> None:
        """At the end: make sure that the next start finds the file, or log where it is."""
        if not self.trouble:
            return
        try:
            await run_in_writer(self._store.placement.require)
        except QueueError as error:
            exit_status.fail()
            try:
                if self._kept_as:  # brought up to date
                    await run_in_writer(self.keep)
            except (QueueError, OSError) as reason:
                _log.critical("queue: it cannot be kept as it is now: {reason}", reason=reason)
            _log.critical("queue: {error}; the next start will not find it", error=error)
