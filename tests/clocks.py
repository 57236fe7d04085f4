"""Clocks for tests."""

from __future__ import annotations

from twisted.internet.task import Clock

from relay.model.clock import WallClock

__all__ = ["wall_at", "wall_of"]


def wall_of(clock: Clock) -> WallClock:
    """A time of day that nobody sets: that of `clock`."""
    return WallClock(now=clock.seconds, elapsed=clock.seconds)


def wall_at(now: float) -> WallClock:
    """A time of day at which nothing goes on."""
    return WallClock(now=lambda: now, elapsed=lambda: 0.0)
