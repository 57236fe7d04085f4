from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.wire.message_steps import (
    Step,
    each,
    on_one_line,
    with_app_tag,
    with_chained_host,
    with_host,
    with_kernel_program,
    with_offsets,
    with_peer_host,
    with_program,
    with_receive_time,
    with_tags,
    with_valid_utf8,
    without_bad_program,
    without_legacy_header,
    without_tags,
)
from relay.wire.parse import parse

RECEIVED_AT = datetime(2026, 11, 21, 0, 32, tzinfo=UTC).timestamp()
ORIGIN = Origin("in", Transport.UDP, "192.0.2.1", 514, received_at=RECEIVED_AT)
LINE = b"<13>Oct 11 22:14:15 h su[1]: text"


def after(step: Step, line: bytes = LINE, origin: Origin = ORIGIN) -> SyslogMessage:
    (message,) = step([parse(line)], origin)
    return message


@pytest.mark.parametrize("program", [b"su", b"postfix/smtpd", b"CROND(root)", b"7z"])
def test_a_good_program_stays(program: bytes) -> None:
    line = LINE.replace(b"su", program)
    assert without_bad_program(parse(line)) == parse(line)


@pytest.mark.parametrize("program", [b"12", b"%ASA-4-106023", b"a,b", b""])
def test_a_bad_program_is_text(program: bytes) -> None:
    message = without_bad_program(parse(LINE.replace(b"su", program)))
    assert (message.app_name, message.procid) == (None, None)
    assert message.msg == program + b"[1]: text"
    assert message.pairs is None
    assert message.tags == (b"syslog.rfc3164_invalid_program",)


@pytest.mark.parametrize("line", [b"<13>Oct 11 22:14:15 h ", b"<13>1 - h 12 - - - x", b"<999>"])
def test_without_a_tag_there_is_no_bad_program(line: bytes) -> None:
    assert without_bad_program(parse(line)) == parse(line)


def test_the_kernel_has_a_program() -> None:
    message = with_kernel_program(parse(b"<6>usb 1-1: new device"))
    assert (message.app_name, message.msg) == (b"kernel", b"usb 1-1: new device")
    for line in (LINE, b"<6>Oct 11 22:14:15 h a: x", b"<6>1 - h a - - - x", b"<6>1 x"):
        assert with_kernel_program(parse(line)) == parse(line)


def test_the_tag_of_an_adapter() -> None:
    message = parse(LINE)._replace(pairs={".app.name": b"cee"}, tags=(b"a",))
    assert with_app_tag(message).tags == (b"a", b".app.cee")
    assert with_app_tag(parse(LINE)) == parse(LINE)


def test_stamps_get_the_offset_of_a_zone() -> None:
    step = with_offsets(ZoneInfo("Europe/Budapest"), guess=False)
    assert after(step).timestamp == b"2026-10-11T22:14:15+02:00"
    for line in (b"<13>1 2003-10-11T22:14:15Z h - - - - x", b"hello"):
        assert after(step, line) == parse(line)


@pytest.mark.parametrize("minutes", [0, 60, -720, 840, 330, 825, 345, -210, -570, 525])
@pytest.mark.parametrize("seconds_off", [0, 30, -30])
def test_an_offset_is_guessed(minutes: int, seconds_off: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    moment = datetime.fromtimestamp(RECEIVED_AT + seconds_off, zone)
    line = moment.strftime("<13>%b %d %H:%M:%S h a: x").encode()
    assert after(with_offsets(None, guess=True), line).timestamp == moment.isoformat().encode()


@pytest.mark.parametrize("seconds", [31, 15 * 60, -3 * 86400, 15 * 3600, -13 * 3600])
def test_an_offset_that_no_zone_has_is_not_guessed(seconds: int) -> None:
    moment = datetime.fromtimestamp(RECEIVED_AT + seconds, UTC)
    line = moment.strftime("<13>%b %d %H:%M:%S h a: x").encode()
    assert after(with_offsets(None, guess=True), line) == parse(line)
    fallback = with_offsets(timezone(timedelta(hours=7)), guess=True)
    stamp = after(fallback, line).timestamp
    assert stamp is not None
    assert stamp.endswith(b"+07:00")


def test_the_receive_time_is_the_stamp() -> None:
    assert after(with_receive_time(UTC)).timestamp == b"2026-11-21T00:32:00.000000+00:00"


def test_the_peer_is_the_host() -> None:
    assert after(with_peer_host).hostname == b"192.0.2.1"
    assert after(with_peer_host, origin=Origin("in", Transport.UNIX)).hostname is None


def test_hosts_are_chained() -> None:
    assert after(with_chained_host).hostname == b"h/192.0.2.1"
    assert after(with_chained_host, LINE.replace(b" h ", b" 192.0.2.1 ")).hostname == b"192.0.2.1"
    assert after(with_chained_host, b"hello").hostname is None
    assert after(with_chained_host, origin=Origin("in", Transport.UNIX)).hostname == b"h"


def test_fields_are_overridden() -> None:
    assert after(with_host(b"other")).hostname == b"other"
    message = after(with_program(b"app"))
    assert (message.app_name, message.procid, message.pairs) == (b"app", b"1", None)
    assert after(with_tags((b"a", b"b", b"a"))).tags == (b"a", b"b")
    assert after(each(without_tags), b"<999>").tags == ()


def test_the_text_of_a_tag_is_dropped_alone() -> None:
    message = parse(LINE)._replace(pairs={"LEGACY_MSGHDR": b"su: ", "RAWMSG": b"x"})
    assert without_legacy_header(message).pairs == {"RAWMSG": b"x"}


def test_only_what_is_no_utf8_is_escaped() -> None:
    good = parse("<13>Oct 11 22:14:15 h a: café \\ \t".encode())
    assert with_valid_utf8(good) is good
    bad = with_valid_utf8(parse(b"<13>Oct 11 22:14:15 h a: \xc3\xa9\xff\\\t\n\0\x1b\x7f."))
    assert bad.msg == "é\\xff\\\\\\t\\n\\x00\\x1b\x7f.".encode()
    assert bad.tags == (b"message.utf8_sanitized",)


def test_lines_are_joined() -> None:
    assert on_one_line(parse(LINE + b"\r\na\0b\tc")).msg == b"text  a b\tc"
