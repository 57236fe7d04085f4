"""The sources of the configuration in use, and how they change to those of another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from twisted.internet.defer import ensureDeferred, gatherResults

from relay.model.counters.kept import KeptCounters
from relay.service.configuration.model import Configuration, SourceConfiguration
from relay.service.refusal import StartRefused
from relay.service.relay_service import ConcurrentService
from relay.service.reloading.intakes import new_quarantine
from relay.service.reloading.routes import RouteTable
from relay.service.reloading.shared import Shared
from relay.service.reloading.sockets import can_bind_first, close_connections, wanted_socket
from relay.service.reloading.source_parts import NewPublisher, SourceMaker, UsedSource
from relay.service.sources.authorising import new_apps


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

    def __init__(
        self,
        configuration: Configuration,
        shared: Shared,
        routes: RouteTable,
        new_publisher: NewPublisher,
    ) -> None:
        self._shared, self._configuration = shared, configuration
        self._maker = SourceMaker(configuration, shared, routes, new_publisher)
        self.fleet, self.watch_rules = self._maker.fleet, self._maker.watch_rules
        self.when_added: Callable[[KeptCounters], None] = lambda kept: None
        self._used = {each.id: self._maker.new(each) for each in configuration.sources}
        self.all = [each.service for each in self._used.values()]
        self.service = ConcurrentService(self.all)

    @property
    def configurations(self) -> dict[str, SourceConfiguration]:
        """Configurations in use, by id; a source that could not change has its former one."""
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
        maker, apps = self._maker, new_apps(configuration.apps)
        maker.use(configuration)
        for id, used in self._used.items():
            source, receiving, intake = used.configuration, used.receiving, used.intake
            if receiving.authorise is not None:
                receiving.authorise.use(apps)
            counters = receiving.reception.counters
            reading = replace(
                intake.reading,
                guard=maker.guard(id),
                watch=self.watch_rules.of(source, counters),
            )
            intake.use(maker.ways(source), reading, new_quarantine(source, configuration))
            if receiving.answering is not None:
                maker.adapt(receiving.answering)
            receiving.reception.admission.use(maker.marks(id, receiving.answering))

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
        new: UsedSource | None = None
        try:
            new = self._maker.new(source)
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
    ) -> UsedSource | None:
        """The next source, bound if it can be before others have stopped; None = refused."""
        id, certificates = source.id, self._shared.certificates
        used = [self._used[each.id].service for each in changing]
        kept_files = certificates.release(f"source {id}")
        new: UsedSource | None = None
        try:
            new = self._maker.new(source, self._used[id])
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

    def _begun(self, old: UsedSource, new: UsedSource, problems: dict[str, str]) -> bool:
        try:
            self._take(new, instead_of=old)
        except StartRefused as refusal:
            problems[new.configuration.id] = refusal.text
            new.forget()
            return False
        return True

    def _begin_again(self, old: UsedSource, new: UsedSource, problems: dict[str, str]) -> None:
        """The next source could not begin: go on with the one before, or without."""
        id = old.configuration.id
        self._shared.certificates.release(f"source {id}")
        again = self._maker.new(old.configuration, old)
        try:
            self._take(again, instead_of=old)
        except StartRefused as more:
            problems[id] += f"; and the one before does not start again: {more.text}"
            self._shared.certificates.release(f"source {id}")
            again.forget()
            old.forget()
            del self._used[id]  # the next reload adds it
            self.all.remove(old.service)

    def _take(self, new: UsedSource, *, instead_of: UsedSource) -> None:
        self.service.take_in(new.service)
        new.service.continue_rates(instead_of.service)
        self.all[self.all.index(instead_of.service)] = new.service
        self._used[new.configuration.id] = new
        instead_of.forget()

    def _begin(self, new: UsedSource) -> None:
        self.service.take_in(new.service)
        self._used[new.configuration.id] = new
        self.all.append(new.service)

    async def _stored(self) -> None:
        """Wait until all that sources have handed over is on disk."""
        await self._shared.queue.committer.append({})
