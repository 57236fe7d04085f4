"""A stream of events for browsers (WHATWG HTML, 9.2 server-sent events).

An event is computed once for all readers.  A reader that is slow misses events, since only the
latest counts; one that reads nothing for a while is let go.  So nothing piles up.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.model.clock import Clock, DelayedCall
from relay.observe.web.access import Denied
from relay.observe.web.server import Outlet, Query

READERS_MAX = 20
_INTERVAL_SECONDS = 1.0
_FULL_SECONDS_MAX = 15.0
_STREAM_SECONDS_MAX = 3600.0


class _Reader:
    __slots__ = ("full_since", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.full_since: float | None = None


class EventStream:
    """Sends an event a second to those who read.

    Where nobody reads, nothing is computed.  After an hour a reader has to ask again, and to show
    the token that is required then.

    Args:
        event: Returns the data of an event: one line.
    """

    def __init__(self, event: Callable[[], bytes], clock: Clock) -> None:
        self._event = event
        self._clock = clock
        self._readers: dict[Outlet, _Reader] = {}
        self._call: DelayedCall | None = None

    def __len__(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def open(self, query: Query, outlet: Outlet) -> None:
        """Another reader has come.  Raises `Denied` if there are too many."""
        if len(self._readers) >= READERS_MAX:
            raise Denied(
                503,
                "readers",
                f"{READERS_MAX} pages are open already; close one of them",
                Retry_After="30",
            )
        self._readers[outlet] = _Reader(self._clock.seconds())
        outlet.on_gone = lambda: self._gone(outlet)
        if self._call is None:
            self._call = self._clock.callLater(0, self._tick)

    def _gone(self, outlet: Outlet) -> None:
        self._readers.pop(outlet, None)
        if not self._readers and self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self._call = self._clock.callLater(_INTERVAL_SECONDS, self._tick)
        data = b"data: %b\n\n" % self._event()
        now = self._clock.seconds()
        for outlet, reader in list(self._readers.items()):
            if not outlet.is_full:
                reader.full_since = None
                outlet.write(data)
            elif reader.full_since is None:
                reader.full_since = now
            elif now - reader.full_since >= _FULL_SECONDS_MAX:
                outlet.abort()
                continue
            if now - reader.since >= _STREAM_SECONDS_MAX:
                self._gone(outlet)
                outlet.end()
