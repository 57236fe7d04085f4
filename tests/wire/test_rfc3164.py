from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.rfc3164 import (
    format_hostname,
    format_tag,
    parse_rfc3164,
    parse_usual_rfc3164,
)

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
        (b"Oct 11 22:14:15 host", (OCT, None, b"host", None, b"")),
        (b"Oct 11 22:14:15 host ", (OCT, b"host", None, None, b"")),
        (b"Oct 11 22:14:15 host : text", (OCT, b"host", None, None, b"text")),
        (b"Oct 11 22:14:15 host su:   text ", (OCT, b"host", b"su", None, b"  text ")),
        (b"Oct 11 22:14:15 host su[1:2]: text", (OCT, b"host", b"su", b"1:2", b"text")),
        (b"Oct 11 22:14:15 host [12] text", (OCT, b"host", None, b"12", b"text")),
        (b"Oct 11 22:14:15 [2001:db8::1] x", (OCT, None, None, b"2001", b"db8::1] x")),
        (b"Oct 11 22:14:15 host su[1 text", (OCT, b"host", b"su", b"1", b"text")),
        (b"Oct 11 22:14:15 ::1 su: text", (OCT, b"::1", b"su", None, b"text")),
        (b"Oct 11 22:14:15 fe80:: su: text", (OCT, b"fe80::", b"su", None, b"text")),
        (b"Oct 11 22:14:15 ::ffff:1.2.3.4 su: x", (OCT, b"::ffff:1.2.3.4", b"su", None, b"x")),
        (b"Oct 11 22:14:15 cafe: text", (OCT, None, b"cafe", None, b"text")),
        (b"%s host su: text" % ISO, (ISO, b"host", b"su", None, b"text")),
        (b"Apr 15 2007 21:28:13: su: x", (b"Apr 15 2007 21:28:13", None, b"su", None, b"x")),
        (b"Apr 15 21:28:13 2007 h su: x", (b"Apr 15 21:28:13 2007", b"h", b"su", None, b"x")),
        (b"su[230]: text", (None, None, b"su", b"230", b"text")),
        (b"hello world", (None, None, b"hello", None, b"world")),
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


@pytest.mark.parametrize("host_octets", [255, 256])
def test_a_host_has_255_octets_at_most(host_octets: int) -> None:
    word = b"h" * host_octets
    _, hostname, app_name, _, msg = fields(b"%s %s su: text" % (OCT, word))
    if host_octets <= 255:
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


@pytest.mark.parametrize("line", [b"3: text", b"*text", b": text", b"12: *text"])
def test_without_pri_and_stamp_there_is_nothing_of_cisco(line: bytes) -> None:
    assert parse_rfc3164(line, b"", (1, 5), 0).structured_data is None
    with_pri = parse_rfc3164(b"<9>" + line, b"", (1, 5), 3)
    assert with_pri.structured_data is not None
    assert with_pri.app_name == b"text"
    with_stamp = parse_rfc3164(line.replace(b"text", OCT), b"", (1, 5), 0)
    assert with_stamp.structured_data == with_pri.structured_data


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


PIECES = [
    *(b"Oct 11 22:14:15", b"Apr 29 13:58:40 2016", b"Apr 15 2007 21:28:13", ISO, b"+0200", b" "),
    *(b"host", b"app", b"[", b"1", b"]", b":", b" ", b" ", b"a:b", b"h" * 256, b"=", b"\xff"),
    *(b"fe80:", b"::", b"cafe", b" cafe: "),
    *(b"last message repeated", b"Message forwarded from", b"12: *", b" host app[1]: ", b".5"),
]
after_pri = st.lists(st.sampled_from(PIECES)).map(b"".join)


@given(after_pri | after_pri.map(lambda rest: OCT + b" " + rest))
def test_usual_lines_are_read_the_same(rest: bytes) -> None:
    line = b"<34>" + rest
    usual = parse_usual_rfc3164(line, line)
    assert usual is None or usual == parse_rfc3164(line, line, (4, 2), 4)


def test_what_is_usual() -> None:
    for tag in (b"su:", b"su[1]:", b"su[1]: text", b"cafe: x"):
        assert parse_usual_rfc3164(b"<34>%s host %s" % (OCT, tag), b"") is not None
        assert parse_usual_rfc3164(b"<34>%s %s" % (OCT, tag), b"") is not None
    for line in (
        b"<34>%s cafe:x" % OCT,
        b"<34>%s h su x" % OCT,
        b"<192>%s h su: x" % OCT,
        b"%s h su: x" % OCT,
        b"",
    ):
        assert parse_usual_rfc3164(line, b"") is None
