"""Whether the file in use is the one that the next start will find.

A file that was removed, moved or replaced while it is open can still be written to, and all of
that is lost with the restart.  So each commit looks its name up before senders are answered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from relay.model.errors import QueueMisplaced
from relay.queue.files.ownership import Ownership, take_ownership


class Place:
    """The place of the file that is `data.mdb` in the directory `path` now."""

    def __init__(self, path: str) -> None:
        self._file = os.path.join(path, "data.mdb")
        self._fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._fd)
        self._identity = (found.st_dev, found.st_ino)

    def trouble(self) -> str:
        """Why the file is not in its place, for people; empty = it is."""
        try:
            found = os.stat(self._file)
        except OSError as error:
            return f"{self._file} was removed or moved ({error.strerror})"
        if (found.st_dev, found.st_ino) != self._identity:
            return f"another file lies in the place of {self._file}"
        return ""

    @property
    def is_taken(self) -> bool:
        """Whether another file lies there, which is not ours to replace."""
        try:
            found = os.lstat(self._file)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != self._identity

    @property
    def whereabouts(self) -> str:
        """Under which name the file is now; empty if it has none any more."""
        if not os.fstat(self._fd).st_nlink:
            return ""
        name = os.readlink(f"/proc/self/fd/{self._fd}")
        try:
            return name if os.path.samestat(os.fstat(self._fd), os.stat(name)) else ""
        except OSError:
            return ""

    def close(self) -> None:
        os.close(self._fd)


def _bring_nothing_back(place: Place) -> None:
    raise QueueMisplaced(place.trouble())


class Placement:
    """Makes sure that commits go into a file that the next start finds.

    Args:
        path: Directory of the queue; None = nothing is committed.
        ownership: Of that directory.

    Attributes:
        bring_back: Puts the file into its place again, or raises QueueMisplaced.
        misplaced: Why the last commit must not be answered; empty = it may be.
    """

    def __init__(self, path: str | None, ownership: Ownership) -> None:
        self.bring_back: Callable[[Place], None] = _bring_nothing_back
        self.misplaced = ""
        self._path = path
        self._ownership = ownership
        self._place = Place(path) if path is not None else None

    @property
    def trouble(self) -> str:
        """Why a restart would not find the file that is in use; empty = it would."""
        return self._place.trouble() if self._place is not None else ""

    def require(self) -> None:
        """Make sure that the file in use is in its place, or bring it back.

        Raises:
            QueueMisplaced: It is not, and cannot be brought back.
        """
        place = self._place
        if place is not None and place.trouble():
            try:
                self.bring_back(place)
            except QueueMisplaced as error:
                self.misplaced = f"nothing can be stored: {error}"
                raise QueueMisplaced(self.misplaced) from error
        self.misplaced = ""

    def own_again(self) -> None:
        """Own the directory that has the queue's path now, if it is another one or was removed.

        Raises:
            QueueError: It cannot be made, or another process owns it.
        """
        assert self._path is not None
        if not self._ownership.is_of(self._path):
            before, self._ownership = self._ownership, take_ownership(self._path)
            before.release()

    def moved(self) -> None:
        """The file in use is another one now, which has just been put into its place."""
        before, path = self._place, self._path
        if before is not None and path is not None:
            with suppress(OSError):  # it is gone again: that is found with the next commit
                self._place = Place(path)
                before.close()

    def close(self) -> None:
        """Let others have the queue."""
        if self._place is not None:
            self._place.close()
        self._ownership.release()
