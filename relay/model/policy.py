"""Decisions of an administrator that flow and queue carry out."""

from __future__ import annotations

from dataclasses import dataclass

POLICIES = ("block", "drop-newest", "drop-oldest", "drop-by-severity")
"""What is done when the queue of a destination is full."""

WAYS = ("token", "tls-name", "network")
"""What can authorise a message for an app, in the order in which they count."""


@dataclass(frozen=True, slots=True)
class DrainRate:
    """The most that a destination is sent."""

    bytes_per_second: float = 0.0
    """0 = as much as it takes."""
    live_multiple: float = 0.0
    """As a multiple of the records that come in for it per second; 0 = as many as it takes."""

    @property
    def is_limited(self) -> bool:
        return bool(self.bytes_per_second or self.live_multiple)
