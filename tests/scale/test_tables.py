from __future__ import annotations

import os

import pytest

from tests.documents import ROOT
from tests.scale.tables import TABLES, table

PAGE = ROOT / "docs" / "scaling.md"
LONG = ("lingers", "one cluster", "a lost zone")
"""Tables that simulate for up to a minute: `make torture` has the time."""
SHOWN = [name for name in TABLES if "SCALE_TABLES" in os.environ or name not in LONG]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_what_the_model_says(name: str) -> None:
    assert TABLES[name]() in PAGE.read_text(), f"python -m tests.scale '{name}' says something else"


def test_a_table_aligns_numbers() -> None:
    found = table(["Name", "Number", "Why"], [["a", "1", "so"], ["b", "2", ""]])
    assert found.splitlines()[1] == "| --- | ---: | --- |"


def test_long_tables_are_tables() -> None:
    assert set(LONG) < set(TABLES)
