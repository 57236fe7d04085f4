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

from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.forms.ewmm import ewmm
from relay.wire.json.pairs import flatten_json
from relay.wire.parse import parse, parse_all

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ewmm.json").read_text())
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
TAGS = {"encode-custom-nv-and-tags": ("added-tag", "tag,with comma")}

RECEIVED_AT = datetime(2026, 11, 21, 0, 53, 20, 250_999, tzinfo=UTC).timestamp()
LOOPBACK = Origin("in", Transport.UDP, "127.0.0.1", received_at=RECEIVED_AT)
NETWORK = LOOPBACK._replace(peer_host="192.0.2.1")
LOCAL = Origin("in", Transport.UNIX, pid=1, uid=0, gid=3, received_at=RECEIVED_AT)
EWMM = ewmm(b"vm", ZoneInfo("Europe/Budapest"))
STAMP = b"2026-11-21T01:53:20.250+01:00"


def send(line: bytes, origin: Origin = LOOPBACK) -> bytes:
    return EWMM([parse(line)], origin)[0]


def received(vector: dict[str, Any]) -> SyslogMessage:
    line = vector["raw"].encode("latin-1")
    message = parse(line)
    if "no-parse" in vector["source"]["flags"]:
        message = SyslogMessage(1, 5, 0, None, None, None, None, None, None, line, line)
    pairs = {**(message.pairs or {}), **REWRITTEN.get(vector["name"], {})}
    tags = tuple(tag.encode() for tag in (*vector["source"]["tags"], *TAGS.get(vector["name"], ())))
    if vector["name"] == "encode-custom-nv-and-tags":
        message = message._replace(structured_data=b'[new@1 p="val"]')
    return message._replace(pairs=pairs or None, tags=tags)


@pytest.mark.parametrize("vector", ENCODED, ids=[vector["name"] for vector in ENCODED])
def test_lines_are_those_of_syslog_ng(vector: dict[str, Any]) -> None:
    received_at = datetime.fromisoformat(vector["now"]).timestamp()
    origin = Origin(
        vector["source"]["id"], Transport.UDP, vector["peer_name"], received_at=received_at
    )
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
        (b"<13>1 - - a - - - x", b"-", b'"PROGRAM":"a","MESSAGE":"x"'),
        (b'<13>1 - - - - - [a b="\n"] x', b'[a b="#012"]', b'"MESSAGE":"x"'),
        (
            b"<13>35: %A-3-B: x",
            b'[meta sequenceId="35"]',
            b'"PROGRAM":"%A-3-B","MESSAGE":"x","LEGACY_MSGHDR":"%A-3-B: "',
        ),
        (
            b"<13>35: a[1]: x",
            b"-",
            b'"PROGRAM":"","MESSAGE":"35: a[1]: x","LEGACY_MSGHDR":""',
        ),
    ],
)
def test_bodies(line: bytes, structured_data: bytes, pairs: bytes) -> None:
    assert send(line) == (
        b"<13>1 %s vm @syslog-ng - - %s "
        b'{%s,"HOST_FROM":"127.0.0.1","HOST":"127.0.0.1","._TAGS":".source.in"}'
        % (STAMP, structured_data, pairs)
    )


def test_what_is_wrong_with_a_line_is_in_its_tags() -> None:
    assert b'"._TAGS":"syslog.invalid_pri,.source.in"}' in send(b"<999>x")


def test_local_senders() -> None:
    assert send(b"<13>Oct 11 22:14:15 app: x", LOCAL) == (
        b"<13>1 2026-10-11T22:14:15.000+02:00 vm @syslog-ng - - - "
        b'{"PROGRAM":"app","MESSAGE":"x","LEGACY_MSGHDR":"app: ","HOST_FROM":"vm","HOST":"vm",'
        b'".unix":{"uid":"0","pid":"1","gid":"3"},"._TAGS":".source.in"}'
    )


def forwarded(line: bytes, *hops: tuple[bytes, Origin]) -> bytes:
    """What the last of some relays sends, given their names and where they got it from."""
    for name, origin in hops:
        (line,) = ewmm(name, ZoneInfo("Europe/Budapest"))([parse(line)], origin)
    return line


DECODED = [vector for vector in VECTORS if vector["op"] == "decode" and vector["kind"] == "core"]


@pytest.mark.parametrize("vector", DECODED, ids=[vector["name"] for vector in DECODED])
def test_an_envelope_is_forwarded_as_syslog_ng_does(vector: dict[str, Any]) -> None:
    line = forwarded(vector["bytes"].encode(), (b"vm", LOOPBACK._replace(source="s_c")))
    tags = re.compile(r'"\._TAGS":"((?:[^"\\]|\\.)*)"')
    expected = vector["reforwarded_338"]
    assert tags.sub("", line.decode()) == tags.sub("", expected)
    ours, theirs = (tags.search(text) for text in (line.decode(), expected))
    assert ours is not None and theirs is not None
    # Our own tag is the last one, as at the first hop; theirs was registered first.
    assert ours[1].split(",") == [*theirs[1].split(",")[1:], ".source.s_c"]


def test_hops_add_their_tags_and_change_the_name_in_the_header() -> None:
    line = b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed"
    far = NETWORK._replace(source="far", peer_host="192.0.2.9")
    assert forwarded(line, (b"edge", NETWORK), (b"mid", far), (b"central", far)) == (
        b"<34>1 2026-10-11T22:14:15.000+02:00 central @syslog-ng - - - "
        b'{"PROGRAM":"su","PID":"230","MESSAGE":"\'su root\' failed","LEGACY_MSGHDR":"su[230]: ",'
        b'"HOST_FROM":"192.0.2.1","HOST":"mymachine",".syslogrelay":{"peer":"192.0.2.1"},'
        b'"._TAGS":".source.in,.source.far"}'
    )


@pytest.mark.parametrize(
    ("host", "is_kept"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", True),
        ("127.0.0.2", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_the_address_of_the_first_peer_is_kept(host: str, is_kept: bool) -> None:
    (payload,) = EWMM([parse(b"<13>1 - h - - - - m")], NETWORK._replace(peer_host=host))
    assert (b',".syslogrelay":{"peer":"%s"},' % host.encode() in payload) == is_kept
    again = forwarded(payload, (b"next", NETWORK._replace(peer_host="198.51.100.1")))
    assert (b'{"peer":"198.51.100.1"}' in again) != is_kept


@pytest.mark.parametrize(
    ("stamp", "kept"),
    [
        (b"2003-10-11T22:14:15.003Z", None),
        (b"2003-10-11T22:14:15.003000Z", None),
        (b"2003-10-11T22:14:15Z", None),
        (b"-", None),
        (b"2003-10-11T22:14:15.000003Z", b"2003-10-11T22:14:15.000003Z"),
        (b"2003-10-11T22:14:15.123456789+05:45", b"2003-10-11T22:14:15.123456789+05:45"),
        (b"2003-10-11 22:14:15,1234", b"2003-10-11T22:14:15.1234+02:00"),
    ],
)
@pytest.mark.parametrize("origin", [LOOPBACK, NETWORK, LOCAL])
def test_digits_below_milliseconds_are_kept(
    stamp: bytes, kept: bytes | None, origin: Origin
) -> None:
    payload = forwarded(b"<13>1 %s h - - - - m" % stamp, (b"vm", origin))
    message = parse(payload)
    if kept is None:
        assert b"timestamp" not in payload
    else:
        assert message.timestamp == kept
        assert b'".syslogrelay":{"timestamp":"%s"' % kept in payload
    assert forwarded(payload, (b"vm", origin)) == payload


@pytest.mark.parametrize(
    "envelope",
    [
        b"<13>1 2018-05-13T13:27:50.993Z h @syslog-ng - - - text",
        b'<13>1 - h @syslog-ng - - [a b="1"] {"MESSAGE":"m"',
        b"<13>Oct 11 22:14:15 h @syslog-ng: 5",
        b"<13>1 - h @syslog-ng - - -",
    ],
)
def test_an_envelope_that_cannot_be_opened_passes_unchanged(envelope: bytes) -> None:
    assert send(envelope) == envelope
    assert send(envelope + b"\n", NETWORK) == envelope


def test_a_program_that_is_called_like_an_envelope_stays_in_its_own() -> None:
    line = b'<13>1 - h @syslog-ng - - - {"PROGRAM":"@syslog-ng","MESSAGE":"text"}'
    payload = send(line)
    assert payload.endswith(
        b'{"PROGRAM":"@syslog-ng","MESSAGE":"text","HOST_FROM":"127.0.0.1","HOST":"h",'
        b'"._TAGS":".source.in"}'
    )
    assert send(payload) == payload


def test_an_array_is_the_message_of_no_program() -> None:
    payload = send(b"<13>1 - h @syslog-ng - - - [1]")
    assert b' {"MESSAGE":"[1]","HOST_FROM"' in payload


TYPED = (
    b'"z":[1,"a",{"b":null}],"y":"a\\u0000b","x":"\\ud800","w":{},'
    b'"v":{"n":null,"i":12345678901234567890,"f":1.10,"e":1e400,"b":true},'
)


def test_values_keep_their_types() -> None:
    payload = send(b'<13>1 - h @syslog-ng - - - {%s"MESSAGE":"m"}' % TYPED)
    assert b" {%s" % TYPED in payload
    assert send(payload) == payload


def body_with(pairs: dict[str, bytes]) -> bytes:
    payload = EWMM([parse(b"<13>1 - h - - - - m")._replace(pairs=pairs)], LOOPBACK)[0]
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
        ({"MESSAGE.x": b"1", "HOST.y.z": b"2"}, b'{"MESSAGE.x":"1","MESSAGE":"m","HOST_FROM":'),
        # One object after another of the same name: a receiver would lose the first.
        ({"a.b": b"1", "a-": b"2", "a": b"3"}, b'{"a.b":"1","a-":"2","a":"3",'),
        ({"x@1.a": b"1", "x@1.2.y": b"2", "x@1.!": b"3"}, b'{"x@1.a":"1","x@1.2.y":"2","x@1.!"'),
    ],
)
def test_names_are_nested_at_their_dots(pairs: dict[str, bytes], expected: bytes) -> None:
    assert body_with(pairs).startswith(expected)


def test_names_that_are_never_sent() -> None:
    never = ("1", "1abc", "SOURCE", ".SDATA.a.b", "._TAGS", "")
    body = body_with(dict.fromkeys(never, b"x"))
    assert b"x" not in body
    assert b'"SOURCES":"y"' in body_with({"SOURCES": b"y"})


def test_fields_of_the_header_win_over_pairs() -> None:
    names = ("HOST", "MESSAGE", "HOST_FROM")
    body = json.loads(body_with(dict.fromkeys(names, b"first hop")))
    assert [body[name] for name in names] == ["h", "m", "first hop"]


def test_names_are_nested_only_so_deep_that_json_c_takes_them() -> None:
    name = ".".join("abcdefghijklmnopqrstuvwxyz" * 2)
    body = body_with({name: b"1"})
    assert 20 < body.count(b"{") < 32
    assert (parse(b"<13>1 - h @syslog-ng - - - " + body).pairs or {})[name] == b"1"


def test_the_kernel_knows_a_local_sender_better_than_its_message() -> None:
    message = parse(b'<13>@syslog-ng: {".unix":{"uid":"0","exe":"x"}}')
    (payload,) = EWMM([message], LOCAL._replace(uid=1000))
    assert b'".unix":{"uid":"1000","pid":"1","gid":"3","exe":"x"}' in payload


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ((), ".source.in"),
        ((b"a",), "a,.source.in"),
        ((b".source.in", b"a"), ".source.in,a"),
        ((b".source.inner",), ".source.inner,.source.in"),
        ((b"other tag", b"a,b", b"\xe9"), '"other tag","a,b","\\\\xe9",.source.in'),
    ],
)
@pytest.mark.parametrize("pairs", [None, {"a": b"1"}])
def test_the_source_is_added_to_the_tags_once(
    tags: tuple[bytes, ...], expected: str, pairs: dict[str, bytes] | None
) -> None:
    message = parse(b"<13>1 - h - - - - m")._replace(pairs=pairs, tags=tags)
    payload = EWMM([message], NETWORK)[0]
    assert json.loads(payload.partition(b" - - - ")[2])["._TAGS"] == expected
    assert EWMM([parse(payload)], NETWORK) == [payload]


def test_a_source_with_a_blank_is_quoted_in_the_list() -> None:
    payload = send(b"x", NETWORK._replace(source='a "b'))
    assert json.loads(payload.partition(b" - - - ")[2])["._TAGS"] == "'.source.a \"b'"


PIECES = [
    *(b"<13>", b"<999>", b"1 ", b"- ", b"Oct 11 22:14:15 ", b"2003-10-11T22:14:15.123456Z "),
    *(b" ", b":", b"[", b"]", b"host ", b"@syslog-ng", b'[a b="\n"]', b"{}", b'{\n"a":[\t]}'),
    *(b"\xff", b"\0", b"last message repeated", b"12: *", b"\xef\xbb\xbf", b"\n"),
]
frames = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
names = st.text(st.characters(exclude_categories=["Cs"])) | st.text(alphabet="ab.@1\udcff")
tags = st.lists(st.binary(min_size=1) | st.text(alphabet="a ,'\"\\").map(str.encode))
typed = st.sampled_from([b"1e400", b"null", b"[1,{}]", b"{}", b'"\\u0000\\ud800"']).map(JsonText)
messages = st.builds(
    lambda frame, pairs, tags: parse(frame)._replace(pairs=pairs, tags=tuple(tags)),
    frames,
    st.none() | st.dictionaries(names, st.binary() | typed),
    tags,
)
origins = st.sampled_from([NETWORK, LOOPBACK, LOCAL])


def is_closed(message: SyslogMessage) -> bool:
    return message.app_name == b"@syslog-ng"


@given(frames.map(parse) | messages, origins)
def test_any_message_becomes_one_line_of_valid_json(message: SyslogMessage, origin: Origin) -> None:
    payload = EWMM([message], origin)[0]
    if is_closed(message):
        assert payload == message.raw.rstrip(b"\r\n\0")
        return
    assert re.search(rb"[\0-\x1f]", payload) is None
    header, _, body = payload.partition(b" {")
    assert b" vm @syslog-ng - - " in header
    assert isinstance(json.loads(b"{" + body), dict)
    assert not is_closed(parse(payload))
    (again,) = EWMM(parse_all([payload]), origin)
    # Names that are nested like others come in another order, once.
    assert again.partition(b" {")[0] == header
    assert flatten_json(again[len(header) :]) == flatten_json(b"{" + body)
    assert EWMM(parse_all([again]), origin) == [again]


@given(
    frames.map(parse),
    origins,
    st.dictionaries(st.sampled_from(["HOST_FROM", ".syslogrelay.peer"]), st.binary()),
    tags,
)
def test_both_ways_of_writing_agree(
    message: SyslogMessage, origin: Origin, usual: dict[str, bytes], tags: list[bytes]
) -> None:
    pairs = {**(message.pairs or {}), **usual}
    message = message._replace(pairs=pairs, tags=tuple(tags))
    never_sent = {**pairs, "1": b"x"}
    assert EWMM([message._replace(pairs=never_sent)], origin) == EWMM([message], origin)


names = st.text("xyz@-_\u00e9 12", min_size=1, max_size=8).map(lambda word: "x" + word)
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(str.encode)


@given(
    st.dictionaries(names, values | typed)
    | st.dictionaries(st.tuples(names, names).map(".".join), values | typed)
)
def test_pairs_survive_three_hops(pairs: dict[str, bytes]) -> None:
    message = parse(b"<13>1 - h - - - - m")._replace(pairs=pairs)
    (line,) = EWMM([message], NETWORK)
    arrived = parse(forwarded(line, (b"b", LOCAL), (b"c", LOOPBACK))).pairs or {}
    assert {name: arrived[name] for name in pairs} == pairs
    assert all(type(arrived[name]) is type(value) for name, value in pairs.items())


def test_each_message_of_a_batch_has_its_own_stamp_and_tags() -> None:
    stamps = [b"2003-10-11T22:14:15%sZ" % rest for rest in (b"", b".003", b".000001", b".000002")]
    messages = [
        parse(b"<13>1 %s h app - - - m" % stamp)._replace(
            tags=tags, pairs={".syslogrelay.peer": peer} if peer else None
        )
        for tags in ((), (b"tag",), (stamps[2],), (stamps[3], b"tag"))
        for peer in (b"", b"192.0.2.7", stamps[2], stamps[3])
        for stamp in stamps
    ]
    one_by_one = [EWMM([message], NETWORK)[0] for message in messages]
    assert EWMM(messages, NETWORK) == one_by_one
    assert EWMM(messages[::-1], NETWORK) == one_by_one[::-1]
