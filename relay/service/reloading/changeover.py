"""Change a running relay from one configuration to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.logger import Logger

from relay.queue.admission.limits import QueueLimit
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
)
from relay.service.destinations.commands import DestinationTools
from relay.service.queue.assembly import queue_settings
from relay.service.queue.limits import change_limit, new_histories, new_limit
from relay.service.refusal import StartRefused
from relay.service.relay_service import SequentialService
from relay.service.reloading.destinations import Destinations
from relay.service.reloading.difference import Difference
from relay.service.reloading.routes import CompiledRoutes, RouteTable
from relay.service.reloading.shared import Shared
from relay.service.reloading.sources import Sources
from relay.service.routes.flushing import FlushService


class Optional(Protocol):
    """An `OptionalService`."""

    async def change(
        self, old: Configuration, new: Configuration, within: SequentialService, before: Service
    ) -> str: ...


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a running relay that a reload changes."""

    shared: Shared
    routes: RouteTable
    sources: Sources
    destinations: Destinations
    tools: DestinationTools
    flush: FlushService
    use: Callable[[Configuration], None]
    """Has other parts use the keys of [relay] that may change at any time."""
    follow: Sequence[Callable[[], None]]
    """Each looks at the sources and destinations that there are now."""
    optional: Mapping[str, Optional]
    """Services by the tables that they need: alerts and web."""
    first_of_sources: Service
    """The services that start behind them."""


class Changeover:
    """Applies one difference.

    Sources that go are stopped first, with the routes that they have.  Then, in one turn of the
    reactor, limits and routes are exchanged, so that each message is routed by one configuration.
    Destinations and sources follow, each by itself: one that fails holds up no other.

    Args:
        before: The configuration in use.
        within: Runs all services.
    """

    _log = Logger(namespace="relay")

    def __init__(
        self,
        running: Running,
        before: Configuration,
        difference: Difference,
        within: SequentialService,
    ) -> None:
        self._running, self._before = running, before
        self._difference, self._new = difference, difference.wanted
        self._within = within
        self._failures: list[str] = []

    async def run(self, compiled: CompiledRoutes) -> tuple[Configuration, list[str]]:
        """Returns what is in use then, and what failed, one line each.

        Raises:
            QueueError: The queues cannot be opened; nothing has changed.
        """
        running, difference, new = self._running, self._difference, self._new
        limits = self._limits()
        await running.shared.queue.open(queue_settings(new, limits), new_histories(new))
        ids = difference.sources
        others = [each for each in new.sources if each.id in (*ids.added, *ids.changed)]
        await running.sources.remove(ids.removed, others=others)
        self._exchange(compiled, limits)
        await self._change_destinations()
        await self._change_sources()
        await self._change_optional()
        for follow in running.follow:
            follow()
        return self._in_use(), self._failures

    def _limits(self) -> dict[str, QueueLimit]:
        """Limits of the new destinations and, unchanged so far, of the others."""
        known, new = self._running.shared.limits, self._new
        notices = self._running.shared.notices
        return {
            each.id: known.get(each.id) or new_limit(each, new, notices)
            for each in new.destinations
        }

    def _exchange(self, compiled: CompiledRoutes, limits: dict[str, QueueLimit]) -> None:
        """The exchange that happens in one turn: limits, routes and all that sources work with."""
        running, new = self._running, self._new
        shared = running.shared
        for each in new.destinations:
            change_limit(limits[each.id], each, new, shared.notices)
        shared.limits.clear()
        shared.limits.update(limits)
        shared.queue.use(queue_settings(new, limits))
        running.use(new)
        running.routes.use(compiled, renewed=self._difference.rerouted)
        running.sources.exchange(new)
        running.flush.follow()

    # Each of these may take its time.

    async def _change_destinations(self) -> None:
        running, new = self._running, self._new
        by_id = {each.id: each for each in new.destinations}
        ids, restarted = self._difference.destinations, self._difference.restarted
        for id, each in by_id.items():
            if id not in restarted and id not in ids.added:
                running.destinations.adapt(each)
        await self._together(
            *((f"destination {id}", self._add_destination(by_id[id])) for id in ids.added),
            *((f"destination {id}", self._replace(by_id[id])) for id in sorted(restarted)),
            *((f"destination {id}", self._remove(id)) for id in ids.removed),
        )
        running.destinations.sort(by_id)

    async def _add_destination(self, destination: DestinationConfiguration) -> str:
        self._running.tools.begin(self._running.destinations.add(destination))
        return ""

    async def _replace(self, destination: DestinationConfiguration) -> str:
        await self._running.destinations.replace(destination)
        self._running.tools.begin(self._running.destinations.service_of(destination.id))
        return ""

    async def _remove(self, id: str) -> str:
        await self._running.destinations.remove(id)
        return ""

    async def _change_sources(self) -> None:
        sources, by_id = self._running.sources, {each.id: each for each in self._new.sources}
        ids = self._difference.sources
        problems = await sources.change([by_id[id] for id in ids.changed])
        self._failures += [_of(f"source {id}", text) for id, text in problems.items()]
        await self._together(*((f"source {id}", self._add_source(by_id[id])) for id in ids.added))
        sources.finish()
        sources.sort()

    async def _add_source(self, source: SourceConfiguration) -> str:
        return self._running.sources.add(source)

    async def _change_optional(self) -> None:
        old, new = self._before, self._new
        for table, service in self._running.optional.items():
            if getattr(old, table) != getattr(new, table):
                change = service.change(old, new, self._within, self._running.first_of_sources)
                await self._together((table, change))

    async def _together(self, *changes: tuple[str, Awaitable[str]]) -> None:
        """Wait for all changes, and note those that failed."""
        await gatherResults([ensureDeferred(self._noted(*each)) for each in changes])

    async def _noted(self, who: str, change: Awaitable[str]) -> None:
        try:
            problem = await change
        except StartRefused as refusal:
            problem = refusal.text
        except Exception as error:  # the others must change all the same
            self._log.failure("reload: {who} failed", who=who)
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self._failures.append(_of(who, problem))

    def _in_use(self) -> Configuration:
        """The new configuration, with what failed as it was before."""
        sources = self._running.sources.configurations
        new = replace(
            self._new,
            sources=tuple(sources[each.id] for each in self._new.sources if each.id in sources),
        )
        failed = {who.partition(":")[0] for who in self._failures}
        for table in self._running.optional:
            if table in failed:
                new = replace(new, **{table: getattr(self._before, table)})
        return new


def _of(who: str, problem: str) -> str:
    own = f"{who}: "  # a refusal begins with it
    return problem if problem.startswith(own) else own + problem
