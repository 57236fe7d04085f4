"""Which destinations a source feeds, and what each of them gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.filters import Condition, selected

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


class Routed(NamedTuple):
    """Where the messages of one batch go."""

    payloads: dict[str, Sequence[bytes]]
    """By destination."""
    drops: dict[str, dict[str, int]]
    """What rewrites dropped: by destination and reason."""
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
        self._take_all = any(route.match is None for route in routes)

    def __bool__(self) -> bool:
        return bool(self._routes)

    @property
    def need_messages(self) -> bool:
        """Whether frames have to be parsed for them."""
        return not self._are_plain

    def route(
        self, frames: list[bytes], messages: Sequence[SyslogMessage], origin: Origin
    ) -> Routed:
        """Make the payloads of one batch.

        Args:
            messages: Those of `frames`, unless `need_messages` is false.
        """
        if self._are_plain:
            return Routed({route.destination: frames for route in self._routes}, {}, 0)
        routed = Routed({}, {}, 0)
        taken: set[int] = set()
        for route in self._routes:
            chosen: Sequence[SyslogMessage] = messages
            if route.match is not None:
                chosen = selected(route.match, messages, origin)
                if not self._take_all:
                    taken.update(map(id, chosen))
            if chosen:
                _add(routed, route, frames if chosen is messages else None, chosen, origin)
        if self._take_all:
            return routed
        return routed._replace(astray=len(messages) - len(taken))


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
        routed.drops[route.destination] = drops
