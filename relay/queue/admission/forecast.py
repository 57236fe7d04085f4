"""When a queue will be empty or full, from how fast records come, leave and take room.

A rate is that over the shortest recent period that differs from a longer one by more than
chance: it follows a change within seconds, as when an upstream is back, and is steady while
nothing changes but messages come in bursts.  What is chance is learnt from how much the rate
varies between neighbouring samples, so that a change counts as one difference among many.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import pairwise

_PERIODS = (256.0, 128.0, 64.0, 32.0, 16.0, 8.0, 4.0)  # seconds
_KEPT_SECONDS = 512.0
_DENSE_SECONDS = 64.0  # samples of this age and older are kept as far apart as below
_APART_SECONDS = 15.5
_LATE_SECONDS = 0.5  # by which a sample may be older than its period
_CLOSE_SECONDS = 0.01  # nearer samples say nothing of a rate
_SURPRISING = 5.0  # standard deviations
_OF_ONE_CHANGE = 2  # differences, if it is within an interval between two samples
_FORESEEN_SECONDS = 365 * 86400.0
_SMALLEST_PART = 0.02  # of what leaves: a queue that shrinks more slowly does not shrink for sure

_Sample = tuple[float, int]


class Flow:
    """How fast a number grows or shrinks."""

    def __init__(self) -> None:
        self._older: deque[_Sample] = deque()
        self._recent: deque[_Sample] = deque()

    def note(self, now: float, number: int) -> None:
        """It is `number` at the time `now`, in seconds of a clock that is never set."""
        older, recent = self._older, self._recent
        if recent and now - recent[-1][0] < _CLOSE_SECONDS:
            return
        recent.append((now, number))
        while now - recent[0][0] > _DENSE_SECONDS:
            sample = recent.popleft()
            if not older or sample[0] - older[-1][0] >= _APART_SECONDS:
                older.append(sample)
        while older and now - older[0][0] > _KEPT_SECONDS:
            older.popleft()

    @property
    def per_second(self) -> float:
        """How much it grows in a second, negative if it shrinks; 0 if that is not known."""
        samples = [*self._older, *self._recent]
        if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
            return 0.0
        now = samples[-1][0]
        rate, variance = _measured(samples)
        for period in _PERIODS:
            part = [each for each in samples if now - each[0] <= period + _LATE_SECONDS]
            if len(part) < 3 or part[0][0] >= now:  # two intervals at least
                break
            if len(part) == len(samples):
                continue
            own_rate, own_variance = _measured(part)
            if abs(own_rate - rate) > _SURPRISING * math.sqrt(variance / period):
                rate, variance = own_rate, own_variance
        return rate


class Forecast:
    """When one queue, or the two of a destination, will be empty or full.

    Attributes:
        delivered: How fast records are delivered from each queue.
    """

    def __init__(self) -> None:
        self.delivered: defaultdict[str, Flow] = defaultdict(Flow)
        self._queued = Flow()
        self._size = Flow()

    def note(self, now: float, *, queued: int, delivered: Mapping[str, int], size: int) -> None:
        """Take a sample.

        Args:
            now: Seconds of a clock that is never set.
            queued: Records that have been queued so far.
            delivered: Records that have been delivered so far, by queue.
            size: Bytes that all of them take now.
        """
        self._queued.note(now, queued)
        self._size.note(now, size)
        for queue, count in delivered.items():
            self.delivered[queue].note(now, count)

    def seconds_to_empty(self, waiting: int) -> float | None:
        """When `waiting` records will have been delivered, with those that come meanwhile.

        Returns:
            Seconds, more than 0; None if nothing waits, not more leave than come, or it takes
            more than a year.
        """
        leaving = sum(flow.per_second for flow in self.delivered.values())
        fewer = leaving - self._queued.per_second
        if waiting <= 0 or fewer <= _SMALLEST_PART * leaving:
            return None
        return _foreseen(waiting / fewer)

    @property
    def grows(self) -> bool:
        """Whether it takes more and more room."""
        return self._size.per_second > 0

    def seconds_to_fill(self, room: int) -> float | None:
        """When it will take `room` bytes more; None as of the function of this name."""
        return seconds_to_fill(self._size, room)


def seconds_to_fill(size: Flow, room: int) -> float | None:
    """When `size` will have grown by `room`.

    Returns:
        Seconds, more than 0; None if it does not grow, there is no room, or it takes more than a
        year.
    """
    rate = size.per_second
    return _foreseen(room / rate) if room > 0 and rate > 0 else None


def _foreseen(seconds: float) -> float | None:
    return seconds if seconds <= _FORESEEN_SECONDS else None


def _measured(samples: Sequence[_Sample]) -> tuple[float, float]:
    """The rate over `samples`, and the variance of the growth in a second.

    The variance is learnt from the differences between neighbours (von Neumann 1941), without the
    largest ones: those are of a change, where there was one.
    """
    (began, first), (now, last) = samples[0], samples[-1]
    intervals = [
        ((number - before) / (at - then), at - then)
        for (then, before), (at, number) in pairwise(samples)
        if at > then
    ]
    squares = [
        (rate - before) ** 2 / (1 / length + 1 / then)
        for (before, then), (rate, length) in pairwise(intervals)
    ]
    squares = sorted(squares)[:-_OF_ONE_CHANGE]
    variance = sum(squares) / len(squares) if squares else 0.0
    return (last - first) / (now - began), variance
