from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.model.parse_options import OPTION_NAMES, ParseOptions
from relay.wire.headers.hostname import format_hostname
from relay.wire.headers.rfc5424 import format_header, format_message
from relay.wire.headers.tag import format_tag
from relay.wire.parse import Dialect, parse, parse_all
from relay.wire.parse_options import frame_reader, new_parser, utf8_of
from tests.lines import read_by

ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", 514, received_at=1795000000.0)
LINE = b"<34>Oct 11 22:14:15 h su[1]: text"


def parsed(line: bytes = LINE, **options: Any) -> SyslogMessage:
    (message,) = read_by(new_parser(ParseOptions(**options), zone=UTC), [line], ORIGIN)
    return message


def test_without_options_it_is_what_parse_all_does() -> None:
    parser = new_parser(ParseOptions(), zone=timezone(timedelta(hours=1)))
    assert read_by(parser, [LINE, b"x"], ORIGIN) == parse_all([LINE, b"x"])


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"no_parse": True}, {"msg": LINE, "facility": 1, "severity": 5}),
        ({"no_header": True}, {"msg": LINE[4:], "facility": 4, "severity": 2}),
        ({"no_hostname": True}, {"hostname": None, "app_name": b"h su", "tags": ()}),
        ({"expect_hostname": False}, {"hostname": None, "app_name": b"h su", "tags": ()}),
        ({"bad_hostname": "^h$"}, {"hostname": None, "tags": (b"syslog.invalid_hostname",)}),
        ({"bad_hostname": "x"}, {"hostname": b"h", "tags": ()}),
        ({"check_hostname": True}, {"hostname": b"h"}),
        ({"no_rfc3164_fallback": True}, {"tags": (b"syslog.rfc5424_invalid_version",)}),
        ({"time_zone": timezone(timedelta(hours=5))}, {"timestamp": b"2026-10-11T22:14:15+05:00"}),
        ({"keep_timestamp": False}, {"timestamp": b"2026-11-18T11:06:40.000000+00:00"}),
        ({"keep_hostname": False}, {"hostname": b"192.0.2.1"}),
        ({"chain_hostnames": True}, {"hostname": b"h/192.0.2.1"}),
        ({"chain_hostnames": True, "keep_hostname": False}, {"hostname": b"h/192.0.2.1"}),
        ({"host_override": b"o"}, {"hostname": b"o", "app_name": b"su"}),
        ({"program_override": b"o"}, {"app_name": b"o", "procid": b"1", "pairs": None}),
        ({"tags": (b"a",)}, {"tags": (b"a",)}),
        ({"store_raw": True}, {"pairs": {"LEGACY_MSGHDR": b"su[1]: ", "RAWMSG": LINE}}),
        ({"dont_store_legacy_msghdr": True}, {"pairs": None, "app_name": b"su"}),
        ({"message_bytes_max": 30}, {"msg": b"t", "raw": LINE}),
        ({"encoding": "utf-16-le"}, {}),  # a parser gets UTF-8
        ({"keep_line_end": True}, {}),
        ({"default_facility": 3, "default_severity": 1}, {"facility": 4, "severity": 2}),
    ],
)
def test_each_option(options: dict[str, Any], changed: dict[str, Any]) -> None:
    message = parsed(**options)
    assert {name: getattr(message, name) for name in changed} == changed


@pytest.mark.parametrize(
    ("line", "options", "changed"),
    [
        (b"x", {"default_facility": 3, "default_severity": 1}, {"facility": 3, "severity": 1}),
        (b"x", {"kernel": True}, {"facility": 0, "severity": 5, "app_name": b"kernel"}),
        (b"<13>Oct 11 22:14:15 a,b c: x", {"check_hostname": True}, {"hostname": None}),
        (b"<13>Oct 11 22:14:15 h 1: x", {"check_program": True}, {"app_name": None}),
        (b"<13>Oct 11 22:14:15 h a: x\ny", {"no_multi_line": True}, {"msg": b"x y"}),
        (b"<13>Oct 11 22:14:15 h a: \xff", {"sanitize_utf8": True}, {"msg": b"\\xff"}),
        (b"<13>1 - h a - - - x", {"mode": "rfc3164"}, {"msg": b"1 - h a - - - x", "version": 0}),
        (b"<13>1 - h a - - - x", {"mode": "rfc5424"}, {"app_name": b"a", "version": 1}),
        (b"<999>x", {"parse_tags": "none", "tags": (b"a",)}, {"tags": (b"a",)}),
        (b"<999>x", {"piggyback_errors": True}, {"facility": 5, "app_name": b"syslog-ng"}),
        (b"foo: %SYS-5-X: y", {"adapters": True}, {"app_name": None, "tags": ()}),
        (b"foo: %SYS-5-X: y", {"adapters": True, "mode": "rfc5424"}, {"app_name": b"foo"}),
        (
            b"foo: %SYS-5-X: y",
            {"adapters": True, "parse_tags": "all"},
            {"tags": (b".app.cisco",)},
        ),
    ],
)
def test_options_for_certain_lines(
    line: bytes, options: dict[str, Any], changed: dict[str, Any]
) -> None:
    message = parsed(line, **options)
    assert {name: getattr(message, name) for name in changed} == changed


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "rfc9999"}, "mode 'rfc9999'"),
        ({"default_facility": 24}, "default_facility is 0 to 23"),
        ({"default_severity": -1}, "default_severity 0 to 7"),
        ({"bad_hostname": "("}, "bad_hostname is not a regular expression"),
        ({"encoding": "klingon"}, "encoding 'klingon'"),
        ({"message_bytes_max": -1}, "message_bytes_max"),
        ({"parse_tags": "some"}, "parse_tags 'some'"),
    ],
)
def test_values_that_mean_nothing_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parsed(**options)


def test_options_go_by_syslog_ngs_names() -> None:
    for field, setting in OPTION_NAMES.values():
        options = replace(ParseOptions(), **{field: setting})
        assert getattr(options, field) == setting
        read_by(new_parser(options, zone=UTC), [LINE], ORIGIN)


@pytest.mark.parametrize(
    ("line", "line_end", "kept"),
    [
        (LINE, b"\r\n", b"\r\n"),
        (b"<13>1 - - - - - - x", b"\n\r\0\n", b"\n\r\n"),
        (b"<13>1 - - - - - -", b"\n", b"\n"),
        (b"<999>x", b"\r\n", b"\r\n"),
        (LINE, b"\0", b""),
        (b"<13>1 - h - - - - says @syslog-ng", b"\n", b"\n"),
        # The line end is that of the envelope.
        (b'<13>1 - h @syslog-ng - - - {"MESSAGE":"}"}', b"\n", b""),
    ],
)
def test_a_line_end_can_belong_to_msg(line: bytes, line_end: bytes, kept: bytes) -> None:
    without = parsed(line + line_end)
    message = parsed(line + line_end, keep_line_end=True)
    assert message == without._replace(msg=without.msg + kept)
    assert parsed(line + line_end, keep_line_end=True, no_parse=True).msg == line + (
        line_end.replace(b"\0", b"") if b"@syslog-ng -" not in line else b"\n"
    )


def test_a_frame_becomes_utf8_before_it_is_parsed() -> None:
    wide = "café".encode("utf-16le")
    assert utf8_of(ParseOptions(encoding="utf-16le"), wide) == "café".encode()
    assert utf8_of(ParseOptions(), wide) == wide


booleans = {
    field.name: st.booleans() for field in fields(ParseOptions) if type(field.default) is bool
}
any_options = st.builds(
    ParseOptions,
    mode=st.sampled_from(["auto", "rfc3164", "rfc5424"]),
    bad_hostname=st.none() | st.sampled_from(["^h", "."]),
    default_facility=st.integers(0, 23),
    default_severity=st.integers(0, 7),
    time_zone=st.none() | st.just(timezone(timedelta(hours=-9, minutes=-30))),
    host_override=st.none() | st.just(b"host"),
    program_override=st.none() | st.just(b"app"),
    tags=st.sampled_from([(), (b"a",)]),
    parse_tags=st.sampled_from(["errors", "all", "none"]),
    encoding=st.none()
    | st.sampled_from(["latin-1", "utf-16", "utf-7", "unicode_escape", "cp1252"]),
    message_bytes_max=st.sampled_from([0, 1, 20]),
    **booleans,
)
PIECES = [
    *(b"<13>", b"<999>", b"<6>", b"1 ", b"- ", b"Oct 11 22:14:15", b"2003-10-11T22:14:15", b" "),
    *(b":", b"[", b"]", b'"', b"=", b"h ", b"app", b'[a b="c"]', b"\n", b"\0", b"\xff", b"\xe9"),
    *(b"20 ", b": %SYS-5-X: ", b"@cee:{}", b"sudo: ", b"12: *", b"last message repeated"),
]
frames = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map(b"".join))


@given(st.lists(frames), any_options)
def test_any_frame_is_a_message_with_any_options(batch: list[bytes], options: ParseOptions) -> None:
    messages = read_by(new_parser(options, zone=UTC), batch, ORIGIN)
    assert [message.raw for message in messages] == batch
    for message in messages:
        assert 0 <= message.pri <= 191
        assert len(set(message.tags)) == len(message.tags)
        for field in message[3:9]:
            assert field != b""


field = st.binary(min_size=1, max_size=60).map(lambda value: value.translate(TO_FIELD))
TO_FIELD = bytes(byte if 0x21 <= byte <= 0x7E else 0x61 + byte % 26 for byte in range(256))
msgs = st.binary().filter(lambda msg: msg == msg.rstrip(b"\n\r\0") and msg[:1] != b"\xef")


@given(
    pri=st.integers(0, 191),
    timestamp=st.none() | st.sampled_from([b"2003-10-11T22:14:15.003Z", b"1985-04-12T23:20:50Z"]),
    hostname=st.none() | field,
    app_name=st.none() | field,
    procid=st.none() | field,
    msgid=st.none() | field,
    structured_data=st.none() | st.sampled_from([b'[a b="c"]', b'[a@1 b="\\]" b="2"][c]']),
    msg=msgs,
)
def test_what_is_written_as_rfc5424_is_read_back(
    pri: int,
    timestamp: bytes | None,
    hostname: bytes | None,
    app_name: bytes | None,
    procid: bytes | None,
    msgid: bytes | None,
    structured_data: bytes | None,
    msg: bytes,
) -> None:
    header = (timestamp, hostname, app_name, procid, msgid, structured_data)
    line = format_message(format_header(pri, *header), msg)
    message = parse(line)
    cut = (None if f in (None, b"-") else f[:most] for f, most in zip(
        (hostname, app_name, procid, msgid), (255, 48, 128, 32), strict=True
    ))  # fmt: skip
    assert message == SyslogMessage(
        *(*divmod(pri, 8), 1, timestamp, *cut, structured_data, msg, line)
    )


@given(st.integers(0, 191), field, field, st.none() | field, st.binary(max_size=50))
def test_what_is_written_as_rfc3164_is_read_back(
    pri: int, hostname: bytes, app_name: bytes, procid: bytes | None, msg: bytes
) -> None:
    host, tag = format_hostname(hostname), format_tag(app_name, procid)
    msg = b"@" + msg.rstrip(b"\n\r\0")
    line = b"<%d>Oct 11 22:14:15 %s %s %s" % (pri, host, tag, msg)
    message = parse(line)
    assert message[:4] == (*divmod(pri, 8), 0, b"Oct 11 22:14:15")
    assert (message.hostname, message.msg) == (host, msg)
    assert format_tag(message.app_name, message.procid) == tag
    assert message.pairs == {"LEGACY_MSGHDR": tag + b" "}


LOCAL = ORIGIN._replace(transport=Transport.UNIX, peer_host="", peer_port=0)
LOCAL_LINES = [
    *(LINE, b"<34>Oct 11 22:14:15 su[1]: text", b"<34>Oct 11 22:14:15 Media Server[12]: x"),
    *(b"my-host app: x", b"<13>my-host app:@cee: {}", b"<13>1 - h a - - - x", b"x", b""),
]


@pytest.mark.parametrize(
    "options", [{}, {"adapters": True}, {"parse_tags": "all"}, {"store_raw": True}]
)
def test_lines_of_local_sockets_name_no_host(options: dict[str, Any]) -> None:
    origin = LOCAL
    local = read_by(new_parser(ParseOptions(**options), zone=UTC), LOCAL_LINES, origin)
    without = read_by(
        new_parser(ParseOptions(no_hostname=True, **options), zone=UTC), LOCAL_LINES, ORIGIN
    )
    assert local == without
    assert [message.hostname for message in local if message.hostname] == [b"h"]  # of RFC 5424


def test_local_sockets_whose_lines_name_their_host_are_read_as_the_network() -> None:
    parser = new_parser(ParseOptions(local_hostname=True), zone=UTC)
    of_local = read_by(parser, LOCAL_LINES, LOCAL)
    assert of_local == read_by(parser, LOCAL_LINES, ORIGIN) == parse_all(LOCAL_LINES)


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP, Transport.NONE])
def test_all_other_sources_may_name_a_host(transport: Transport) -> None:
    parser = new_parser(ParseOptions(), zone=UTC)
    origin = LOCAL._replace(transport=transport)
    assert read_by(parser, LOCAL_LINES, origin) == parse_all(LOCAL_LINES)


def test_each_line_is_read_with_its_own_origin_and_the_time_of_all() -> None:
    options = ParseOptions(keep_hostname=False, keep_timestamp=False)
    other = ORIGIN._replace(peer_host="192.0.2.9", received_at=1.0)
    arrival = Arrival([(1, ORIGIN), (1, other), (3, other)], 1795000000.0, 0.0)
    frames = [LINE, LINE, b"<999>x"]
    lines = new_parser(options, zone=UTC)(frames, arrival)
    messages = lines.messages()
    assert [message.hostname for message in messages] == [b"192.0.2.1"] + [b"192.0.2.9"] * 2
    assert len({message.timestamp for message in messages}) == 1
    expected = read_by(new_parser(options, zone=UTC), frames, ORIGIN)
    assert messages[0].timestamp == expected[0].timestamp
    assert (len(lines), lines.frames, lines.odd()) == (3, frames, [2])
    assert lines.column("severity") == [message.severity for message in messages]


FRAME = b"<34>Oct 11 22:14:15 h su[1]: caf\xe9"


def read(frame: bytes, **options: Any) -> SyslogMessage:
    reader = frame_reader(ParseOptions(**options), Dialect(default_pri=(3, 4)))
    assert reader is not None
    return reader(frame)


def test_nothing_is_read() -> None:
    message = read(FRAME + b"\n\0", no_parse=True)
    assert message[:10] == (3, 4, 0, None, None, None, None, None, None, FRAME)
    assert (message.raw, message.pairs) == (FRAME + b"\n\0", None)


@pytest.mark.parametrize(
    ("line", "pri", "msg"),
    [
        (b"<34>Oct 11 x", 34, b"Oct 11 x"),
        (b"<034>", 34, b""),
        (b"<>x", 0, b"x"),
        (b"x", 28, b"x"),
        (b"<192>x", 28, b"<192>x"),
        (b"<3 4>x", 28, b"<3 4>x"),
    ],
)
def test_only_the_pri_is_read(line: bytes, pri: int, msg: bytes) -> None:
    message = read(line + b"\n", no_header=True)
    assert (message.pri, message.msg) == (pri, msg)
    assert message.tags == ((b"syslog.invalid_pri",) if line.startswith((b"<1", b"<3 ")) else ())


@pytest.mark.parametrize(
    ("line", "tags"),
    [
        (b"<13>1 - h a - - - x", [b"syslog.missing_timestamp"]),
        (b"<13>1 2003-10-11T22:14:15Z h a - - - x", []),
        (b"<13>Oct 11 22:14:15 h a: x", []),
        (b"<13>Oct 11 22:14:15 a: x", [b"syslog.invalid_hostname"]),
        (b"Oct 11 22:14:15 h a: x", [b"syslog.missing_pri"]),
        (b"<13>x", [b"syslog.missing_timestamp", b"syslog.rfc3164_missing_header"]),
        (b"<13>Oct 11 22:14:15 last message repeated 2 times", []),
        (b"<999>", [b"syslog.invalid_pri"]),
        (b"6 <13>Oct 11 22:14:15 h a: x", [b"syslog.unexpected_framing"]),
    ],
)
def test_what_is_missing(line: bytes, tags: list[bytes]) -> None:
    assert read(line, parse_tags="all").tags == tuple(tags)


def test_the_line_becomes_a_pair() -> None:
    message = read(FRAME + b"\r\n\0", store_raw=True)
    assert message.pairs == {"LEGACY_MSGHDR": b"su[1]: ", "RAWMSG": FRAME}
    assert read(b"<13>1 - - - - - -", store_raw=True).pairs == {"RAWMSG": b"<13>1 - - - - - -"}


def test_text_is_cut_before_it_is_read() -> None:
    message = read(FRAME, message_bytes_max=30)
    assert (message.msg, message.raw) == (b"c", FRAME)
