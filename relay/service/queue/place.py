"""Brings the queue's file back that was removed, moved or replaced while the relay runs."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from relay.model.clock import Reactor
from relay.model.errors import QueueError
from relay.queue.committer import RunInThread
from relay.queue.compaction.restore import Restoration
from relay.queue.files.place import Place
from relay.queue.store import QueueStore
from relay.service.exit_status import ExitStatus
from relay.service.queue.given_up import GivenUp

_log = Logger(namespace="relay")


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
        self._restoration = Restoration(store, path)
        self._reactor = reactor
        store.placement.bring_back = self._bring_back

    @property
    def trouble(self) -> str:
        """Why a restart would not find the file that is in use; empty = it would."""
        return self._store.placement.trouble

    def _bring_back(self, place: Place) -> None:
        words = self._restoration.bring_back(place)
        GivenUp(self._path).clear()  # the room for its note may have gone as well
        self._reactor.callFromThread(_log.critical, "queue: {words}", words=words)

    async def leave(self, run_in_writer: RunInThread, exit_status: ExitStatus) -> None:
        """At the end: make sure that the next start finds the file, or log where it is."""
        if not self.trouble:
            return
        try:
            await run_in_writer(self._store.placement.require)
        except QueueError as error:
            exit_status.fail()
            try:
                await run_in_writer(self._restoration.keep_again)
            except (QueueError, OSError) as reason:
                _log.critical("queue: it cannot be kept as it is now: {reason}", reason=reason)
            _log.critical("queue: {error}; the next start will not find it", error=error)
