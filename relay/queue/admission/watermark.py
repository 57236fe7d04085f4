"""Something that fills up, and who wants to know when it is full.

A watermark has two levels: one for everybody, and a higher one for those who may use the
reserve.  Each closes when the watermark reaches one mark and opens again when it falls
below another, so that nobody is paused and resumed with every commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Watermark", "Level"]


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
        everybody: Where it is full.
        reserved: Where it is full for those who may use the reserve; None = the same.
        words: Says, for people, why it is full.

    Attributes:
        size: As it was last set.
        full: For everybody.
        reserve_full: For those who may use the reserve.
    """

    def __init__(
        self, everybody: Level, reserved: Level | None = None, *, words: Callable[[int], str]
    ) -> None:
        self.size = 0
        self.full = False
        self.reserve_full = False
        self._everybody = everybody
        self._reserved = reserved or everybody
        self._words = words
        self._listeners: list[Callable[[], None]] = []

    @property
    def words(self) -> str:
        """What its size means, for people."""
        return self._words(self.size)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when `full` or `reserve_full` has changed."""
        self._listeners.append(changed)

    def set(self, size: int) -> None:
        """Note the size as it is now."""
        self.size = size
        before = (self.full, self.reserve_full)
        self.full = _is_full(size, self._everybody, self.full)
        self.reserve_full = _is_full(size, self._reserved, self.reserve_full)
        if (self.full, self.reserve_full) != before:
            for changed in self._listeners:
                changed()


def _is_full(size: int, level: Level, was_full: bool) -> bool:
    return size >= (level.open_below if was_full else level.close_at)
