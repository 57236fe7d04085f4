from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.template import constant_of, macros_of, split_template


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [b""]),
        ("a$$b", [b"a$b"]),
        ("<$PRI>${.a.b:-c d}", [b"<", ("PRI", b""), b">", (".a.b", b"c d")]),
        ("${a pair: with-a:b}|$0", [("a pair: with-a:b", b""), b"|", ("0", b"")]),
    ],
)
def test_the_parts_of_a_template(text: str, parts: list[bytes | tuple[str, bytes]]) -> None:
    assert split_template(text) == parts


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("abc ${HOST", "at character 5: ${ is not closed"),
        ("${HOST:-${PROGRAM}}", "at character 1: ${ is not closed; write ${NAME} or"),
        ("${}", "at character 1: ${} has no name"),
        ("${:-x}", "at character 1: ${} has no name"),
        ("5 $", "at character 3: $ is followed by no name; write $$ for a dollar sign"),
        ("$.x", "at character 1: $ is followed by no name"),
        ("$HOST $(format-json --scope rfc5424)", "at character 7: functions, $(…), are not"),
    ],
)
def test_mistakes(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(mistake)):
        split_template(text)


def test_names_in_a_template() -> None:
    assert macros_of("<$PRI>$HOST ${.a.b:-c} $$ $HOST") == ["PRI", "HOST", ".a.b", "HOST"]


@given(st.text())
def test_a_template_is_constant_or_has_macros(text: str) -> None:
    try:
        constant = constant_of(text)
    except ValueError as error:
        assert "$" in text
        assert str(error).startswith("at character ")
        return
    assert (constant is None) is bool(macros_of(text))
