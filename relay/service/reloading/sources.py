"""The sources of the configuration in use, and how they change to those of another one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.logger import Logger

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
from relay.service.relay_service import ConcurrentService, local_zone
from relay.service.reloading.intakes import (
    fed_by,
    new_guard,
    new_quarantine,
    new_reading,
    warn_unrouted,
)
from relay.service.reloading.routes import RouteTable
from relay.service.reloading.shared import Shared
from relay.service.reloading.sockets import can_bind_first, close_connections, wanted_socket
from relay.service.sources.authorising import new_apps, new_authorise
from relay.service.sources.kind import SourceParts
from relay.service.sources.service import Receiving, SourceService
from relay.transport.reception import Reception
from relay.wire.hops import LoopGuard


@dataclass(slots=True)
class _Source:
    """One source in use."""

    configuration: SourceConfiguration
    receiving: Receiving
    intake: Intake
    service: SourceService

    def forget(self) -> None:
        """It has ended, so no watermark has to tell it anything."""
        self.receiving.reception.admission.use(())


class Sources:
    """All sources.

    Attributes:
        all: Their services, in the order of the file.  Everybody who shows them has this list,
            which a reload changes in place.
        service: Runs them.
        watch_rules: Those of the configuration.
        fleet: The relays that report to this one.
        when_added: Told of the counters of each source that is added, before it begins.
    """

    _log = Logger(namespace="relay")

    def __init__(self, configuration: Configuration, shared: Shared, routes: RouteTable) -> None:
        self._shared, self._routes = shared, routes
        self._configuration = configuration
        self.fleet = FleetTable()
        self.when_added: Callable[[KeptCounters], None] = lambda kept: None
        self.watch_rules = WatchRules(configuration, zone=local_zone())
        self._parts = SourceParts(
            relay_name=configuration.name,
            certificates=shared.certificates,
            wall=shared.wall,
            positions=shared.queue.view.positions,
            lineages=shared.queue.lineages,
            systemd=shared.systemd,
            hop=shared.queue.hop,
            fleet=self.fleet,
            local_block_seconds_max=configuration.local_block_seconds_max,
        )
        self._used = {each.id: self._new(each) for each in configuration.sources}
        self.all = [each.service for each in self._used.values()]
        self.service = ConcurrentService(self.all)

    @property
    def configurations(self) -> dict[str, SourceConfiguration]:
        """What is in use, by id: of a source that could not change, what it had before."""
        return {id: each.configuration for id, each in self._used.items()}

    # What a reload does, in this order.

    async def remove(
        self, ids: Iterable[str], *, others: Iterable[SourceConfiguration] = ()
    ) -> None:
        """Stop sources.  All that they have taken is stored, by the routes that they have.

        Args:
            others: Sources that are to change or come.  Until `finish`, sockets at their addresses
                stay open for them, whoever has them now, with connections and what waits in them.
        """
        self._shared.held.keep({wanted_socket(each) for each in others})
        gone = [self._used.pop(id) for id in ids]
        await gatherResults([ensureDeferred(self.service.let_go(each.service)) for each in gone])
        for each in gone:
            self._shared.certificates.release(f"source {each.configuration.id}")
            self.all.remove(each.service)
            each.forget()
        await self._stored()

    def exchange(self, configuration: Configuration) -> None:
        """Have the sources that run use the routes, rules, apps and limits of a configuration.

        Connections stay, and so does what sources know of numbers and peers.
        """
        self._configuration = configuration
        self.watch_rules.change(configuration)
        apps = new_apps(configuration.apps)
        block_seconds = configuration.local_block_seconds_max
        self._parts = replace(self._parts, local_block_seconds_max=block_seconds)
        for id, used in self._used.items():
            source, receiving, intake = used.configuration, used.receiving, used.intake
            if receiving.authorise is not None:
                receiving.authorise.use(apps)
            counters = receiving.reception.counters
            reading = replace(
                intake.reading,
                guard=self._guard(id),
                watch=self.watch_rules.of(source, counters),
            )
            intake.use(self._ways(source), reading, new_quarantine(source, configuration))
            marks = self._shared.admission.shared_with(self._marks(id))
            receiving.reception.admission.use(marks)

    async def change(self, sources: Sequence[SourceConfiguration]) -> dict[str, str]:
        """Put sources in the places of those with their ids.  Returns why not, by id.

        Sockets stay whose address one of them has; a new one is bound before the old one is closed.
        All stop before one begins, so they may exchange their addresses.
        """
        problems: dict[str, str] = {}
        replaced = [
            (self._used[each.id], new)
            for each in sources
            if (new := self._prepared(each, sources, problems)) is not None
        ]
        await gatherResults([ensureDeferred(self.service.let_go(o.service)) for o, _ in replaced])
        await self._stored()  # a reader of files goes on behind what is stored
        refused = [each for each in replaced if not self._begun(*each, problems)]
        for old, new in refused:  # now that the others have what they need
            self._begin_again(old, new, problems)
        return problems

    def add(self, source: SourceConfiguration) -> str:
        """Begin a source.  Returns why that cannot be; empty = it has begun."""
        new: _Source | None = None
        try:
            new = self._new(source)
            new.service.privilegedStartService()  # type: ignore[no-untyped-call]
            if new.receiving.kept is not None:
                self.when_added(new.receiving.kept)
            self._begin(new)
        except StartRefused as refusal:
            if new is not None:
                new.forget()
            self._shared.certificates.release(f"source {source.id}")
            return refusal.text
        return ""

    def sort(self) -> None:
        """Have them in the order of the configuration."""
        order = {each.id: at for at, each in enumerate(self._configuration.sources)}
        self.all.sort(key=lambda each: order.get(each.id, len(order)))

    def finish(self) -> None:
        """All that could begin has: nobody else takes the sockets that are left."""
        held = self._shared.held
        held.keep(())
        for left in held.close_left():
            held.note_end(left.name)
        close_connections(held)

    def _prepared(
        self,
        source: SourceConfiguration,
        changing: Sequence[SourceConfiguration],
        problems: dict[str, str],
    ) -> _Source | None:
        """The next source, bound if it can be before others have stopped; None = refused."""
        id, certificates = source.id, self._shared.certificates
        used = [self._used[each.id].service for each in changing]
        kept_files = certificates.release(f"source {id}")
        new: _Source | None = None
        try:
            new = self._new(source, self._used[id])
            if can_bind_first(new.service, used):
                new.service.privilegedStartService()  # type: ignore[no-untyped-call]
        except StartRefused as refusal:
            certificates.release(f"source {id}")
            certificates.restore(kept_files)
            if new is not None:
                new.forget()
            problems[id] = refusal.text
            return None
        return new

    def _begun(self, old: _Source, new: _Source, problems: dict[str, str]) -> bool:
        try:
            self._take(new, instead_of=old)
        except StartRefused as refusal:
            problems[new.configuration.id] = refusal.text
            new.forget()
            return False
        return True

    def _begin_again(self, old: _Source, new: _Source, problems: dict[str, str]) -> None:
        """The next source could not begin: go on with the one before, or without."""
        id = old.configuration.id
        self._shared.certificates.release(f"source {id}")
        again = self._new(old.configuration, old)
        try:
            self._take(again, instead_of=old)
        except StartRefused as more:
            problems[id] += f"; and the one before does not start again: {more.text}"
            self._shared.certificates.release(f"source {id}")
            again.forget()
            old.forget()
            del self._used[id]  # the next reload adds it
            self.all.remove(old.service)

    def _take(self, new: _Source, *, instead_of: _Source) -> None:
        self.service.take_in(new.service)
        new.service.continue_rates(instead_of.service)
        self.all[self.all.index(instead_of.service)] = new.service
        self._used[new.configuration.id] = new
        instead_of.forget()

    def _begin(self, new: _Source) -> None:
        self.service.take_in(new.service)
        self._used[new.configuration.id] = new
        self.all.append(new.service)

    async def _stored(self) -> None:
        """What sources have handed over by now is on disk."""
        await self._shared.queue.committer.append({})

    # Parts.

    def _new(self, source: SourceConfiguration, before: _Source | None = None) -> _Source:
        """A source and its parts; it counts on where the one before has stopped."""
        kind = self._shared.kinds.source(source.listen.scheme)
        kept = None if before is None else before.receiving.kept
        receiving, intake = self._receiving(source, kept, answers=kind.answers)
        try:
            service = kind.make(source, receiving, self._parts)
        except StartRefused:
            receiving.reception.admission.use(())
            raise
        return _Source(source, receiving, intake, service)

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
            routes=self._ways(source),
            append=shared.queue.committer.append,
            wall=shared.wall,
            counters=kept,
            reading=new_reading(
                source,
                authorise=authorise,
                guard=self._guard(source.id),
                watch=self.watch_rules.of(source, counters),
                notices=shared.notices,
            ),
            quarantine=new_quarantine(source, configuration),
            answers=answers,
            on_unrouted=partial(warn_unrouted, source.id, shared.notices),
        )
        admission = shared.admission.for_source(self._marks(source.id), reserved=source.reserved)
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

    def _ways(self, source: SourceConfiguration) -> list[Route]:
        limits, way = self._shared.limits, self._routes.way
        return [way(id, limits[id], reserved=source.reserved) for id in self._fed(source.id)]

    def _marks(self, source: str) -> list[Watermark]:
        limits = self._shared.limits
        return [mark for id in self._fed(source) if (mark := limits[id].watermark) is not None]

    def _guard(self, source: str) -> LoopGuard | None:
        return new_guard(
            source,
            self._shared.queue.hop,
            self._configuration.hops_max,
            self._shared.notices,
            carries=any(self._routes.routes[id].carries_hops for id in self._fed(source)),
        )
