"""Messages that a rewrite held back for a while: stored when they are due, and at the stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.flow.routing import Route
from relay.flow.shedding import let_in, severities_let_in
from relay.model.clock import Clock, Now
from relay.model.errors import QueueError
from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.steps.pipeline import Pipeline
from relay.service.periodic import PeriodicService

_INTERVAL_SECONDS = 1.0


class _Append(Protocol):
    def __call__(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        *,
        drops: Mapping[str, Mapping[str, int]],
    ) -> Deferred[None]: ...


class FlushService(PeriodicService):
    """Looks once a second for what is due in the pipelines of destinations.

    Args:
        routes: Those whose pipelines hold nothing back are not looked at.
        append: Stores payloads by destination, and counts drops.
        clock: Its seconds are those of `Origin.monotonic_at`.
    """

    name = "flush"

    def __init__(self, routes: Iterable[Route], *, append: _Append, now: Now, clock: Clock) -> None:
        super().__init__(interval_seconds=_INTERVAL_SECONDS, clock=clock)
        self._holding = [
            (route, route.rewrite)
            for route in routes
            if isinstance(route.rewrite, Pipeline) and route.rewrite.holds
        ]
        self._append = append
        self._now = now

    def startService(self) -> None:
        if self._holding:
            super().startService()

    def stopService(self) -> None:
        """Store everything; nothing must be held back in memory when the queue closes."""
        was_running = self._call is not None
        super().stopService()
        if was_running:
            self._flush(everything=True)

    def look(self) -> None:
        self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        origin = Origin("", Transport.NONE).received(self._now(), self._clock.seconds())
        for route, pipeline in self._holding:
            messages = pipeline.flush(origin, everything=everything)
            if messages:
                taken, drops = _let_in(route, messages)
                payloads = pipeline.write_messages(taken, origin)
                drops += Counter(pipeline.take_drops())
                id = route.destination
                self._append({id: payloads}, drops={id: drops}).addErrback(_passed_over)


def _let_in(
    route: Route, messages: list[SyslogMessage]
) -> tuple[list[SyslogMessage], Counter[str]]:
    """What the limit of the queue lets in of `messages`, and what it drops by reason."""
    let = severities_let_in([route])
    if route.destination not in let:
        return messages, Counter()
    severities = [message.severity for message in messages]
    indexes, drops = let_in(route, severities, let[route.destination])
    return [messages[index] for index in indexes], drops


def _passed_over(failure: Failure) -> None:
    failure.trap(QueueError)  # said and counted where it failed; the repeats are counted anyway
