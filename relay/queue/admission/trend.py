"""The rate at which a number grows or shrinks, from samples of the last seconds."""

from __future__ import annotations

from collections import deque

__all__ = ["Trend"]


class Trend:
    """The rate of change since the last turn.

    A turn is where growing ends and shrinking begins, or the reverse: samples from before it
    say nothing about the present rate.  Samples that are equal are no turn.

    Args:
        seconds: How far it looks back, in seconds; nothing older counts.
    """

    def __init__(self, *, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, size: int) -> None:
        """The number is `size` at the time `now`, in seconds of a clock that is never set."""
        self._samples.append((now, size))
        while now - self._samples[0][0] > self._seconds:
            self._samples.popleft()

    @property
    def per_second(self) -> float:
        """How much it grows in a second, negative if it shrinks; 0 if that is not known."""
        if not self._samples:
            return 0.0
        sizes = [size for _, size in self._samples]
        latest = sizes[-1]
        different = next((size for size in reversed(sizes) if size != latest), latest)
        extreme = min(sizes) if different < latest else max(sizes)
        turn = max(index for index, size in enumerate(sizes) if size == extreme)
        (began, first), (now, last) = self._samples[turn], self._samples[-1]
        return (last - first) / (now - began) if now > began else 0.0

    def seconds_until(self, change: int) -> float | None:
        """When it will have grown by `change` from now on, at the present rate.

        Args:
            change: Negative = shrunk.

        Returns:
            Seconds, more than 0; None if `change` is 0 or it does not go there.
        """
        rate = self.per_second
        return change / rate if change * rate > 0 else None

    def seconds_to(self, size: int) -> float | None:
        """When it will be `size`, at the present rate; None if it is, or will not."""
        return self.seconds_until(size - self._samples[-1][1]) if self._samples else None
