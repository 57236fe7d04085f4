from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.service.configuration.table import join_path
from relay.service.configuration.toml_text import (
    TomlSlip,
    line_of,
    lines_of,
    parse_toml,
    places,
    state_dir_in,
)

TEXT = """[relay]
name = "a" # [sources.in]
sources.dotted.listen = 1
[sources.in]
listen = "udp://:514"
allow = [
  "a",
  "b",   # c = 1
]
parse = { x = 1, y = [ { z = 1 } ] }
[[tests]]
frame = \"\"\"
a = 3
[b]
\"\"\"
[[tests]]
frame = 'x'
expect = { a = 1 }
[tests.expect.pairs]
one = 1
[destinations."a b"]
rewrite = [
  { mode = 1 },
  { mode = "x" },
]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("relay", 1),
        ("relay.name", 2),
        ("relay.state_dir: is missing", 1),
        ("relay.sources.dotted.listen: wrong", 3),
        ("sources.in.listen: unknown scheme", 5),
        ("sources.in.allow[1]: no address", 8),
        ("sources.in.parse.y[0].z", 10),
        ("tests[0].frame", 12),
        ("tests[1].expect.a", 18),
        ("tests[1].expect.pairs.one", 20),
        ('destinations."a b".rewrite[1].mode', 24),
        ('destinations."a b".connect', 21),
        ("nothing.here: is missing", 0),
        ("", 0),
    ],
)
def test_the_line_of_a_key_or_of_what_is_around_it(path: str, line: int) -> None:
    assert line_of(path, lines_of(TEXT)) == line


SLIPS = """[relay]
name = "a"
[sources.in]
listen = "udp://:514"
{}
[destinations.out]
connect = "relp://h:1"
"""
IN_QUOTATION_MARKS = "expected a value: put texts in quotation marks"


@pytest.mark.parametrize(
    ("slip", "line", "message"),
    [
        ('listen = "a"', 5, "sources.in.listen is there twice, on lines 4 and 5"),
        ("listen.x = 3", 5, "sources.in.listen is there twice, on lines 4 and 5"),
        ("x.y = 1\nx = 2", 6, "sources.in.x is there twice, on lines 5 and 6"),
        ("x = { a = 1, a = 2 }", 5, "sources.in.x.a is there twice, on line 5"),
        ("[relay]", 5, "[relay] is there twice, on lines 1 and 5"),
        ("[sources.in]", 5, "[sources.in] is there twice, on lines 3 and 5"),
        ("[[sources.in]]", 5, "[sources.in] is there twice, on lines 3 and 5"),
        ("[sources.in.listen]", 5, "sources.in.listen is there twice, on lines 4 and 5"),
        ("[destinations.out]", 6, "[destinations.out] is there twice, on lines 5 and 6"),
        ('x = "abc', 5, "a text ends with a quotation mark on the same line"),
        ("x = 'abc", 8, "the text that begins on line 5 has no quotation mark at its end"),
        ('x = """abc', 8, "the text that begins on line 5 has no quotation mark at its end"),
        ("x = central.example.com:514", 5, IN_QUOTATION_MARKS),
        ("x = yes", 5, IN_QUOTATION_MARKS),
        ("x =", 5, IN_QUOTATION_MARKS),
        ("x = \u201ca\u201d", 5, """quotation marks are written " or '"""),
        ('x = "C:\\path"', 5, r"a backslash in a text is written twice (\\)"),
        ('x = "a\x01"', 5, "found a control character"),
        ("x", 5, "expected KEY = VALUE, or the name of a table in brackets"),
        ('x : "y"', 5, "expected KEY = VALUE"),
        ("= 3", 5, "expected KEY = VALUE"),
        ("x = 64 KiB", 5, "something follows the value; each KEY = VALUE needs a line of its own"),
        ("x = 'it's'", 5, "something follows the value"),
        ("[sources.a b]", 5, "the name of a table ends with a ] on the same line"),
        ("x = [ 'a',\n 'b'", 7, "a list, which begins on line 5, needs commas"),
        ("x = [1 2]", 5, "a list, which begins on line 5, needs commas"),
        ("x = { a = 1", 5, "a table in braces needs commas between its keys and a } at its end"),
        (
            "x = { a = 1,\n b = 2 }",
            5,
            "expected the name of a key; a table in braces stands on one line",
        ),
        ("x = { a = 1 }\nx.b = 2", 6, "a table in braces gets all of its keys inside"),
        ("x = 1_", 5, "something follows the value"),
        (r'x = "\u12"', 5, "not TOML: Invalid hex value"),
        ("x = " + "9" * 5000, 0, "not TOML: Exceeds the limit"),
    ],
)
def test_slips_are_said_in_plain_english(slip: str, line: int, message: str) -> None:
    with pytest.raises(TomlSlip) as caught:
        parse_toml(SLIPS.replace("{}", slip))
    assert caught.value.reason.startswith(message)
    assert caught.value.line == line


def test_no_value_is_shown() -> None:
    with pytest.raises(TomlSlip) as caught:
        parse_toml("token = my-secret-of-today\n")
    assert "secret" not in caught.value.reason


def test_lists_in_lists_in_lists() -> None:
    places("a = " + "[" * 5000)
    with pytest.raises(TomlSlip):
        parse_toml("a = " + "[" * 100_000)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[relay]\nstate_dir = "/a"\nx = \n', "/a"),
        ("[relay\nstate_dir='/a' # there\n", "/a"),
        ('relay.state_dir = "/a"\nx', "/a"),
        ('["relay"]\n"state_dir" = "/a"\nx', "/a"),
        ('# state_dir = "/b"\n[relay]\nstate_dir = "/a"\n', "/a"),
        ('state_dir = "/a"\nstate_dir = "/a"\n', "/a"),
        ("[relay]\nname =\n", ""),
        ('state_dir = "/a"\nstate_dir = "/b"\n', None),
        ('state_dir = "/a\n', None),
        ("state_dir = /a\n", None),
        ('relay = { state_dir = "/a" \n', None),
        ('x = """\nstate_dir = here, or there\n"""\n', None),
    ],
)
def test_the_state_directory_is_found_where_it_is_beyond_doubt(
    text: str, found: str | None
) -> None:
    assert state_dir_in(text) == found


@given(st.text(alphabet="[]{}=,.\"'#\n ab1\\"))
def test_any_text_has_places_and_no_errors_but_slips(text: str) -> None:
    places(text)
    state_dir_in(text)
    try:
        parse_toml(text)
    except TomlSlip as slip:
        assert slip.reason


def dotted(values: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found.append(join_path(path, key))
        if isinstance(value, dict):
            found += dotted(value, found[-1])
    return found


@given(st.text(alphabet='[]{}=,."\n ab1', max_size=60))
def test_all_that_is_in_a_file_has_a_line(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = lines_of(text)
    for path in dotted(values):
        assert line_of(path, found), path
