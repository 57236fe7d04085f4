from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText
from relay.model.output import TYPES
from relay.rewrite.json.value_pairs import cast


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int", b"010", b"10"),
        ("int", b"-7", b"-7"),
        ("int", b"+7", b"7"),
        ("int", b"0x1F", b"31"),
        ("integer", b"9223372036854775807", b"9223372036854775807"),
        ("int64", b"9223372036854775808", None),
        ("int32", b"2147483647", b"2147483647"),
        ("int32", b"2147483648", None),
        ("int32", b"-2147483648", b"-2147483648"),
        *(("int", text, None) for text in (b"", b"1.5", b"1_0", b" 1", b"x", b"\xd9\xa1")),
        ("double", b"1", b"1.0"),
        ("float", b".5e3", b"500.0"),
        *(
            ("double", text, None)
            for text in (b"nan", b"inf", b"1e999", b"", b".", b"1_0", b"0x1p3")
        ),
        *(("boolean", text, b"true") for text in (b"true", b"T", b"1")),
        *(("boolean", text, b"false") for text in (b"false", b"F", b"0")),
        *(("boolean", text, None) for text in (b"yes", b"no", b"")),
        ("list", b'a,"b c"', b'["a","b c"]'),
        ("list", b"", b"[]"),
        ("json", b' {"a": [1,\n2]} ', b'{"a": [1, 2]}'),
        ("literal", b"1e400", b"1e400"),
        *(("json", text, None) for text in (b"", b"NaN", b"{", b'"\xff"', b"1 2", b"[" * 99999)),
        ("null", b"anything", b"null"),
    ],
)
def test_json_of_texts(kind: str, text: bytes, expected: bytes | None) -> None:
    value = cast(kind)(text)
    assert value == expected
    assert value is None or type(value) is JsonText


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("string", b"1", b"1"),
        ("datetime", b"1653246684.123", b"1653246684.123"),
        ("datetime", b"1653246684+02:00", b"1653246684+02:00"),
        ("datetime", b"2026-11-21", None),
    ],
)
def test_strings(kind: str, text: bytes, expected: bytes | None) -> None:
    value = cast(kind)(text)
    assert value == expected
    assert type(value) is not JsonText


def refuse(constant: str) -> None:
    raise ValueError(constant)


@given(
    st.sampled_from(TYPES),
    st.binary() | st.text(alphabet='0123456789.eE+-xtf[]{}",:').map(str.encode),
)
def test_casts_are_total_and_make_valid_json(kind: str, text: bytes) -> None:
    value = cast(kind)(text)
    if type(value) is JsonText:
        json.loads(value.decode("utf-8"), parse_constant=refuse)
        assert b"\n" not in value
