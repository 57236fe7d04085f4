"""Makes the sources of a configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from relay.flow.intake import Intake
from relay.flow.routing import Route
from relay.model.counters.kept import KeptCounters
from relay.model.counters.samples import Samples
from relay.model.counters.source import SourceCounters
from relay.model.fleet import FleetTable
from relay.queue.admission.watermark import Watermark
from relay.queue.files.ownership import owner_text
from relay.service.alerts.watching import WatchRules
from relay.service.configuration.model import Configuration, SourceConfiguration
from relay.service.refusal import StartRefused
from relay.service.relay_service import local_zone
from relay.service.reloading.intakes import (
    fed_by,
    new_guard,
    new_quarantine,
    new_reading,
    warn_unrouted,
)
from relay.service.reloading.routes import RouteTable
from relay.service.reloading.shared import Shared
from relay.service.sources.authorising import new_authorise
from relay.service.sources.kind import SourceParts
from relay.service.sources.service import Receiving, SourceService
from relay.transport.reception import Reception
from relay.wire.hops import LoopGuard


@dataclass(slots=True)
class UsedSource:
    """One source in use."""

    configuration: SourceConfiguration
    receiving: Receiving
    intake: Intake
    service: SourceService

    def forget(self) -> None:
        """It has ended, so no watermark has to tell it anything."""
        self.receiving.reception.admission.use(())


class SourceMaker:
    """Makes sources as a configuration wants them, with the routes and limits in use.

    Attributes:
        watch_rules: Those of the configuration.
        fleet: The relays that report to this one.
    """

    def __init__(self, configuration: Configuration, shared: Shared, routes: RouteTable) -> None:
        self._shared, self._routes = shared, routes
        self._configuration = configuration
        self.fleet = FleetTable()
        self.watch_rules = WatchRules(configuration, zone=local_zone())
        self._parts = SourceParts(
            relay_name=configuration.name,
            certificates=shared.certificates,
            wall=shared.wall,
            positions=shared.queue.view.positions,
            lineages=shared.queue.lineages,
            lineages_max=lambda: shared.queue.lineages.lineages_max,
            systemd=shared.systemd,
            hop=shared.queue.hop,
            fleet=self.fleet,
            local_block_seconds_max=configuration.local_block_seconds_max,
        )

    def use(self, configuration: Configuration) -> None:
        """Make the next sources for another configuration."""
        self._configuration = configuration
        self.watch_rules.change(configuration)
        block_seconds = configuration.local_block_seconds_max
        self._parts = replace(self._parts, local_block_seconds_max=block_seconds)

    def new(self, source: SourceConfiguration, before: UsedSource | None = None) -> UsedSource:
        """A source and its parts; it counts on where the one before has stopped."""
        kind = self._shared.kinds.source(source.listen.scheme)
        kept = None if before is None else before.receiving.kept
        receiving, intake = self._receiving(source, kept, answers=kind.answers)
        try:
            service = kind.make(source, receiving, self._parts)
        except StartRefused:
            receiving.reception.admission.use(())
            raise
        return UsedSource(source, receiving, intake, service)

    def _receiving(
        self, source: SourceConfiguration, kept: KeptCounters | None, *, answers: bool
    ) -> tuple[Receiving, Intake]:
        shared, configuration = self._shared, self._configuration
        if kept is None:
            counters = SourceCounters(samples=Samples(shared.wall.now))
            kept = KeptCounters(source.id, counters)
        counters = kept.counters
        authorise = new_authorise(source, configuration.apps, notices=shared.notices)
        intake = Intake(
            routes=self.ways(source),
            append=shared.queue.committer.append,
            wall=shared.wall,
            counters=kept,
            reading=new_reading(
                source,
                authorise=authorise,
                guard=self.guard(source.id),
                watch=self.watch_rules.of(source, counters),
                notices=shared.notices,
            ),
            quarantine=new_quarantine(source, configuration),
            answers=answers,
            on_unrouted=partial(warn_unrouted, source.id, shared.notices),
        )
        admission = shared.admission.for_source(self.marks(source.id), reserved=source.reserved)
        reception = Reception(
            source.id, intake, admission, counters, shared.notices, source.transport
        )
        ledger = partial(shared.queue.view.source_ledger, source.id)
        return (
            Receiving(reception, shared.reactor, ledger, authorise, self._owner, kept, shared.held),
            intake,
        )

    def _owner(self) -> str:
        """Which other process has our queue."""
        if self._shared.queue.running:  # we have it
            return ""
        return owner_text(os.path.join(self._configuration.state_dir, "queue"))

    def _fed(self, source: str) -> Sequence[str]:
        return fed_by(source, self._configuration)

    def ways(self, source: SourceConfiguration) -> list[Route]:
        """The ways of its messages into the queues that it feeds."""
        limits, way = self._shared.limits, self._routes.way
        return [way(id, limits[id], reserved=source.reserved) for id in self._fed(source.id)]

    def marks(self, source: str) -> list[Watermark]:
        """The watermarks of these queues, which may pause it."""
        limits = self._shared.limits
        return [mark for id in self._fed(source) if (mark := limits[id].watermark) is not None]

    def guard(self, source: str) -> LoopGuard | None:
        """The guard against messages that go in circles; None = there is none."""
        return new_guard(
            source,
            self._shared.queue.hop,
            self._configuration.hops_max,
            self._shared.notices,
            carries=any(self._routes.routes[id].carries_hops for id in self._fed(source)),
        )
