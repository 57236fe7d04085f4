from __future__ import annotations

from docs.write_reference import PATH, reference


def test_the_reference_says_what_the_kinds_declare() -> None:
    assert PATH.read_text() == reference(), "run `make reference`"


def test_every_key_has_a_meaning_and_says_what_it_may_hold() -> None:
    rows = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    rows = [row for row in rows if len(row) > 3]  # of keys, not of URLs
    assert len(rows) > 90
    assert [row for row in rows if not all(row[-2:])] == []
