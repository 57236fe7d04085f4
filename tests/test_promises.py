"""Every promise in crash/PROMISES.md names tests, and they are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROMISES = ROOT / "tests" / "crash" / "PROMISES.md"
NAMED = re.compile(r"`(tests/[a-z_/]+\.py)::(\w+)`")


def names_in(path: Path) -> set[str]:
    """What pytest finds there, but for what is switched off."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            marks = " ".join(map(ast.unparse, node.decorator_list))
            if node.name.startswith("test_") and "skip" not in marks and "xfail" not in marks:
                found.add(node.name)
        elif isinstance(node, ast.Assign):  # a state machine
            found |= {ast.unparse(target) for target in node.targets}
    return found


def rows() -> list[str]:
    """The lines of its tables, without their heads."""
    lines = PROMISES.read_text().splitlines()
    return [line for line in lines if line.startswith("| ") and "---" not in line[:5]]


def test_every_promise_names_tests_that_are_there() -> None:
    promises = [row for row in rows() if row != "| Promise | Test |"]
    assert len(promises) > 30
    for row in promises:
        _, promise, tests, _ = row.split("|")
        named = NAMED.findall(tests)
        assert named and not NAMED.sub("", tests).strip(" ,"), promise
        for path, name in named:
            assert (ROOT / path).exists(), f"{promise}: there is no {path}"
            assert name in names_in(ROOT / path), f"{promise}: there is no {name} in {path}"


def test_the_administrators_are_told_of_them() -> None:
    assert "tests/crash/PROMISES.md" in (ROOT / "docs" / "guarantees.md").read_text()
