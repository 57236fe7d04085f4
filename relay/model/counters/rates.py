"""Rates of counters, from samples of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from relay.model.text import Document

SPANS = (10, 60)
"""The periods over which rates are shown, in seconds."""
_LATE_SECONDS = 0.5  # by which a sample may be older than the period


class Rates:
    """How much several counters grow in a second, over the last 10 and 60 s.

    A rate is that of the time since the first sample while this is less.

    Args:
        names: Those of the counters.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque()

    def note(self, now: float, counts: Sequence[int]) -> None:
        """The counters have the values `counts` at the time `now`.

        Args:
            now: Seconds of a clock that is never set.
        """
        self._samples.append((now, tuple(counts)))
        while now - self._samples[0][0] > SPANS[-1] + _LATE_SECONDS:
            self._samples.popleft()

    def report(self) -> Document:
        """For JSON: by period (``10s``, ``60s``), how much each counter grows in a second."""
        return {
            f"{span}s": dict(zip(self._names, self._per_second(span), strict=True))
            for span in SPANS
        }

    def _per_second(self, span: int) -> list[float]:
        none = [0.0] * len(self._names)
        if not self._samples:
            return none
        now, counts = self._samples[-1]
        then, before = next(
            sample for sample in self._samples if now - sample[0] <= span + _LATE_SECONDS
        )
        if now <= then:
            return none
        # Less than before: records that were counted as dropped have arrived after all.
        grown = (max(0, after - first) for after, first in zip(counts, before, strict=True))
        return [round(more / (now - then), 3) for more in grown]
