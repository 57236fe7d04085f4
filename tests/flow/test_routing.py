from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import Lines
from relay.flow.routing import Route, Routed, Routes
from relay.model.counters.samples import Samples
from relay.model.origin import Arrival, Origin, Transport
from relay.queue.admission.limits import QueueLimit
from relay.rewrite.conditions import field_in, source_in
from relay.rewrite.forms.form import form_of
from relay.wire.parse import read_lines

ORIGIN = Origin("in", Transport.TCP)
OTHER = Origin("other", Transport.UDP, "192.0.2.9", 1)
FRAMES = [b"<11>error", b"<13>notice", b"<15>debug"]
LINES = read_lines(FRAMES)
ARRIVAL = Arrival.of_one(3, ORIGIN)


loud = form_of(lambda messages, origin: [message.raw.upper() for message in messages])


class Nothing:
    """Drops all lines."""

    def write(self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival) -> list[bytes]:
        return []


def route(routes: Routes) -> Routed:
    """Route the three frames."""
    return routes.route(LINES, ARRIVAL)


def test_a_route_is_a_value() -> None:
    assert Route("central", None) == Route("central", None)
    assert Route("central", None) != Route("archive", None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Route("central", None).destination = "archive"  # type: ignore[misc]


def test_plain_routes_need_no_lines_and_copy_nothing() -> None:
    routes = Routes([Route("a", None), Route("b", None)])
    assert not routes.need_lines
    payloads, drops, unrouted = routes.pass_on(FRAMES)
    assert payloads["a"] is FRAMES
    assert payloads["b"] is FRAMES
    assert (drops, unrouted) == ({}, ())


def test_each_destination_gets_what_it_takes() -> None:
    errors, others = field_in("severity", [3]), field_in("severity", [5])
    routes = Routes([Route("errors", loud, errors), Route("raw", None, others), Route("all", None)])
    assert routes.need_lines
    payloads, _, unrouted = route(routes)
    assert payloads == {"errors": [b"<11>ERROR"], "raw": [b"<13>notice"], "all": FRAMES}
    assert list(unrouted) == []


def test_what_no_destination_takes_is_counted_once() -> None:
    routes = Routes(
        [
            Route("a", None, field_in("severity", [3])),
            Route("b", loud, field_in("severity", [3, 5])),
        ]
    )
    payloads, _, unrouted = route(routes)
    assert payloads == {"a": FRAMES[:1], "b": [b"<11>ERROR", b"<13>NOTICE"]}
    assert len(unrouted) == 1


def test_a_destination_that_takes_nothing_is_not_named() -> None:
    other = source_in([lambda text: text == b"other"])
    routes = Routes([Route("a", loud, other), Route("b", Nothing())])
    assert route(routes) == ({}, {}, ())
    assert route(Routes([Route("a", loud, other)])).unrouted == [0, 1, 2]


def test_drops_are_those_of_their_destination() -> None:
    routes = Routes(
        [
            Route("a", Nothing(), None, lambda: {"noise": 3}),
            Route("b", loud, None, dict),
        ]
    )
    payloads, drops, _ = route(routes)
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
    assert not routes.need_lines
    payloads, drops, _ = routes.pass_on(FRAMES)
    assert payloads["a"] is FRAMES and payloads["b"] is FRAMES
    assert drops == {}


def test_a_plain_route_at_its_limit_goes_by_the_pri_alone() -> None:
    samples = Samples()
    a = Route("a", None, limit=limit("a", "drop-by-severity", 810), samples=samples)
    routes = Routes([a, Route("b", None)])
    payloads, drops, unrouted = routes.pass_on(FRAMES)
    assert payloads["a"] == FRAMES[:2] and payloads["b"] is FRAMES
    assert (drops, unrouted) == ({"a": {"queue-full-debug": 1}}, ())
    assert kept(samples) == {"queue-full-debug": [FRAMES[2]]}


def kept(samples: Samples) -> dict[str, list[bytes]]:
    return {reason: [each.start for each in found] for reason, found in samples}


def test_what_a_limit_drops_of_parsed_messages_is_kept_as_it_came() -> None:
    samples = Samples()
    full = limit("a", "drop-newest", 1000)
    debug = Route("a", None, match=field_in("severity", [7]), limit=full, samples=samples)
    routes = Routes([debug, Route("b", None)])
    lines = read_lines([*FRAMES, *FRAMES])
    drops = routes.route(lines, Arrival.of_one(len(lines), ORIGIN)).drops
    assert drops == {"a": {"queue-full": 2}}
    assert kept(samples) == {"queue-full": [FRAMES[2], FRAMES[2]]}


def test_limits_choose_after_the_filter_and_what_they_drop_is_not_unrouted() -> None:
    full = limit("a", "drop-newest", 1000)
    routes = Routes([Route("a", loud, field_in("severity", [3, 5]), limit=full)])
    payloads, drops, unrouted = route(routes)
    assert (payloads, drops, len(unrouted)) == ({}, {"a": {"queue-full": 2}}, 1)


def test_drops_of_limits_and_rewrites_are_added() -> None:
    way = Route(
        *("a", loud, None, lambda: {"sampled": 1, "queue-full-debug": 2}),
        limit=limit("a", "drop-by-severity", 810),
    )
    payloads, drops, _ = route(Routes([way]))
    assert payloads == {"a": [b"<11>ERROR", b"<13>NOTICE"]}
    assert drops == {"a": {"sampled": 1, "queue-full-debug": 3}}


def numbered_by(lines: Lines, indexes: Sequence[int] | None) -> list[bytes]:
    return [b"%d" % index for index in (range(len(lines)) if indexes is None else indexes)]


class Numbers:
    """Writes the indexes it is asked for, and keeps whether that was all of them."""

    def __init__(self) -> None:
        self.asked: list[Sequence[int] | None] = []

    def write(self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival) -> list[bytes]:
        self.asked.append(indexes)
        return numbered_by(lines, indexes)


def test_only_what_a_destination_takes_is_written_and_no_index_means_all() -> None:
    numbers = [Numbers() for _ in range(4)]
    full = limit("d", "drop-newest", 1000)
    ways = [
        Route("a", numbers[0]),
        Route("b", numbers[1], field_in("severity", [3, 7])),
        Route(
            "c", numbers[2], field_in("severity", [5]), limit=limit("c", "drop-by-severity", 810)
        ),
        Route("d", numbers[3], limit=full),
    ]
    routed = route(Routes(ways))
    assert routed.payloads == {"a": [b"0", b"1", b"2"], "b": [b"0", b"2"], "c": [b"1"]}
    assert routed.drops == {"d": {"queue-full": 3}}
    assert [each.asked for each in numbers] == [[None], [[0, 2]], [[1]], []]


def test_lines_of_several_origins_go_where_their_source_goes() -> None:
    """A condition on the source is asked for each run, and runs keep their time."""
    moment = Arrival(((1, ORIGIN), (1, OTHER), (3, OTHER)), 5.5, 1.0)
    others = source_in([lambda text: text == b"other"])
    written = form_of(
        lambda messages, origin: [
            b"%s of %s at %.1f" % (message.raw, origin.source.encode(), origin.received_at)
            for message in messages
        ]
    )
    ways = Routes([Route("a", written), Route("b", None, others), Route("c", written, others)])
    of_others = [b"<13>notice of other at 5.5", b"<15>debug of other at 5.5"]
    assert ways.route(LINES, moment).payloads == {
        "a": [
            b"<11>error of in at 5.5",
            b"<13>notice of other at 5.5",
            b"<15>debug of other at 5.5",
        ],
        "b": FRAMES[1:],
        "c": of_others,
    }
    none = Routes([Route("b", None, source_in([lambda text: text == b"nobody"]))])
    assert none.route(LINES, moment) == ({}, {}, [0, 1, 2])


# Final and fallback routes.

Asked = tuple[set[int] | None, bool, bool]
"""The severities that a route takes, None = all; whether it is final, and a fallback."""
asked_routes = st.lists(
    st.tuples(st.none() | st.sets(st.integers(0, 3)), st.booleans(), st.booleans()), max_size=5
)


def plain_model(asked: list[Asked], severities: list[int]) -> tuple[dict[str, list[bytes]], int]:
    """What each route gets, message by message, by the words of docs/rewriting.md."""
    got: dict[str, list[bytes]] = {}
    unrouted = 0
    for number, severity in enumerate(severities):
        takers: list[int] = []
        ended = False
        for is_fallback in (False, True):
            if is_fallback and takers:
                break
            for index, (wanted, final, fallback) in enumerate(asked):
                if fallback is is_fallback and not ended and (wanted is None or severity in wanted):
                    takers.append(index)
                    ended = final
        for index in takers:
            got.setdefault(str(index), []).append(b"<%d>%d" % (severity, number))
        unrouted += not takers
    return got, unrouted


@given(asked_routes, st.lists(st.integers(0, 3), min_size=1, max_size=6), st.booleans())
def test_final_and_fallback_are_as_documented(
    asked: list[Asked], severities: list[int], is_written: bool
) -> None:
    raw = form_of(lambda messages, origin: [message.raw for message in messages])
    routes = Routes(
        [
            Route(
                str(index),
                raw if is_written else None,
                None if wanted is None else field_in("severity", sorted(wanted)),
                final=final,
                fallback=fallback,
            )
            for index, (wanted, final, fallback) in enumerate(asked)
        ]
    )
    frames = [b"<%d>%d" % (severity, number) for number, severity in enumerate(severities)]
    lines = read_lines(frames)
    expected = plain_model(asked, severities)
    routed = routes.route(lines, Arrival.of_one(len(lines), ORIGIN))
    assert (routed.payloads, len(routed.unrouted)) == expected
    if routes and not routes.need_lines:
        routed = routes.pass_on(frames)
        assert (routed.payloads, len(routed.unrouted)) == expected


def test_a_final_route_takes_what_its_full_queue_drops() -> None:
    full = limit("a", "drop-newest", 1000)
    ways = [Route("a", None, field_in("severity", [3]), limit=full, final=True), Route("b", None)]
    routed = route(Routes(ways))
    assert routed == ({"b": FRAMES[1:]}, {"a": {"queue-full": 1}}, ())
