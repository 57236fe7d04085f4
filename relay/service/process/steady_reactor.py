"""Timers that do not depend on the time of day."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["run_steadily"]


def run_steadily(reactor: Any) -> None:
    """Have `reactor` measure time with a clock that nobody sets.

    Twisted's reactors go by `time.time`.  When that is set back by an hour, a timer of a
    second takes an hour and a second.  All of a reactor's own code asks `self.seconds` (and
    each delayed call keeps what that was when it was made), so replacing it is enough;
    Twisted has no other way to say it.  Calls that are scheduled already keep their delay.
    """
    before = reactor.seconds
    if before is time.monotonic:
        return
    scheduled = [(call, call.getTime() - before()) for call in reactor.getDelayedCalls()]
    reactor.seconds = time.monotonic
    for call, delay in scheduled:
        call.seconds = time.monotonic
        call.reset(max(0.0, delay))
