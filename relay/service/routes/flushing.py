"""Messages that a rewrite held back for a while: stored when they are due, and at the stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.flow.routing import Route
from relay.flow.shedding import let_in, severities_let_in
from relay.model.clock import DelayedCall, Now, Reactor
from relay.model.errors import QueueError
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.steps.pipeline import Pipeline

_INTERVAL_SECONDS = 1.0


class _Append(Protocol):
    def __call__(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        *,
        drops: Mapping[str, Mapping[str, int]],
    ) -> Deferred[None]: ...


class FlushService(Service):
    """Looks once a second for what is due in the pipelines of destinations.

    Args:
        pipelines: By destination; those that hold nothing back are not looked at.
        append: Stores payloads by destination, and counts drops.
        ways: Into the queues that may drop what comes.
    """

    name = "flush"

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        *,
        append: _Append,
        now: Now,
        reactor: Reactor,
        ways: Mapping[str, Route] | None = None,
    ) -> None:
        self._pipelines = {id: pipeline for id, pipeline in pipelines.items() if pipeline.holds}
        self._append = append
        self._ways = ways or {}
        self._now = now
        self._reactor = reactor
        self._call: DelayedCall | None = None

    def startService(self) -> None:
        Service.startService(self)
        if self._pipelines:
            self._wait()

    def stopService(self) -> None:
        """Store everything; nothing must be held back in memory when the queue closes."""
        Service.stopService(self)
        if self._call is not None:
            self._call.cancel()
            self._call = None
            self._flush(everything=True)

    def _wait(self) -> None:
        self._call = self._reactor.callLater(_INTERVAL_SECONDS, self._interval_ended)

    def _interval_ended(self) -> None:
        self._wait()
        self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        origin = Origin("", "", received_at=self._now(), monotonic_at=self._reactor.seconds())
        for destination, pipeline in self._pipelines.items():
            messages = pipeline.flush(origin, everything=everything)
            if messages:
                taken, drops = self._let_in(destination, messages)
                payloads = pipeline.write_messages(taken, origin)
                drops += Counter(pipeline.take_drops())
                stored = self._append({destination: payloads}, drops={destination: drops})
                stored.addErrback(_passed_over)

    def _let_in(
        self, destination: str, messages: list[SyslogMessage]
    ) -> tuple[list[SyslogMessage], Counter[str]]:
        """What the limit of the queue lets in of `messages`, and what it drops by reason."""
        way = self._ways.get(destination)
        let = severities_let_in([way]) if way is not None else {}
        if way is None or destination not in let:
            return messages, Counter()
        severities = [message.severity for message in messages]
        indexes, drops = let_in(way, severities, let[destination])
        return [messages[index] for index in indexes], drops


def _passed_over(failure: Failure) -> None:
    failure.trap(QueueError)  # said and counted where it failed; the repeats are counted anyway
