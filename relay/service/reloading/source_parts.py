"""Makes the sources of a configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from relay.flow.intake import Intake
from relay.flow.publishing import Publisher, PublisherEvents
from relay.flow.routing import Route
from relay.model.counters.kept import KeptCounters
from relay.model.counters.samples import Samples
from relay.model.counters.source import SourceCounters
from relay.model.fleet import FleetTable
from relay.queue.admission.backpressure import SourceAdmission
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

if TYPE_CHECKING:  # direct mode is imported where a source has it
    from relay.service.direct.answering import Answering

NewPublisher = Callable[[str, PublisherEvents], Publisher]
"""Makes a publisher of a destination, by its id; raises UpstreamError."""


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

    def __init__(
        self,
        configuration: Configuration,
        shared: Shared,
        routes: RouteTable,
        new_publisher: NewPublisher,
    ) -> None:
        self._shared, self._routes = shared, routes
        self._new_publisher = new_publisher
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
        answering = self._answering(source, kept)
        authorise = new_authorise(source, configuration.apps, notices=shared.notices)
        intake = Intake(
            routes=self.ways(source),
            append=answering.intake.append if answering else shared.queue.committer.append,
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
        if answering is not None:
            answering.intake.intake = intake
        admission = SourceAdmission(self.marks(source.id, answering), reserved=source.reserved)
        taking = answering.intake if answering else intake
        reception = Reception(
            *(source.id, taking, admission, counters, shared.notices, source.transport),
            is_direct=answering is not None,
        )
        ledger = partial(shared.queue.view.source_ledger, source.id)
        return (
            Receiving(
                *(reception, shared.reactor, ledger, authorise, self._owner, kept, shared.held),
                answering,
            ),
            intake,
        )

    def _answering(self, source: SourceConfiguration, kept: KeptCounters) -> Answering | None:
        """What has a log answer the senders of a source; None = they are answered by the queue."""
        shared, configuration = self._shared, self._configuration
        found = [each for each in configuration.destinations if each.id == source.answered_by]
        if not found:
            return None
        from relay.service.direct.answering import Answering, AnsweringParts, limits_of

        parts = AnsweringParts(
            new_publisher=partial(self._new_publisher, source.answered_by),
            store=shared.queue.committer.append,
            kept=kept,
            notices=shared.notices,
            clock=shared.reactor,
        )
        answering = Answering(source.id, found[0], parts, limits_of(configuration))
        self.adapt(answering)
        return answering

    def adapt(self, answering: Answering) -> None:
        """Have it work with the routes and limits of the configuration."""
        from relay.service.direct.answering import limits_of
        from relay.service.direct.fitness import may_drop

        found = [e for e in self._configuration.destinations if e.id == answering.destination]
        one_by_one = any(map(may_drop, found))
        answering.use(limits_of(self._configuration), one_by_one=one_by_one)

    def _owner(self) -> str:
        """Which other process has our queue."""
        if self._shared.queue.running:  # we have it
            return ""
        return owner_text(os.path.join(self._configuration.state_dir, "queue"))

    def _fed(self, source: str) -> Sequence[str]:
        return fed_by(source, self._configuration)

    def ways(self, source: SourceConfiguration) -> list[Route]:
        """The ways of its messages into the queues that it feeds, or into the log that answers."""
        if source.answered_by:
            return [self._routes.routes[id] for id in self._fed(source.id)]
        limits, way = self._shared.limits, self._routes.way
        return [way(id, limits[id], reserved=source.reserved) for id in self._fed(source.id)]

    def marks(self, source: str, answering: Answering | None = None) -> Sequence[Watermark]:
        """All watermarks that may pause it."""
        limits, admission = self._shared.limits, self._shared.admission
        if answering is not None:
            return admission.direct_with(answering.watermark)
        fed = self._fed(source)
        marks = [mark for id in fed if (mark := limits[id].watermark) is not None]
        return admission.shared_with(marks)

    def guard(self, source: str) -> LoopGuard | None:
        """The guard against messages that go in circles; None = there is none."""
        return new_guard(
            source,
            self._shared.queue.hop,
            self._configuration.hops_max,
            self._shared.notices,
            carries=any(self._routes.routes[id].carries_hops for id in self._fed(source)),
        )
