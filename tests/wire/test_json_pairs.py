from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText
from relay.wire.json_pairs import flatten_json


def test_names_are_joined_with_dots() -> None:
    pairs = flatten_json(b'{"a":{"b":"x","c":{"d":"y"}},"a.b":"z","e":"\\u00e9"}')
    assert pairs == {"a.b": b"z", "a.c.d": b"y", "e": "é".encode()}


@pytest.mark.parametrize(
    "value", [b"1.50", b"1e400", b"true", b"null", b'[1,{"x":2}]', b"{}", b'"a\\u0000b"']
)
def test_what_is_no_text_stays_as_written(value: bytes) -> None:
    pairs = flatten_json(b'{"a": %s}' % value)
    assert pairs == {"a": value}
    assert type(pairs["a"]) is JsonText


@pytest.mark.parametrize(
    "text", [b"", b"[1]", b"1", b'"x"', b'{"a":1} x', b"{'a':1}", b'{"a":"\xff"}', b'{"a":1']
)
def test_anything_else_is_no_object(text: bytes) -> None:
    assert flatten_json(text) is None


def test_what_is_nested_too_deeply_stays_text() -> None:
    pairs = flatten_json(b'{"a":' * 1000 + b"1" + b"}" * 1000)
    assert pairs is None or all(type(value) is JsonText for value in pairs.values())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.one_of(st.binary(), values.map(lambda value: json.dumps(value).encode())))
def test_any_text_has_pairs_or_none(text: bytes) -> None:
    pairs = flatten_json(text)
    assert pairs is None or all(isinstance(value, bytes) for value in pairs.values())


@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0.")), st.text()))
def test_strings_are_found_again(members: dict[str, str]) -> None:
    pairs = flatten_json(json.dumps(members, ensure_ascii=False).encode("utf-8", "replace"))
    assert pairs is not None
    assert list(pairs) == list(members)
    for name, value in members.items():
        if "\0" not in value:
            assert pairs[name] == value.encode("utf-8", "replace")
