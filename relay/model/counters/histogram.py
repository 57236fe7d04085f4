"""A histogram of durations, as Prometheus has them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from relay.model.text import Document

SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0),
)
"""Upper bounds of buckets: from half a millisecond to a day, which an outage can take."""


class Histogram:
    """Counts durations in buckets.

    Args:
        bounds: Upper bounds of the buckets in seconds, ascending.  A last bucket takes the rest.

    Attributes:
        counts: How many durations are in each bucket, the last one included.
        total: How many in all.
        sum: Seconds of all together.
    """

    __slots__ = ("bounds", "counts", "sum", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0
        self.sum = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count `count` durations of `seconds` each."""
        self.counts[bisect_left(self.bounds, seconds)] += count
        self.total += count
        self.sum += seconds * count

    def quantile(self, fraction: float) -> float | None:
        """The duration that `fraction` of all do not exceed, interpolated within its bucket.

        Args:
            fraction: From 0 to 1.

        Returns:
            Seconds; of durations in the last bucket its lower bound; None if nothing was counted.
        """
        rank = fraction * self.total
        below = 0
        lower = 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                return lower + (bound - lower) * max(0.0, rank - below) / count
            below += count
            lower = bound
        return lower if self.total else None

    def report(self) -> Document:
        """The counts by upper bound, cumulative as Prometheus has them, and three quantiles."""
        cumulative, below = [], 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            cumulative.append([bound, below])
        return {
            "count": self.total,
            "sum": self.sum,
            "buckets": cumulative,
            "p50": self.quantile(0.5),
            "p90": self.quantile(0.9),
            "p99": self.quantile(0.99),
        }


def added_up(histograms: Sequence[Histogram]) -> Histogram:
    """What `histograms`, which have the same bounds, have counted together."""
    found = Histogram(histograms[0].bounds) if histograms else Histogram()
    rows = [each.counts for each in histograms]
    found.counts = [sum(column) for column in zip(found.counts, *rows, strict=True)]
    found.total = sum(each.total for each in histograms)
    found.sum = sum(each.sum for each in histograms)
    return found
