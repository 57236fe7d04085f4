from __future__ import annotations

import os

import pytest

from tests.documents import ROOT
from tests.scale.tables import TABLES, table

PAGE = ROOT / "docs" / "scaling.md"
QUICK = ("figures", "chunks", "parts")
"""Tables without a simulation; the others take up to half a minute each."""
SHOWN = tuple(TABLES) if "SCALE_TABLES" in os.environ else QUICK  # `make torture` has the time


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_what_the_model_says(name: str) -> None:
    assert TABLES[name]() in PAGE.read_text(), f"python -m tests.scale '{name}' says something else"


def test_a_table_aligns_numbers() -> None:
    found = table(["Name", "Number", "Why"], [["a", "1", "so"], ["b", "2", ""]])
    assert found.splitlines()[1] == "| --- | ---: | --- |"
