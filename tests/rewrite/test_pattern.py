from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rewrite.conditions import glob, name_glob, regex, substring

TEXT = st.text(alphabet="aAb.*?\n", max_size=6)


@given(pattern=TEXT, text=TEXT)
def test_a_glob_is_that_of_the_shell(pattern: str, text: str) -> None:
    assert glob(pattern)(text.encode()) == fnmatch.fnmatchcase(text, pattern)
    assert glob(pattern, ignore_case=True)(text.encode()) == fnmatch.fnmatchcase(
        text.lower(), pattern.lower()
    )


@given(part=TEXT, text=TEXT)
def test_a_substring_is_anywhere(part: str, text: str) -> None:
    assert substring(part)(text.encode()) == (part in text)
    assert substring(part, ignore_case=True)(text.encode()) == (part.lower() in text.lower())


def test_a_regular_expression_is_searched() -> None:
    assert regex("fail(ed|ure)")(b"it failed")
    assert not regex("^failed")(b"it failed")
    assert regex("FAILED", ignore_case=True)(b"it failed")


def test_what_is_no_regular_expression_is_said_with_the_place() -> None:
    with pytest.raises(ValueError, match=r"not a regular expression: .*position 1"):
        regex("a(b")


def test_bytes_that_are_no_text_can_be_in_what_is_looked_at() -> None:
    assert glob("a*")(b"a\xff\n")
    assert glob("a?c")(b"a\xffc")
    assert name_glob("x*")("x\udcff")


def test_a_glob_with_many_stars_takes_no_longer_for_a_text_made_to_slow_it_down() -> None:
    """With backtracking this takes longer than the universe is old."""
    fits = glob("*" + "a*" * 40 + "b")
    assert not fits(b"a" * 20_000)
    assert fits(b"a" * 20_000 + b"b")
