from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rewrite.list_text import format_list, parse_list


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], b""),
        ([b"a", b"b"], b"a,b"),
        ([b"mytag", b"other tag", b".source.s_legacy"], b'mytag,"other tag",.source.s_legacy'),
        ([b'a"b\\c', b"d,e"], b'"a\\"b\\\\c","d,e"'),
        ([b""], b'""'),
        ([b"", b"a"], b'"",a'),
    ],
)
def test_lists_as_text(items: list[bytes], text: bytes) -> None:
    assert format_list(items) == text
    assert parse_list(text) == items


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (b"a, b", [b"a", b"b"]),
        (b"'it''s',b", [b"'it''s'", b"b"]),
        (b"'a b',c", [b"a b", b"c"]),
        (b'"a"b,c', [b'"a"b', b"c"]),
        (b'"open,c', [b'"open', b"c"]),
        (b"a,,b", [b"a", b"", b"b"]),
    ],
)
def test_lists_of_others(text: bytes, items: list[bytes]) -> None:
    assert parse_list(text) == items


@given(st.lists(st.binary()))
def test_lists_come_back(items: list[bytes]) -> None:
    assert parse_list(format_list(items)) == items


@given(st.binary() | st.text(alphabet="a \"',\\").map(str.encode))
def test_any_text_is_a_list(text: bytes) -> None:
    assert bool(parse_list(text)) == bool(text)
