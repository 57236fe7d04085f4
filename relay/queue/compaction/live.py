"""Make a queue's file smaller while the relay works with it.

    begin ──▶ step, step, … ──────────────▶ switch ──▶ the new file is in use
              copy new entries              copy the rest, rename

A step is a read transaction and a write transaction into another file, like any reading:
commits go on between and beside them.  `switch` runs in the thread of the commits, which
wait for it: little is left by then.  From then on they go into the new file.

Until the rename the old file has everything, and whatever fails leaves it in use; a crash
leaves one or the other.  The copy is synced before it, the names before the next commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from relay.model.errors import QueueError
from relay.model.text import size
from relay.queue.compaction.duplicate import Duplicate
from relay.queue.repair.replace import COMPACTED, put_back, put_in_place, remove_unfinished
from relay.queue.store import QueueStore

_STEP_BYTES = 4 * 1024 * 1024
_LITTLE_BYTES = 1024 * 1024
_REST_BYTES_MAX = 8 * 1024 * 1024  # what commits may have to wait for
_ROOM_BYTES = 8 * 1024 * 1024  # beside what is in use


class LiveCompaction:
    """One compaction of the queue in directory `path`, which `store` has open.

    Args:
        put: Gives the new file its name, durably; see `repair/replace.py`.
    """

    def __init__(
        self, store: QueueStore, path: str, *, put: Callable[[str], bool] = put_in_place
    ) -> None:
        self._store = store
        self._path = path
        self._put = put
        self._duplicate: Duplicate | None = None

    def begin(self) -> None:
        """Make the second file; in the thread of the commits.

        Raises:
            QueueError: The disk has no room for it, or it cannot be made.
        """
        wanted = self._store.in_use_bytes + self._store.in_use_bytes // 8 + _ROOM_BYTES
        try:
            disk = os.statvfs(self._path)
            if (free := disk.f_bavail * disk.f_frsize) < wanted:
                raise QueueError(
                    f"the copy takes up to {size(wanted)}, and the disk has {size(free)}; make room"
                )
            remove_unfinished(self._path)
            folder = os.path.join(self._path, COMPACTED)
            os.mkdir(folder, 0o700)
        except OSError as error:
            raise QueueError(f"queue {self._path}: it cannot be compacted: {error}") from error
        with ExitStack() as undo:
            undo.callback(remove_unfinished, self._path)
            environment = self._store.new_environment(folder)
            undo.callback(environment.close)
            with self._store.writing() as handles:
                is_lossy = self._put is put_back
                self._duplicate = Duplicate(handles, environment, is_lossy=is_lossy)
            undo.pop_all()

    def step(self) -> bool:
        """Copy some more; in any thread.  Returns whether only little is left.

        Raises:
            QueueError: The disk is full or failing.
        """
        assert self._duplicate is not None
        with self._store.snapshot() as txn, self._store.writing():
            copied, is_complete = self._duplicate.catch_up(txn, _STEP_BYTES)
        return is_complete and copied <= _LITTLE_BYTES

    def switch(self) -> bool:
        """Copy the rest and go on with the new file; in the thread of the commits.

        Returns:
            False: too much has come since the last step; do some more of them.

        Raises:
            QueueError: It failed, and the old file stays in use.
            RuntimeError: The new file is in use, but a power cut may bring the old one
                back: nothing is committed any more.
        """
        duplicate = self._duplicate
        assert duplicate is not None
        # A file that was moved away is brought back, not compacted into its old place.
        if self._put is put_in_place and (trouble := self._store.placement.trouble):
            raise QueueError(f"the queue's file cannot be replaced: {trouble}")
        with self._store.snapshot() as txn, self._store.writing():
            _, is_complete = duplicate.catch_up(txn, _REST_BYTES_MAX)
            if not is_complete:
                return False  # senders would wait for too long
            duplicate.check(txn)  # before the rename: afterwards the old file is gone
        self._duplicate = None  # it may be in use from now on, whatever is raised
        try:
            replace = partial(self._put, self._path)
            self._store.replace_environment(duplicate.environment, replace)
        except (QueueError, OSError) as error:
            self._duplicate = duplicate
            raise QueueError(f"the queue's file cannot be replaced: {error}") from error
        return True

    def abandon(self) -> None:
        """Forget the copy, if it is not in use; in any thread, with no step on its way."""
        if self._duplicate is not None:
            self._duplicate.environment.close()
            self._duplicate = None
            remove_unfinished(self._path)
