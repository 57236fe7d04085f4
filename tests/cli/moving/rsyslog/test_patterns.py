from __future__ import annotations

import pytest

from relay.cli.moving.rsyslog.patterns import from_basic, from_extended


@pytest.mark.parametrize(
    ("basic", "expected"),
    [
        (r"a\(b\|c\)\{2\}", "a(b|c){2}"),
        ("a(b)+?{x|y", r"a\(b\)\+\?\{x\|y"),
        ("*a", r"\*a"),
        (r"\(*a\)", r"(\*a)"),
        ("[[:digit:]_]*", "[0-9_]*"),
        (r"a\.b$", r"a\.b$"),
        (r"\<word\>", r"\bword\b"),
    ],
)
def test_basic_expressions(basic: str, expected: str) -> None:
    assert from_basic(basic) == expected


@pytest.mark.parametrize(
    ("extended", "expected"),
    [
        ("(a|b)+", "(a|b)+"),
        ("[]a]", r"[\]a]"),
        ("[^[:space:]]+", r"[^\s]+"),
        (r"[a\d]", r"[a\\d]"),
        (r"\d", "d"),
    ],
)
def test_extended_expressions(extended: str, expected: str) -> None:
    assert from_extended(extended) == expected


@pytest.mark.parametrize("pattern", ["[", "[abc", "[[:bogus:]]", "(", "a{5,2}", "[]"])
def test_what_is_not_valid_is_said(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"found|there is no|not a regular"):
        from_extended(pattern)
