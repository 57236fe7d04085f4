from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.list_syntax import format_list, parse_list


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (b"a", [b"a"]),
        (b'mytag,"other tag",.source.s', [b"mytag", b"other tag", b".source.s"]),
        (b'"tag,with comma"', [b"tag,with comma"]),
        (b'1,x,""', [b"1", b"x", b""]),
        (b"'d\"e',\"it's\"", [b'd"e', b"it's"]),
        (b"'d\"e\\\\f'", [b'd"e\\f']),
        (b'"both\'\\""', [b"both'\""]),
        (b'"tab\\tx","back\\\\slash"', [b"tab\tx", b"back\\slash"]),
    ],
)
def test_lists_of_syslog_ng(text: bytes, items: list[bytes]) -> None:
    assert parse_list(text) == items
    assert format_list(items) == text


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (b"", []),
        (b",", [b"", b""]),
        (b" sp ,b", [b" sp ", b"b"]),
        (b'un\\quoted,"a"b', [b"un\\quoted", b'"a"b']),
        (b' "a",b', [b' "a"', b"b"]),
        (b'"open,b', [b'"open', b"b"]),
        (b"'s\\'i\\x'", [b"s'ix"]),
    ],
)
def test_odd_lists(text: bytes, items: list[bytes]) -> None:
    assert parse_list(text) == items


@given(st.lists(st.binary() | st.text(alphabet="a ,'\"\\\n").map(str.encode)))
def test_any_items_survive(items: list[bytes]) -> None:
    assert parse_list(format_list(items)) == items


@pytest.mark.parametrize("byte", [b'"', b"'", b"\\", b",", b"a"])
def test_hostile_lists_come_to_an_end(byte: bytes) -> None:
    assert parse_list(b'"' + byte * 65536)
    assert parse_list((b'"' + byte) * 20000)
