"""Messages that a rewrite held back for a while: stored when they are due, and at the stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.model.clock import DelayedCall
from relay.model.errors import QueueError
from relay.model.origin import Origin
from relay.rewrite.pipeline import Pipeline

__all__ = ["FlushService"]

_INTERVAL_SECONDS = 1.0


class FlushService(Service):
    """Looks once a second for what is due in the pipelines of destinations.

    Args:
        pipelines: By destination; those that hold nothing back are not looked at.
        append: Stores payloads by destination.
    """

    name = "flush"

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        *,
        append: Callable[[Mapping[str, Sequence[bytes]]], Deferred[None]],
        reactor: Any,
    ) -> None:
        self._pipelines = {id: pipeline for id, pipeline in pipelines.items() if pipeline.holds}
        self._append = append
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
        now = self._reactor.seconds()
        origin = Origin("", "", received_at=now)
        for destination, pipeline in self._pipelines.items():
            messages = pipeline.flush(now, everything=everything)
            if messages:
                stored = self._append({destination: pipeline.writer(messages, origin)})
                stored.addErrback(_passed_over)


def _passed_over(failure: Failure) -> None:
    failure.trap(QueueError)  # said and counted where it failed; the repeats are counted anyway
