"""Several connections of one lane at a time, each with a link of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import ensureDeferred, gatherResults

from relay.service.destinations.link import Link, Outlet
from relay.transport.composite import Composite, Part
from relay.transport.upstream import UpstreamState


class ParallelLink(Link):
    """Connects one drain several times.

    The lane counts as connected while one of the connections is.

    Args:
        new_link: Makes the link of one connection.
        new_state: Makes the state of one connection.
    """

    def __init__(
        self,
        outlet: Outlet,
        connections: int,
        *,
        new_link: Callable[[Outlet], Link],
        new_state: Callable[[], UpstreamState],
    ) -> None:
        self._state = outlet.state
        whole = Composite(outlet.drain, cut=self.cut)
        whole.parts = [Part(whole, new_state()) for _ in range(connections)]
        self._states = [part.state for part in whole.parts]
        for state in self._states:
            state.whole = self._state
            state.watch(partial(self._connected, state), partial(self._lost, state))
        self._links = [new_link(part) for part in whole.parts]

    def start(self) -> None:
        self._state.connecting()
        for state, link in zip(self._states, self._links, strict=True):
            state.started()
            link.start()

    async def stop(self) -> None:
        for state in self._states:
            state.stopped()
        await gatherResults([ensureDeferred(link.stop()) for link in self._links])

    def connect(self) -> None:
        for link in self._links:
            link.connect()

    def cut(self, why: str) -> None:
        for link in self._links:
            link.cut(why)

    def _connected(self, state: UpstreamState) -> None:
        if not self._state.ready:
            self._state.became_ready(f"{state.text}, by up to {len(self._links)} connections")

    def _lost(self, state: UpstreamState, reason: str) -> None:
        if any(state.ready for state in self._states):
            if reason:
                self._state.count_failure(state.last_cause)
                self._state.remark(reason)
        elif reason:
            self._state.failed(reason, cause=state.last_cause)
        elif self._state.ready:
            self._state.renewed("connections are renewed")
