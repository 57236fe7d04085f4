"""Time as an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Clock", "DelayedCall", "Now"]

Now = Callable[[], float]
"""Seconds since 1970-01-01 UTC."""


class DelayedCall(Protocol):
    """A call that is to come (Twisted's IDelayedCall)."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...

    def reset(self, seconds: float) -> None: ...


class Clock(Protocol):
    """The part of Twisted's IReactorTime that the relay uses.

    Written out because type checkers cannot follow zope interfaces; the reactor
    and `twisted.internet.task.Clock` both fit.
    """

    def seconds(self) -> float: ...

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> Any: ...
