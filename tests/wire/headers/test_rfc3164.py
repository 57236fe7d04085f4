from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.hostname import format_hostname
from relay.wire.headers.rfc3164 import parse_rfc3164
from relay.wire.headers.tag import format_tag

Fields = tuple[bytes | None, bytes | None, bytes | None, bytes | None, bytes]


def fields(line: bytes) -> Fields:
    message = parse_rfc3164(line, line, (1, 5), 0)
    return message.timestamp, message.hostname, message.app_name, message.procid, message.msg


OCT = b"Oct 11 22:14:15"
ISO = b"2003-10-11T22:14:15.003+02:00"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"Oct 11 22:14:15 host su[230]: text", (OCT, b"host", b"su", b"230", b"text")),
        (b"Oct 11 22:14:15: host su: text", (OCT, b"host", b"su", None, b"text")),
        (b"Oct 11 22:14:15 host su text", (OCT, b"host", b"su", None, b"text")),
        (b"Oct 11 22:14:15 su: text", (OCT, None, b"su", None, b"text")),
        (b"Oct 11 22:14:15 su[1]: text", (OCT, None, b"su", b"1", b"text")),
        (b"Oct 11 22:14:15 word", (OCT, None, None, None, b"word")),
        (b"Oct 11 22:14:15 host word", (OCT, b"host", None, None, b"word")),
        (b"Oct 11 22:14:15 host ", (OCT, b"host", None, None, b"")),
        (b"Oct 11 22:14:15 host : text", (OCT, b"host", None, None, b"text")),
        (b"Oct 11 22:14:15 host su:   text ", (OCT, b"host", b"su", None, b"  text ")),
        (b"Oct 11 22:14:15 host su[1:2]: text", (OCT, b"host", b"su", b"1:2", b"text")),
        (b"Oct 11 22:14:15 host [12] text", (OCT, b"host", None, b"12", b"text")),
        (b"Oct 11 22:14:15 [2001:db8::1] x: y", (OCT, b"2001:db8::1", b"x", None, b"y")),
        (b"Oct 11 22:14:15 [2001:db8::g] x", (OCT, None, None, None, b"[2001:db8::g] x")),
        (b"Oct 11 22:14:15 host su[1 text", (OCT, b"host", b"su", b"1", b"text")),
        (b"Oct 11 22:14:15 ::1 su: text", (OCT, b"::1", b"su", None, b"text")),
        (b"Oct 11 22:14:15 fe80:: su: text", (OCT, b"fe80::", b"su", None, b"text")),
        (b"Oct 11 22:14:15 ::ffff:1.2.3.4 su: x", (OCT, b"::ffff:1.2.3.4", b"su", None, b"x")),
        (b"Oct 11 22:14:15 cafe: text", (OCT, None, b"cafe", None, b"text")),
        (b"%s host su: text" % ISO, (ISO, b"host", b"su", None, b"text")),
        (b"Apr 15 2007 21:28:13: su: x", (b"Apr 15 2007 21:28:13", None, b"su", None, b"x")),
        (b"Apr 15 21:28:13 2007 h su: x", (b"Apr 15 21:28:13 2007", b"h", b"su", None, b"x")),
        (b"su[230]: text", (None, None, b"su", b"230", b"text")),
        (b"hello world", (None, None, None, None, b"hello world")),
        (b"x", (None, None, None, None, b"x")),
        (b"  indented", (None, None, None, None, b"  indented")),
        (b"", (None, None, None, None, b"")),
    ],
)
def test_each_part_of_a_line(line: bytes, expected: Fields) -> None:
    assert fields(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"kernel: usb 1-1: new device", (b"kernel", None, b"usb 1-1: new device")),
        (b"systemd[1]: Started A.", (b"systemd", b"1", b"Started A.")),
        (b"(sd-pam)[99]: text", (b"(sd-pam)", b"99", b"text")),
        (b"/usr/lib/gdm-x-session[7]: a: b", (b"/usr/lib/gdm-x-session", b"7", b"a: b")),
        (b"org.gnome.Shell@wayland[7]: x", (b"org.gnome.Shell@wayland", b"7", b"x")),
        (b"app[7]: one\n two", (b"app", b"7", b"one\n two")),
        (b"app[7]: ", (b"app", b"7", b"")),
    ],
)
def test_what_journald_passes_on(line: bytes, expected: Fields) -> None:
    """Its lines (ForwardToSyslog=yes) have a stamp, no host, and the name from the journal."""
    timestamp, hostname, *rest = fields(b"Oct  1 22:14:15 " + line)
    assert (timestamp, hostname) == (b"Oct  1 22:14:15", None)
    assert tuple(rest) == expected


@pytest.mark.parametrize("host_bytes", [255, 256])
def test_a_host_has_255_bytes_at_most(host_bytes: int) -> None:
    word = b"h" * host_bytes
    _, hostname, app_name, _, msg = fields(b"%s %s su: text" % (OCT, word))
    if host_bytes <= 255:
        assert (hostname, app_name, msg) == (word, b"su", b"text")
    else:
        assert (hostname, app_name, msg) == (None, word, b"su: text")


def test_repeated_messages_have_no_program() -> None:
    repeated = b"last message repeated 3 times"
    assert fields(OCT + b" " + repeated) == (OCT, None, None, None, repeated)
    assert fields(OCT + b" Message forwarded from aix: " + repeated) == (
        *(OCT, b"aix", None, None),
        repeated,
    )


def test_a_cisco_sequence_number_and_clock_mark_are_structured_data() -> None:
    message = parse_rfc3164(b"<189>35: *Apr 29 14:00:16.059: %SYS-5-X: text", b"", (23, 5), 5)
    assert message.structured_data == b'[meta sequenceId="35"][timeQuality isSynced="0"]'
    assert message.timestamp == b"Apr 29 14:00:16.059"
    assert message.msg == b"text"


@pytest.mark.parametrize(
    "line",
    [b"3: text", b"*text", b": text", b"12: *text", b"404: not found", b"3: %s: x", b"*%a-1-b"],
)
@pytest.mark.parametrize("pri", [b"", b"<9>"])
def test_numbers_and_marks_before_a_text_belong_to_it(pri: bytes, line: bytes) -> None:
    message = parse_rfc3164(pri + line, b"", (1, 5), len(pri))
    assert (message.structured_data, message.app_name, message.msg) == (None, None, line)


@pytest.mark.parametrize("pri", [b"", b"<9>"])
@pytest.mark.parametrize(
    ("number", "is_id"),
    [
        *((b"1", True), (b"2147483647", True), (b"35", True)),
        *((b"0", False), (b"000035", False), (b"2147483648", False), (b"99999999999", False)),
    ],
)
@pytest.mark.parametrize(
    ("rest", "program"),
    [
        (b"%s: x" % OCT, None),
        (b"*%s: %%SYS-5-C: x" % OCT, b"%SYS-5-C"),
        (b"%SYS-5-C: x", b"%SYS-5-C"),
    ],
)
def test_a_number_before_a_stamp_or_a_mnemonic_is_a_sequence_id(
    pri: bytes, number: bytes, is_id: bool, rest: bytes, program: bytes | None
) -> None:
    """Only what RFC 5424 §7.3.1 allows; any other stays in front of the text."""
    message = parse_rfc3164(b"%s%s: %s" % (pri, number, rest), b"", (1, 5), len(pri))
    assert message.timestamp == (OCT if OCT in rest else None)
    data = message.structured_data or b""
    if is_id:
        assert data.startswith(b'[meta sequenceId="%s"]' % number)
        assert (message.app_name, message.msg) == (program, b"x")
    else:
        assert b"meta" not in data
        assert message.app_name is None
        assert message.msg.startswith(b"%s: " % number)
        assert message.msg.endswith(b"x")


@pytest.mark.parametrize(
    ("line", "stamp", "rest"),
    [
        (b"Oct 11 22:14:15+02:00 h app: x", b"Oct 11 22:14:15+02:00", (b"h", b"app", b"x")),
        (b"Oct 11 22:14:15 +0200 h app: x", b"Oct 11 22:14:15 +0200", (b"h", b"app", b"x")),
        (b"Oct 11 22:14:15 -05 app: x", b"Oct 11 22:14:15 -05", (None, b"app", b"x")),
        (b"Oct 11 22:14:15Z h app: x", b"Oct 11 22:14:15Z", (b"h", b"app", b"x")),
        (b"Oct 11 22:14:15.123 CEST h a[1]: x", b"Oct 11 22:14:15.123 CEST", (b"h", b"a", b"x")),
        (b"Oct 11 22:14:15.123 CEST: app: x", b"Oct 11 22:14:15.123 CEST", (None, b"app", b"x")),
        (b"Oct 11 22:14:15.123 CEST", b"Oct 11 22:14:15.123 CEST", (None, None, b"")),
        (b"Oct 11 22:14:15 UTC h {}", b"Oct 11 22:14:15 UTC", (b"h", None, b"{}")),
        (
            b"Oct 11 2026 22:14:15 UTC: %A-1-B: x",
            b"Oct 11 2026 22:14:15 UTC",
            (None, b"%A-1-B", b"x"),
        ),
        (b"Oct 11 2026 22:14:15.5 h app: x", b"Oct 11 2026 22:14:15.5", (b"h", b"app", b"x")),
        (b"2026 Oct 11 22:14:15 GMT: app: x", b"2026 Oct 11 22:14:15 GMT", (None, b"app", b"x")),
        (
            b"2026-10-11T22:14:15.1+0200 h app: x",
            b"2026-10-11T22:14:15.1+0200",
            (b"h", b"app", b"x"),
        ),
        (b"2026-10-11T22:14:15+02 h app: x", b"2026-10-11T22:14:15+02", (b"h", b"app", b"x")),
        (
            b"2026-10-11 22:14:15 +02:00 h app: x",
            b"2026-10-11 22:14:15 +02:00",
            (b"h", b"app", b"x"),
        ),
        (b"2026-10-11 22:14:15 UTC h app: x", b"2026-10-11 22:14:15 UTC", (b"h", b"app", b"x")),
        (b"2026-10-11t22:14:15z h app: x", b"2026-10-11t22:14:15z", (b"h", b"app", b"x")),
        (b"2026-10-11T22:14:15 Z h app: x", b"2026-10-11T22:14:15 Z", (b"h", b"app", b"x")),
        # It may as well be a host.
        (b"Oct 11 22:14:15 CEST app: x", b"Oct 11 22:14:15", (b"CEST", b"app", b"x")),
        (b"Oct 11 22:14:15 UTC started it", b"Oct 11 22:14:15", (b"UTC", b"started", b"it")),
        (b"Oct 11 22:14:15 IST: x", b"Oct 11 22:14:15", (None, b"IST", b"x")),  # which one?
        # No offsets.
        (
            b"2026-10-11 22:14:15 -100 degrees",
            b"2026-10-11 22:14:15",
            (None, None, b"-100 degrees"),
        ),
        (b"Oct 11 22:14:15 -host app: x", b"Oct 11 22:14:15", (None, b"-host", b"app: x")),
    ],
)
def test_a_stamp_may_have_an_offset_or_the_name_of_a_zone(
    line: bytes, stamp: bytes, rest: tuple[bytes | None, bytes | None, bytes]
) -> None:
    message = parse_rfc3164(line, line, (1, 5), 0)
    assert (message.timestamp, (message.hostname, message.app_name, message.msg)) == (stamp, rest)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"my-host app: hello", (b"my-host", b"app", None, b"hello")),
        (b"my-host app[12]: hello", (b"my-host", b"app", b"12", b"hello")),
        (b"my-host TOKEN:hello world", (b"my-host", b"TOKEN", None, b"hello world")),
        (b"my_host.example  app: hello", (b"my_host.example", b"app", None, b"hello")),
        (b"192.0.2.1 app: hello", (b"192.0.2.1", b"app", None, b"hello")),
        (b"2001:db8::1 app: hello", (b"2001:db8::1", b"app", None, b"hello")),
        (b"[2001:db8::1] app: hello", (b"2001:db8::1", b"app", None, b"hello")),
        (b"b\xc3\xbcro app: hello", (b"b\xc3\xbcro", b"app", None, b"hello")),
        (b"my-host -: hello", (b"my-host", b"-", None, b"hello")),
        (b'my-host {"a": 1}', (b"my-host", None, None, b'{"a": 1}')),
        (b'my-host {\n  "a": 1\n}', (b"my-host", None, None, b'{\n  "a": 1\n}')),
        (b'my-host @cee: {"a": 1}', (b"my-host", None, None, b'@cee: {"a": 1}')),
        (b"app: my-host app: hello", (None, b"app", None, b"my-host app: hello")),
        (b"no header at all", (None, None, None, b"no header at all")),
        (b"no header: at all", (b"no", b"header", None, b"at all")),
        (b"42 app: hello", (None, None, None, b"42 app: hello")),
        (b"my-host app hello: world", (None, None, None, b"my-host app hello: world")),
        (b"GET http://example.com/", (None, None, None, b"GET http://example.com/")),
        (b"http://example.com/ is down", (None, None, None, b"http://example.com/ is down")),
        (b"at 10:20:30 it rained", (None, None, None, b"at 10:20:30 it rained")),
        (b"a\tb app: hello", (None, None, None, b"a\tb app: hello")),
        (b"my-host a\x01pp: hello", (None, None, None, b"my-host a\x01pp: hello")),
        (b"payload {'a': 1", (None, None, None, b"payload {'a': 1")),
    ],
)
def test_lines_without_pri_and_stamp(
    line: bytes, expected: tuple[bytes | None, bytes | None, bytes | None, bytes]
) -> None:
    assert fields(line)[1:] == expected
    without_hosts = parse_rfc3164(line, line, (1, 5), 0, None, False)
    assert without_hosts.hostname is None


@pytest.mark.parametrize(
    ("line", "hostname", "msg"),
    [
        (b"my-host app: hello", None, b"my-host app: hello"),  # a PRI comes from a program
        (b"my-host app:@cee: {}", b"my-host", b"@cee: {}"),
        (b"my-host app[1]: @cee: {}", b"my-host", b"@cee: {}"),
        (b"my-host -:hello", b"my-host", b"hello"),
        (b"h 01234567-89ab-cdef-0123-456789abcdef:  x", b"h", b" x"),
        (b'my-host {"a":1}', b"my-host", b'{"a":1}'),
        (b'{"a":1}', None, b'{"a":1}'),
        (b'@cee: {"a":1}', None, b'@cee: {"a":1}'),
    ],
)
def test_lines_with_a_pri_and_without_a_stamp(
    line: bytes, hostname: bytes | None, msg: bytes
) -> None:
    message = parse_rfc3164(b"<13>" + line, line, (1, 5), 4)
    assert (message.hostname, message.msg) == (hostname, msg)


@pytest.mark.parametrize(
    "text", [b'{"a": "b: c"}', b'@cee: {"a":1}', b'@cee:{"a":1}', b"{", b'"a": 1']
)
@pytest.mark.parametrize(
    "start", [b"", b"%s " % OCT, b"%s h " % OCT, b"%s  " % ISO, b"%s h  " % ISO]
)
def test_json_and_cookies_begin_no_tag(start: bytes, text: bytes) -> None:
    message = parse_rfc3164(b"<13>" + start + text, b"", (1, 5), 4)
    assert (message.app_name, message.procid, message.msg) == (None, None, text)
    assert message.hostname == (b"h" if b" h" in start else None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b"\tverdict=pass\tid=12\tagent=Some Browser",
            (None, None, b"verdict=pass\tid=12\tagent=Some Browser"),
        ),
        (b" h\tx app: y", (None, None, b"h\tx app: y")),
        (b" h\x07 app: y", (None, None, b"h\x07 app: y")),
        (b" CEF:0|Some Vendor|Wide Scan|1", (None, b"CEF", b"0|Some Vendor|Wide Scan|1")),
        (b" LEEF:2.0|V|P|1|E|^|a=b", (None, b"LEEF", b"2.0|V|P|1|E|^|a=b")),
        (b" db:connected to replica", (None, b"db", b"connected to replica")),
        (b" C:\\logs are full", (None, b"C", b"\\logs are full")),
        (b" Face: x", (None, b"Face", b"x")),
        (b" dead:beef text here", (None, b"dead", b"beef text here")),
        (b" fe80::1%eth0 app: x", (b"fe80::1%eth0", b"app", b"x")),
        (b" [::ffff:192.0.2.1] app: x", (b"::ffff:192.0.2.1", b"app", b"x")),
        (b" web_1.example app: x", (b"web_1.example", b"app", b"x")),
        (b" _gateway app: x", (b"_gateway", b"app", b"x")),
        (b" a/b@c app: x", (b"a/b@c", b"app", b"x")),
        (b" b\xc3\xbcro app: x", (b"b\xc3\xbcro", b"app", b"x")),
        (b" caf\xe9 app: x", (None, None, b"caf\xe9 app: x")),
        (b' "quoted text" here', (None, None, b'"quoted text" here')),
        (b" user=joe action=in", (None, None, b"user=joe action=in")),
        (b" a|b|c d", (None, None, b"a|b|c d")),
        (b" *** restart", (None, None, b"*** restart")),
        (b" - app: x", (b"-", b"app", b"x")),
        (b" h [core:error] [pid 12] x", (b"h", None, b"[core:error] [pid 12] x")),
        (b" h http://a/ b", (b"h", b"http", b"//a/ b")),
        (b" http://a/ b", (None, None, b"http://a/ b")),
    ],
)
def test_a_host_is_a_name_or_an_address(
    line: bytes, expected: tuple[bytes | None, bytes | None, bytes]
) -> None:
    message = parse_rfc3164(OCT + line, b"", (1, 5), 0)
    assert (message.hostname, message.app_name, message.msg) == expected


@pytest.mark.parametrize(
    ("line", "program", "pid", "msg"),
    [
        (b"Media Server[12]: started", b"Media Server", b"12", b"started"),
        (b"Plex Media Server[12]: x", b"Plex Media Server", b"12", b"x"),
        (b"app[12]: x", b"app", b"12", b"x"),
        (b"app: my-host says: x", b"app", None, b"my-host says: x"),
        (b"a b c d e[12]: x", None, None, b"a b c d e[12]: x"),
        (b"hello world", None, None, b"hello world"),
        (b"hello", None, None, b"hello"),
        (b'{"a": "b c[1]: d"}', None, None, b'{"a": "b c[1]: d"}'),
    ],
)
@pytest.mark.parametrize("start", [b"<30>Oct 11 22:14:15 ", b"<30>"])
def test_where_no_host_is_expected_a_program_may_have_blanks(
    start: bytes, line: bytes, program: bytes | None, pid: bytes | None, msg: bytes
) -> None:
    message = parse_rfc3164(start + line, b"", (3, 6), 4, None, False)
    assert (message.hostname, message.app_name, message.procid) == (None, program, pid)
    assert message.msg == msg
    assert (message.pairs or {})["LEGACY_MSGHDR"] + msg == line


def test_a_host_may_be_refused_or_not_expected() -> None:
    line = OCT + b" host su: text"
    refused = parse_rfc3164(line, b"", (1, 5), 0, lambda word: word != b"host")
    assert (refused.hostname, refused.app_name, refused.msg) == (None, b"host", b"su: text")
    assert refused.tags == (b"syslog.invalid_hostname",)
    unexpected = parse_rfc3164(line, b"", (1, 5), 0, None, False)
    assert (unexpected.hostname, unexpected.tags) == (None, ())


def test_the_literal_text_before_msg_is_kept() -> None:
    assert parse_rfc3164(OCT + b" h su[230]: x", b"", (1, 5), 0).pairs == {
        "LEGACY_MSGHDR": b"su[230]: "
    }


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        (b"host", b"host"),
        (b"[2001:db8::1]", b"2001:db8::1"),
        (b"host:514", b"host_514"),
        (b"a[1]\n", b"a_1__"),
        (b"", b"-"),
    ],
)
def test_host_names_are_made_readable(hostname: bytes, expected: bytes) -> None:
    assert format_hostname(hostname) == expected


def test_tags() -> None:
    assert format_tag(b"su", b"230") == b"su[230]:"
    assert format_tag(b"su", None) == b"su:"
    assert format_tag(None, None) == b"-:"
    assert format_tag(b"a:b[c] d", b"1]\n") == b"a_b_c__d[1__]:"


@given(st.binary(min_size=1), st.binary(min_size=1), st.binary(), st.binary())
def test_any_header_written_is_read_back(
    hostname: bytes, app_name: bytes, procid: bytes, msg: bytes
) -> None:
    hostname, tag = format_hostname(hostname), format_tag(app_name, procid)
    message = parse_rfc3164(b"%s %s %s%s" % (ISO, hostname, tag, b"@" + msg), b"", (1, 5), 0)
    assert (message.timestamp, message.hostname, message.msg) == (ISO, hostname, b"@" + msg)
    assert format_tag(message.app_name, message.procid) == tag
