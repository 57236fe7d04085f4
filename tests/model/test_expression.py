from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.expression import TIMEOUTS, Expression

LINE_OF_36_BYTES = b"a" * 35 + b"!"
BACKTRACKING = r"^(?=a)(a|aa)+$"  # only the lookahead keeps RE2 from running it


@pytest.fixture(autouse=True)
def counted_anew() -> Iterator[None]:
    TIMEOUTS.clear()
    yield
    TIMEOUTS.clear()


def patterns() -> st.SearchStrategy[str]:
    atoms = st.sampled_from(
        ["a", "b", ".", r"\n", "[ab]", "[^a]", r"\w", r"\b", "^", r"\Z", r"\x61", "é", "(?:)"]
    )

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        quantified = st.tuples(inner, st.sampled_from(["*", "+?", "?", "{2}", "{1,3}"]))
        return st.one_of(
            st.lists(inner, min_size=1, max_size=3).map("".join),
            st.lists(inner, min_size=2, max_size=3).map("|".join).map("(?:{})".format),
            quantified.map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
            inner.map("({})".format),
        )

    return st.recursive(atoms, larger, max_leaves=6)


@given(patterns(), st.text("ab\né_ ", max_size=8), st.booleans())
def test_it_finds_what_python_finds(pattern: str, text: str, ignore_case: bool) -> None:
    expression = Expression(pattern, ignore_case=ignore_case)
    reference = re.compile(pattern.encode(), re.IGNORECASE if ignore_case else 0)
    data = text.encode()
    assert not expression.backtracks
    assert expression.search(data) == (reference.search(data) is not None)
    if all(match[0] for match in reference.finditer(data)):
        assert expression.sub(b"<>", data) == reference.sub(b"<>", data)
        assert expression.sub(b"<>", data, 1) == reference.sub(b"<>", data, count=1)


@pytest.mark.parametrize(
    "pattern", ["^a{,2}b", "^[{,3}]b", r"^a\{,2}b", r"^a\\{,1}b", "^[]{,3}]b", r"^[\]{,3}]b"]
)
def test_a_number_without_a_minimum_is_a_quantifier_outside_of_sets(pattern: str) -> None:
    expression = Expression(pattern)
    assert not expression.backtracks
    for text in (b"b", b"aab", b"aaab", b"a{,2}b", b"{b", b"0b", b"]b", b"a\\b"):
        assert expression.search(text) == bool(re.search(pattern.encode(), text)), text


@pytest.mark.parametrize("pattern", ["(?P<x>a+)(?P<y>b)?", "(?=a)(?P<x>a+)(?P<y>b)?"])
def test_captures_are_those_of_the_groups_that_took_part(pattern: str) -> None:
    expression = Expression(pattern)
    assert expression.names == ("x", "y")
    assert expression.captures(b"-aab-") == {"x": b"aa", "y": b"b"}
    assert expression.captures(b"-aa-") == {"x": b"aa"}
    assert expression.captures(b"---") is None


@pytest.mark.parametrize("pattern", [r"\b", "x*", "^", r"\Z", "(?:a|x)*"])
def test_nothing_is_found_twice_in_the_same_place(pattern: str) -> None:
    replaced = Expression(pattern).sub(b"<>", b"_ axa _")
    assert replaced == re.sub(pattern.encode(), b"<>", b"_ axa _")


@pytest.mark.parametrize("pattern", ["(?P<x>a)(b)", "(?=a)(?P<x>a)(b)"])
def test_replacements_refer_to_groups(pattern: str) -> None:
    expression = Expression(pattern)
    assert expression.sub(rb"\2\g<x>\n", b"abab") == b"ba\nba\n"
    assert expression.sub(rb"\2\1", b"abab", 1) == b"baab"
    assert expression.sub(lambda found: found.upper(), b"xabx") == b"xABx"
    expression.check_replacement(rb"\2\g<x>")
    for wrong in (rb"\3", rb"\g<z>", b"\\"):
        with pytest.raises(ValueError):
            expression.check_replacement(wrong)


@pytest.mark.parametrize("pattern", ["a(", "[", "*", "(?P<1>a)", "a{2,1}", "(?<=a+)b"])
def test_a_pattern_that_is_none_is_refused_with_words(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"not a regular expression: ."):
        Expression(pattern)


def test_a_pattern_that_blows_up_in_python_takes_linear_time() -> None:
    for pattern in ("^(a+)+$", "^(a|a)*$", "^(.*)*x", "a?" * 30 + "a" * 30 + "$"):
        expression = Expression(pattern)
        assert not expression.backtracks
        assert not expression.search(LINE_OF_36_BYTES * 1000)
    assert Expression("^(a+)+$").search(b"a" * 36_000)
    assert not TIMEOUTS


def test_a_pattern_that_must_backtrack_gives_up_and_is_counted() -> None:
    expression = Expression(BACKTRACKING)
    assert expression.backtracks
    assert expression.search(b"aaa")
    assert not expression.search(LINE_OF_36_BYTES)
    assert expression.captures(LINE_OF_36_BYTES) is None
    with pytest.raises(TimeoutError):
        expression.sub(b"", LINE_OF_36_BYTES)
    assert {BACKTRACKING: 3} == TIMEOUTS


def test_value_after_value_that_blows_up_gets_less_and_less_time() -> None:
    """Or one read of a socket, some thousand lines, would stop the relay for minutes."""
    expression = Expression(BACKTRACKING)
    limits = []
    for _ in range(20):
        limits.append(expression._seconds_max)
        expression.search(LINE_OF_36_BYTES)
    assert (limits[0], limits[-1]) == (0.05, 0.0005)
    for _ in range(500):
        assert expression.search(b"aaa")
    assert expression._seconds_max == 0.05


def test_case_is_that_of_ascii_letters() -> None:
    assert Expression("fail", ignore_case=True).search(b"FAIL")
    assert not Expression("fail").search(b"FAIL")
    assert Expression("(?i)fail").search(b"FAIL")
