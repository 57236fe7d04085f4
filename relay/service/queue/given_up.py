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
from twisted.logger import Logger

from relay.model.clock import Now
from relay.model.errors import QueueError
from relay.model.text import counted
from relay.queue.pending import NOT_STORED
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction, destination_of, is_of_source

COUNTED = "/given-up"
"""Of what the position named ``last`` is the id of the note that was counted last."""

_NAME = "given-up"
_ROOM_BYTES = 16 * 1024


class NoteOfLoss(msgspec.Struct):
    """The messages that were given up at one stop."""

    id: str
    lost: dict[str, int]
    """Messages by account."""


class GivenUp:
    """The note in the directory `path` of the queue."""

    def __init__(self, path: str) -> None:
        self._name = os.path.join(path, _NAME)

    def read(self) -> NoteOfLoss | None:
        """The note of the last stop; None = there is none, or it cannot be read."""
        try:
            with open(self._name, "rb") as file:
                return msgspec.json.decode(file.read(), type=NoteOfLoss)
        except (OSError, msgspec.MsgspecError):
            return None

    def clear(self) -> None:
        """Empty the note, and keep its room for another one, if there is any."""
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


def note_given_up(lost: Mapping[str, int], path: str, log: Logger) -> None:
    """Note in the directory `path` of the queue that these messages are lost, by account."""
    kept = "the next start counts them"
    try:
        GivenUp(path).write(lost)
    except OSError as error:
        kept = f"that cannot be noted for the next start: {error.strerror}"
    log.critical(
        "queue: gave up {what}, because nothing could be stored; {kept}",
        what=_text_of(lost),
        kept=kept,
    )


def count_given_up(store: QueueStore, path: str, *, now: Now, log: Logger) -> None:
    """Count the messages that the last stop gave up in the accounts of `store`."""
    given_up = GivenUp(path)
    note = given_up.read()
    if note is not None and store.positions(COUNTED).get("last") != note.id.encode():
        known = {id: count for id, count in note.lost.items() if id in store.ledgers}
        transaction = Transaction(
            now(),
            drops={id: {NOT_STORED: count} for id, count in known.items()},
            positions={f"{COUNTED}/last": note.id.encode()},
        )
        what = _text_of(note.lost)
        try:
            store.commit(transaction)
        except QueueError as error:
            log.warn(
                "the last stop gave up {what}; not counted yet: {error}", what=what, error=error
            )
            return
        log.warn("the last stop gave up {what}", what=what)
    given_up.clear()


def _text_of(lost: Mapping[str, int]) -> str:
    """Messages by account, as in ``30,226 messages for central (not-stored)``."""
    parts = [
        f"{counted(count, 'message')} "
        + (f"of {id.partition('/')[2]}" if is_of_source(id) else f"for {destination_of(id)}")
        for id, count in sorted(lost.items())
    ]
    return ", ".join(parts) + f" ({NOT_STORED})"
