"""Targets over HTTP: each request of a session goes to the one that is chosen for it.

A target is in trouble when it cannot be reached, gives no whole answer, or answers 5xx.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from relay.model.errors import UpstreamError
from relay.service.destinations.targets import Target, Targets
from relay.transport.http.requests import RequestFailed, Requests
from relay.transport.names import Found, HostResolver
from relay.transport.upstream import UpstreamProtocol
from relay.wire.http.answers import Answer


class Node:
    """One target, as one session uses it.

    Attributes:
        is_connected: The last request was answered.
        load: Requests that are on their way.
    """

    unit = "request"

    def __init__(self, target: Target, requests: Requests, targets: Targets) -> None:
        self.is_connected = False
        self.load = 0
        self.target = target
        self._requests = requests
        self._targets = targets
        self._found = target.resolver.found if target.resolver else None
        self._look_up_at = math.inf
        self._renew_at = self._next_renewal()
        target.links.append(self)

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def has_others(self) -> bool:
        """Whether another target may take at once what this one has not."""
        return len(self._targets.all) > 1 and bool(self._targets.untroubled)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Deferred[Answer]:
        """See `Requests.post`."""
        self._renew_in_time()
        self.load += 1
        return self._requests.post(body, headers).addBoth(self._ended)

    def renew(self, why: str) -> None:
        """Make new connections for the next requests, if there are any."""
        self.is_connected = False
        self._requests.renew()

    def close(self) -> None:
        self.is_connected = False
        self.target.links.remove(self)
        self._requests.close()
        self._targets.stop_probes()

    def _ended(self, result: Answer | Failure) -> Answer | Failure:
        self.load -= 1
        if isinstance(result, Failure):
            if result.check(RequestFailed):
                self._failed(result.getErrorMessage())
        elif result.is_server_error:
            self._failed(f"status {result.status}")
        elif self in self.target.links:
            self.is_connected = True
            self._targets.connected(self.target)
        return result

    def _failed(self, reason: str) -> None:
        self.is_connected = False
        self._targets.lost(self.target, reason)
        self._targets.stop_probes()

    # Connections are kept between requests, so the places that they lead to are looked at here.

    def _next_renewal(self) -> float:
        seconds = self._targets.renew_seconds
        return self._targets.clock.seconds() + seconds if seconds else math.inf

    def _renew_in_time(self) -> None:
        """Use new connections if the old ones have served for long, or if the name has moved."""
        now, resolver = self._targets.clock.seconds(), self.target.resolver
        if now >= self._renew_at:
            self._renew_at = self._next_renewal()
            self._requests.renew()
        if resolver is None:
            return
        if resolver.found is not self._found:
            self._note_places(resolver.found)
        elif now >= self._look_up_at:
            self._look_up_at = math.inf  # until there is an answer
            ensureDeferred(self._look_up(resolver))

    async def _look_up(self, resolver: HostResolver) -> None:
        with suppress(UpstreamError):
            await resolver.look_up()
        self._note_places(resolver.found)

    def _note_places(self, found: Found | None) -> None:
        """The name was looked up: for a new connection, or because its TTL had ended."""
        before, self._found = self._found, found
        if found is None:
            return
        if before is not None and found.is_fresh and {*found.places} != {*before.places}:
            self._requests.renew()
        ttl_seconds = math.inf if found.ttl_seconds is None else found.ttl_seconds
        self._look_up_at = self._targets.clock.seconds() + ttl_seconds


class Nodes:
    """The targets of one session."""

    def __init__(self, nodes: Sequence[Node], targets: Targets) -> None:
        self._nodes = nodes
        self._targets = targets

    def choose(self) -> Node:
        """Where the next request is to go."""
        chosen = self._targets.choose()
        return next(node for node in self._nodes if node.target is chosen)

    def close(self) -> None:
        """End the connections that no request uses."""
        for node in self._nodes:
            node.close()


class ProbeProtocol(UpstreamProtocol):
    """A connection, with TLS if used, that asks nothing."""

    def started(self) -> str:
        return "connected"
