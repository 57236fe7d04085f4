"""Batches, requests, window and octets in closed form."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Site", "brokers_needed", "receivers_needed", "window_rate"]


class Site(NamedTuple):
    """A cell, or one cluster for everything.

    Attributes:
        rate: Messages a second.
        linger: Seconds.
    """

    rate: float
    receivers: int
    partitions: int
    linger: float
    brokers: int

    @property
    def batch_at_most(self) -> float:
        """Records that come within the linger: B = RL / NP."""
        return self.rate * self.linger / (self.receivers * self.partitions)

    @property
    def batch(self) -> float:
        """Records of a batch: the first one begins the linger, and the others follow it."""
        return 1 + self.batch_at_most

    @property
    def requests(self) -> float:
        """Produce requests a second of all receivers, a batch each."""
        return self.rate / self.batch

    @property
    def requests_a_broker(self) -> float:
        return self.requests / self.brokers


def window_rate(window: int, answer_seconds: float) -> float:
    """Messages a second of one connection with `window` of them unanswered."""
    return window / answer_seconds


def receivers_needed(
    rate: float, capacity: float, utilisation: float = 0.75, zones: int = 3
) -> int:
    """How many receivers are left to take `rate` when a zone is lost.

    Args:
        capacity: Messages a second of one receiver.
        utilisation: Of those that are left; what is above it works off the backlog.
    """
    left = math.ceil(rate / (capacity * utilisation))
    return math.ceil(left / (zones - 1)) * zones


def brokers_needed(requests: float, requests_max: float, zones: int = 3) -> int:
    """How many brokers are left to take `requests` a second when a zone is lost."""
    left = math.ceil(requests / requests_max)
    return max(zones, math.ceil(left / (zones - 1)) * zones)
