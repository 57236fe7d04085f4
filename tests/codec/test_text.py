"""JSON strings written by compiled code, compared with those of the Python reference."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.rewrite.json.text import json_string

text = pytest.importorskip(
    "relay.codec.text", reason="the package was installed without a C compiler"
)

CONTROLS = bytes(range(0x20)) + b'"\\\x7f/ !'
# Bytes at the limits of each row of UTF-8 (RFC 3629 §4), and between them.
LIMITS = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF]
LIMITS += [0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]

pieces = st.one_of(
    st.binary(max_size=3),
    st.text(st.characters(codec="utf-8"), max_size=20).map(str.encode),
    st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20), max_size=40).map(str.encode),
    st.lists(st.sampled_from(CONTROLS), max_size=3).map(bytes),
    st.sampled_from(
        [b"\xed\xa0\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xc0\xaf"]
    ),
)
texts = st.lists(pieces, max_size=8).map(b"".join)


@pytest.mark.parametrize("at", range(18))
def test_each_byte_at_each_place(at: int) -> None:
    """A word is eight bytes, so that what is before and behind matters."""
    for byte in range(256):
        for rest in (0, 1, 7, 8, 17):
            data = b"a" * at + bytes([byte]) + b"z" * rest
            assert text.string(data) == json_string(data)


@pytest.mark.parametrize("size", [2, 3])
def test_what_may_be_utf8(size: int) -> None:
    for data in map(bytes, product(LIMITS, repeat=size)):
        assert text.string(data) == json_string(data)


def test_what_may_be_utf8_in_four_bytes() -> None:
    tails = [0x41, 0x7F, 0x80, 0xBF, 0xC2]
    for first, second, *rest in product(LIMITS[-8:], LIMITS, tails, tails):
        data = bytes([first, second, *rest])
        assert text.string(data) == json_string(data)


def test_each_character_of_two_and_three_bytes() -> None:
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10000)])).encode()
    assert text.string(every) == json_string(every)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 300, 70_000])
@pytest.mark.parametrize("byte", [b"\x01", b"\0", b'"', b"\xff", b"x", b"\xf0\x9f\x98\x80"])
def test_the_longest_that_a_text_can_become(byte: bytes, size: int) -> None:
    assert text.string(byte * size) == json_string(byte * size)


def test_what_is_not_bytes_is_a_type_error() -> None:
    for argument in ("text", bytearray(b"text"), None):
        with pytest.raises(TypeError):
            text.string(argument)


@given(texts)
def test_any_text(data: bytes) -> None:
    assert text.string(data) == json_string(data)


@pytest.mark.slow
@settings(max_examples=3000)
@given(texts | st.binary(max_size=100))
def test_many_texts(data: bytes) -> None:
    assert text.string(data) == json_string(data)
