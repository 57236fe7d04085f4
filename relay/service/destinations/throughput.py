"""How many records go by in a second, as it is now."""

from __future__ import annotations

from relay.model.clock import Clock

__all__ = ["Throughput"]

_SECONDS = 10.0  # over which it is averaged


class Throughput:
    """An average in which what was a time ago counts less and less."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._rate = 0.0
        self._at = clock.seconds()

    @property
    def per_second(self) -> float:
        """Records per second; 0 when there were none for ten seconds."""
        return self._rate * (1 - self._share_since())

    def note(self, records: int) -> None:
        """`records` more have gone by."""
        self._rate = self.per_second + records / _SECONDS
        self._at = self._clock.seconds()

    def _share_since(self) -> float:
        return min(1.0, (self._clock.seconds() - self._at) / _SECONDS)
