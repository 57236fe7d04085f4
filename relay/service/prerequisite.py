"""What a source or destination needs from files before it can begin."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Prerequisite"]


class Prerequisite:
    """One thing that may be missing when the relay starts, and come later.

    Args:
        meanwhile: What happens until it is there, in words.

    Attributes:
        trouble: What is wrong, in words; empty = it is there.
        look: Looks for it now; set by whoever does that from time to time.
    """

    def __init__(self, meanwhile: str) -> None:
        self.trouble = ""
        self.look: Callable[[], None] = lambda: None
        self._meanwhile = meanwhile
        self._waiting: list[Callable[[], None]] = []

    @property
    def words(self) -> str:
        """The trouble and its consequence; empty = it is there."""
        return f"{self.trouble}; {self._meanwhile}" if self.trouble else ""

    def fulfil(self) -> None:
        """It is there: tell everybody who waits for it."""
        self.trouble = ""
        for call in self._waiting:
            call()

    def when_fulfilled(self, call: Callable[[], None]) -> None:
        """Call `call` each time that it has been missing and is there."""
        self._waiting.append(call)
