from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.ewmm import ewmm
from relay.wire.parse import parse, parse_all

VECTORS = json.loads((Path(__file__).parent / "vectors" / "ewmm.json").read_text())
# Messages that syslog-ng replaces by an error message; here they stay what they are.
REPLACED = {"encode-unparsable-5424-bad-ts"}
ENCODED = [
    vector for vector in VECTORS if vector["op"] == "encode" and vector["name"] not in REPLACED
]
# What the sender's configuration did to the message before it was sent.
REWRITTEN = {
    "encode-custom-nv-and-tags": {
        "foo": b"bar baz",
        ".a.b.c": b"v1",
        "a.b.c": b"v2",
        "a.b.d": b"v3",
        "1abc": b"7",
        "user@example.com": b"x@y",
        "empty": b"",
        "weird key": b'q"b\\s\tt',
        "._HOP": b"hop",
    },
    "encode-json-parsed-into-dot-json": {
        ".json.a.b": b"1",
        ".json.a.c": b'1,x,""',
        ".json.a.l": b'p,q,r,"s t"',
        ".json.f": b"1.500000",
        ".json.big": b"9223372036854775807",
        ".json.t": b"true",
        ".json.n": b"",
        ".json.s": b"str",
        ".json.d.o.t": b"x",
        ".json.": b"emptykey",
    },
}
TAGS = {
    "encode-custom-nv-and-tags": b't1,added-tag,"tag,with comma"',
    "encode-latin1-utf8-surrogate": b'mytag,"other tag"',
    "encode-binary-garbage": b'mytag,"other tag"',
}

RECEIVED_AT = datetime(2026, 11, 21, 0, 53, 20, 250_999, tzinfo=UTC).timestamp()
NETWORK = Origin("in", "udp", "192.0.2.1", received_at=RECEIVED_AT)
LOCAL = Origin("in", "unixgram", pid=1, uid=0, gid=3, received_at=RECEIVED_AT)
EWMM = ewmm(b"vm", ZoneInfo("Europe/Budapest"))
STAMP = b"2026-11-21T01:53:20.250+01:00"


def send(line: bytes, origin: Origin = NETWORK) -> bytes:
    return EWMM([parse(line)], origin)[0]


def received(vector: dict[str, Any]) -> SyslogMessage:
    line = vector["raw"].encode("latin-1")
    message = parse(line)
    if "no-parse" in vector["source"]["flags"]:
        message = SyslogMessage(1, 5, 0, None, None, None, None, None, None, line, line)
    pairs = {**(message.pairs or {}), **REWRITTEN.get(vector["name"], {})}
    if vector["name"] in TAGS:
        pairs["._TAGS"] = TAGS[vector["name"]]
    if vector["name"] == "encode-custom-nv-and-tags":
        message = message._replace(structured_data=b'[new@1 p="val"]')
    return message._replace(pairs=pairs or None)


@pytest.mark.parametrize("vector", ENCODED, ids=[vector["name"] for vector in ENCODED])
def test_lines_are_those_of_syslog_ng(vector: dict[str, Any]) -> None:
    received_at = datetime.fromisoformat(vector["now"]).timestamp()
    origin = Origin(vector["source"]["id"], "udp", vector["peer_name"], received_at=received_at)
    rewrite = ewmm(vector["loghost"].encode(), ZoneInfo(vector["tz"]))
    line = rewrite([received(vector)], origin)[0].decode("latin-1")
    expected = vector["emitted"]["3.38.1"]
    if "header timestamp" in vector.get("volatile", []):
        line, expected = (
            re.sub(r"(?<=>1 )[^ ]+(?=[+-]..:.. )", "STAMP", text) for text in (line, expected)
        )
    assert line == expected


@pytest.mark.parametrize(
    ("line", "structured_data", "pairs"),
    [
        (
            b"<13>",
            b"-",
            b'"PROGRAM":"","MESSAGE":"","LEGACY_MSGHDR":""',
        ),
        (b"<999>x", b"-", b'"MESSAGE":"<999>x"'),
        (b"<13>1 - - a - - - x", b"-", b'"PROGRAM":"a","MESSAGE":"x"'),
        (b'<13>1 - - - - - [a b="\n"] x', b'[a b="#012"]', b'"MESSAGE":"x"'),
        (
            b"<13>35: a[1]: x",
            b'[meta sequenceId="35"]',
            b'"PROGRAM":"a","PID":"1","MESSAGE":"x","LEGACY_MSGHDR":"a[1]: "',
        ),
    ],
)
def test_bodies(line: bytes, structured_data: bytes, pairs: bytes) -> None:
    assert send(line) == (
        b"<13>1 %s vm @syslog-ng - - %s "
        b'{%s,"HOST_FROM":"192.0.2.1","HOST":"192.0.2.1","._TAGS":".source.in"}'
        % (STAMP, structured_data, pairs)
    )


def test_local_senders() -> None:
    assert send(b"<13>Oct 11 22:14:15 app: x", LOCAL) == (
        b"<13>1 2026-10-11T22:14:15.000+02:00 vm @syslog-ng - - - "
        b'{"PROGRAM":"app","MESSAGE":"x","LEGACY_MSGHDR":"app: ","HOST_FROM":"vm","HOST":"vm",'
        b'".unix":{"uid":"0","pid":"1","gid":"3"},"._TAGS":".source.in"}'
    )


@pytest.mark.parametrize(
    "envelope",
    [
        b'<13>1 2018-05-13T13:27:50.993Z h @syslog-ng - - [a b="1"] {"MESSAGE":"m"}',
        b'<13>Oct 11 22:14:15 h @syslog-ng: {"MESSAGE":"m","MESSAGE":1e400}',
    ],
)
def test_an_envelope_passes_unchanged(envelope: bytes) -> None:
    assert send(envelope) == envelope
    assert send(envelope + b"\n") == envelope


def test_an_envelope_of_several_lines_becomes_one() -> None:
    line = b'<13>Oct 11 22:14:15 h @syslog-ng: {"MESSAGE":\n"m"}'
    assert send(line) == (
        b'<13>1 2026-10-11T22:14:15.000+02:00 h @syslog-ng - - - {"MESSAGE": "m"}'
    )


@pytest.mark.parametrize("msg", [b"text", b'{"MESSAGE":"m"', b"[1]"])
def test_what_only_looks_like_an_envelope_is_wrapped(msg: bytes) -> None:
    payload = send(b"<13>1 - h @syslog-ng - - - " + msg)
    assert json.loads(payload.partition(b" - - - ")[2])["MESSAGE"] == msg.decode()


def body_with(pairs: dict[str, bytes]) -> bytes:
    payload = EWMM([parse(b"<13>1 - h - - - - m")._replace(pairs=pairs)], NETWORK)[0]
    return payload.partition(b" - - - ")[2]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ({"b..c": b"1"}, b'{"b":{".c":"1"},'),
        ({"a": b"1", "a.b": b"2"}, b'{"a":{"b":"2","a":"1"},'),
        ({"x@1.2.3.y": b"1"}, b'{"x@1.2.3":{"y":"1"},'),
        ({"x@1.2.3": b"1"}, b'{"x@1.2.3":"1",'),
        ({"x.y.": b"1"}, b'{"x":{"y":"1"},'),
        ({"x.a.b": b"1", "x.c": b"2"}, b'{"x":{"c":"2","a":{"b":"1"}},'),
    ],
)
def test_names_are_nested_at_their_dots(pairs: dict[str, bytes], expected: bytes) -> None:
    assert body_with(pairs).startswith(expected)


def test_names_that_are_never_sent() -> None:
    body = body_with({"1": b"x", "1abc": b"x", "SOURCE": b"x", ".SDATA.a.b": b"x", "": b"x"})
    assert b"x" not in body
    assert b'"SOURCES":"y"' in body_with({"SOURCES": b"y"})


def test_fields_of_the_header_win_over_pairs() -> None:
    names = ("HOST", "HOST_FROM", "MESSAGE")
    body = json.loads(body_with(dict.fromkeys(names, b"forged")))
    assert [body[name] for name in names] == ["h", "192.0.2.1", "m"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (b"", ".source.in"),
        (b"a", "a,.source.in"),
        (b".source.in,a", ".source.in,a"),
        (b".source.inner", ".source.inner,.source.in"),
    ],
)
def test_the_source_is_added_to_the_tags_once(tags: bytes, expected: str) -> None:
    assert json.loads(body_with({"._TAGS": tags}))["._TAGS"] == expected


def test_a_source_with_a_blank_is_quoted_in_the_list() -> None:
    payload = send(b"x", NETWORK._replace(source='a "b'))
    assert json.loads(payload.partition(b" - - - ")[2])["._TAGS"] == '".source.a \\"b"'


PIECES = [
    *(b"<13>", b"<999>", b"1 ", b"- ", b"Oct 11 22:14:15 ", b"2003-10-11T22:14:15Z ", b"\n"),
    *(b" ", b":", b"[", b"]", b"host ", b"@syslog-ng", b'[a b="\n"]', b"{}", b'{\n"a":[\t]}'),
    *(b"\xff", b"\0", b"last message repeated", b"12: *", b"\xef\xbb\xbf"),
]
frames = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
names = st.text(st.characters(exclude_categories=["Cs"])) | st.text(alphabet="ab.@1\udcff")
messages = st.builds(
    lambda frame, pairs: parse(frame)._replace(pairs=pairs),
    frames,
    st.none() | st.dictionaries(names, st.binary()),
)


@given(frames.map(parse) | messages, st.sampled_from([NETWORK, LOCAL]))
def test_any_message_becomes_one_line_of_valid_json(message: SyslogMessage, origin: Origin) -> None:
    payload = EWMM([message], origin)[0]
    assert re.search(rb"[\0-\x08\n-\x1f]", payload) is None
    again = parse(payload)
    assert again.app_name == b"@syslog-ng"
    assert isinstance(json.loads(again.msg), dict)
    assert EWMM(parse_all([payload]), LOCAL) == [payload]
