from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from datetime import UTC

import pytest

from relay.model.parse_options import ParseOptions
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.tables.parse import PARSE, ParseTable


def read(values: object) -> tuple[ParseOptions, list[str]]:
    reading, options = Reading(), ParseOptions()
    with suppress(Reported):
        options = reading.read(ParseTable(), values, "sources.a.parse")
    return options, reading.problems


def test_every_option_has_a_key() -> None:
    # Longer messages are the transport's affair.
    assert {field.name for field in fields(ParseOptions)} - set(PARSE) == {"message_bytes_max"}


def test_options() -> None:
    options, problems = read(
        {
            "no_hostname": True,
            "local_hostname": True,
            "default_facility": "local0",
            "default_severity": 3,
            "time_zone": "UTC",
            "host_override": "web",
            "tags": ["a", "b"],
            "encoding": "ISO-8859-1",
            "bad_hostname": "^x",
        }
    )
    assert problems == []
    assert options == ParseOptions(
        no_hostname=True,
        local_hostname=True,
        default_facility=16,
        default_severity=3,
        time_zone=UTC,
        host_override=b"web",
        tags=(b"a", b"b"),
        encoding="ISO-8859-1",
        bad_hostname="^x",
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ("x", "sources.a.parse: expected a table, found 'x'"),
        ({"no_hostnam": True}, "no_hostnam: unknown key, did you mean 'no_hostname'?"),
        ({"no_parse": 1}, "no_parse: expected true or false, found 1"),
        ({"default_facility": "lokal0"}, "default_facility: found 'lokal0', did you mean 'local0"),
        ({"default_severity": 8}, "default_severity: found 8; allowed are 0 to 7"),
        ({"bad_hostname": "("}, "is not a regular expression"),
        ({"bad_hostname": 1}, "bad_hostname: expected a regular expression, found 1"),
        (
            {"encoding": "klingon"},
            "parse.encoding: cannot convert from 'klingon': unknown",
        ),
        ({"encoding": "rot13"}, "cannot convert from 'rot13'"),
        ({"time_zone": "Mars"}, "time_zone: expected a time zone"),
        ({"tags": []}, "tags: expected a list of tags, found an empty list"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(values: object, problem: str) -> None:
    options, problems = read(values)
    assert options == ParseOptions()
    assert len(problems) == 1
    assert problem in problems[0]
