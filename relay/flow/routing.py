"""Which destinations a source feeds, and what each of them gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from relay.flow.shedding import let_in, severities_let_in
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.queue.limits import QueueLimit
from relay.rewrite.filters import Condition, selected
from relay.rewrite.straight import Straight
from relay.wire.parse import severity_of

__all__ = ["Rewrite", "Route", "Routed", "Routes"]

Rewrite = Callable[[Sequence[SyslogMessage], Origin], list[bytes]]
"""Turns messages into payloads, in the same order; one each, but for what is dropped."""
TakeDrops = Callable[[], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Route:
    """One way from a source into a destination's queue."""

    destination: str
    rewrite: Rewrite | None
    """None = the frames as they came, which costs no parsing."""
    match: Condition | None = None
    """Which messages; None = all."""
    take_drops: TakeDrops | None = None
    """What the rewrite has dropped since it was asked last, by reason."""
    limit: QueueLimit | None = None
    """Says what is not to be queued now; None = everything always is."""
    reserved: bool = False
    """What comes this way may use the reserve."""
    straight: Straight | None = None
    """A quicker way to what `rewrite` makes of frames; None = there is none."""


class Routed(NamedTuple):
    """Where the messages of one batch go."""

    payloads: dict[str, Sequence[bytes]]
    """By destination."""
    drops: dict[str, dict[str, int]]
    """What limits and rewrites dropped: by destination and reason."""
    astray: int
    """Messages that no destination takes."""


class Routes:
    """The routes of one source.

    Args:
        routes: Destinations are distinct.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._are_plain = all(route.rewrite is None and route.match is None for route in routes)
        self._limited = tuple(route for route in self._routes if route.limit is not None)
        self._take_all = any(route.match is None for route in routes)
        self._are_straight = all(
            route.match is None and (route.rewrite is None or route.straight is not None)
            for route in routes
        )

    def __bool__(self) -> bool:
        return bool(self._routes)

    @property
    def need_messages(self) -> bool:
        """Whether frames have to be parsed for them."""
        return not self._are_plain

    def route_straight(
        self,
        frames: list[bytes],
        origin: Origin,
        parse: Callable[[list[bytes]], list[SyslogMessage]],
    ) -> Routed | None:
        """Make the payloads of one batch without messages, as far as that can be done.

        Args:
            parse: Makes messages of those frames for which they are needed.

        Returns:
            None if all have to be parsed, because of a route or a limit.
        """
        if not self._are_straight or (self._limited and severities_let_in(self._limited)):
            return None
        payloads: dict[str, Sequence[bytes]] = {}
        messages: dict[int, SyslogMessage] = {}  # by their index
        for route in self._routes:
            if route.straight is None or route.rewrite is None:
                payloads[route.destination] = frames
                continue
            written, left = route.straight(frames, origin)
            unknown = [index for index in left if index not in messages]
            if unknown:
                parsed = parse([frames[index] for index in unknown])
                messages.update(zip(unknown, parsed, strict=True))
            if left:
                others = route.rewrite([messages[index] for index in left], origin)
                for index, payload in zip(left, others, strict=True):
                    written[index] = payload
            payloads[route.destination] = written
        return Routed(payloads, {}, 0)

    def route(
        self, frames: list[bytes], messages: Sequence[SyslogMessage], origin: Origin
    ) -> Routed:
        """Make the payloads of one batch.

        Args:
            messages: Those of `frames`, unless `need_messages` is false.
        """
        let = severities_let_in(self._limited) if self._limited else {}
        if self._are_plain:
            if let:
                return self._route_plain(frames, messages, let)
            return Routed({route.destination: frames for route in self._routes}, {}, 0)
        routed = Routed({}, {}, 0)
        taken: set[int] = set()
        for route in self._routes:
            chosen: Sequence[SyslogMessage] = messages
            if route.match is not None:
                chosen = selected(route.match, messages, origin)
                if not self._take_all:
                    taken.update(map(id, chosen))
            if route.destination in let:
                severities = [message.severity for message in chosen]
                indexes = _let_in(routed, route, severities, let[route.destination])
                if len(indexes) < len(chosen):
                    chosen = [chosen[index] for index in indexes]
            if chosen:
                _add(routed, route, frames if chosen is messages else None, chosen, origin)
        if self._take_all:
            return routed
        return routed._replace(astray=len(messages) - len(taken))

    def _route_plain(
        self, frames: list[bytes], messages: Sequence[SyslogMessage], let: Mapping[str, int]
    ) -> Routed:
        """What limits let in of frames that nobody has to look into."""
        routed = Routed({}, {}, 0)
        severities = [message.severity for message in messages] or list(map(severity_of, frames))
        for route in self._routes:
            chosen = frames
            if route.destination in let:
                indexes = _let_in(routed, route, severities, let[route.destination])
                if len(indexes) < len(frames):
                    chosen = [frames[index] for index in indexes]
            if chosen:
                routed.payloads[route.destination] = chosen
        return routed


def _let_in(
    routed: Routed, route: Route, severities: Sequence[int], severity_max: int
) -> list[int]:
    indexes, drops = let_in(route, severities, severity_max)
    if drops:
        routed.drops[route.destination] = drops
    return indexes


def _add(
    routed: Routed,
    route: Route,
    frames: list[bytes] | None,
    messages: Sequence[SyslogMessage],
    origin: Origin,
) -> None:
    payloads: Sequence[bytes]
    if route.rewrite is not None:
        payloads = route.rewrite(messages, origin)
    elif frames is not None:
        payloads = frames
    else:
        payloads = [message.raw for message in messages]
    if payloads:
        routed.payloads[route.destination] = payloads
    if route.take_drops is not None and (drops := route.take_drops()):
        routed.drops[route.destination] = Counter(drops) + Counter(
            routed.drops.get(route.destination)
        )
