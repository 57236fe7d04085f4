"""Routes from a source to its destinations: filter, shed, rewrite.

A route takes a message if its filter fits, even if its rewrite or a full queue then drops it.  What
a final route takes reaches no later route.  Fallback routes come after all others, and share what
none of these has taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from relay.codec import Lines
from relay.flow.shedding import let_in, severities_let_in, shed_reason
from relay.model.counters.samples import SAMPLES_MAX, Samples
from relay.model.origin import Arrival
from relay.queue.admission.limits import QueueLimit
from relay.rewrite.conditions import Condition, chosen
from relay.rewrite.forms.record_key import hops_before
from relay.wire.hops import records_with_hops
from relay.wire.parse import severity_of

TakeDrops = Callable[[], dict[str, int]]
TakePositions = Callable[[], dict[str, bytes]]
GROUPS = "/groups"
"""Where the queue has messages that rewrites hold back, by destination; no source's id contains a
slash."""


class Rewrite(Protocol):
    """Turns lines into payloads."""

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The payloads of lines, or of those at `indexes`: one each, but for what is dropped."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """The route from a source into one destination's queue."""

    destination: str
    rewrite: Rewrite | None
    """None = the frames as they came, which costs no parsing."""
    match: Condition | None = None
    """Selects messages; None = all."""
    take_drops: TakeDrops | None = None
    """Returns what the rewrite has dropped since the last call, by reason."""
    take_positions: TakePositions | None = None
    """Returns what is to be stored with the payloads: messages that the rewrite holds back; None =
    it holds none."""
    limit: QueueLimit | None = None
    """Decides what is shed; None = nothing ever is."""
    reserved: bool = False
    """Messages of this route may use the reserve."""
    carries_hops: bool = False
    """The destination sends on which way messages have come."""
    has_hops: bool = False
    """Its records have hops before them (`relay.wire.hops`)."""
    samples: Samples | None = field(default=None, compare=False)
    """Keeps the last messages that its limit has dropped; None = nothing does."""

    def records(self, frames: Sequence[bytes]) -> Sequence[bytes]:
        """The records of frames that have come without hops."""
        return records_with_hops(frames, b"") if self.has_hops else frames

    final: bool = False
    """What it takes reaches no later route."""
    fallback: bool = False
    """It gets only what no route takes that is not a fallback."""


class Routed(NamedTuple):
    """Where the messages of one batch go."""

    payloads: dict[str, Sequence[bytes]]
    """By destination."""
    drops: dict[str, dict[str, int]]
    """What limits and rewrites dropped: by destination and reason."""
    unrouted: Sequence[int]
    """Indexes of messages that no destination takes."""


class Routes:
    """The routes of one source.

    Args:
        routes: Destinations are distinct; their order counts behind a final one.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = _reachable(routes)
        self._limited = tuple(route for route in self._routes if route.limit is not None)
        self._take_positions = [
            route.take_positions for route in self._routes if route.take_positions is not None
        ]
        self._take_all = any(route.match is None for route in self._routes)
        self._note_taken = not self._take_all or any(route.fallback for route in self._routes)
        # Where nothing depends on the messages, each route takes every one of them.
        self._shares: list[tuple[Route, Sequence[int] | None]] | None = None
        if self._routes and all(route.match is None for route in self._routes):
            self._shares = [(route, None) for route in self._routes]

    def __bool__(self) -> bool:
        return bool(self._routes)

    @property
    def hold_back(self) -> bool:
        """Whether `take_positions` has to be called after each batch."""
        return bool(self._take_positions)

    @property
    def need_lines(self) -> bool:
        """Whether frames have to be parsed; the severity of a PRI needs no parsing."""
        return any(route.rewrite is not None or route.match is not None for route in self._routes)

    def take_positions(self) -> dict[str, bytes]:
        """What is to be stored in one transaction with what was routed since the last call."""
        positions: dict[str, bytes] = {}
        for take in self._take_positions:
            positions |= take()
        return positions

    def pass_on(self, frames: Sequence[bytes]) -> Routed:
        """Route frames that no destination needs parsed, and that have come without hops."""
        let = severities_let_in(self._limited) if self._limited else {}
        if not let:
            passed_on = {route.destination: route.records(frames) for route in self._routes}
            return Routed(passed_on, {}, ())
        routed = Routed({}, {}, ())
        severities = list(map(severity_of, frames))
        for route in self._routes:
            passed: Sequence[bytes] = frames
            if route.destination in let:
                indexes = _let_in(
                    routed, route, severities, let[route.destination], frames.__getitem__
                )
                if len(indexes) < len(frames):
                    passed = [frames[index] for index in indexes]
            if passed:
                routed.payloads[route.destination] = route.records(passed)
        return routed

    def route(self, lines: Lines, arrival: Arrival) -> Routed:
        """Route and rewrite the lines of one batch."""
        let = severities_let_in(self._limited) if self._limited else {}
        severities = lines.column("severity") if let else []
        shares = self._shares
        unrouted: Sequence[int] = ()
        if shares is None:
            shares, unrouted = self._shares_of(lines, arrival)
        routed = Routed({}, {}, unrouted)
        payloads: Sequence[bytes]
        for route, indexes in shares:
            if route.destination in let:
                indexes = range(len(lines)) if indexes is None else indexes
                own = [severities[index] for index in indexes]
                kept = _let_in(
                    *(routed, route, own, let[route.destination]),
                    partial(_frame_of, lines, indexes),
                )
                indexes = [indexes[index] for index in kept]
            if indexes is not None and not indexes:
                continue
            if route.rewrite is not None:
                payloads = route.rewrite.write(lines, indexes, arrival)
            else:
                payloads = frames = lines.frames
                if indexes is not None:
                    payloads = [frames[index] for index in indexes]
                if route.has_hops:
                    payloads = hops_before(payloads, indexes, arrival)
            if payloads:
                routed.payloads[route.destination] = payloads
            if route.take_drops is not None and (drops := route.take_drops()):
                shed = routed.drops.get(route.destination)
                routed.drops[route.destination] = Counter(drops) + Counter(shed)
        return routed

    def _shares_of(
        self, lines: Lines, arrival: Arrival
    ) -> tuple[list[tuple[Route, Sequence[int] | None]], Sequence[int]]:
        """Which lines each route takes, None = all, and those that none takes."""
        shares: list[tuple[Route, Sequence[int] | None]] = []
        taken: set[int] = set()
        left: Sequence[int] | None = None  # what no final route has taken; None = all
        are_fallbacks = False
        for route in self._routes:
            if route.fallback and not are_fallbacks:
                are_fallbacks = True
                left = _without(taken, left, lines)
            if left is not None and not left:
                break
            indexes = left
            if route.match is not None:
                indexes = chosen(route.match, lines, left, arrival)
            shares.append((route, indexes))
            if self._note_taken:
                taken.update(range(len(lines)) if indexes is None else indexes)
            if route.final and indexes is not None:
                left = _without(set(indexes), left, lines)
        if self._take_all or len(taken) == len(lines):
            return shares, ()
        return shares, [index for index in range(len(lines)) if index not in taken]


def _reachable(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Those of `routes` that get messages, in the order in which they are asked."""
    reachable: list[Route] = []
    all_taken = False  # by a route that is no fallback
    for route in sorted(routes, key=lambda route: route.fallback):
        if route.fallback and all_taken:
            break
        reachable.append(route)
        all_taken |= route.match is None and not route.fallback
        if route.final and route.match is None:
            break
    return tuple(reachable)


def _without(taken: set[int], left: Sequence[int] | None, lines: Lines) -> list[int]:
    every = range(len(lines)) if left is None else left
    return [index for index in every if index not in taken]


def _frame_of(lines: Lines, indexes: Sequence[int], at: int) -> bytes:
    return lines.frames[indexes[at]]


def _let_in(
    routed: Routed,
    route: Route,
    severities: Sequence[int],
    severity_max: int,
    frame_at: Callable[[int], bytes],
) -> list[int]:
    """The indexes of `severities` that get into the queue; the others are counted."""
    indexes, drops = let_in(route, severities, severity_max)
    if drops:
        routed.drops[route.destination] = drops
        if route.samples is not None:
            lost = [at for at, severity in enumerate(severities) if severity > severity_max]
            others = max(0, len(lost) - SAMPLES_MAX)
            for at in lost[-SAMPLES_MAX:]:
                reason = shed_reason(route, severities[at])
                route.samples.note(reason, [frame_at(at)], others=others)
                others = 0
    return indexes
