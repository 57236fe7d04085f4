"""The clock of a simulation, servers with a queue, and a histogram of seconds."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count
from random import Random

__all__ = ["Clock", "Histogram", "Server", "poisson"]


class Clock:
    """Runs what is due, in the order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._numbers = count()

    def at(self, when: float, call: Callable[..., None], *arguments: object) -> None:
        """Let `call` be made at `when`, in seconds; calls of one time keep their order."""
        heapq.heappush(self._due, (when, next(self._numbers), call, arguments))

    def run(self, until: float) -> None:
        due = self._due
        while due and due[0][0] <= until:
            self.now, _, call, arguments = heapq.heappop(due)
            call(*arguments)
        self.now = until


class Server:
    """Does one piece of work after the other."""

    __slots__ = ("busy", "free_at")

    def __init__(self) -> None:
        self.free_at = 0.0
        self.busy = 0.0
        """Seconds of work that it was given."""

    def add(self, now: float, seconds: float) -> float:
        """When the work is done that comes now."""
        self.busy += seconds
        self.free_at = max(now, self.free_at) + seconds
        return self.free_at

    def backlog(self, now: float) -> float:
        """Seconds of work that wait."""
        return max(0.0, self.free_at - now)


class Histogram:
    """Of seconds, in classes of 2 %."""

    STEP = math.log(1.02)
    LEAST = 1e-5

    def __init__(self) -> None:
        self._classes: dict[int, float] = defaultdict(float)

    def add(self, latencies: Iterable[float], weight: float = 1.0) -> None:
        """Each of the `latencies` stands for `weight` messages."""
        classes, log, least, step = self._classes, math.log, self.LEAST, self.STEP
        for seconds in latencies:
            classes[int(log(seconds / least) / step) if seconds > least else 0] += weight

    def add_all(self, other: Histogram) -> None:
        for place, weight in other._classes.items():
            self._classes[place] += weight

    @property
    def total(self) -> float:
        return sum(self._classes.values())

    def quantile(self, share: float) -> float:
        """Seconds; 0 if there are none."""
        left = share * self.total
        for place in sorted(self._classes):
            left -= self._classes[place]
            if left <= 0:
                return self.LEAST * math.exp((place + 0.5) * self.STEP)
        return 0.0


def poisson(random: Random, mean: float) -> int:
    """How many events of a Poisson process there are where `mean` are expected."""
    if mean > 30:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    limit, product, found = math.exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        found += 1
    return found
