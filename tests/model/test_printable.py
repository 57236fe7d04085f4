from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.printable import printable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"200 OK", "200 OK"),
        ("zu groß, 大きすぎる", "zu groß, 大きすぎる"),
        (b"\x1b[2J\x07", r"\x1b[2J\x07"),
        (b"one\r\ntwo", r"one\r\ntwo"),
        (b"\x9b31m", r"\x9b31m"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_is_not_printable_is_escaped(raw: str | bytes, shown: str) -> None:
    assert printable(raw) == shown


@pytest.mark.parametrize("text", [b"x", "x", "\x1b", b"\xff"])
def test_what_is_long_is_cut(text: str | bytes) -> None:
    shown = printable(text * 100_000, length_max=50)
    assert len(shown) == 50
    assert shown.endswith("…")


def test_a_message_may_be_shown_whole() -> None:
    assert printable(b"x" * 100_000 + b"\n", length_max=None) == "x" * 100_000 + r"\n"


def test_what_just_fits_is_whole() -> None:
    assert printable("x" * 50, length_max=50) == "x" * 50


@given(st.one_of(st.binary(), st.text(st.characters(codec=None))))
def test_the_result_is_one_printable_line(text: str | bytes) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 200
    assert printable(shown) == shown
