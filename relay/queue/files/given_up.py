"""A note of the messages that the relay gave up when it stopped, counted by the next start.

They could not be stored, for example because the disk was full, so there may be no room for
a note either.  Hence a file that gets its room at the start and is overwritten in place.  Its text
is a line of JSON and blanks:

    {"id": "…", "lost": {"account": messages, …}}

The id is stored as a position with the counts, so that a note that could not be emptied is
not counted twice.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress

import msgspec

__all__ = ["COUNTED", "GivenUp", "NoteOfLoss"]

COUNTED = "/given-up"
"""Of what the position named ``last`` is the id of the note that was counted last."""

_NAME = "given-up"
_ROOM_BYTES = 16 * 1024


class NoteOfLoss(msgspec.Struct):
    """What was given up at one stop."""

    id: str
    lost: dict[str, int]
    """Messages by account."""


class GivenUp:
    """The note in the directory `path` of the queue."""

    def __init__(self, path: str) -> None:
        self._name = os.path.join(path, _NAME)

    def read(self) -> NoteOfLoss | None:
        """What the last stop gave up; None = nothing, or it cannot be read."""
        try:
            with open(self._name, "rb") as file:
                return msgspec.json.decode(file.read(), type=NoteOfLoss)
        except (OSError, msgspec.MsgspecError):
            return None

    def clear(self) -> None:
        """Forget what is there, and keep the room for another note, if there is any."""
        with suppress(OSError):
            self._write(b"")

    def write(self, lost: Mapping[str, int]) -> None:
        """Note that these messages were given up, durably.

        Raises:
            OSError: That cannot be noted.
        """
        note = NoteOfLoss(uuid.uuid4().hex, dict(lost))
        before = self.read()
        if before is not None:  # it was not counted yet
            for account, count in before.lost.items():
                note.lost[account] = note.lost.get(account, 0) + count
        self._write(msgspec.json.encode(note))

    def _write(self, text: bytes) -> None:
        fd = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, text.ljust(_ROOM_BYTES), 0)
            os.fsync(fd)
        finally:
            os.close(fd)
