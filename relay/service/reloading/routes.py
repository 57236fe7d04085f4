"""The routes into the queues of all destinations, and how other ones take their place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from relay.flow.routing import Route
from relay.model.clock import WallClock
from relay.model.counters.samples import Samples
from relay.model.hops import OwnHop
from relay.queue.admission.limits import QueueLimit
from relay.rewrite.forms.sized import Sized
from relay.rewrite.steps.pipeline import Pipeline
from relay.service.configuration.model import Configuration
from relay.service.refusal import StartRefused
from relay.service.relay_service import local_zone
from relay.service.routes.late_tokens import LateTokens
from relay.service.routes.lookup_file import LookupFile, LookupFiles
from relay.service.routes.rewriting import Rewriting, RunNumbers
from relay.transport.notices import Notices

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CompiledRoutes:
    """The routes of one configuration; not in use yet."""

    routes: dict[str, Route]
    rewriting: Rewriting
    tables: set[tuple[str, Sequence[str] | None]]
    """Paths and columns of the tables that they look things up in."""


class RouteTable:
    """The routes in use, by destination.

    Args:
        started_at: When the relay started, on the clock that is never set.

    Attributes:
        routes: How messages come into the queue of each destination, limits aside.
        tokens: Those of the forms.
        samples: The last messages that were dropped on the way.

    All are dictionaries in the order of the configuration, which a reload changes in place.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        lookups: LookupFiles,
        notices: Notices,
        wall: WallClock,
        hop: OwnHop,
        started_at: float,
    ) -> None:
        self._lookups, self._notices, self._wall = lookups, notices, wall
        self._hop, self._started_at = hop, started_at
        self._numbers = RunNumbers()
        self._former_secrets: set[bytes] = set()
        self.routes: dict[str, Route] = {}
        self.tokens: dict[str, LateTokens] = {}
        self.samples: dict[str, Samples] = {}
        self._sized: dict[str, Sized] = {}
        self.use(self.compile(configuration), renewed=[e.id for e in configuration.destinations])

    def compile(self, configuration: Configuration) -> CompiledRoutes:
        """Make the routes of a configuration.  Reads tables, so call it in a thread.

        Raises:
            StartRefused: A file was right when the configuration was read, and is not any more.
        """
        tables: set[tuple[str, Sequence[str] | None]] = set()

        def lookup(path: str, columns: Sequence[str] | None) -> LookupFile:
            tables.add((path, columns))
            return self._lookups.open(path, columns)

        warn = self._notices.warn
        rewriting = Rewriting(
            configuration,
            zone=local_zone(),
            now=self._wall.now,
            lookup=lookup,
            started_at=self._started_at,
            hop=self._hop,
            warn=lambda destination, kind, text: warn(f"destination {destination}", kind, text),
            numbers=self._numbers,
        )
        routes = {each.id: rewriting.route(each) for each in configuration.destinations}
        if rewriting.problems:
            raise StartRefused("\n".join(rewriting.problems))
        return CompiledRoutes(routes, rewriting, tables)

    def use(self, compiled: CompiledRoutes, *, renewed: Collection[str]) -> None:
        """Have the destinations and order of `compiled`, and its routes to those in `renewed`.

        All other routes stay, with what they have counted and hold back.
        """
        rewriting = compiled.rewriting
        if self.routes:
            self._former_secrets |= self.secrets()
        self._rewriting = rewriting
        for id in renewed:
            if (sized := rewriting.sized.get(id)) is not None and id in self._sized:
                sized.changed = self._sized[id].changed  # the status goes on counting
        order = list(compiled.routes)
        _renew(self.routes, compiled.routes, order, renewed)
        _renew(self.tokens, rewriting.tokens, order, renewed)
        _renew(self.samples, rewriting.samples, order, renewed)
        _renew(self._sized, rewriting.sized, order, renewed)
        self._lookups.keep_only(compiled.tables)

    def sized(self, id: str) -> Sized | None:
        """The form of a destination that has a limit for its payloads."""
        return self._sized.get(id)

    def way(self, id: str, limit: QueueLimit, *, reserved: bool) -> Route:
        """The route to a destination for one of the sources that use it."""
        route = self.routes[id]
        return replace(route, limit=limit, reserved=reserved) if limit.sheds else route

    def secrets(self) -> set[bytes]:
        """All tokens that are known by now, to mask them; queues may hold those of before."""
        late = (secret for each in self.tokens.values() for secret in each.secrets)
        return {*self._rewriting.configuration.secrets, *late, *self._former_secrets}

    def waiting_in_groups(self) -> dict[str, int]:
        """Messages that wait for others of their group, by destination."""
        pipelines = {id: route.rewrite for id, route in self.routes.items()}
        return {
            id: pipeline.waiting
            for id, pipeline in pipelines.items()
            if isinstance(pipeline, Pipeline) and pipeline.keeps
        }


def _renew(
    kept: dict[str, _T], new: dict[str, _T], order: Sequence[str], renewed: Collection[str]
) -> None:
    """Have in `kept` what `new` has of `renewed`, and of the others what was there."""
    chosen = {id: new[id] if id in renewed else kept[id] for id in order if id in new}
    kept.clear()
    kept.update(chosen)
