"""How fast something grows or shrinks."""

from __future__ import annotations

from collections import deque

__all__ = ["Trend"]


class Trend:
    """The size of something over the last while.

    Args:
        seconds: How far it looks back.
    """

    def __init__(self, *, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._sizes: deque[tuple[float, int]] = deque()

    def note(self, now: float, size: int) -> None:
        """The size at the time `now`, in seconds since whenever."""
        self._sizes.append((now, size))
        while now - self._sizes[0][0] > self._seconds:
            self._sizes.popleft()

    @property
    def per_second(self) -> float:
        """How much it grows a second; 0 as long as nothing is known."""
        if not self._sizes:
            return 0.0
        (began, first), (now, last) = self._sizes[0], self._sizes[-1]
        return (last - first) / (now - began) if now > began else 0.0

    def seconds_to(self, size: int) -> float | None:
        """When it will have `size` if it goes on like that; None if it will not."""
        rate = self.per_second
        if not rate or not self._sizes:
            return None
        seconds = (size - self._sizes[-1][1]) / rate
        return seconds if seconds >= 0 else None
