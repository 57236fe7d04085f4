"""What a source or destination needs from files before it can begin, and when files change."""

from __future__ import annotations

import os
from collections.abc import Callable

Stamp = tuple[int, int, int] | None

_REPEAT_SECONDS = 3600.0


def stamp_of(path: str) -> Stamp:
    """Differs once the file at `path` is another one; None = it is gone, or out of reach."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class Prerequisite:
    """One thing that may be missing when the relay starts, and come later.

    Args:
        meanwhile: What happens until it is there, for people.

    Attributes:
        trouble: What is wrong; empty = it is there.
        look: Looks for it now; set by whoever does that from time to time.
    """

    def __init__(self, meanwhile: str) -> None:
        self.trouble = ""
        self.look: Callable[[], None] = lambda: None
        self._meanwhile = meanwhile
        self._waiting: list[Callable[[], None]] = []

    @property
    def state(self) -> str:
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


class Reminder:
    """When to warn of a trouble that is looked at again and again.

    At once, when it is put otherwise, and each hour for as long as it lasts.

    Attributes:
        trouble: What it is; empty = there is none.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self._again_at = 0.0

    def is_due(self, trouble: str, now: float) -> bool:
        """Note `trouble`; return whether to warn of it at `now` (seconds of a steady clock)."""
        if trouble == self.trouble and now < self._again_at:
            return False
        self.trouble, self._again_at = trouble, now + _REPEAT_SECONDS
        return True

    def forget(self) -> None:
        """The trouble is over: warn at once if it comes back."""
        self.trouble = ""
