from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.rewrite import conditions as filters
from relay.rewrite.conditions import Condition, glob, substring
from relay.wire.parse import parse, read_lines

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp()  # a Saturday
NETWORK = Origin("net", Transport.UDP, "192.0.2.7", 514, received_at=AT)
LOCAL = Origin("local", Transport.UNIX, pid=1, received_at=AT)
ERROR = parse(b"<11>Oct 11 22:14:15 web su[230]: it failed")._replace(tags=(b"x.y",), app="shop")
BARE = parse(b"<30>just text")


def fits(condition: Condition, message: SyslogMessage = ERROR, origin: Origin = NETWORK) -> bool:
    return filters.holds(condition, message, origin)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (filters.always, True),
        (filters.field_in("facility", [1, 4]), True),
        (filters.field_in("facility", [0]), False),
        (filters.field_in("severity", range(4)), True),
        (filters.field_in("severity", [4]), False),
        (filters.field_fits("hostname", [glob("w*")]), True),
        (filters.field_fits("msg", [glob("x"), substring("fail")]), True),
        (filters.field_fits("msgid", [glob("*")]), False),
        (filters.field_missing("msgid"), True),
        (filters.field_missing("hostname"), False),
        (filters.tag_fits([glob("x.*")]), True),
        (filters.tag_fits([glob("y")]), False),
        (filters.field_in("app", ["shop"]), True),
        (filters.field_in("app", [""]), False),
        (filters.source_in([glob("n*")]), True),
        (filters.source_in([glob("local")]), False),
        (filters.peer_in([ip_network("192.0.2.0/24")]), True),
        (filters.peer_in([ip_network("2001:db8::/32")]), False),
    ],
)
def test_each_condition(condition: Condition, expected: bool) -> None:
    assert fits(condition) is expected
    assert fits(filters.negated(condition)) is not expected


def test_a_message_without_a_host_has_that_of_its_sender() -> None:
    condition = filters.field_fits("hostname", [glob("192.0.2.7")], sender_name=b"here")
    assert fits(condition, BARE)
    assert not fits(condition, ERROR)
    here = filters.field_fits("hostname", [glob("here")], sender_name=b"here")
    assert fits(here, BARE, LOCAL)
    assert not fits(here, BARE, NETWORK)


def test_local_senders_are_in_no_network() -> None:
    assert not fits(filters.peer_in([ip_network("0.0.0.0/0"), ip_network("::/0")]), ERROR, LOCAL)


CONSTANT = {True: filters.always, False: filters.negated(filters.always)}
EACH = {True: filters.field_in("severity", [3]), False: filters.field_in("severity", [0])}
CHOICES = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=5)


@given(CHOICES)
def test_all_and_any_whether_decided_per_batch_or_per_message(
    choices: list[tuple[bool, bool]],
) -> None:
    conditions = [(CONSTANT if early else EACH)[value] for value, early in choices]
    assert fits(filters.all_of(conditions)) is all(value for value, _ in choices)
    if choices:
        assert fits(filters.any_of(conditions)) is any(value for value, _ in choices)


def test_what_the_origin_decides_costs_nothing_per_message() -> None:
    both = filters.all_of([filters.source_in([glob("other")]), filters.field_in("severity", [3])])
    assert both(NETWORK) is False
    assert filters.any_of([filters.source_in([glob("net")]), EACH[False]])(NETWORK) is True


@pytest.mark.parametrize(
    ("span", "weekdays", "expected"),
    [
        ((time(11), time(13)), range(7), True),
        ((time(12), time(13)), range(7), True),
        ((time(11), time(12)), range(7), False),
        ((time(11), time(13)), [5], True),
        ((time(11), time(13)), [4], False),
        ((time(13), time(11)), range(7), False),
        ((time(22), time(13)), [4], True),  # it began on Friday
        ((time(22), time(13)), [5], False),
        ((time(), time()), [5], True),  # the whole day
        ((time(), time()), [4], False),
    ],
)
def test_time_of_day(span: tuple[time, time], weekdays: list[int], expected: bool) -> None:
    assert fits(filters.time_within(*span, weekdays=weekdays)) is expected


def test_the_zone_of_the_clock_counts() -> None:
    east = timezone(timedelta(hours=13))
    assert fits(filters.time_within(time(1), time(2), weekdays=[6], zone=east))


FRAMES = [b"<11>a", b"<13>b", b"<11>c", b"<13>d", b"<11>e"]
ARRIVAL = Arrival([(2, NETWORK), (2, LOCAL), (4, LOCAL), (5, NETWORK)], AT, 0.0)


@pytest.mark.parametrize(
    ("condition", "indexes", "expected"),
    [
        (filters.always, None, [0, 1, 2, 3, 4]),
        (filters.always, [1, 4], [1, 4]),
        (filters.field_in("severity", [3]), None, [0, 2, 4]),
        (filters.field_in("severity", [3]), [1, 2, 3, 4], [2, 4]),
        (filters.field_in("severity", [3]), [], []),
        (filters.source_in([glob("local")]), None, [2, 3]),
        (filters.source_in([glob("local")]), [0, 3, 4], [3]),
        (filters.source_in([glob("other")]), None, []),
        (
            filters.all_of([filters.source_in([glob("net")]), filters.field_in("severity", [5])]),
            *(None, [1]),
        ),
    ],
)
def test_indexes_of_the_lines_that_fit(
    condition: Condition, indexes: list[int] | None, expected: list[int]
) -> None:
    assert [*filters.chosen(condition, read_lines(FRAMES), indexes, ARRIVAL)] == expected


def test_an_origin_without_lines_is_not_asked() -> None:
    asked: list[tuple[str, float]] = []

    def condition(origin: Origin) -> bool:
        asked.append((origin.source, origin.received_at))
        return True

    arrival = ARRIVAL._replace(received_at=5.5)
    assert [*filters.chosen(condition, read_lines(FRAMES), [0, 4], arrival)] == [0, 4]
    assert asked == [("net", 5.5), ("net", 5.5)]
