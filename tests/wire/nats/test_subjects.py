"""Subjects and filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.nats.subjects import clean_subject, clean_value, is_covered, is_filter, is_subject


@pytest.mark.parametrize(
    ("text", "subject", "filter"),
    [
        ("logs.a", True, True),
        ("logs.*", False, True),
        ("logs.>", False, True),
        ("logs.>.a", False, False),
        ("logs.", False, False),
        ("", False, False),
        ("a b", False, False),
        ("a" * 600, False, False),
    ],
)
def test_what_is_a_subject(text: str, subject: bool, filter: bool) -> None:
    assert (is_subject(text), is_filter(text)) == (subject, filter)


@pytest.mark.parametrize(
    ("subject", "by", "expected"),
    [
        ("logs.a", ["logs.>"], True),
        ("logs.*", ["logs.*"], True),
        ("logs.*", ["logs.a"], False),
        ("logs.a.b", ["logs.*"], False),
        ("logs", ["logs.>"], False),
        ("logs.>", ["logs.*"], False),
        ("logs.>", [">"], True),
        ("x", [], False),
        ("x", ["y", "x"], True),
    ],
)
def test_what_a_stream_takes(subject: str, by: list[str], expected: bool) -> None:
    assert is_covered(subject, by) is expected


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4))
def test_values_of_peers_make_legal_subjects(values: list[bytes]) -> None:
    text = clean_subject(b".".join([b"logs", *map(clean_value, values)]))
    assert is_subject(text.decode("ascii"))
    assert text.startswith(b"logs.")
