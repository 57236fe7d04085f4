from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from relay.flow.routing import Route, Routes
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
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
