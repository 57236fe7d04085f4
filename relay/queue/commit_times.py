"""How long commits take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from relay.model.clock import Clock
from relay.model.counters.histogram import Histogram

_Result = TypeVar("_Result")


class CommitTimes:
    """Measures transactions, those that fail too.

    Args:
        clock: Its `seconds` may be asked in any thread.

    Attributes:
        whole: From handing a transaction to the writer thread until the reactor knows its end.
        writing: What of that the writer thread took, mostly for the disk.
    """

    def __init__(self, clock: Clock) -> None:
        self.whole = Histogram()
        self.writing = Histogram()
        self._clock = clock

    def begin(self) -> Callable[[], None]:
        """A transaction is handed over now.  Call what this returns at its end."""
        began = self._clock.seconds()
        return lambda: self.whole.observe(self._clock.seconds() - began)

    def measured(self, call: Callable[[], _Result]) -> Callable[[], _Result]:
        """`call`, for the writer thread: alone in it, so that it alone counts there."""

        def timed() -> _Result:
            began = self._clock.seconds()
            try:
                return call()
            finally:
                self.writing.observe(self._clock.seconds() - began)

        return timed
