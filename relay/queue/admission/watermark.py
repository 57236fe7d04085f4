"""A size with high and low marks, which notifies its listeners when it passes one.

There are two levels: one for everybody, and a higher one for sources that may use the reserve.
Each level closes at its high mark and opens again below its low mark, so that sources are not
paused and resumed with every commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Level(NamedTuple):
    close_at: int
    open_below: int
    """At most `close_at`."""

    @classmethod
    def at(cls, size: int) -> Level:
        """Closes at `size` and opens again below 19/20 of it."""
        return cls(size, size - size // 20)


class Watermark:
    """A size with levels.

    Args:
        everybody: The level for all sources.
        reserved: The level for sources that may use the reserve; None = the same.
        describe: Describes the size for people, as the reason why it is full.

    Attributes:
        size: As it was last set.
        full: Whether the level for all sources is closed.
        reserve_full: Whether the level for the reserve is closed.
    """

    def __init__(
        self, everybody: Level, reserved: Level | None = None, *, describe: Callable[[int], str]
    ) -> None:
        self.size = 0
        self.full = False
        self.reserve_full = False
        self._everybody = everybody
        self._reserved = reserved or everybody
        self._describe = describe
        self._listeners: list[Callable[[], None]] = []

    @property
    def text(self) -> str:
        """The size as a reason, for people."""
        return self._describe(self.size)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever `full` or `reserve_full` changes."""
        self._listeners.append(changed)

    def unsubscribe(self, changed: Callable[[], None]) -> None:
        """Do not call `changed` any more."""
        self._listeners.remove(changed)

    def move(self, everybody: Level, reserved: Level | None = None) -> None:
        """Use other levels from now on, and notify the listeners if one opened or closed thereby.

        A level that stays closed opens below its new low mark.
        """
        self._everybody, self._reserved = everybody, reserved or everybody
        self.set(self.size)

    def set(self, size: int) -> None:
        """Set the size, and notify the listeners if a level opened or closed."""
        self.size = size
        everybody, reserved = self._everybody, self._reserved
        full = size >= (everybody.open_below if self.full else everybody.close_at)
        reserve_full = size >= (reserved.open_below if self.reserve_full else reserved.close_at)
        if (full, reserve_full) != (self.full, self.reserve_full):
            self.full, self.reserve_full = full, reserve_full
            for changed in tuple(self._listeners):
                changed()
