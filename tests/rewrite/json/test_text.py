from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rewrite.json.text import (
    add_members,
    find_object,
    json_string,
    member_cutter,
    text_cutter,
    text_of_string,
)


def refuse(constant: str) -> None:
    raise ValueError(constant)


def strictly(text: bytes) -> Any:
    return json.loads(text.decode("utf-8"), parse_constant=refuse)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b'""'),
        (b"text", b'"text"'),
        (b'"\\/\b\f\n\r\t', rb'"\"\\/\b\f\n\r\t"'),
        (b"\x01\x1b\x7f", b'"\\u0001\\u001b\x7f"'),
        ("café \u2028 \U0001f600".encode(), '"café \u2028 \U0001f600"'.encode()),
        (b"caf\xe9", rb'"caf\\xe9"'),
        (b"\xed\xa0\x80", rb'"\\xed\\xa0\\x80"'),
        (b"\xe2\x82", rb'"\\xe2\\x82"'),
        (b"a\0b", rb'"a\\x00b"'),
        (b"a\0b\xff", rb'"a\\x00b\\xff"'),
    ],
)
def test_bytes_as_json(data: bytes, expected: bytes) -> None:
    assert json_string(data) == expected


@given(st.binary())
def test_any_bytes_make_a_valid_string(data: bytes) -> None:
    written = json_string(data)
    expected = data.decode(errors="backslashreplace").replace("\0", "\\x00")
    assert strictly(written) == expected
    assert all(byte >= 0x20 for byte in written)


@pytest.mark.parametrize(
    ("msg", "text"),
    [
        (b"{}", b"{}"),
        (b' {"a":1} ', b'{"a":1}'),
        (b'@cee:{"a":1}', b'{"a":1}'),
        (b'\xef\xbb\xbf{"a":1}', b'{"a":1}'),
        (b'\xef\xbb\xbf @cee:{"a":1}', b'{"a":1}'),
        (b'@cee:  {"a":1}', b'{"a":1}'),
        (b'{"a":1e400,"a":12345678901234567890123}', b'{"a":1e400,"a":12345678901234567890123}'),
        (b'{\r\n"a": [1,\n2]}', b'{  "a": [1, 2]}'),
    ],
)
def test_objects_are_found_and_kept_verbatim(msg: bytes, text: bytes) -> None:
    found = find_object(msg)
    assert found is not None
    assert found.text == text


@pytest.mark.parametrize(
    "msg",
    [
        b"",
        b"text",
        b"@cee:",
        b"[1]",
        b'"{}"',
        b"{",
        b"{a:1}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":1} {"b":2}',
        b'{"a":"\n"}',
        b'{"a":"\x01"}',
        b'{"a":"\xff"}',
        b'{"a":["\xed\xa0\x80"]}',
        b'{"\xff":1}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_a_json_object(msg: bytes) -> None:
    assert find_object(msg) is None


def test_keys_are_those_of_the_top_and_unescaped() -> None:
    found = find_object(b'{"\\u0061b":1,"c":{"d":1}}')
    assert found is not None
    assert [name in found.members for name in ("ab", "c", "d")] == [True, True, False]


def test_members_are_added_first() -> None:
    assert add_members(b"{}", b'"k": 1') == b'{"k": 1}'
    assert add_members(b"{ }", b'"k": 1') == b'{"k": 1}'
    assert add_members(b'{ "a":1e400}', b'"k": 1') == b'{"k": 1, "a":1e400}'


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates are no Unicode text.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values), st.booleans(), st.sampled_from([None, 0, 2]))
def test_adding_members_changes_nothing_else(
    members: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    msg = json.dumps(members, ensure_ascii=ascii_only, indent=indent).encode()
    found = find_object(b"@cee: " + msg)
    assert found is not None
    assert strictly(add_members(found.text, b'"": "new"')) == {"": "new", **members}


@given(st.one_of(st.binary(), st.text(alphabet='{}[]":,\\u0al\n -.eE+').map(str.encode)))
def test_what_is_found_is_valid(msg: bytes) -> None:
    for candidate in (msg, b'{"a":' + msg + b"}"):
        found = find_object(candidate)
        if found is not None:
            assert isinstance(strictly(found.text), dict)
            assert isinstance(strictly(add_members(found.text, b'"k":1')), dict)


cut = text_cutter("t-1")


@pytest.mark.parametrize(
    ("text", "rest", "taken"),
    [
        (b'{"t-1": "x"}', b"{}", [b"x"]),
        (b'{ "t-1" : "x" }', b"{ }", [b"x"]),
        (b'{"t-1": "x", "a": 1}', b'{"a": 1}', [b"x"]),
        (b'{"a": 1, "t-1": "x"}', b'{"a": 1}', [b"x"]),
        (b'{"a": 1 , "t-1": "x" }', b'{"a": 1 }', [b"x"]),
        (b'{"a": 1,"t-1":"x","b":1e400}', b'{"a": 1,"b":1e400}', [b"x"]),
        (b'{"t-1":"","t-1":"y","a":0,"t-1":"z","t-1": "x"}', b'{"a":0}', [b"", b"y", b"z", b"x"]),
        (b'{"t-1":"x","t-1":[2, {"t-1": "3"}]}', b'{"t-1":[2, {"t-1": "3"}]}', [b"x"]),
        (rb'{"\u0074-\u0031":"x","a\"t-1":"},{"}', rb'{"a\"t-1":"},{"}', [b"x"]),
        (rb'{"t\u002D1":"x","t\u002d1":"y"}', b"{}", [b"x", b"y"]),
        (rb'{"t-1":"\\","a":"t-1"}', b'{"a":"t-1"}', [b"\\"]),
        (rb'{"t-1":"\u00e9\n"}', b"{}", "é\n".encode()),
        (b' @cee: {"t-1":"x"} ', b" @cee: {} ", [b"x"]),
        (b'\xef\xbb\xbf{"t-1":"x"}', b"\xef\xbb\xbf{}", [b"x"]),
        # Broken at its end, or inside.
        (b'{"t-1": "x", "a": "cu', b'{"a": "cu', [b"x"]),
        (b'{"a": 1, "t-1": "x", "b": "} , cu', b'{"a": 1, "b": "} , cu', [b"x"]),
        (b'{"t-1": "x","t-1": "y",', b"{", [b"x", b"y"]),
        (b'{"t-1": "x", "m": "caf\xe9"}', b'{"m": "caf\xe9"}', [b"x"]),
        (b'{"t-1": "\xff", "\\ud800": 2}', b'{"\\ud800": 2}', [b'"\xff"']),
        (b'{"t-1": "x"} and more', b"{} and more", [b"x"]),
    ],
)
def test_texts_are_cut_out(text: bytes, rest: bytes, taken: list[bytes] | bytes) -> None:
    assert cut(text) == (rest, [taken] if isinstance(taken, bytes) else taken)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"{}",
        b'{"a": "t-1"}',
        b'{"t-1": 1}',
        b'{"t-1": ["x"]}',
        b'{"a":{"t-1":"x"},"b":["t-1","t-1"]}',
        b'[{"t-1": "x"}]',
        b'said {"t-1": "x"}',
        b'{"t-1": "x"',
        b'{"a": {"t-1": "x", "b": [',
        rb'{"a": "\"t-1\": \"x\", "}',
        rb'{"a\"t-1": "x"}',
        b'{} {"t-1": "x"}',
        b'{"t_1": "x"}',
    ],
)
def test_what_has_no_such_text(text: bytes) -> None:
    assert cut(text) is None


def test_what_was_put_in_comes_out_again() -> None:
    for text in (b"{}", b'{"a": 1}', b'{"a": [{"b": 1}], "c": "}"}'):
        assert cut(add_members(text, b'"t-1": "x"')) == (text, [b"x"])


pieces = st.lists(
    st.sampled_from([*(rb'{ } [ ] , : " " "t-1" "t-1":"x", \ \u0074'.split()), b"\xff", b" "]),
    max_size=15,
).map(b"".join)


@given(pieces | st.binary())
def test_texts_of_anything_are_cut_out_without_trouble(data: bytes) -> None:
    found = cut(b'{"t-1":"x",' + data)
    assert found is not None
    assert found[1][0] == b"x"
    assert len(found[0]) <= len(data) + 1


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b" ", b"[", b'"",', b'"t-1":', b'"t-1":"",', b"\\", b'{"a":['])
def test_a_long_one_takes_no_more_than_its_length(piece: bytes) -> None:
    """Looking at it again from each of its bytes would take minutes."""
    found = cut(b'{"t-1":"x",' + piece * 200_000)
    assert found is not None


without = member_cutter("t-1")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (b'{"t-1":null}', b"{}"),
        (b'{"t-1" : 5 , "a": 1e400 }', b'{"a": 1e400}'),
        (b'{"a":1,"t-1":{"t-1":[",","}"]},"b":{"t-1":2}}', b'{"a":1,"b":{"t-1":2}}'),
        (b'{"t-1":"","a":"t-1","t-1":false}', b'{"a":"t-1"}'),
        (rb'{"\u0074-1":[],"a\"t-1":"},{"}', rb'{"a\"t-1":"},{"}'),
        (b'{"a":1}', b'{"a":1}'),
        (b"{}", b"{}"),
    ],
)
def test_members_are_cut_out_whatever_they_hold(text: bytes, rest: bytes) -> None:
    assert without(text) == rest


@given(
    st.lists(st.tuples(st.sampled_from(["t-1", "a", 'b"t-1', "{,"]), values), max_size=6),
    st.booleans(),
)
def test_what_is_left_are_the_other_members(members: list[tuple[str, Any]], ascii: bool) -> None:
    written = [
        f"{json.dumps(name, ensure_ascii=ascii)} : {json.dumps(value, ensure_ascii=ascii)}"
        for name, value in members
    ]
    found = find_object(("{" + " , ".join(written) + "}").encode())
    assert found is not None
    left = json.loads(without(found.text), object_pairs_hook=list)
    assert [name for name, _ in left] == [name for name, _ in members if name != "t-1"]


def test_the_text_of_a_string() -> None:
    assert text_of_string(rb'"caf\u00e9"') == "café".encode()
    assert text_of_string(b'""') == b""
    for other in (b"null", b"5", b"[]", rb'"\ud800"', b"", b'"'):
        assert text_of_string(other) is None
