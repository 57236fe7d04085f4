from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.parse import parse, parse_all, severity_of
from relay.wire.structured_data import parse_structured_data
from relay.wire.timestamp import to_datetime

VECTORS = json.loads((Path(__file__).parent / "vectors" / "parse.json").read_text())

CORE = [
    vector
    for vector in VECTORS
    if vector["mode"] in ("rfc3164", "rfc5424")
    and vector["kind"] in ("core", "quirk")
    and not vector.get("requires_options")
]

PIECES = [
    *(b"<13>", b"<999>", b"<", b">", b"1 ", b"- ", b"Oct 11 22:14:15", b"2003-10-11T22:14:15Z"),
    *(b" ", b":", b"[", b"]", b'"', b"=", b"\\", b"-", b"host", b"app", b'[a b="c"]', b"\n"),
    *(b"@cee:", b'{"a":1}', b"\xef\xbb\xbf", b"\xff", b"\0", b"last message repeated", b"12: *"),
]
frames = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map(b"".join))


def text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode("latin-1")


def as_expected(vector: dict[str, Any]) -> dict[str, Any]:
    assert vector["tz"] == "UTC"
    received_at = datetime.fromisoformat(vector["now"]).timestamp()
    message = parse(vector["input"].encode("latin-1"))
    stamp = message.timestamp
    return {
        "facility": message.facility,
        "severity": message.severity,
        "timestamp": stamp and to_datetime(stamp, received_at, UTC).isoformat(),
        "host": text(message.hostname),
        "program": text(message.app_name),
        "pid": text(message.procid),
        "msgid": text(message.msgid),
        "sdata": {
            sd_id: {name: text(values[-1]) for name, values in element.items()}
            for sd_id, element in parse_structured_data(message.structured_data).items()
        },
        "message": text(message.msg),
    }


def with_unset_as_none(expected: dict[str, Any]) -> dict[str, Any]:
    unset = ("timestamp", "host", "program", "pid", "msgid")
    return {**expected, **{name: expected.get(name) or None for name in unset}}


@pytest.mark.parametrize("vector", CORE, ids=[vector["name"] for vector in CORE])
def test_vectors_of_syslog_ng(vector: dict[str, Any]) -> None:
    outcomes = [vector["expected"], *(a["expected"] for a in vector.get("alternatives", []))]
    assert as_expected(vector) in [with_unset_as_none(outcome) for outcome in outcomes]


def test_without_a_stamp_there_is_no_host() -> None:
    """Both of Sematext's lines for netcat; relay/rewrite/bare.py finds their hosts."""
    line = b'my-host my-process:@cee: {"logsene-app-token": "TOKEN", "message": "hello world!"}'
    cee, tag = parse_all([line + b"\n", b"my-host TOKEN:hello world!\n"])
    assert (cee.hostname, cee.app_name, cee.pri) == (None, b"my-host", 13)
    assert cee.msg.startswith(b"my-process:@cee: {")
    assert (tag.hostname, tag.app_name, tag.msg) == (None, b"my-host", b"TOKEN:hello world!")


@pytest.mark.parametrize("line", [b"<192>Oct 11 22:14:15 h a: x", b"<999>x", b"< 13>x", b"<13"])
def test_a_pri_that_is_none_makes_the_line_msg(line: bytes) -> None:
    message = parse(line)
    assert (message.pri, message.version, message.msg, message.app_name) == (13, 0, line, None)


def test_half_an_rfc5424_header_makes_the_rest_msg() -> None:
    message = parse(b"<165>1 BADTS host app - - - x\n")
    assert (message.pri, message.version) == (165, 0)
    assert message.msg == b"1 BADTS host app - - - x"
    assert message.raw == b"<165>1 BADTS host app - - - x\n"
    assert message.hostname is None


@pytest.mark.parametrize("line", [b"<13>1 - - - - - - a", b"<13>Oct 11 22:14:15 h a: a", b"<999>a"])
def test_delimiters_at_the_end_stay_in_raw_only(line: bytes) -> None:
    message = parse(line + b"\r\n\0")
    assert message.msg.endswith(b"a")
    assert message.raw == line + b"\r\n\0"


@given(frames)
def test_any_frame_is_a_message(frame: bytes) -> None:
    message = parse(frame)
    assert message.raw == frame
    assert 0 <= message.pri <= 191
    assert frame.rstrip(b"\r\n\0").endswith(message.msg)
    for field in message[3:9]:
        assert field != b""


@given(st.lists(frames))
def test_a_batch_is_parsed_in_order(batch: list[bytes]) -> None:
    assert parse_all(batch) == [parse(frame) for frame in batch]


@pytest.mark.parametrize("octet", [b" ", b":", b"[", b"a", b"1", b"f:", b"\\", b'"', b"-"])
@pytest.mark.parametrize("start", [b"", b"<13>", b"<13>Oct 11 22:14:15 ", b"<13>1 - - - - - [a b="])
def test_hostile_input_comes_to_an_end(start: bytes, octet: bytes) -> None:
    """A pattern that backtracks would take hours; and nothing gets lost on the way."""
    line = start + octet * 65536
    message = parse(line)
    assert message.raw == line
    assert line.endswith(message.msg)


@given(frames)
def test_the_severity_alone_is_that_of_the_message(frame: bytes) -> None:
    assert severity_of(frame) == parse(frame).severity
