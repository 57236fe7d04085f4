from __future__ import annotations

from typing import get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.text import Document, counted, duration, printable, seconds_in, size, span


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


def test_a_document_is_a_json_object() -> None:
    assert get_origin(Document) is dict


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 messages"), (1, "1 message"), (2, "2 messages"), (2500, "2,500 messages")],
)
def test_one_of_a_thing_is_not_a_plural(number: int, shown: str) -> None:
    assert counted(number, "message") == shown


def test_irregular_plurals() -> None:
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((0.4, "0 s"), (59, "59 s"), (60, "1 m"), (3661, "1 h 1 m"), (90061, "1 d 1 h")),
        (-3600, "0 s"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 << 30, "5 GiB"), (3 << 40, "3 TiB")],
)
def test_sizes(number: int, shown: str) -> None:
    assert size(number) == shown


def test_one_number_is_no_range() -> None:
    assert (span("record", 1, 1), span("record", 1, 5)) == ("record 1", "records 1 to 5")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("6h", 21600),
        ("6 h", 21600),
        ("7d", 604800),
        ("1h30m", 5400),
        ("1 h 30 m", 5400),
        ("1.5h", 5400),
        ("0s", 0),
    ],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "6", "-6h", "6hours", "6h or so", "1y", "1e3s", "٣h", "1h1h1h1h1h", "9" * 10]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time such as"):
        seconds_in(text)
