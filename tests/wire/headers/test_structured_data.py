from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.structured_data import (
    format_structured_data,
    is_structured_data,
    parse_structured_data,
    without_controls,
)

EXAMPLE = b'[exampleSDID@32473 iut="3" eventID="1011"][examplePriority@32473 class="high"]'


@pytest.mark.parametrize(
    "text",
    [EXAMPLE, b"[empty@1]", b'[a i="\\]\\"\\\\"]', b'[a i="x\n[\xff\\n"]'],
)
def test_what_is_structured_data(text: bytes) -> None:
    assert is_structured_data(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-",
        b"--",
        b"[]",
        b"[a",
        b'[a b="1"  c="2"]',
        b"[a b=1]",
        b'[a b=""ok"]',
        b'[a b="]"]',
        b'[a b="\\"]',
        b'[ a b="1"]',
        b'[a b="1" ]',
        b'[a b="1"]m',
        b'[\xc3\xa9 b="1"]',
        b'[a\n b="1"]',
    ],
)
def test_what_is_not_structured_data(text: bytes) -> None:
    assert not is_structured_data(text)


def test_elements_are_taken_apart() -> None:
    text = b'[origin ip="1" ip="2"][x@1 a.b="\\"\\\\\\]\\n"][origin ip="3" s=""][e]'
    assert parse_structured_data(text) == {
        "origin": {"ip": [b"1", b"2", b"3"], "s": [b""]},
        "x@1": {"a.b": [b'"\\]\\n']},
        "e": {},
    }
    assert parse_structured_data(None) == {}


def test_control_characters_are_escaped() -> None:
    assert without_controls(b'[a b="1\n2\x7f"]') == b'[a b="1#0122#177"]'
    assert without_controls(EXAMPLE) is EXAMPLE


def escape(value: bytes) -> bytes:
    for byte in (b"\\", b'"', b"]"):
        value = value.replace(byte, b"\\" + byte)
    return value


names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='="]'))
names = names.filter(bool)
elements = st.dictionaries(
    names, st.dictionaries(names, st.lists(st.binary(), min_size=1)), min_size=1
)


@given(elements)
def test_what_is_written_by_the_rules_is_read_back(
    expected: dict[str, dict[str, list[bytes]]],
) -> None:
    text = b"".join(
        b"[%s%s]"
        % (
            sd_id.encode(),
            b"".join(
                b' %s="%s"' % (name.encode(), escape(value))
                for name, values in element.items()
                for value in values
            ),
        )
        for sd_id, element in expected.items()
    )
    assert is_structured_data(text)
    assert parse_structured_data(text) == expected
    assert is_structured_data(without_controls(text))


def test_hostile_input_takes_no_time() -> None:
    assert not is_structured_data(b'[a b="' + b"x\\" * 100_000)
    assert not is_structured_data(b'[a b="1"]' * 50_000 + b"[")


@given(
    st.dictionaries(
        st.text("ab.@1-", min_size=1),
        st.dictionaries(st.text("ab.\\", min_size=1), st.lists(st.binary(), min_size=1)),
        min_size=1,
    )
)
def test_what_is_written_can_be_taken_apart(elements: dict[str, dict[str, list[bytes]]]) -> None:
    written = format_structured_data(elements)
    assert is_structured_data(written)
    assert parse_structured_data(written) == elements


def test_names_are_made_valid() -> None:
    names = {' "=[]\u00e9\udcff\n': {"x" * 300: [b"v"]}}
    assert format_structured_data(names) == (
        b"[%20%22%3D%5B%5D%C3%A9%FF%0A " + b"x" * 255 + b'="v"]'
    )
