from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.expression import Expression
from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.steps import message_parsers
from relay.rewrite.steps.message_parsers import NOT_PARSED_TAG
from relay.rewrite.steps.pipeline import Change
from relay.wire.parse import parse

EAST = timezone(timedelta(hours=2))


def done(change: Change, text: bytes) -> SyslogMessage:
    (message,) = change([parse(b"<13>1 - - - - - - " + text)], Origin("in", Transport.TCP))
    assert message is not None
    return message


def pairs(change: Change, text: bytes) -> dict[str, bytes] | None:
    message = done(change, text)
    assert (message.pairs is None) == (NOT_PARSED_TAG in message.tags)
    return message.pairs


@pytest.mark.parametrize("cookie", [b"", b"@cee:", b"@cee: ", b" @cim: "])
def test_json(cookie: bytes) -> None:
    change = message_parsers.parse_json("MESSAGE", ".j.")
    found = pairs(change, cookie + b'{"a": "x", "b": {"c": 1.50}}')
    assert found == {".j.a": b"x", ".j.b.c": b"1.50"}


FIELDS = ("hostname", "app_name", "procid", "msgid", "msg")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            message_parsers.parse_csv(
                "MESSAGE", "", ["HOST", "PROGRAM", "PID", "MSGID", "MESSAGE"]
            ),
            b"h,p,7,ID,hello",
        ),
        (
            message_parsers.parse_csv(
                "MESSAGE", "", ["FULLHOST", "PROGRAM", "PID", "MSGID", "MSG"]
            ),
            b"h,p,7,ID,hello",
        ),
        (
            message_parsers.parse_regex(
                "MESSAGE",
                "",
                Expression(
                    r"(?P<HOST>\w+) (?P<PROGRAM>\w+) (?P<PID>\d+) (?P<MSGID>\w+) (?P<MSGONLY>.+)"
                ),
            ),
            b"h p 7 ID hello",
        ),
        (
            message_parsers.parse_key_values("MESSAGE", ""),
            b"HOST=h PROGRAM=p PID=7 MSGID=ID MESSAGE=hello",
        ),
        (
            message_parsers.parse_json("MESSAGE", ""),
            b'{"HOST":"h","PROGRAM":"p","PID":7,"MSGID":"ID","MESSAGE":"hello"}',
        ),
        (
            message_parsers.parse_csv("MESSAGE", "M", ["SGID", "ESSAGE"]),
            b"ID,hello",
        ),
    ],
)
def test_values_with_the_name_of_a_field_set_it(change: Change, text: bytes) -> None:
    (before,) = [parse(b"<13>Oct 11 22:14:15 h p[7]: " + text)]
    (message,) = change([before], Origin("in", Transport.TCP))
    assert message is not None
    expected = [b"h", b"p", b"7", b"ID", b"hello"]
    assert [getattr(message, field) for field in FIELDS] == expected
    assert not set(message.pairs or {}) & {"HOST", "PROGRAM", "PID", "MSGID", "MESSAGE", "MSG"}


def test_a_header_that_a_parser_has_changed_is_not_sent_as_it_came() -> None:
    change = message_parsers.parse_csv("MESSAGE", "", ["PROGRAM", "rest"])
    (message,) = change([parse(b"<13>Oct 11 22:14:15 h p[7]: q,x")], Origin("in", Transport.TCP))
    assert message is not None
    assert message.pairs == {"rest": b"x"}


def test_other_names_are_pairs_however_like_a_field_they_look() -> None:
    found = pairs(message_parsers.parse_json("MESSAGE", ""), b'{"host":1,"msg":"x","hostname":"y"}')
    assert found == {"host": b"1", "msg": b"x", "hostname": b"y"}
    found = pairs(message_parsers.parse_csv("MESSAGE", ".c.", ["HOST"]), b"h")
    assert found == {".c.HOST": b"h"}


@pytest.mark.parametrize("text", [b"", b"text", b"[1]", b'{"a":', b"@cee:"])
def test_what_is_no_json_object_gets_a_tag(text: bytes) -> None:
    assert pairs(message_parsers.parse_json("MESSAGE", ""), text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a=1 b=two", {"a": b"1", "b": b"two"}),
        (b'a="x y" b=\'p q\' c="q\\"r"', {"a": b"x y", "b": b"p q", "c": b'q"r'}),
        (b"words a=1 more  b=", {"a": b"1", "b": b""}),
        (b'a="" b=2', {"a": b"", "b": b"2"}),
        (b"nothing", None),
        (b"", None),
    ],
)
def test_key_value_pairs(text: bytes, found: dict[str, bytes] | None) -> None:
    assert pairs(message_parsers.parse_key_values("MESSAGE", ""), text) == found


def test_key_value_pairs_with_other_separators() -> None:
    change = message_parsers.parse_key_values(
        "MESSAGE", "", pair_separator=", ", value_separator=":"
    )
    assert pairs(change, b"a:1 2, b:x=y") == {"a": b"1 2", "b": b"x=y"}


def test_csv() -> None:
    change = message_parsers.parse_csv("MESSAGE", "c.", ["one", "two", "three"])
    assert pairs(change, b'1,"2, ""x""",\xff') == {
        "c.one": b"1",
        "c.two": b'2, "x"',
        "c.three": b"\xff",
    }
    assert pairs(change, b"1,2") == {"c.one": b"1", "c.two": b"2"}
    assert pairs(change, b"1,2,3,4") is None
    assert pairs(change, b'"open') is None


def test_the_last_column_can_take_the_rest() -> None:
    change = message_parsers.parse_csv("MESSAGE", "", ["a", "rest"], delimiter=" ", greedy=True)
    assert pairs(change, b"1 2 3") == {"a": b"1", "rest": b"2 3"}
    assert pairs(change, b"1") is None


def test_named_groups() -> None:
    pattern = Expression(r"user (?P<USER>\w+)(?: from (?P<FROM>\S+))?")
    change = message_parsers.parse_regex("MESSAGE", "x.", pattern)
    assert pairs(change, b"user bob from ::1") == {"x.USER": b"bob", "x.FROM": b"::1"}
    assert pairs(change, b"user bob") == {"x.USER": b"bob"}
    assert pairs(change, b"nobody") is None


@pytest.mark.parametrize(
    ("format", "text", "stamp"),
    [
        ("iso", b"2026-11-21T10:00:00Z", b"2026-11-21T10:00:00+00:00"),
        ("iso", b"2026-11-21T10:00:00.25", b"2026-11-21T10:00:00.250000+02:00"),
        ("unix", b"0.5", b"1970-01-01T02:00:00.500000+02:00"),
        ("%d/%b/%Y:%H:%M:%S %z", b"21/Nov/2026:10:00:00 -0130", b"2026-11-21T10:00:00-01:30"),
        ("%Y-%m-%d", b" 2026-11-21 ", b"2026-11-21T00:00:00+02:00"),
    ],
)
def test_a_date_becomes_the_stamp(format: str, text: bytes, stamp: bytes) -> None:
    change = message_parsers.parse_date("MESSAGE", format, EAST)
    assert done(change, text).timestamp == stamp


@pytest.mark.parametrize(
    "text", [b"", b"x", b"1e400", b"nan", b"9" * 30, b"0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_date_gets_a_tag(text: bytes) -> None:
    for format in ("iso", "unix", "%Y"):
        message = done(message_parsers.parse_date("MESSAGE", format, UTC), text)
        assert message.timestamp is None
        assert message.tags == (NOT_PARSED_TAG,)


@pytest.mark.parametrize("format", ["iso", "unix", "%Y-%m-%d", "%d/%b/%y:%H:%M:%S %z"])
def test_date_formats(format: str) -> None:
    message_parsers.check_date_format(format)


@pytest.mark.parametrize("format", ["%Q", "%", "%d %b %H:%M"])
def test_what_is_no_date_format_is_refused(format: str) -> None:
    with pytest.raises(ValueError, match="date format"):
        message_parsers.check_date_format(format)


@given(st.binary(max_size=60))
def test_any_bytes_pass(text: bytes) -> None:
    for change in (
        message_parsers.parse_json("MESSAGE", ""),
        message_parsers.parse_key_values("MESSAGE", ""),
        message_parsers.parse_csv("MESSAGE", "", ["a", "b"]),
        message_parsers.parse_regex("MESSAGE", "", Expression("(?P<x>.+)")),
        message_parsers.parse_date("MESSAGE", "%Y", UTC),
        message_parsers.parse_date("MESSAGE", "unix", UTC),
    ):
        done(change, text)
