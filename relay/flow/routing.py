"""Which destinations a source feeds, and what each of them gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.queue.limits import QueueLimit

__all__ = ["Rewrite", "Route"]

Rewrite = Callable[[Sequence[SyslogMessage], Origin], list[bytes]]
"""Turns messages into payloads: one each, in the same order."""


@dataclass(frozen=True, slots=True)
class Route:
    """One way from a source into a destination's queue."""

    destination: str
    rewrite: Rewrite | None
    """None = the frames as they came, which costs no parsing."""
    apps: frozenset[str] | None = None
    """Only messages of these apps; None = all, also those of none."""
    limit: QueueLimit | None = None
    """Says what is not to be queued now; None = everything always is."""
    reserved: bool = False
    """What comes this way may use the reserve."""
