from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from relay.flow.routing import Route, Routes
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.queue.limits import QueueLimit
from relay.rewrite.filters import severity_in, source_in
from relay.wire.parse import parse_all

ORIGIN = Origin("in", "tcp")
FRAMES = [b"<11>error", b"<13>notice", b"<15>debug"]
MESSAGES = parse_all(FRAMES)


def loud(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [message.raw.upper() for message in messages]


def nothing(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return []


def test_a_route_is_a_value() -> None:
    assert Route("central", None) == Route("central", None)
    assert Route("central", None) != Route("archive", None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Route("central", None).destination = "archive"  # type: ignore[misc]


def test_plain_routes_need_no_messages_and_copy_nothing() -> None:
    routes = Routes([Route("a", None), Route("b", None)])
    assert not routes.need_messages
    payloads, drops, astray = routes.route(FRAMES, [], ORIGIN)
    assert payloads["a"] is FRAMES
    assert payloads["b"] is FRAMES
    assert (drops, astray) == ({}, 0)


def test_each_destination_gets_what_it_takes() -> None:
    errors, others = severity_in([3]), severity_in([5])
    routes = Routes([Route("errors", loud, errors), Route("raw", None, others), Route("all", None)])
    assert routes.need_messages
    payloads, _, astray = routes.route(FRAMES, MESSAGES, ORIGIN)
    assert payloads == {"errors": [b"<11>ERROR"], "raw": [b"<13>notice"], "all": FRAMES}
    assert astray == 0


def test_what_no_destination_takes_is_counted_once() -> None:
    routes = Routes([Route("a", None, severity_in([3])), Route("b", loud, severity_in([3, 5]))])
    payloads, _, astray = routes.route(FRAMES, MESSAGES, ORIGIN)
    assert payloads == {"a": FRAMES[:1], "b": [b"<11>ERROR", b"<13>NOTICE"]}
    assert astray == 1


def test_a_destination_that_takes_nothing_is_not_named() -> None:
    other = source_in([lambda text: text == b"other"])
    routes = Routes([Route("a", loud, other), Route("b", nothing)])
    assert routes.route(FRAMES, MESSAGES, ORIGIN) == ({}, {}, 0)
    assert Routes([Route("a", loud, other)]).route(FRAMES, MESSAGES, ORIGIN).astray == 3


def test_drops_are_those_of_their_destination() -> None:
    routes = Routes(
        [
            Route("a", nothing, None, lambda: {"noise": 3}),
            Route("b", loud, None, dict),
        ]
    )
    payloads, drops, _ = routes.route(FRAMES, MESSAGES, ORIGIN)
    assert list(payloads) == ["b"]
    assert drops == {"a": {"noise": 3}}


def test_no_routes_are_false() -> None:
    assert not Routes([])
    assert Routes([Route("a", None)])


# Limits.


def limit(destination: str, when_full: str, used: int) -> QueueLimit:
    limit = QueueLimit(destination=destination, bytes_max=1000, when_full=when_full)
    limit.settle(0, used)
    return limit


def test_plain_routes_below_their_limit_copy_nothing() -> None:
    routes = Routes([Route("a", None, limit=limit("a", "drop-newest", 10)), Route("b", None)])
    assert not routes.need_messages
    payloads, drops, _ = routes.route(FRAMES, [], ORIGIN)
    assert payloads["a"] is FRAMES and payloads["b"] is FRAMES
    assert drops == {}


def test_a_plain_route_at_its_limit_goes_by_the_pri_alone() -> None:
    routes = Routes([Route("a", None, limit=limit("a", "drop-by-severity", 810)), Route("b", None)])
    payloads, drops, astray = routes.route(FRAMES, [], ORIGIN)
    assert payloads["a"] == FRAMES[:2] and payloads["b"] is FRAMES
    assert (drops, astray) == ({"a": {"queue-full-debug": 1}}, 0)


def test_limits_choose_after_the_filter_and_what_they_drop_is_not_astray() -> None:
    full = limit("a", "drop-newest", 1000)
    routes = Routes([Route("a", loud, severity_in([3, 5]), limit=full)])
    payloads, drops, astray = routes.route(FRAMES, MESSAGES, ORIGIN)
    assert (payloads, drops, astray) == ({}, {"a": {"queue-full": 2}}, 1)


def test_drops_of_limits_and_rewrites_are_added() -> None:
    route = Route(
        *("a", loud, None, lambda: {"sampled": 1, "queue-full-debug": 2}),
        limit=limit("a", "drop-by-severity", 810),
    )
    payloads, drops, _ = Routes([route]).route(FRAMES, MESSAGES, ORIGIN)
    assert payloads == {"a": [b"<11>ERROR", b"<13>NOTICE"]}
    assert drops == {"a": {"sampled": 1, "queue-full-debug": 3}}


def small(frames: Sequence[bytes], origin: Origin) -> tuple[list[bytes], list[int]]:
    """A straight way that leaves the notice alone."""
    left = [index for index, frame in enumerate(frames) if frame.startswith(b"<13>")]
    return [b"" if index in left else frame.lower() for index, frame in enumerate(frames)], left


def test_a_straight_way_parses_only_what_it_leaves_alone() -> None:
    parsed: list[bytes] = []

    def parse(frames: list[bytes]) -> list[SyslogMessage]:
        parsed.extend(frames)
        return parse_all(frames)

    frames = [frame.upper() for frame in FRAMES]
    ways = [Route("a", loud, straight=small), Route("b", None), Route("c", loud, straight=small)]
    routed = Routes(ways).route_straight(frames, ORIGIN, parse)
    assert routed is not None
    written = [b"<11>error", b"<13>NOTICE", b"<15>debug"]
    assert routed == ({"a": written, "b": frames, "c": written}, {}, 0)
    assert parsed == [b"<13>NOTICE"]  # once for both


@pytest.mark.parametrize(
    "route",
    [
        Route("b", loud),
        Route("b", None, severity_in([3])),
        Route("b", loud, severity_in([3]), straight=small),
    ],
)
def test_one_route_that_needs_messages_makes_all_go_the_long_way(route: Route) -> None:
    routes = Routes([Route("a", loud, straight=small), route])
    assert routes.route_straight(FRAMES, ORIGIN, parse_all) is None


def test_what_a_limit_drops_goes_the_long_way() -> None:
    full = limit("a", "drop-newest", 1000)
    routes = Routes([Route("a", loud, limit=full, straight=small)])
    assert routes.route_straight(FRAMES, ORIGIN, parse_all) is None
