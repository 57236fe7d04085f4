from __future__ import annotations

from typing import Any

import pytest

from relay.cli.moving.conditions import ALWAYS, to_match
from relay.cli.moving.logagent.filters import (
    expression_of,
    read_input_filter,
    read_output_filter,
)
from relay.cli.moving.report import Place, Report, Statement
from relay.cli.moving.structured import Entry, Keys, read_yaml


def keys_of(text: str) -> tuple[Keys, Statement]:
    report = Report()
    return Keys(read_yaml(text, "f"), report, "f"), report.statement(Place("f", 1), "x")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/a b/i", ("a b", True)),
        ("a|b", ("a|b", False)),
        (r"/a\/b/", ("a/b", False)),
        ("(?<n>x)", ("(?P<n>x)", False)),
    ],
)
def test_expressions_of_javascript(text: str, found: tuple[str, bool]) -> None:
    assert expression_of(Entry(text, 1)) == found


def test_grep_is_a_condition_on_the_text() -> None:
    keys, statement = keys_of("module: grep\ninclude: !!js/regexp /a/i\nexclude: !!js/regexp b\n")
    assert to_match(read_input_filter(keys, statement)) == {
        "msg": {"regex": "a", "ignore_case": True},
        "not": {"msg": {"regex": "b"}},
    }


def test_dropped_events_are_a_condition() -> None:
    keys, statement = keys_of(
        "module: drop-events\nfilters:\n  severity: {exclude: !!js/regexp /debug|inf/i}\n"
        "  host: {include: [!!js/regexp ^web, db]}\n  custom: {exclude: x}\n"
    )
    condition, steps = read_output_filter(keys, statement)
    assert steps == []
    assert to_match(condition) == {
        "hostname": [{"regex": "^web"}, {"regex": "db"}],
        "not": [{"severity": ["info", "debug"]}, {"pairs": {"custom": {"regex": "x"}}}],
    }


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("module: remove-fields\nfields: [a, host]", [{"unset": ["a", "HOST"]}]),
        (
            "module: rename-fields\nfields: [{source: a, target: b}]",
            [{"rename": {"a": "b"}}],
        ),
        ("module: ip-truncate-fields\nfields: [x]", [{"mask": ["ipv4", "ipv6"]}]),
        ("module: journald-format\nx: 1", []),
        ("module: sql\nquery: x", []),
    ],
)
def test_other_filters_are_steps(text: str, steps: list[dict[str, Any]]) -> None:
    assert read_output_filter(*keys_of(text)) == (ALWAYS, steps)


def test_what_the_relay_cannot_run_lets_all_through() -> None:
    keys, statement = keys_of("module: grep\ninclude: '(a'\n")
    assert read_input_filter(keys, statement) == ALWAYS
    assert any("not supported" in line for line in keys.report.lines())
