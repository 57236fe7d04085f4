from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from relay.cli.toml_writing import Table, TomlValue, write_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4), TEXTS, st.lists(TEXTS, max_size=2))
def test_what_is_written_is_read_back(
    values: dict[str, TomlValue], name: str, comments: list[str]
) -> None:
    text = write_toml([Table(("sources", name), values, comments)], head=comments)
    assert tomllib.loads(text) == {"sources": {name: values}}


def test_half_a_character_is_replaced() -> None:
    text = write_toml([Table(("a",), {"b": "x\ud800"})])
    assert tomllib.loads(text)["a"]["b"] == "x\ufffd"


def test_a_long_list_takes_several_lines_and_backslashes_stay_single() -> None:
    steps = [{"subst": r"\d+", "with": "x" * 50}, {"mask": ["ipv4"]}, {"drop": "noise"}]
    text = write_toml([Table(("a", "b.c"), {"rewrite": steps}, ["from here"])], head=["made"])
    assert text == (
        '# made\n\n# from here\n[a."b.c"]\nrewrite = [\n'
        "    { subst = '\\d+', with = \"" + "x" * 50 + '" },\n'
        '    { mask = ["ipv4"] },\n    { drop = "noise" },\n]\n'
    )
