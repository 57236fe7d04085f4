"""Clocks for tests."""

from __future__ import annotations

from twisted.internet.task import Clock

from relay.model.clock import WallClock

__all__ = ["wall_of"]


def wall_of(clock: Clock) -> WallClock:
    """A time of day that nobody sets: that of `clock`."""
    return WallClock(now=clock.seconds, elapsed=clock.seconds)
