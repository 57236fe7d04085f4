"""From frames to disk: parse, route, rewrite, store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from relay.flow.routing import Route
from relay.model.counters import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Origin
from relay.wire.parse import parse_all

__all__ = ["Intake"]

Append = Callable[[Mapping[str, Sequence[bytes]]], Deferred[None]]


class Intake:
    """Takes the frames of one source.

    Args:
        routes: Where they go; destinations are distinct.
        append: Stores payloads by destination; fires when they are on disk.
        now: Seconds since 1970-01-01 UTC.
        counters: The source's.
    """

    def __init__(
        self,
        *,
        routes: Sequence[Route],
        append: Append,
        now: Callable[[], float],
        counters: SourceCounters,
    ) -> None:
        self._routes = routes
        self._append = append
        self._now = now
        self._counters = counters
        self._parses = any(route.rewrite is not None for route in routes)

    def accept(self, frames: list[bytes], origin: Origin) -> Deferred[None]:
        """Store `frames`.  Fires once they are on disk for every destination.

        Fails with QueueError if they could not be stored; whoever can is then to
        make the peer send them again.
        """
        counters = self._counters
        counters.received_records += len(frames)
        counters.received_bytes += sum(map(len, frames))
        if b"" in frames:
            taken = [frame for frame in frames if frame]
            counters.dropped["empty"] += len(frames) - len(taken)
            frames = taken
        if not self._routes:
            counters.dropped["no-destination"] += len(frames)
            return succeed(None)
        if not frames:
            return succeed(None)
        count = len(frames)
        stored = self._append(self._payloads(frames, origin))
        return stored.addCallbacks(
            lambda _: self._stored(count), lambda failure: self._not_stored(failure, count)
        )

    def _payloads(self, frames: list[bytes], origin: Origin) -> dict[str, Sequence[bytes]]:
        origin = origin._replace(received_at=self._now())
        messages = parse_all(frames) if self._parses else []
        return {
            route.destination: frames if route.rewrite is None else route.rewrite(messages, origin)
            for route in self._routes
        }

    def _stored(self, count: int) -> None:
        self._counters.stored_records += count

    def _not_stored(self, failure: Failure, count: int) -> Failure:
        if failure.check(QueueError) is None:
            return failure
        # A RELP client sends them again; for all others they are lost.
        self._counters.dropped["not-stored"] += count
        return failure
