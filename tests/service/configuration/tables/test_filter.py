from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.rewrite.conditions import Condition, Predicate, chosen, fitting
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.tables.filter import MATCH, AllOf, CameWithin, Match
from relay.service.routes.stages import Conditions
from relay.wire.parse import parse, parse_all, read_lines
from tests.any_messages import many_examples
from tests.codec.known_lines import odd_lines

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()  # a Saturday
ORIGIN = Origin("net.udp", Transport.UDP, "192.0.2.7", 514, received_at=AT)
MESSAGE = parse(
    b'<38>1 - web-1 sshd 7 ID1 [a@1 b="c"] Failed password for bob'  # auth.info
)._replace(tags=(b"login",), app="shop", pairs={".x": b"1"})


PEER = Origin("net.udp", Transport.UDP, "2001:db8::7", 514)
LOCAL = Origin("local", Transport.UNIX, pid=1)


def reading_of(named: str = "") -> Reading:
    filters = tomllib.loads(named).get("filters", {})
    return Reading(sources=["net.udp", "local"], apps=["shop", "blog"], filters=filters)


def condition_of(value: object) -> Condition:
    conditions = Conditions(relay_name=b"here", zone=UTC)
    return conditions.of(reading_of().read(MATCH, value, "match"))


def problems_of(text: str, named: str = "") -> list[str]:
    reading = reading_of(named)
    with suppress(Reported):
        reading.read(MATCH, tomllib.loads(f"match = {text}")["match"], "destinations.x.match")
    return reading.problems


def fits(text: str, named: str = "", message: SyslogMessage = MESSAGE) -> bool:
    reading = reading_of(named)
    found = reading.read(MATCH, tomllib.loads(f"match = {text}")["match"], "match")
    assert reading.problems == []
    return holds(Conditions(relay_name=b"here", zone=UTC).of(found)(ORIGIN), message)


def holds(bound: bool | Predicate, message: SyslogMessage) -> bool:
    return bool(fitting(bound, Messages([message])))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{ facility = "auth" }',
        '{ facility = ["mail", 4] }',
        '{ severity = "info" }',
        '{ severity = "..info" }',
        '{ severity = "notice.." }',
        '{ severity = ["emerg..err", "6"] }',
        '{ severity = "informational" }',
        '{ hostname = "web-*" }',
        '{ hostname = { regex = "^WEB", ignore_case = true } }',
        '{ app_name = ["cron", "sshd"] }',
        '{ procid = "7", msgid = "ID?" }',
        '{ msg = "password" }',
        '{ msg = { glob = "Failed*" } }',
        '{ msg = [{ regex = "zzz" }, { substring = "BOB", ignore_case = true }] }',
        '{ pairs = { ".x" = "1", ".SDATA.a@1.b" = ["x", "c"], ".none" = false } }',
        '{ pairs = { ".x" = true } }',
        '{ tags = "log*" }',
        '{ sources = "net.udp" }',
        '{ sources = ["net"] }',
        '{ sources = "*" }',
        '{ peers = "192.0.2.0/24" }',
        '{ peers = ["10.0.0.0/8", "192.0.2.7"] }',
        '{ apps = ["shop"] }',
        '{ time = "11:30..12:30" }',
        '{ weekdays = "fri..sun" }',
        '{ time = "22:00..13:00", weekdays = ["fri"] }',
        '{ not = { severity = "err" } }',
        '{ any = [{ severity = "err" }, { app_name = "sshd" }] }',
        '[{ severity = "err" }, { app_name = "sshd", hostname = "web-1" }]',
    ],
)
def test_what_fits_and_its_opposite(text: str) -> None:
    assert fits(text)
    assert not fits(f"{{ not = {text} }}")


def test_all_keys_of_a_table_have_to_fit() -> None:
    assert not fits('{ app_name = "sshd", severity = "err" }')
    assert not fits('[{ app_name = "sshd", severity = "err" }, { hostname = "db" }]')
    assert not fits('{ time = "11:30..12:30", weekdays = "mon..fri" }')


def test_named_filters_are_used_where_they_are_named() -> None:
    named = """
    [filters.logins]
    app_name = "sshd"
    [filters.bob]
    filter = "logins"
    msg = "bob"
    """
    assert fits('{ filter = "bob" }', named)
    assert fits('{ filter = ["logins", "bob"], hostname = "web-1" }', named)
    assert not fits('{ filter = "bob", hostname = "db" }', named)


def test_a_message_without_a_host_has_that_of_its_peer() -> None:
    assert fits('{ hostname = "192.0.2.7" }', message=parse(b"<13>x"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"x"', "expected a table or a list of tables, found 'x'"),
        ("[]", "an empty list fits nothing"),
        ('{ severty = "err" }', "severty: unknown key, did you mean 'severity'?"),
        ('{ severity = "warm" }', "severity: there is no severity 'warm', did you mean 'warn'?"),
        ('{ severity = "debug..err" }', "severity: the range 'debug..err' is empty; turn it"),
        ("{ severity = 8 }", "severity: there is no severity 8; allowed are 0 to 7"),
        ("{ facility = [] }", "facility: an empty list fits nothing"),
        ("{ facility = true }", "facility: there is no facility true"),
        ("{ hostname = 5 }", "hostname: expected a glob, a table such as"),
        ('{ msg = { regx = "x" } }', "msg: expected a substring, a table such as"),
        ('{ msg = { regex = "(" } }', "msg: not a regular expression"),
        ("{ msg = [] }", "msg: an empty list fits nothing"),
        ('{ sources = "locl" }', "sources: there is no source 'locl', did you mean 'local'?"),
        ('{ apps = ["shp"] }', "apps: there is no app 'shp', did you mean 'shop'?"),
        ("{ apps = [1] }", "apps: expected ids, found 1"),
        ('{ peers = "10.0.0.1/8" }', "peers: '10.0.0.1/8' has bits set after its prefix"),
        ('{ time = "25:00..26:00" }', 'time: expected a span such as "22:00..06:00"'),
        ('{ weekdays = "monday" }', "weekdays: there is no day 'monday', did you mean 'mon"),
        ('{ filter = "nme" }', "filter: there is no filter 'nme', did you mean 'name'?"),
        ("{ pairs = {} }", "pairs: expected a table such as"),
        ("{ pairs = { x = 1 } }", "pairs.x: expected a glob"),
        ('{ any = [{ severity = "x" }] }', "any[0].severity: there is no severity 'x'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, problem: str) -> None:
    problems = problems_of(text, '[filters.name]\napp_name = "x"')
    assert len(problems) == 1
    assert problems[0].startswith("destinations.x.match")
    assert problem in problems[0]


def test_a_filter_that_refers_to_itself_is_said_with_the_circle() -> None:
    named = '[filters.a]\nfilter = "b"\n[filters.b]\nfilter = "a"'
    assert problems_of('{ filter = "a" }', named) == [
        "filters.b.filter: the filter refers to itself: a → b → a"
    ]


def test_what_is_wrong_in_a_named_filter_is_said_once() -> None:
    reading = reading_of('[filters.a]\nseverity = "bad"')
    with suppress(Reported):
        reading.read(Match("a"), reading.filters["a"], "filters.a")
    for _ in range(2):
        with suppress(Reported):
            reading.read(MATCH, {"filter": "a"}, "match")
    (problem,) = reading.problems
    assert problem.startswith("filters.a.severity: there is no severity 'bad'")


def test_expressions_that_can_be_slow_are_warned_of() -> None:
    reading = Reading()
    value = {"msg": {"regex": "(?=a)b"}, "pairs": {"x": {"regex": "^(a+)+$"}}}
    reading.read(MATCH, value, "match")
    (warning,) = reading.warnings
    assert warning.startswith("match.msg.regex: '(?=a)b' needs lookaround")
    assert "longer than 50 ms counts as not found" in warning


def test_a_span_and_its_days_are_one_condition() -> None:
    value = {"time": "22:00..6:00", "msg": "x", "weekdays": ["fri", 5]}
    found = reading_of().read(MATCH, value, "match")
    assert isinstance(found, AllOf)
    assert found.parts["time, weekdays"] == CameWithin(time(22), time(6), (4, 5))
    assert list(found.parts) == ["msg", "time, weekdays"]


def test_tables_inside_each_other_have_a_limit() -> None:
    (problem,) = problems_of("{ not = " * 40 + "{}" + " }" * 40)
    assert "more than 32 tables inside each other" in problem


# Conditions on lines are those on messages.

_TEXTS = st.sampled_from(["su", "s*", "*", "app", "web-?", "h", "-", "", "127.0.0.1", "*.*"])
_TESTS = _TEXTS | st.sampled_from(
    [
        {"regex": "[a-m]"},
        {"regex": "^$"},
        {"substring": "E", "ignore_case": True},
        ["su", {"glob": "?"}],
    ]
)
_LEAVES: dict[str, st.SearchStrategy[object]] = {
    **dict.fromkeys(("hostname", "app_name", "procid", "msgid", "msg"), _TESTS),
    "severity": st.sampled_from(["..warning", "info", [0, 5], "notice.."]),
    "facility": st.sampled_from(["user", "..mail", [4, 20]]),
    "tags": _TESTS | st.just("syslog.*"),
    "apps": st.sampled_from(["shop", ["shop", "blog"]]),
    "sources": st.sampled_from(["net.udp", "local"]),
    "peers": st.sampled_from(["192.0.2.0/24", "::/0"]),
    "pairs": st.dictionaries(
        st.sampled_from(["HOST", "PROGRAM", "MSG", "LEGACY_MSGHDR", ".SDATA.a.b", "x"]),
        _TESTS | st.booleans(),
        min_size=1,
        max_size=2,
    ),
}
_leaf_tables = st.fixed_dictionaries({}, optional=_LEAVES)
_APPS = st.sampled_from(["", "shop", "blog"])
_one_leaf = st.sampled_from(sorted(_LEAVES)).flatmap(
    lambda key: st.fixed_dictionaries({key: _LEAVES[key]})
)
filter_values = st.recursive(
    _one_leaf | _leaf_tables,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.builds(lambda table, other: {**table, "not": other}, _one_leaf, inner)
        | st.builds(lambda table, other: {**table, "any": other}, _one_leaf, inner)
    ),
    max_leaves=5,
)


@given(filter_values, st.lists(odd_lines, max_size=12), st.data())
@many_examples(300)
def test_conditions_choose_the_same_lines_as_messages(
    value: object, frames: list[bytes], data: st.DataObject
) -> None:
    condition = condition_of(value)
    messages = [
        message._replace(app=app)
        for message, app in zip(
            parse_all(frames), data.draw(st.lists(_APPS, min_size=12, max_size=12)), strict=False
        )
    ]
    stops = data.draw(st.lists(st.integers(0, len(frames)), max_size=4).map(sorted))
    runs = [
        (stop, data.draw(st.sampled_from([ORIGIN, PEER, LOCAL]))) for stop in [*stops, len(frames)]
    ]
    arrival = Arrival(runs, AT, 1.0)
    drawn = data.draw(st.sets(st.sampled_from(range(12))))
    some = sorted(index for index in drawn if index < len(frames))
    for lines, made in (
        (read_lines(frames), parse_all(frames)),
        (Messages(messages), messages),
    ):
        expected = [
            index
            for start, stop, origin in arrival.each()
            for index in range(start, stop)
            if holds(condition(origin), made[index])
        ]
        assert list(chosen(condition, lines, None, arrival)) == expected
        assert list(chosen(condition, lines, some, arrival)) == [
            index for index in some if index in expected
        ]


class Columns(Messages):
    """Lines that nobody may make messages of."""

    def message(self, index: int) -> SyslogMessage:
        raise AssertionError(index)

    def messages(self, indexes: Sequence[int] | None = None) -> list[SyslogMessage]:
        raise AssertionError(indexes)

    def column(self, name: str, indexes: Sequence[int] | None = None) -> list[Any]:
        return Messages(super().messages()).column(name, indexes)

    def where(
        self, name: str, values: frozenset[Any], indexes: Sequence[int] | None = None
    ) -> list[int]:
        return Messages(super().messages()).where(name, values, indexes)


def test_conditions_on_fields_make_no_messages() -> None:
    fields = {
        "severity": "..warning",
        "facility": "user",
        "hostname": "web-*",
        "app_name": ["su", "sshd"],
        "procid": {"regex": "[0-9]+"},
        "msg": "failed",
        "not": {"tags": "x*", "apps": ["shop"], "pairs": {"MSGID": True}},
    }
    messages = [parse(b"<11>Oct 11 22:14:15 web-1 su[230]: it failed"), parse(b"<30>x")]
    lines, arrival = Columns(messages), Arrival.of_one(2, ORIGIN)
    assert list(chosen(condition_of(fields), lines, None, arrival)) == [0]
    with pytest.raises(AssertionError):
        chosen(condition_of({"pairs": {"x": True}}), lines, None, arrival)
