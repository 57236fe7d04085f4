from __future__ import annotations

import pytest

from relay.cli.moving.rsyslog.language.expressions import read_array, read_expression
from relay.cli.moving.rsyslog.language.scanner import Scanner, SyntaxProblem
from relay.cli.moving.rsyslog.language.syntax import (
    Array,
    Binary,
    Call,
    Expression,
    Literal,
    Property,
    Unary,
)

MSG = Property("msg")


def read(text: str) -> Expression:
    return read_expression(Scanner("f", text))


def test_comparisons_and_functions() -> None:
    assert read("$msg contains 'x'") == Binary("contains", MSG, Literal("x"))
    assert read("$!a!b <> 0x10") == Binary("!=", Property("!a!b"), Literal("16", True))
    assert read("$fromhost-ip == ['a', \"b\"]") == Binary(
        "==", Property("fromhost-ip"), Array(("a", "b"))
    )
    assert read("re_match($msg, 'x') == 1") == Binary(
        "==", Call("re_match", (MSG, Literal("x"))), Literal("1", True)
    )
    assert read("$.a & '-' & $$now") == Binary(
        "&", Binary("&", Property(".a"), Literal("-")), Property("$now")
    )


def test_and_and_or_bind_alike_from_the_left_as_in_rsyslog() -> None:
    one, two, three = (Literal(each, True) for each in "123")
    assert read("1 or 2 and 3") == Binary("and", Binary("or", one, two), three)


def test_not_binds_closer_than_a_comparison_as_in_rsyslog() -> None:
    assert read("not $msg contains 'x'") == Binary("contains", Unary("not", MSG), Literal("x"))
    assert read("not ($msg contains 'x')") == Unary("not", Binary("contains", MSG, Literal("x")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected an expression, found the end of the line"),
        ("$msg contains then", "expected an expression, found 'then'"),
        ("(1", "expected [)], found"),
        ("`echo $X` == 1", "backticks"),
        ("(" * 200, "more than 100"),
        ("not " * 200, "more than 100"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    with pytest.raises(SyntaxProblem, match=said):
        read(text)


def test_an_array_holds_texts_only() -> None:
    assert read_array(Scanner("f", " [ 'a' , 'b' ]")) == ["a", "b"]
    with pytest.raises(SyntaxProblem, match="expected a text in an array"):
        read_array(Scanner("f", "[1]"))
