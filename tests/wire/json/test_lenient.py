from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText
from relay.wire.json.lenient import DEPTH_MAX, Node, read_leniently, unescape, write_strictly


@pytest.mark.parametrize(
    ("text", "node"),
    [
        (b"{'a':'m'}", {"a": b"m"}),
        (b'{"a":1,}', {"a": b"1"}),
        (b"[1,]x", [b"1"]),
        (b'{"a":01,"b":-01.50,"c":1.,"d":1e,"e":1E+,"f":00,"g":-0}', None),
        (b'{"a":TRUE,"b":Null,"c":nan,"d":-Infinity}', None),
        (b'/* x */{"a"/*y*/:1// z\n}', {"a": b"1"}),
        (b'{"a":"\n\t\x01"}', {"a": b"\n\t\x01"}),
        (b'{"a":"\xe9"}', {"a": b"\xe9"}),
        (b'{"a":1,"a":2}', {"a": b"2"}),
        (b'{"a":{"b":[{}]}}', {"a": {"b": [{}]}}),
        (rb'{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}', {"a": '"\\/\b\f\n\r\té😀'.encode()}),
        (rb'{"\u0041\u0000b":"x","\ud800":"y"}', {"A\0b": b"x", "\ufffd": b"y"}),
        (b'{"\xe9":"x"}', {"\udce9": b"x"}),
    ],
)
def test_what_json_c_reads(text: bytes, node: Node | None) -> None:
    read = read_leniently(text)
    assert read == node if node is not None else isinstance(read, dict)


def test_odd_numbers_and_literals() -> None:
    numbers = b"01 -01.50 1. 1e 1E+ 00 -0 1.10 1e400 12345678901234567890 2.e5".split()
    strict = b"1 -1.50 1 1 1 0 -0 1.10 1e400 12345678901234567890 2e5".split()
    for text, expected in zip(numbers, strict, strict=True):
        value = read_leniently(b"[%s]" % text)
        assert value == [expected]
        assert isinstance(value, list) and isinstance(value[0], JsonText)
    assert read_leniently(b"[TRUE,False,Null]") == [b"true", b"false", b"null"]
    values = read_leniently(b"[nan,-Infinity]")
    assert values == [b"nan", b"-Infinity"]
    assert isinstance(values, list) and not any(isinstance(value, JsonText) for value in values)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"text", b'{"a":.5}', b'{"a":-}', b'{"a":+1}', b'{"a":--1}', b'{"a":1x}', b"{,}"),
        *(b'{"a":1-2}', b'{"a":1.2.3}', b'{"a":1e5e5}', b'{"a":0x1}', b'{"a":truex}', b'{"a" 1}'),
        *(b"{a:1}", b'{"a":1 "b":2}', b'{"a":"\\q"}', rb"{'a':'x\'y'}", rb'{"a":"\u12"}', b"[,]"),
        *(b'{"a":"b"', b'{"a":undefined}', b'\xef\xbb\xbf{"a":1}', b'\x0b{"a":1}', b'{"a":"x\0y"}'),
        *(b'{"a":null,\xa0"b":1}', b"/* {}", b"[//1", b"//1"),
    ],
)
def test_what_json_c_does_not_read(text: bytes) -> None:
    assert read_leniently(text) is None


def test_depth_is_bounded() -> None:
    deepest = b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    assert read_leniently(deepest) is not None
    assert read_leniently(b"[%s]" % deepest) is None
    assert read_leniently(b'{"a":' * 100_000) is None


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        (rb"{'a':'\u0000\"'}", rb'{"a":"\u0000\""}'),
        (rb"""['"\ud800']""", rb'["\"\ud800"]'),
        (b'["\xe9\\ud800\n"]', rb'["\\xe9\ud800\u000a"]'),
        (b'["\xe9",{"\xe9":[]}]', rb'["\\xe9",{"\\xe9":[]}]'),
        (b'[ 1.10 , NaN , {"a" : "b"} ]', b'[1.10,"NaN",{"a":"b"}]'),
    ],
)
def test_what_was_read_is_written_strictly(text: bytes, strict: bytes) -> None:
    node = read_leniently(text)
    assert node is not None
    assert write_strictly(node) == strict


def test_halves_of_surrogate_pairs() -> None:
    assert unescape(rb"\ud800x\udc00", errors="replace") == "\ufffdx\ufffd".encode()
    assert unescape(rb"\ud83d\ude00\u0041") == "😀A".encode()
    with pytest.raises(UnicodeDecodeError):
        unescape(rb"\ud800")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values.filter(lambda value: isinstance(value, dict | list)), st.booleans())
def test_strict_json_means_the_same_afterwards(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    node = read_leniently(text.replace(b"\\u0000", b"0"))
    assert node is not None
    again = write_strictly(node).decode()
    if ascii_only and "Infinity" not in again and "\\" not in json.dumps(value, ensure_ascii=False):
        assert json.loads(again) == json.loads(text)


PIECES = [
    *(b"{", b"}", b"[", b"]", b":", b",", b"'", b'"', b"\\", b"/*", b"*/", b"//", b"\n"),
]
PIECES += [b"1", b".", b"e", b"-", b"nan", b"true", b"\\u0000", b"\\ud800", b"\xe9", b"\0", b'"a"']


@given(st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_whatever_is_read_is_written_as_valid_json(text: bytes) -> None:
    node = read_leniently(text)
    if node is not None:
        written = write_strictly(node)
        json.loads(written.decode())
        assert read_leniently(written) is not None


@pytest.mark.parametrize("piece", [b"/*/", b"//", b" ", b"'", b'"', b"\\", b"-", b"1", b"[", b'{"'])
def test_hostile_input_comes_to_an_end(piece: bytes) -> None:
    for start in (b"", b"[", b'{"a":', b'["'):
        read_leniently(start + piece * 40_000)
