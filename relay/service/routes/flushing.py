"""Messages that a rewrite held back for a while: stored when they are due, and at the stop."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.flow.routing import GROUPS, Route
from relay.flow.shedding import let_in, severities_let_in
from relay.model.clock import Now
from relay.model.errors import QueueError
from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.model.text import counted
from relay.rewrite.steps.grouping import decode_members
from relay.rewrite.steps.pipeline import Pipeline
from relay.service.periodic import PeriodicService


class _Append(Protocol):
    def __call__(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        *,
        drops: Mapping[str, Mapping[str, int]],
        positions: Mapping[str, bytes],
    ) -> Deferred[None]: ...


@dataclass(eq=False, repr=False, kw_only=True)
class FlushService(PeriodicService):
    """Looks once a second for what is due in the pipelines of destinations.

    The seconds of its clock are those of `Origin.monotonic_at`.
    """

    name = "flush"
    _log = Logger(namespace="relay")

    routes: Mapping[str, Route]
    """By destination, as they are now, with the limits of the queues; those whose pipelines hold
    nothing back are not looked at."""
    append: _Append
    """Stores payloads by destination with positions, and counts drops."""
    load: Callable[[], Mapping[str, bytes]]
    """What an earlier run has left below `GROUPS`."""
    now: Now
    interval_seconds: float = 1.0

    def __post_init__(self) -> None:
        self._routes = dict(self.routes)

    @property
    def _holding(self) -> list[tuple[Route, Pipeline]]:
        return [
            (route, route.rewrite)
            for route in self._routes.values()
            if isinstance(route.rewrite, Pipeline) and route.rewrite.holds
        ]

    def startService(self) -> None:
        self._restore(self._routes)
        if self._holding:
            super().startService()
        else:
            Service.startService(self)

    def follow(self) -> None:
        """There are other routes.

        A pipeline that is gone lets go of all that it has held back, as at a stop; a destination
        that was not there takes the members of its groups that are on disk.
        """
        before, self._routes = self._routes, dict(self.routes)
        for id, route in before.items():
            now = self._routes.get(id)
            if isinstance(route.rewrite, Pipeline) and (
                now is None or now.rewrite is not route.rewrite
            ):
                self._let_go(route, route.rewrite, everything=True)
        self._restore(self._routes.keys() - before.keys())
        if self.running and self._call is None and self._holding:
            self._wait()

    def stopService(self) -> None:
        """Store everything; nothing must be held back in memory when the queue closes."""
        was_running = self._call is not None
        super().stopService()
        if was_running:
            self._flush(everything=True)

    def look(self) -> None:
        self._flush(everything=False)

    @property
    def _origin(self) -> Origin:
        return Origin("", Transport.NONE).received(self.now(), self.clock.seconds())

    def _flush(self, *, everything: bool) -> None:
        for route, pipeline in self._holding:
            self._let_go(route, pipeline, everything=everything)

    def _let_go(self, route: Route, pipeline: Pipeline, *, everything: bool) -> None:
        origin = self._origin
        if messages := pipeline.flush(origin, everything=everything):
            self._store(route, messages, origin)

    def _store(
        self,
        route: Route,
        messages: list[SyslogMessage],
        origin: Origin,
        forgotten: Iterable[str] = (),
    ) -> None:
        id = route.destination
        taken, drops = _let_in(route, messages)
        payloads = [message.raw for message in taken]  # of a step that was removed with all others
        if isinstance(route.rewrite, Pipeline):
            payloads = route.rewrite.write_messages(taken, origin)
            drops += Counter(route.rewrite.take_drops())
        positions = dict.fromkeys(forgotten, b"")
        if route.take_positions is not None:
            positions |= route.take_positions()
        stored = self.append({id: payloads}, drops={id: drops}, positions=positions)
        stored.addErrback(_passed_over)

    def _restore(self, wanted: Collection[str]) -> None:
        """Go on with the groups that an earlier run has left, or store their members.

        Args:
            wanted: The destinations that have come; what others have left is known already.
        """
        found: dict[str, dict[str, bytes]] = defaultdict(dict)
        for name, position in self.load().items() if wanted else ():
            id, _, rest = name.partition("/")
            found[id][rest] = position
        for id, positions in found.items():
            route = self._routes.get(id)
            if route is not None and id not in wanted:
                continue
            if damaged := sum(not position for position in positions.values()):
                self._warn(id, f"{damaged} of {len(positions)} parts of groups are damaged: lost")
            if route is None:
                count = sum(len(decode_members(position)) for position in positions.values())
                text = f"{counted(count, 'message')} of its groups stay on disk until it is back"
                self._warn(id, text)
                continue
            left = list(positions)
            if isinstance(route.rewrite, Pipeline):
                left = route.rewrite.restore(positions, self._origin)
            messages = [each for name in left for each in decode_members(positions[name])]
            if left:  # of a step that is no longer there
                names = [f"{GROUPS}/{id}/{name}" for name in left]
                if isinstance(route.rewrite, Pipeline):
                    messages = [*route.rewrite.left_over(messages, self._origin)]
                self._store(route, messages, self._origin, names)

    def _warn(self, id: str, text: str) -> None:
        self._log.warn("destination {id}: {text}", id=id, text=text)


def _let_in(
    route: Route, messages: list[SyslogMessage]
) -> tuple[list[SyslogMessage], Counter[str]]:
    """What the limit of the queue lets in of `messages`, and what it drops by reason."""
    let = severities_let_in([route])
    if route.destination not in let:
        return messages, Counter()
    severities = [message.severity for message in messages]
    indexes, drops = let_in(route, severities, let[route.destination])
    return [messages[index] for index in indexes], drops


def _passed_over(failure: Failure) -> None:
    failure.trap(QueueError)  # said and counted where it failed; the repeats are counted anyway
