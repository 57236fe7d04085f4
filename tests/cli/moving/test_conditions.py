from __future__ import annotations

import pytest

from relay.cli.moving.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    TooDeep,
    all_of,
    any_of,
    fits,
    negated,
    sources_of,
    to_match,
)

A, B, C = fits("app_name", "a"), fits("app_name", "b"), fits("severity", "..err")


def test_nothing_is_left_of_what_cannot_be_or_always_is() -> None:
    assert all_of([]) == ALWAYS
    assert any_of([]) == NEVER
    assert all_of([A, NEVER]) == NEVER
    assert any_of([A, ALWAYS]) == ALWAYS
    assert all_of([A, negated(A)]) == NEVER
    assert any_of([A, negated(A)]) == ALWAYS
    assert negated(negated(A)) == A
    assert negated(ALWAYS) == NEVER and negated(NEVER) == ALWAYS
    assert all_of([A, all_of([A, C])]) == all_of([A, C])


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        (A, {"app_name": "a"}),
        (all_of([A, C]), {"app_name": "a", "severity": "..err"}),
        (any_of([A, B]), {"app_name": ["a", "b"]}),
        (any_of([A, C]), [{"app_name": "a"}, {"severity": "..err"}]),
        (all_of([C, any_of([A, B])]), {"severity": "..err", "app_name": ["a", "b"]}),
        (
            all_of([A, any_of([B, C])]),
            {"app_name": "a", "any": [{"app_name": "b"}, {"severity": "..err"}]},
        ),
        (negated(A), {"not": {"app_name": "a"}}),
        (negated(any_of([A, C])), {"not": [{"app_name": "a"}, {"severity": "..err"}]}),
        (negated(all_of([A, C])), {"not": {"app_name": "a", "severity": "..err"}}),
        (all_of([A, B]), {"app_name": "a", "not": {"not": {"app_name": "b"}}}),
        (
            all_of([fits("pairs", {".a": "1"}), fits("pairs", {".b": "2"})]),
            {"pairs": {".a": "1", ".b": "2"}},
        ),
    ],
)
def test_a_condition_is_written_as_a_table_or_a_list(condition: Condition, match: object) -> None:
    assert to_match(condition) == match


def test_sources_become_a_key_of_their_own() -> None:
    known = ["x", "y", "z"]
    only = fits("sources", ["x", "y"])
    assert sources_of(only, known) == (["x", "y"], ALWAYS)
    assert sources_of(all_of([only, A]), known) == (["x", "y"], A)
    assert sources_of(negated(only), known) == (["z"], ALWAYS)
    assert sources_of(A, known) == (known, A)
    either = any_of([only, A])
    assert sources_of(either, known) == (known, either)


def test_what_the_relay_would_refuse_is_not_written() -> None:
    deep: Condition = A
    for number in range(30):
        deep = negated(all_of([deep, fits("msg", str(number))]))
    with pytest.raises(TooDeep):
        to_match(deep)
    with pytest.raises(TooDeep):
        to_match(any_of(fits("pairs", {f".{number}": "x"}) for number in range(3000)))
