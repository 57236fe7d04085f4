"""Reading just before a commit what came during the one before, instead of bit by bit.

At some thousand messages a second nearly every message comes in a chunk of its own, and a
turn of the reactor for each costs more than all else that is done with it.  While a
transaction is on its way to disk, nobody is answered earlier because he was read earlier.
So a connection of which little comes, but more than once a commit, waits: what it sends
stays in the kernel's buffer, and is read, all at once, before the next transaction takes
what there is to store.

Hazards: a commit that takes long (`seconds_max` ends the wait), a reader that is gone, and
one whose reading brings in others or takes them away.
"""

from __future__ import annotations

from typing import Protocol

from relay.model.clock import Clock

__all__ = ["Gathered", "Gathering"]


class Gathered(Protocol):
    """Somebody who can be read when asked to."""

    def read_now(self) -> bool:
        """Take what has come; whether to wait for the next commit again."""

    def read_at_once(self) -> None:
        """Waiting is over: take things as they come."""


class Gathering:
    """Knows the commit that runs, and who waits for its end.

    Args:
        seconds_max: Longest wait; then everybody is read as it comes until the next commit.
            It may be twice as long for who begins to wait in a later commit than others.

    Attributes:
        commit: Number of the transaction that is on its way to disk, if it pays to wait for
            its end; else 0.
    """

    def __init__(self, *, clock: Clock, seconds_max: float = 0.02) -> None:
        self.commit = 0
        self._clock = clock
        self._seconds_max = seconds_max
        self._begun = 0  # transactions
        self._waiting: dict[Gathered, None] = {}
        self._is_timed = False

    def wait(self, reader: Gathered) -> None:
        """Have `reader` read before the next transaction; only while there is a `commit`."""
        self._waiting[reader] = None
        if not self._is_timed:
            self._is_timed = True
            self._clock.callLater(self._seconds_max, self._look, self._begun)

    def forget(self, reader: Gathered) -> None:
        """Read it no more, whether it waits or not."""
        self._waiting.pop(reader, None)

    def begin(self) -> None:
        """A transaction goes on its way."""
        self._begun += 1
        self.commit = self._begun

    def gather(self) -> None:
        """It is on disk, and the next one is about to take what there is: read."""
        for reader in list(self._waiting):
            if reader in self._waiting and not reader.read_now():
                self._waiting.pop(reader, None)
                reader.read_at_once()

    def end(self) -> None:
        """There is no next one, or it has to wait for long."""
        self.commit = 0
        waiting, self._waiting = self._waiting, {}
        for reader in waiting:
            reader.read_at_once()

    def _look(self, begun: int) -> None:
        """Nobody waits for a disk that has stopped."""
        self._is_timed = False
        if not self._waiting:
            return
        if begun == self._begun:
            self.end()
        else:
            self._is_timed = True
            self._clock.callLater(self._seconds_max, self._look, self._begun)
