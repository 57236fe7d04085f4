"""A reserve file: room on the disk for removals, when there is none for anything else.

A removal takes a few pages itself: LMDB never writes over what the commit before needs.
On a full disk whose queue has no free page that would be the end: nothing could leave
either.  So a file keeps some room.  When a removal does not fit, the file is deleted, and made
again as soon as there is room; until then a change that adds something has to leave
enough free pages in the queue's own file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from relay.model.errors import QueueError, QueueFull
from relay.queue.files.environment import FULL

RESERVE_FILE = "headroom"
"""Name of the file, beside the queue's own."""

_BYTES_MAX = 1024 * 1024
_BYTES_MIN = 128 * 1024
_SHARE = 16  # of what is free on a small disk

_T = TypeVar("_T")


class ReserveFile:
    """The reserve file of the queue in directory `path`; None = there never is one.

    Attributes:
        is_there: Whether the room is kept now.
    """

    def __init__(self, path: str | None) -> None:
        self.is_there = False
        self._path = path
        self._is_possible = path is not None

    def make(self) -> None:
        """Make the file, if there is room for it."""
        if self.is_there or self._path is None or not self._is_possible:
            return
        name = os.path.join(self._path, RESERVE_FILE)
        try:
            disk = os.statvfs(self._path)
            size = min(max(disk.f_bavail * disk.f_frsize // _SHARE, _BYTES_MIN), _BYTES_MAX)
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, size)
            finally:
                os.close(fd)
            self.is_there = True
        except OSError as error:
            with suppress(OSError):
                os.unlink(name)  # half of it
            self._is_possible = error.errno in FULL  # or this file system has no such thing

    def before_growth(self, *, wanted_bytes: int, used_bytes: int) -> None:
        """Make sure that removals will have room after a change that adds `wanted_bytes`.

        Args:
            used_bytes: What the queue holds, in whole pages.  Where that is nothing,
                there is nothing to remove.

        Raises:
            QueueFull: They might have none.
        """
        self.make()
        if self.is_there or not self._is_possible or not used_bytes:
            return
        assert self._path is not None
        allocated = os.stat(os.path.join(self._path, "data.mdb")).st_blocks * 512
        if allocated - used_bytes < _BYTES_MIN + 2 * wanted_bytes:
            raise QueueFull(
                f"nothing can be stored: {os.strerror(errno.ENOSPC)} (what is left is kept for "
                "removals)"
            )

    def with_room(self, removal: Callable[[], _T]) -> _T:
        """Call `removal`; if it fails, delete the file and call it again."""
        try:
            return removal()
        except QueueError:
            if not self.is_there:
                raise
            self.give_up()
        return removal()

    def give_up(self) -> None:
        """Delete the file."""
        if self._path is None:
            return
        self.is_there = False
        with suppress(OSError):
            os.unlink(os.path.join(self._path, RESERVE_FILE))
