from __future__ import annotations

from datetime import UTC, time
from typing import get_args

import pytest

from relay.model.origin import Origin, Transport
from relay.rewrite.conditions import holds
from relay.service.configuration.tables.filter import (
    ALWAYS,
    AllOf,
    CameWithin,
    FieldFits,
    Filter,
    Not,
    TextTest,
)
from relay.service.routes.stages import Conditions
from relay.wire.parse import parse
from tests.written import filter_of

LOCAL = Origin("in", Transport.UNIX)
CONDITIONS = Conditions(relay_name=b"here", zone=UTC)


def test_a_local_message_without_a_host_is_of_the_relay() -> None:
    message = parse(b"<13>su: x")
    for value, fits in (({"hostname": "here"}, True), ({"pairs": {"hostname": "here"}}, False)):
        assert holds(CONDITIONS.of(filter_of(value)), message, LOCAL) is fits


def test_spans_are_about_the_clock_of_the_zone() -> None:
    noon = AllOf({"time": CameWithin(time(11), time(13))})
    at_noon, at_six = (LOCAL._replace(received_at=hours * 3600.0) for hours in (12, 6))
    assert CONDITIONS.of(noon)(at_noon) is True
    assert CONDITIONS.of(Not(noon))(at_six) is True


def test_nothing_asked_is_always_true() -> None:
    assert CONDITIONS.of(ALWAYS)(LOCAL) is True


@pytest.mark.parametrize(
    "value",
    [
        {"facility": "mail", "severity": "err", "msg": "x", "tags": "x", "sources": "in"},
        {"peers": "::1", "apps": "shop", "time": "1:00..2:00", "weekdays": "mon", "not": {}},
        {"any": [{}, {"pairs": {"x": True}}]},
    ],
)
def test_every_value_has_a_condition(value: object) -> None:
    found = filter_of(value)
    assert isinstance(found, AllOf)
    for part in found.parts.values():
        assert isinstance(part, get_args(Filter))
        assert callable(CONDITIONS.of(part))


def test_a_test_that_is_no_pattern_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        CONDITIONS.of(FieldFits("msg", (TextTest("(", "regex"),)))
