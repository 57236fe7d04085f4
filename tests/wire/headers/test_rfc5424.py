from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.wire.headers.rfc5424 import format_header, format_message, header_field, parse_rfc5424

FULL = b'<165>1 2003-10-11T22:14:15.003Z host app 77 ID47 [x@1 a="1"] text'


def test_every_field_has_its_place() -> None:
    assert parse_rfc5424(FULL, b"raw") == SyslogMessage(
        facility=20,
        severity=5,
        version=1,
        timestamp=b"2003-10-11T22:14:15.003Z",
        hostname=b"host",
        app_name=b"app",
        procid=b"77",
        msgid=b"ID47",
        structured_data=b'[x@1 a="1"]',
        msg=b"text",
        raw=b"raw",
    )


@pytest.mark.parametrize(
    ("line", "msg"),
    [
        (b"<13>1 - - - - - -", b""),
        (b"<13>1 - - - - - - ", b""),
        (b"<13>1 - - - - - ", b""),  # no STRUCTURED-DATA at all, and nothing after it
        (b"<13>01 - - - - - - -", b"-"),
        (b"<13>1 - - - - - -   x ", b"  x "),
        (b"<13>1 - - - - - - \xef\xbb\xbfx", b"x"),
        (b"<13>1 - - - - - - \xef\xbb\xbf", b""),
        (b"<13>1 - - - - - - a\nb", b"a\nb"),
    ],
)
def test_nilvalues_and_msg(line: bytes, msg: bytes) -> None:
    message = parse_rfc5424(line, line)
    assert message is not None
    assert message[3:9] == (None,) * 6
    assert message.msg == msg


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"text",
        b"<192>1 - - - - - -",
        b"<13>2 - - - - - -",
        b"<13>1 - - - - -",
        b"<13>1  - - - - - -",
        b"<13>1 yesterday - - - - -",
        b"<13>1 2003-08-24 - - - - -",
        b"<13>1 - h\tx - - - - -",
        b"<13>1 - - - - - text",
        b"<13>1 - - - - - -text",
    ],
)
def test_what_is_not_rfc5424(line: bytes) -> None:
    assert parse_rfc5424(line, line) is None


def test_long_fields_are_cut() -> None:
    line = b"<13>1 - %s %s %s %s -" % (b"h" * 256, b"a" * 49, b"p" * 129, b"m" * 33)
    message = parse_rfc5424(line, line)
    assert message is not None
    assert [len(field or b"") for field in message[4:8]] == [255, 48, 128, 32]


def test_a_header_is_written() -> None:
    header = format_header(165, b"2003-10-11T22:14:15Z", b"h", None, b"", b"ID", b'[a b="\n"]')
    assert header == b'<165>1 2003-10-11T22:14:15Z h - - ID [a b="#012"]'
    assert format_message(header, b"text") == header + b" text"
    assert format_message(header, b"") == header


def test_a_field_is_made_valid() -> None:
    assert header_field(b"a b\nc\xff", 4) == b"a_b_"
    assert header_field(None, 4) == header_field(b"", 4) == b"-"


@given(st.lists(st.binary(max_size=300), min_size=4, max_size=4), st.binary(max_size=100))
def test_any_header_written_is_read_back(fields: list[bytes], msg: bytes) -> None:
    hostname, app_name, procid, msgid = fields
    header = format_header(13, None, hostname, app_name, procid, msgid, None)
    line = format_message(header, msg)
    message = parse_rfc5424(line, line)
    assert message is not None
    assert message.msg == msg.removeprefix(b"\xef\xbb\xbf")
    assert format_header(13, None, *message[4:8], None) == header
    assert b"  " not in header
    name = header.split(b" ")[2]  # which may be in UTF-8
    assert name.decode().isprintable()
    assert all(0x20 <= byte < 0x7F for byte in header.replace(name, b"", 1))
