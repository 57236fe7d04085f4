from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.wire.parse import Dialect, parse, parse_all, parse_as, severity_of
from relay.wire.parse_tags import is_parse_failure
from tests.wire.totality import lost_bytes

PIECES = [
    *(b"<13>", b"<999>", b"<", b">", b"1 ", b"- ", b"Oct 11 22:14:15", b"2003-10-11T22:14:15Z"),
    *(b" ", b":", b"[", b"]", b'"', b"=", b"\\", b"-", b"host", b"app", b'[a b="c"]', b"\n"),
    *(b"@cee:", b'{"a":1}', b"\xef\xbb\xbf", b"\xff", b"\0", b"last message repeated", b"12: *"),
]
frames = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map(b"".join))


def test_lines_from_netcat_have_a_host() -> None:
    """Both of Sematext's examples."""
    line = b'my-host my-process:@cee: {"logsene-app-token": "TOKEN", "message": "hello world!"}'
    cee, tag = parse_all([line + b"\n", b"my-host TOKEN:hello world!\n"])
    assert (cee.hostname, cee.app_name, cee.pri) == (b"my-host", b"my-process", 13)
    assert cee.msg.startswith(b"@cee: {")
    assert (tag.hostname, tag.app_name, tag.msg) == (b"my-host", b"TOKEN", b"hello world!")


@pytest.mark.parametrize("line", [b"<192>Oct 11 22:14:15 h a: x", b"<999>x", b"< 13>x", b"<13"])
def test_a_pri_that_is_none_makes_the_line_msg(line: bytes) -> None:
    message = parse(line)
    assert (message.pri, message.version, message.msg, message.app_name) == (13, 0, line, None)


def test_a_bad_stamp_costs_the_stamp_alone() -> None:
    message = parse(b"<165>1 BADTS host app - - - x\n")
    assert (message.pri, message.version, message.timestamp) == (165, 1, None)
    assert (message.hostname, message.app_name, message.msg) == (b"host", b"app", b"BADTS x")
    assert message.tags == (b"syslog.rfc5424_missing_timestamp",)
    assert message.raw == b"<165>1 BADTS host app - - - x\n"


@pytest.mark.parametrize("line", [b"<13>1 - - - - - - a", b"<13>Oct 11 22:14:15 h a: a", b"<999>a"])
def test_delimiters_at_the_end_stay_in_raw_only(line: bytes) -> None:
    message = parse(line + b"\r\n\0")
    assert message.msg.endswith(b"a")
    assert message.raw == line + b"\r\n\0"


@pytest.mark.parametrize("header", [b"<13>1 - h @syslog-ng - - - ", b"<13>@syslog-ng: "])
def test_envelopes_are_opened(header: bytes) -> None:
    message = parse(header + b'{"PROGRAM":"p","MESSAGE":"m"}\n')
    assert (message.app_name, message.msg) == (b"p", b"m")
    assert message.raw == header + b'{"PROGRAM":"p","MESSAGE":"m"}\n'


@pytest.mark.parametrize("pri", [b"<>", b"<0>", b"<00000>"])
def test_an_empty_pri_is_0(pri: bytes) -> None:
    assert parse(pri + b"Oct 11 22:14:15 h a: x").pri == 0
    assert parse(pri + b"1 - h a - - - x")[:8] == (0, 0, 1, None, b"h", b"a", None, None)


@pytest.mark.parametrize(
    "line",
    [
        b"<134>Oct 11 22:14:15 h app[7]: hi",
        b"<134>1 2026-10-11T22:14:15Z h app 7 - - hi",
        b"<134>1 2026-10-11T22:14:15+0200 h app 7 - hi",
        b'<134>{"a": 1}',
        b'<13>1 2026-10-11T22:14:15Z h @syslog-ng - - - {"MESSAGE": "hi"}',
    ],
)
def test_a_byte_order_mark_before_the_pri_is_passed_over(line: bytes) -> None:
    marked = b"\xef\xbb\xbf" + line
    assert parse(marked) == parse(line)._replace(raw=marked)
    assert parse_all([marked, line]) == [parse(marked), parse(line)]
    assert severity_of(marked) == severity_of(line)
    twice = b"\xef\xbb\xbf" + marked
    assert parse(twice).msg == twice


def test_an_octet_count_is_passed_over_and_told() -> None:
    message = parse(b"20 <13>Oct 11 22:14:15 h a: x")
    assert (message.hostname, message.msg) == (b"h", b"x")
    assert message.tags == (b"syslog.unexpected_framing",)
    assert parse(b"20 <13>1 - h - - - - x").version == 1
    assert parse(b"20 <999>").tags == (b"syslog.unexpected_framing", b"syslog.invalid_pri")
    assert parse(b"20 bottles").msg == b"20 bottles"


def test_dialects_give_up_one_of_the_two() -> None:
    line = b"<13>1 - h a - - - x"
    assert parse_as(Dialect(reads_rfc5424=False), line, line).msg == line[4:]
    strict = Dialect(reads_rfc3164=False)
    assert parse_as(strict, line, line).version == 1
    for legacy in (b"<13>2 - h", b"<13>Oct 11 22:14:15 h a: x", b"hello"):
        message = parse_as(strict, legacy, legacy)
        assert message.msg == legacy
        assert is_parse_failure(message)


@given(frames)
def test_any_frame_is_a_message(frame: bytes) -> None:
    message = parse(frame)
    assert message.raw == frame
    assert 0 <= message.pri <= 191
    for field in message[3:9]:
        assert field != b""


LEGACY_PIECES = [
    *(b"<13>", b"Oct 11 22:14:15", b"2026-10-11T22:14:15+02", b" UTC", b" +0200", b"host", b"h_1"),
    *(
        b" ",
        b": ",
        b"[",
        b"]",
        b"app",
        b"app[12]: ",
        b"text",
        b"{",
        b'{"a": "b c"}',
        b"@cee:",
        b'"',
    ),
    *(
        b"35: ",
        b"000: ",
        b"*",
        b"%A-1-B: ",
        b"[::1] ",
        b"\t",
        b"\xc3\xa9",
        b"\xff",
        b"-",
        b"CEF:0|a|b",
    ),
    *(
        b"20 ",
        b"Message forwarded from h: ",
        b"last message repeated 2 times",
        b"h" * 256,
        b"su[a[b]][1]: ",
    ),
]
MODERN_PIECES = [
    *(
        b"2026-10-11T22:14:15Z ",
        b"2026-10-11T22:14:15+0200 ",
        b"Oct 11 22:14:15 ",
        b"BAD ",
        b"- ",
        b" ",
    ),
    *(
        b"host ",
        b"app ",
        b"12 ",
        b"ID47 ",
        b"text",
        b"[a b=c] ",
        b'[a b="c"] ',
        b"\xef\xbb\xbf",
        b"[x",
    ),
    *(
        b"LEEF:2.0|a|b ",
        b"a\tb ",
        b"\xc3\xa9 ",
        b"h" * 64 + b" ",
        b"UTC ",
        b"2026-10-11 22:14:15 -05 ",
    ),
]


@given(st.lists(st.sampled_from(LEGACY_PIECES), max_size=9).map(b"".join), st.booleans())
def test_nothing_of_a_line_is_lost(line: bytes, expects_host: bool) -> None:
    message = parse_as(Dialect(hosts=(None, expects_host)), line.rstrip(b"\r\n\0"), line)
    assert lost_bytes(message) == b"", message


@given(st.lists(st.sampled_from(MODERN_PIECES), max_size=9).map(b"".join))
@example(b"- - - - " + b"h" * 64 + b" ")
def test_nothing_of_a_broken_header_is_lost(rest: bytes) -> None:
    message = parse(b"<13>1 " + rest)
    _, _, _, _, _, app_name, _, msgid, *_ = message
    if len(app_name or b"") < 48 and len(msgid or b"") < 32:  # not cut to the length of §6.2
        assert lost_bytes(message) == b"", message
    assert message.version or message.tags


@given(st.lists(frames))
def test_a_batch_is_parsed_in_order(batch: list[bytes]) -> None:
    assert parse_all(batch) == [parse(frame) for frame in batch]


@pytest.mark.parametrize("byte", [b" ", b":", b"[", b"a", b"1", b"f:", b"\\", b'"', b"-"])
@pytest.mark.parametrize("start", [b"", b"<13>", b"<13>Oct 11 22:14:15 ", b"<13>1 - - - - - [a b="])
def test_hostile_input_comes_to_an_end(start: bytes, byte: bytes) -> None:
    """A pattern that backtracks would take hours; and nothing gets lost on the way."""
    line = start + byte * 65536
    message = parse(line)
    assert message.raw == line
    assert line.endswith(message.msg)


@given(frames)
def test_the_severity_alone_is_that_of_the_message(frame: bytes) -> None:
    assert severity_of(frame) == parse(frame).severity


@pytest.mark.parametrize(
    "frame",
    [b"<13>1 - h a - - - x", b"<13>Oct 11 22:14:15 h a: x", b"<13>su: x", b"x", b"<999>x"],
)
def test_every_way_to_a_message_fills_every_field(frame: bytes) -> None:
    # Some ways build the tuple themselves, and no type checker looks at those.
    message = parse(frame)
    assert len(message) == len(type(message)._fields)
    assert (message.app, message.is_utf8) == ("", False)


def test_what_is_lost_would_be_noticed() -> None:
    message = parse(b"<13>Oct 11 22:14:15 h app: text")
    assert lost_bytes(message) == b""
    assert sorted(lost_bytes(message._replace(msg=b""))) == sorted(b"text")
    assert lost_bytes(message._replace(hostname=None)) == b"h"
