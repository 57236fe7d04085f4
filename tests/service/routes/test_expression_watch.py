from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.model.expression import TIMEOUTS
from relay.service.routes.expression_watch import ExpressionWatch, backtracking_warnings


class Notices:
    def __init__(self) -> None:
        self.warned: list[tuple[str, str]] = []

    def warn(self, subject: str, kind: str, text: str) -> None:
        self.warned.append((subject, text))


@pytest.fixture(autouse=True)
def counted_anew() -> Iterator[None]:
    TIMEOUTS.clear()
    yield
    TIMEOUTS.clear()


def test_an_expression_that_reached_its_limit_is_warned_of_with_the_number() -> None:
    clock, notices = Clock(), Notices()
    watch = ExpressionWatch(notices=notices, clock=clock)  # type: ignore[arg-type]
    watch.startService()
    TIMEOUTS["(?=a)(a|aa)+$"] = 3
    clock.advance(10)
    clock.advance(10)
    ((subject, text),) = notices.warned
    assert subject == "expression '(?=a)(a|aa)+$'"
    assert "longer than 50 ms for 3 values" in text
    TIMEOUTS["(?=a)(a|aa)+$"] = 4
    clock.advance(10)
    assert "for 1 value, and" in notices.warned[1][1]
    watch.stopService()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("tables", "place"),
    [
        ({"filters": {"x": {"msg": {"regex": "(?=a)b"}}}}, "filters.x.msg.regex"),
        ({"sources": {"f": {"multi_line": r"(a)\1"}}}, "sources.f.multi_line"),
        ({"sources": {"f": {"parse": {"bad_hostname": "a(?!b)"}}}}, "sources.f.parse.bad_hostname"),
        (
            {"destinations": {"d": {"rewrite": {"steps": [{"drop": True}, {"subst": "a++"}]}}}},
            "destinations.d.rewrite.steps[1].subst",
        ),
        ({"x": [{"mask": "(?<=a)b"}]}, "x[0].mask"),
        ({"x": {"hash": "(?<=a)b"}}, "x.hash"),
        ({"x": {"parse": "regex", "pattern": "(?=a)(?P<y>a)"}}, "x.pattern"),
    ],
)
def test_an_expression_under_a_time_limit_is_named_with_its_place(
    tables: dict[str, Any], place: str
) -> None:
    (warning,) = backtracking_warnings(tables)
    assert warning.startswith(f"{place}: ")
    assert "longer than 50 ms counts as not found" in warning


@pytest.mark.parametrize(
    "tables",
    [
        {"filters": {"x": {"msg": {"regex": "^(a+)+$"}}}},
        {"x": {"mask": "ipv4"}, "y": {"mask": ["card"]}, "z": {"msg": "(?=a)"}},
        {"x": {"regex": "("}},
    ],
)
def test_expressions_that_are_linear_or_wrong_or_no_expressions_are_not_named(
    tables: dict[str, Any],
) -> None:
    assert list(backtracking_warnings(tables)) == []
