"""Reactions to a queue that cannot store something, or is damaged."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from relay.model.errors import QueueError, QueueMisplaced
from relay.queue.committer import Committer
from relay.queue.inspect.commands import PruneHistories
from relay.queue.store import QueueStore
from relay.service.queue.given_up import note_given_up
from relay.service.queue.view import QueueParts

_SHED_BYTES = 64 * 1024**2  # that histories give up after a commit that failed


class QueueFailures:
    """Makes room, warns, or ends the process.

    Args:
        path: Directory of the queue.
    """

    _log = Logger(namespace="relay")
    store: QueueStore  # both from the start of the service on
    committer: Committer

    def __init__(self, path: str, parts: QueueParts) -> None:
        self._path = path
        self._parts = parts
        self._is_damaged = False

    def failed(self, error: BaseException) -> None:
        """A commit has failed with `error`; if that is a defect, the relay stops."""
        if isinstance(error, QueueMisplaced):
            return  # `PlaceWatch` says so
        if isinstance(error, QueueError):
            self._make_room()
            self._parts.notices.warn(
                "queue",
                "commit",
                f"{self._path}: {error}; senders wait, and the relay retries every second; if the "
                "disk is full, make room on it",
            )
            return
        # A defect.  Without commits nothing works any more; the supervisor of the
        # process restarts it, and the queue is whole.
        reason = f"nothing can be stored until the relay is started again: {error!r}"
        self._parts.admission.set_failure(reason, self._parts.wall.now())
        self._log.critical("queue: {reason}; stopping", reason=reason)
        self._parts.exit_status.give_up()

    def damaged(self, problem: str) -> None:
        """LMDB must not read on.  The next start verifies everything and salvages what it can."""
        if not self._is_damaged:
            self._is_damaged = True
            self._parts.admission.set_failure(
                f"the queue is damaged: {problem}", self._parts.wall.now()
            )
            self._log.critical(
                "queue {path} is damaged: {problem}; stopping: the next start saves what can be "
                "read of it; look at the disk",
                path=self._path,
                problem=problem,
            )
            self._parts.exit_status.give_up()

    def given_up(self, lost: Mapping[str, int]) -> None:
        """Nobody sends these messages again, by account, and they cannot be stored."""
        self._parts.exit_status.fail()
        self.store.reserve.give_up()  # the note may need the room
        note_given_up(lost, self._path, self._log)

    def _make_room(self) -> None:
        """Let some of what is kept of delivered messages go, in case the disk is full.

        LMDB says so in many ways.  `HistoryWatch` sees when there is room again.
        """
        histories = self._parts.histories
        histories.disk_full = True
        if histories.used_bytes:
            whole = dict.fromkeys(histories.databases, 0.0)
            making = self.committer.operate(PruneHistories(histories, whole, _SHED_BYTES))
            making.addErrback(lambda failure: failure.trap(QueueError))  # then next time
