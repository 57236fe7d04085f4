from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText, SyslogMessage
from relay.wire.ewmm import decode_ewmm
from relay.wire.headers.structured_data import is_structured_data, parse_structured_data
from relay.wire.headers.timestamp import to_datetime
from relay.wire.json.pairs import text_of
from relay.wire.parse import parse

VECTORS = Path(__file__).parent.parent / "rewrite" / "vectors" / "ewmm.json"
DECODED = [vector for vector in json.loads(VECTORS.read_text()) if vector["op"] == "decode"]
# 3.38 writes a list of texts so that a comma in one of them separates two.
LOST_BY_338 = {"array-of-numbers": {"s": 'a,"b c",\'d"e\',"f,g"'}}


def names_and_values(message: SyslogMessage) -> dict[str, bytes]:
    """All that syslog-ng would have in one table."""
    fields = {
        "MESSAGE": message.msg,
        "HOST": message.hostname,
        "PROGRAM": message.app_name,
        "PID": message.procid,
        "MSGID": message.msgid,
    }
    found = {name: field for name, field in fields.items() if field is not None}
    found |= {name: text_of(value) for name, value in (message.pairs or {}).items()}
    for sd_id, element in parse_structured_data(message.structured_data).items():
        if not element:
            found[f".SDATA.{sd_id}"] = b""
        found |= {f".SDATA.{sd_id}.{name}": values[-1] for name, values in element.items()}
    return found


@pytest.mark.parametrize("vector", DECODED, ids=[vector["name"] for vector in DECODED])
def test_envelopes_of_syslog_ng(vector: dict[str, Any]) -> None:
    encoding = "latin-1" if vector["value_encoding"].startswith("latin-1") else "utf-8"
    message = parse(vector["bytes"].encode(encoding))
    expected = vector["expected"]
    assert (message.facility, message.severity) == (expected["facility"], expected["severity"])
    assert [tag.decode() for tag in message.tags] == expected["tags"]
    assert (message.structured_data or b"").decode() == expected["sdata_string"]
    found = {name: value.decode(encoding) for name, value in names_and_values(message).items()}
    assert found == {**expected["nv"], **LOST_BY_338.get(vector["name"], {})}
    if expected["timestamp"] is not None:
        received_at = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
        moment = to_datetime(message.timestamp, received_at, UTC)
        assert moment.isoformat() == datetime.fromisoformat(expected["timestamp"]).isoformat()
    else:
        assert message.timestamp is None


TYPED = [vector for vector in DECODED if "expected_typed_4x" in vector]


@pytest.mark.parametrize("vector", TYPED, ids=[vector["name"] for vector in TYPED])
def test_types_are_kept_in_pairs(vector: dict[str, Any]) -> None:
    for name, value in (parse(vector["bytes"].encode()).pairs or {}).items():
        expected = vector["expected_typed_4x"][name]
        found = json.loads(value) if isinstance(value, JsonText) else value.decode()
        assert found == expected


START = b"<13>1 2018-05-13T13:27:50.993Z my-host @syslog-ng 7 M "


def opened(body: bytes, structured_data: bytes = b"-") -> SyslogMessage:
    return parse(START + structured_data + b" " + body)


def test_the_frame_stays_as_received() -> None:
    assert opened(b'{"MESSAGE":"m"}').raw == START + b'- {"MESSAGE":"m"}'


def test_what_the_json_does_not_have_is_that_of_the_header() -> None:
    message = opened(b'{"a":"b"} rest')
    assert (message.hostname, message.procid, message.msgid) == (b"my-host", b"7", b"M")
    assert message.app_name is None
    assert message.msg == b'{"a":"b"} rest'
    assert message.pairs == {"a": b"b"}
    legacy = parse(b'<13>Oct 11 22:14:15 h @syslog-ng[8]: {"MESSAGE":"m"}')
    assert (legacy.hostname, legacy.procid, legacy.pairs) == (b"h", b"8", None)


def test_what_the_json_has_wins() -> None:
    message = opened(b'{"HOST":"h","PROGRAM":"p","PID":null,"MSGID":"","MESSAGE":"","HOST_FROM":1}')
    assert (message.hostname, message.app_name, message.msg) == (b"h", b"p", b"")
    assert (message.procid, message.msgid) == (None, None)
    assert message.pairs == {"HOST_FROM": b"1"}


@pytest.mark.parametrize("name", ["MSG", "MSGONLY", "MESSAGE"])
def test_spellings(name: str) -> None:
    body = b'{"%s":5.0,"FULLHOST":"h","FULLHOST_FROM":"f"}' % name.encode()
    message = opened(body)
    assert (message.msg, message.hostname) == (b"5.0", b"h")
    assert message.pairs == {"HOST_FROM": b"f"}
    assert type(message.msg) is bytes


def test_the_later_of_two_spellings_counts() -> None:
    assert opened(b'{"MSG":"1","MESSAGE":"2"}').msg == b"2"
    assert opened(b'{"MESSAGE":"2","MSG":"1"}').msg == b"1"


def test_names_of_macros_are_pairs_like_others() -> None:
    body = b'{"PRI":"0","TAGS":"x","ISODATE":"y","SDATA":"z","SOURCE":"s","._HOP":"h"}'
    message = opened(body)
    assert (message.pri, message.tags, message.structured_data) == (13, (), None)
    assert message.timestamp == b"2018-05-13T13:27:50.993Z"
    assert set(message.pairs or {}) == {"PRI", "TAGS", "ISODATE", "SDATA", "SOURCE", "._HOP"}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (b'"a,\\"b c\\",.source.s"', (b"a", b"b c", b".source.s")),
        (b'["a","b c","a"]', (b"a", b"b c")),
        (b'"a,a,,b"', (b"a", b"b")),
        (b'["a",5,null,""]', (b"a", b"5")),
        (b'[ "a\\u0041" ]', (b"aA",)),
        (b"5", (b"5",)),
        (b"null", ()),
        (b'""', ()),
        (b"[]", ()),
    ],
)
def test_tags(tags: bytes, expected: tuple[bytes, ...]) -> None:
    message = opened(b'{"._TAGS":%s}' % tags)
    assert message.tags == expected
    assert message.pairs is None


def test_tags_come_after_those_it_has() -> None:
    sealed = SyslogMessage(
        *(1, 5, 1, None, None, b"@syslog-ng", None, None, None),
        *(b'{"._TAGS":"a,b"}', b""),
        tags=(b"own", b"b"),
    )
    assert decode_ewmm(sealed).tags == (b"own", b"b", b"a")


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        (b"-", b'{".SDATA":{"x@1":{"a":"1","b":"2"}}}', b'[x@1 a="1" b="2"]'),
        (b'[x@1 a="1" a="2" b="3"]', b'{".SDATA":{"x@1":{"a":"4"}}}', b'[x@1 a="4" b="3"]'),
        (b'[x@1 a="1" a="2"]', b'{".SDATA.y@1.c":"3"}', b'[x@1 a="1" a="2"][y@1 c="3"]'),
        (b"-", b'{".SDATA":{"e@1":"","f@2":null}}', b"[e@1][f@2]"),
        (b"-", b'{".SDATA.x@1.2.3.y":"z"}', b'[x@1.2.3 y="z"]'),
        (b"-", b'{".SDATA":{"x@1.2.3":{"y.z":"3"}}}', b'[x@1.2.3 y.z="3"]'),
        (b"-", b'{".SDATA":{"x@1.2.3":{"y":{"z":"3"}}}}', b'[x@1.2.3 y.z="3"]'),
        (b"-", b'{".SDATA":{"my":{"app@1":{"p":{"q":"3"}}}}}', b'[my.app@1 p.q="3"]'),
        (b"-", b'{".SDATA":{"a.b":{"c":"1"}}}', b'[a.b c="1"]'),
        (b'[a.b c="0"]', b'{".SDATA":{"a":{"b":{"c":"1"}}}}', b'[a.b c="1"]'),
        (b"-", b'{".SDATA":{"a":{"b":{"c":"1"}}}}', b'[a b.c="1"]'),
        (b"-", b'{".SDATA":{"a":{"n":5,"t":true}}}', b'[a n="5" t="true"]'),
        (b"-", b'{".SDATA":{"a":{"b":"\\"]\\\\"}}}', b'[a b="\\"\\]\\\\"]'),
        (b"-", b'{".SDATA":{"bad id]":{"na=me":"v"}}}', b'[bad%20id%5D na%3Dme="v"]'),
        (b"-", b'{".SDATA":{"\xc3\xa9":{"[\\"":"v"}}}', b'[%C3%A9 %5B%22="v"]'),
        (b'[x@1 a="\\q"]', b'{"MESSAGE":"m"}', b'[x@1 a="\\q"]'),
    ],
)
def test_structured_data(header: bytes, body: bytes, expected: bytes) -> None:
    message = opened(body, header)
    assert message.structured_data == expected
    assert is_structured_data(expected)


def test_names_that_only_begin_like_structured_data_are_pairs() -> None:
    message = opened(b'{".SDATA":"x",".SDATAX":"y",".SDATA.":"z"}')
    assert message.structured_data is None
    assert message.pairs == {".SDATA": b"x", ".SDATAX": b"y", ".SDATA.": b"z"}


@pytest.mark.parametrize(
    ("exact", "is_taken"),
    [
        (b"2018-05-13T13:27:50.993123Z", True),
        (b"2018-05-13T13:27:50.993123456+00:00", True),
        (b"2018-05-13T13:27:50.994123Z", False),
        (b"2018-05-13T15:27:50.993123+02:00", False),
        (b"2018-05-13T13:27:50.993123", False),
        (b"x", False),
        (b"", False),
    ],
)
def test_the_exact_stamp_counts_if_it_agrees(exact: bytes, is_taken: bool) -> None:
    message = opened(b'{".syslogrelay":{"timestamp":"%s","peer":"192.0.2.1"}}' % exact)
    pairs = message.pairs or {}
    assert pairs[".syslogrelay.peer"] == b"192.0.2.1"
    if is_taken:
        assert message.timestamp == exact
        assert ".syslogrelay.timestamp" not in pairs
    else:
        assert message.timestamp == b"2018-05-13T13:27:50.993Z"
        assert pairs[".syslogrelay.timestamp"] == exact


@pytest.mark.parametrize("body", [b"text", b"5", b'"x"', b"null", b'{"MESSAGE":"m"', b"", b"{a:1}"])
def test_what_is_no_envelope_stays_as_it_is(body: bytes) -> None:
    message = opened(body)
    assert (message.app_name, message.msg) == (b"@syslog-ng", body)


def test_only_this_program_makes_an_envelope() -> None:
    message = parse(b'<13>1 - h @syslog-ngx - - - {"MESSAGE":"m"}')
    assert message.msg == b'{"MESSAGE":"m"}'
    assert decode_ewmm(message) is message


def test_an_envelope_in_an_envelope_is_opened_by_the_next_hop() -> None:
    message = opened(b'{"PROGRAM":"@syslog-ng","MESSAGE":"{\\"MESSAGE\\":\\"m\\"}"}')
    assert (message.app_name, message.msg) == (b"@syslog-ng", b'{"MESSAGE":"m"}')


def test_items_of_a_long_array_are_matches_up_to_255() -> None:
    pairs = opened(b"[%s]" % b",".join([b"1"] * 300)).pairs or {}
    assert list(pairs) == [str(number) for number in range(1, 256)]


PIECES = [
    *(b"{", b"}", b'"._TAGS"', b'".SDATA"', b'".SDATA.x@1.2.y"', b'"MESSAGE"', b'"PID"', b'"HOST"'),
    *(b":", b",", b'"x"', b'""', b"1e400", b"null", b"[", b"]", b'"\\ud800"', b'"a.b"', b"\xff"),
]
bodies = st.binary() | st.lists(st.sampled_from(PIECES)).map(lambda them: b"{" + b"".join(them))
members = st.dictionaries(
    st.sampled_from(["._TAGS", ".SDATA", ".SDATA.x@1.2.y", "MESSAGE", "PID", "HOST", "a.b", ""]),
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
).map(lambda them: json.dumps(them).encode())


@given(bodies | members, st.sampled_from([b"-", b'[x@1.2 y="1"]']))
def test_any_envelope_is_a_message(body: bytes, structured_data: bytes) -> None:
    message = opened(body, structured_data)
    assert message.raw == START + structured_data + b" " + body
    for field in message[4:9]:
        assert field != b""
    assert message.structured_data is None or is_structured_data(message.structured_data)
    assert len(set(message.tags)) == len(message.tags)
    for value in (message.pairs or {}).values():
        if isinstance(value, JsonText):
            json.loads(value)
        text_of(value)


def test_many_parameters_take_linear_time() -> None:
    elements = b"".join(b'[a%d b="c"]' % number for number in range(4000))
    body = b",".join(b'"x.y%d.z":"1"' % number for number in range(4000))
    message = opened(b'{".SDATA":{%s,"a":{"b":{%s}}}}' % (body, body), elements)
    assert message.structured_data is not None
