from __future__ import annotations

import json
import re
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.model.output import FORMATS, Pair, Selection
from relay.model.parse_options import ParseOptions
from relay.rewrite.batch import MacroContext
from relay.rewrite.forms.ewmm import ewmm
from relay.rewrite.forms.formats import EMPTY, new_format, rfc5424
from relay.wire.headers.timestamp import to_datetime
from relay.wire.parse import parse, parse_all
from relay.wire.parse_options import new_parser
from tests.any_messages import LOCAL, NETWORK, messages, origins
from tests.lines import read_by

BUDAPEST = ZoneInfo("Europe/Budapest")
NOW = b"2026-11-21T01:53:20.250000+01:00"


def context(
    digits: int | None = None, *, ts_format: str | None = None, time_zone: tzinfo | None = None
) -> MacroContext:
    return MacroContext(b"vm", lambda: 1795222405.5, BUDAPEST, time_zone, digits, ts_format)


def write(name: str, line: bytes, **options: Any) -> bytes:
    rewrite = new_format(name, context(**options))
    assert rewrite is not None
    (payload,) = rewrite([parse(line)], NETWORK)
    return payload


LEGACY = b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed"
MODERN = b'<165>1 2003-10-11T22:14:15.1234567Z h app 77 ID47 [x@1 a="b"] \xef\xbb\xbfcaf\xc3\xa9\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LEGACY, b"<34>1 2026-10-11T22:14:15+02:00 mymachine su 230 - - 'su root' failed"),
        (
            MODERN,
            b'<165>1 2003-10-11T22:14:15.123456Z h app 77 ID47 [x@1 a="b"] \xef\xbb\xbfcaf\xc3\xa9',
        ),
        (b"<13>1 - - - - - -", b"<13>1 %s 192.0.2.1 - - - -" % NOW),
        (b"<13>1 - - - - - - \xef\xbb\xbf", b"<13>1 %s 192.0.2.1 - - - - \xef\xbb\xbf" % NOW),
        (b"<999>x", b"<13>1 %s 192.0.2.1 - - - - <999>x" % NOW),
        (b"<13>Gr\xc3\xb6\xc3\x9fe 5", b"<13>1 %s 192.0.2.1 - - - - Gr\xc3\xb6\xc3\x9fe 5" % NOW),
        (b"<13>%s y" % (b"x" * 49), b"<13>1 %s 192.0.2.1 - - - - %s y" % (NOW, b"x" * 49)),
        (b"<13>h\xc3: y", b"<13>1 %s 192.0.2.1 - - - - h\xc3: y" % NOW),
        (
            b"<13>12: Oct 11 22:14:15 h a: x",
            b'<13>1 2026-10-11T22:14:15+02:00 h a - - [meta sequenceId="12"] x',
        ),
    ],
)
def test_rfc5424(line: bytes, expected: bytes) -> None:
    assert write("rfc5424", line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LEGACY, LEGACY),
        (MODERN, b"<165>Oct 12 00:14:15 h app[77]: caf\xc3\xa9"),
        (b"<13>1 2003-10-11T22:14:15Z h a - - - ", b"<13>Oct 12 00:14:15 h a: "),
        (b"<13>1 - - - - - - x", b"<13>Nov 21 01:53:20 192.0.2.1 -: x"),
        (b"<999>x", b"<13>Nov 21 01:53:20 192.0.2.1 -: <999>x"),
        (b"<13>Restarting now", b"<13>Nov 21 01:53:20 192.0.2.1 -: Restarting now"),
        (b"<13>404: x", b"<13>Nov 21 01:53:20 192.0.2.1 -: 404: x"),
        (b"<13>Gr\xc3\xb6\xc3\x9fe 5", b"<13>Nov 21 01:53:20 192.0.2.1 -: Gr\xc3\xb6\xc3\x9fe 5"),
        (b"<13>a\x01b: c", b"<13>Nov 21 01:53:20 192.0.2.1 a\x01b: c"),
        (b"<13>Oct 11 22:14:15 h [7] x", b"<13>Oct 11 22:14:15 h [7] x"),
        (b"<13>Oct 11 22:14:15 h a:  x", b"<13>Oct 11 22:14:15 h a:  x"),
        (
            b"<13>Oct 11 22:14:15 h last message repeated",
            b"<13>Oct 11 22:14:15 h last message repeated",
        ),
        (
            b"<13>1 2026-10-11T22:14:15+02:00 last message - - - repeated",
            b"<13>Oct 11 22:14:15 last message: repeated",
        ),
    ],
)
def test_rfc3164(line: bytes, expected: bytes) -> None:
    assert write("rfc3164", line) == expected


def test_stamps_as_asked_for() -> None:
    line = b"<13>1 2003-10-11T22:14:15.5Z h a - - - x"
    assert write("rfc5424", line, digits=0).split()[1] == b"2003-10-11T22:14:15+00:00"
    assert write("rfc5424", line, digits=6).split()[1] == b"2003-10-11T22:14:15.500000+00:00"
    moved = write("rfc5424", line, time_zone=BUDAPEST)
    assert moved.split()[1] == b"2003-10-12T00:14:15.5+02:00"
    assert write("rfc3164", line, time_zone=UTC) == b"<13>Oct 11 22:14:15 h a: x"
    assert write("rfc3164", line, digits=3) == b"<13>Oct 12 00:14:15.500 h a: x"
    assert write("rfc3164", line, ts_format="iso") == b"<13>2003-10-11T22:14:15.5Z h a: x"
    with pytest.raises(ValueError, match="RFC 5424 allows 6 digits, not 7"):
        new_format("rfc5424", context(7))


def test_other_formats() -> None:
    batch = parse_all([LEGACY, MODERN])
    own = new_format("ewmm", context())
    assert own is not None
    assert own(batch, LOCAL) == ewmm(b"vm", BUDAPEST)(batch, LOCAL)
    assert new_format("raw", context()) is None
    assert set(FORMATS) == {"rfc5424", "rfc3164", "ewmm", "json", "template", "raw"}


def test_templates_are_never_empty() -> None:
    rewrite = new_format("template", context(), template="$PID")
    assert rewrite is not None
    assert rewrite(parse_all([LEGACY, b"<13>x: y"]), NETWORK) == [b"230", EMPTY]
    assert EMPTY


def test_json() -> None:
    rewrite = new_format("json", context())
    assert rewrite is not None
    (payload,) = rewrite([parse(LEGACY)], NETWORK)
    assert json.loads(payload) == {
        "HOST": "mymachine",
        "HOST_FROM": "192.0.2.1",
        "PROGRAM": "su",
        "PID": "230",
        "MESSAGE": "'su root' failed",
        "SOURCE": "in",
        "LEGACY_MSGHDR": "su[230]: ",
        "DATE": "Oct 11 22:14:15",
        "FACILITY": "auth",
        "PRIORITY": "crit",
        "SEQNUM": "1",
        "SOURCEIP": "192.0.2.1",
        "TAGS": ".source.in",
    }


def test_a_message_that_a_selection_drops_has_an_empty_payload() -> None:
    reports: list[tuple[str, int]] = []
    selection = Selection(pairs=(Pair("n", "$PID", "int"),), on_error="drop-message")
    rewrite = new_format(
        "json", context(), selection=selection, report=lambda *report: reports.append(report)
    )
    assert rewrite is not None
    assert rewrite(parse_all([LEGACY, b"<13>x: y"]), NETWORK) == [b'{"n":230}', b""]
    assert reports == [("n", 1)]


def normalised(message: SyslogMessage) -> tuple[object, ...]:
    """What both formats can say, in one way of saying it."""
    dash = (None, b"-", b"")
    return (
        *(message.pri, message.hostname),
        *(None if field in dash else field for field in (message.app_name, message.procid)),
        message.msg,
    )


TEXT = st.binary(max_size=30).map(lambda text: text.rstrip(b"\r\n\0"))
FIELD = st.none() | st.from_regex(rb"[!-~]{1,32}", fullmatch=True)
WORD = st.none() | st.from_regex(rb"[0-9A-Za-z_./-]{1,40}", fullmatch=True)
STAMP = st.sampled_from(
    [b"2026-10-11T22:14:15Z", b"2026-10-11T22:14:15.123456+05:30", b"Oct  1 02:14:15"]
)


def message_of(
    pri: tuple[int, int], version: int, stamp: bytes, fields: tuple[bytes | None, ...], msg: bytes
) -> SyslogMessage:
    return SyslogMessage(*pri, version, stamp, b"h.example", *fields, None, msg, b"")


PRI = st.tuples(st.integers(0, 23), st.integers(0, 7))


@given(st.builds(message_of, PRI, st.just(1), STAMP, st.tuples(FIELD, FIELD, FIELD), TEXT))
def test_rfc5424_is_read_again_as_it_was(message: SyslogMessage) -> None:
    rewrite = new_format("rfc5424", context())
    assert rewrite is not None
    again = parse(rewrite([message], NETWORK)[0])
    if message.msg.startswith(b"\xef\xbb\xbf"):
        return
    assert normalised(again) == normalised(message)
    assert (again.msgid or b"-") == (message.msgid or b"-")
    assert again.timestamp is not None
    assert to_datetime(again.timestamp, 0.0, BUDAPEST) == to_datetime(
        message.timestamp, NETWORK.received_at, BUDAPEST
    )


@given(st.builds(message_of, PRI, st.just(0), STAMP, st.tuples(WORD, WORD, st.none()), TEXT))
def test_rfc3164_is_read_again_as_it_was(message: SyslogMessage) -> None:
    rewrite = new_format("rfc3164", context())
    assert rewrite is not None
    again = parse(rewrite([message], NETWORK)[0])
    assert normalised(again) == normalised(message)
    moment = to_datetime(message.timestamp, NETWORK.received_at, BUDAPEST)
    found = to_datetime(again.timestamp, NETWORK.received_at, BUDAPEST)
    assert found == moment.replace(microsecond=0)


LEGACY_HEADER = re.compile(
    rb"<[0-9]{1,4}>[A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} [!-~\x80-\xff]+ [^ ]", re.DOTALL
)
HEADER = re.compile(
    rb"<[0-9]{1,4}>1 [0-9T:.+-]+Z? [!-~\x80-\xff]+( [!-~]+){3} (-|\[.+\])( |\Z)", re.DOTALL
)


@given(messages, origins)
def test_headers_are_valid(message: SyslogMessage, origin: Origin) -> None:
    for name, header in (("rfc5424", HEADER), ("rfc3164", LEGACY_HEADER)):
        rewrite = new_format(name, context())
        assert rewrite is not None
        (payload,) = rewrite([message], origin)
        assert header.match(payload), payload


@given(messages, origins)
def test_writing_again_changes_nothing(message: SyslogMessage, origin: Origin) -> None:
    for name in ("rfc5424", "rfc3164"):
        rewrite = new_format(name, context())
        assert rewrite is not None
        once = rewrite([message._replace(facility=1)], origin)
        assert rewrite(parse_all(once), NETWORK) == once


@pytest.mark.parametrize(
    ("options", "msg", "marked"),
    [
        (ParseOptions(), b"caf\xc3\xa9", False),
        (ParseOptions(validate_utf8=True), b"caf\xc3\xa9", True),
        (ParseOptions(validate_utf8=True), b"caf\xe9", False),
        (ParseOptions(assume_utf8=True), b"caf\xe9", True),
    ],
)
def test_text_that_a_source_says_is_utf8_gets_its_mark(
    options: ParseOptions, msg: bytes, marked: bool
) -> None:
    parser = new_parser(options, zone=UTC)
    origin = Origin("in", Transport.TCP, "192.0.2.1", 5, received_at=1e9)
    for header in (b"<13>1 - h a - - - ", b"<13>Oct 11 22:14:15 h a: "):
        messages = read_by(parser, [header + msg], origin)
        write = rfc5424(MacroContext(relay_name=b"r", now=lambda: 0.0))
        (payload,) = write(messages, origin)
        assert payload.endswith(b" \xef\xbb\xbf" + msg) == marked
        assert payload.endswith(msg)
