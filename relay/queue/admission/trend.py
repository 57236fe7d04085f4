"""The rate at which a number grows or shrinks, from samples of the last seconds."""

from __future__ import annotations

from collections import deque


class Trend:
    """The rate of change since the last turn.

    A turn is where growing ends and shrinking begins, or the reverse: samples from before it
    say nothing about the present rate.  Samples that are equal are no turn.  The interval in
    which it turns counts only until there is a second one: its rate begins somewhere inside.

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
    def is_moving(self) -> bool:
        """Whether the last two samples differ."""
        return len(self._samples) > 1 and self._samples[-1][1] != self._samples[-2][1]

    @property
    def per_second(self) -> float:
        """How much it grows in a second, negative if it shrinks; 0 if that is not known."""
        return self.per_second_since(self.began_at)

    @property
    def began_at(self) -> float:
        """The time from which on `per_second` is measured; that of the last sample if it stands."""
        if not self._samples:
            return 0.0
        sizes = [size for _, size in self._samples]
        latest = sizes[-1]
        different = next((size for size in reversed(sizes) if size != latest), latest)
        extreme = min(sizes) if different < latest else max(sizes)
        turn = max(index for index, size in enumerate(sizes) if size == extreme)
        if 0 < turn < len(sizes) - 2:
            turn += 1
        return self._samples[turn][0]

    def per_second_since(self, began_at: float) -> float:
        """How much it has grown in a second since `began_at`; 0 if that is not known."""
        samples = [sample for sample in self._samples if sample[0] >= began_at]
        if len(samples) < 2 or samples[-1][0] == samples[0][0]:
            return 0.0
        (began, first), (now, last) = samples[0], samples[-1]
        return (last - first) / (now - began)

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
