from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from tests.mutants.__main__ import IMPORTED
from tests.mutants.changes import changes_of, describe

ROOT = Path(__file__).parents[2]


def changed(text: str) -> list[str]:
    """The lines that become of the last line of `text`."""
    source = text.encode()
    lines = [change.applied_to(source).decode().splitlines()[-1] for change in changes_of(source)]
    return sorted(line.strip() for line in lines)


def test_what_a_call_is_given_may_be_missing() -> None:
    assert changed("f(one, two=three)") == [
        "f( two=three)",
        "f(None, two=three)",
        "f(one)",
        "f(one, two=None)",
        "pass",
    ]
    assert changed("x = f(**many)") == ["x = None", "x = f(**{})"]


def test_a_part_of_a_list_or_table_may_be_missing() -> None:
    assert "x = [ two]" in changed("x = [one, two]")
    assert "x = [one]" in changed("x = [one, two]")
    assert "x = (one, two)" in changed("x = (one, two, *three)")
    assert 'x = { "b": two}' in changed('x = {"a": one, "b": two}')
    assert 'x = {"a": one}' in changed('x = {"a": one, **others}')


def test_conditions_may_be_others() -> None:
    assert changed("a < (b)") == ["a <= (b)", "pass"]
    assert changed("x = y if (a) and b else z") == [
        "x = None",
        "x = y if (a) or b else z",
        "x = y if (not ((a) and b)) else z",
    ]
    assert "return [x for x in y if (not (x > 1))]" in changed(
        "def f():\n return [x for x in y if x > 1]"
    )


def test_values_may_be_others() -> None:
    assert changed("x = 5") == ["x = (5 + 1)"]
    assert changed("x = True") == ["x = False"]
    assert changed("x = 'a'") == ["x = 'XaX'"]
    assert changed("x = a + b") == ["x = None", "x = a - b"]
    assert changed("def f():\n return x") == ["return None"]
    assert changed("def f():\n raise X()") == ["pass"]


def test_what_does_nothing_is_left_alone() -> None:
    text = '"""Words."""\nimport os\n__all__ = ["f"]\ndef f(x: int = a) -> int:\n  """More."""'
    assert changed(text) == []
    assert changed("assert x == 1") == []


def test_each_change_of_a_real_module_is_one_and_python() -> None:
    source = (ROOT / "relay/service/queue/assembly.py").read_bytes()
    found = changes_of(source)
    assert len(found) > 50
    for change in found:
        text = change.applied_to(source)
        assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(source)), describe(source, change)
    assert len({change.applied_to(source) for change in found}) == len(found)


def test_what_is_imported_beforehand_is_installed() -> None:
    for name in IMPORTED:
        assert importlib.util.find_spec(name) is not None, name
