"""Read expressions of RainerScript.

Precedence is that of rsyslog: ``not`` and ``-`` bind closest, then ``* / %``, then ``+ - &``, then
comparisons; ``and`` and ``or`` bind alike, from left to right.
"""

from __future__ import annotations

import re

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

__all__ = ["read_array", "read_expression"]

_DEPTH_MAX = 100
_LOGIC = re.compile(r"(and|or)\b", re.IGNORECASE)
_COMPARISON = re.compile(
    r"(?:(contains_i|contains|startswith_i|startswith|endswith_i|endswith)\b"
    r"|(==|!=|<>|<=|>=|=<|=>|<|>))",
    re.IGNORECASE,
)
_SUM = re.compile(r"[+&-]")
_PRODUCT = re.compile(r"[*/%]")
_NOT = re.compile(r"not\b", re.IGNORECASE)
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+")
_PROPERTY = re.compile(r"\$(\$?[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z]+)?|[!./][A-Za-z0-9_!.@#*-]*)")
_FUNCTION = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)[ \t]*\(")
_ALIASES = {"<>": "!=", "=<": "<=", "=>": ">="}


def read_expression(scanner: Scanner, depth: int = 0) -> Expression:
    """Read one expression.

    Raises:
        SyntaxProblem: There is none, or it has more than 100 levels.
    """
    if depth > _DEPTH_MAX:
        raise SyntaxProblem(f"more than {_DEPTH_MAX} expressions inside each other")
    left = _comparison(scanner, depth)
    while operator := _operator(scanner, _LOGIC):
        left = Binary(operator, left, _comparison(scanner, depth))
    return left


def _comparison(scanner: Scanner, depth: int) -> Expression:
    left = _sum(scanner, depth)
    while operator := _operator(scanner, _COMPARISON):
        left = Binary(operator, left, _sum(scanner, depth))
    return left


def _sum(scanner: Scanner, depth: int) -> Expression:
    left = _product(scanner, depth)
    while operator := _operator(scanner, _SUM):
        left = Binary(operator, left, _product(scanner, depth))
    return left


def _product(scanner: Scanner, depth: int) -> Expression:
    left = _unary(scanner, depth)
    while operator := _operator(scanner, _PRODUCT):
        left = Binary(operator, left, _unary(scanner, depth))
    return left


def _operator(scanner: Scanner, pattern: re.Pattern[str]) -> str:
    scanner.skip_blank()
    found = scanner.take(pattern)
    if found is None:
        return ""
    text = found[0].lower()
    return _ALIASES.get(text, text)


def _unary(scanner: Scanner, depth: int) -> Expression:
    if depth > _DEPTH_MAX:
        raise SyntaxProblem(f"more than {_DEPTH_MAX} expressions inside each other")
    scanner.skip_blank()
    if scanner.take(_NOT):
        return Unary("not", _unary(scanner, depth + 1))
    if scanner.take_text("-"):
        return Unary("-", _unary(scanner, depth + 1))
    return _atom(scanner, depth)


def _atom(scanner: Scanner, depth: int) -> Expression:
    if scanner.take_text("("):
        inner = read_expression(scanner, depth + 1)
        scanner.expect(")")
        return inner
    text = scanner.take_string()
    if text is not None:
        return Literal(text)
    if found := scanner.take(_NUMBER):
        return Literal(str(int(found[0], 0 if found[0][:2] in ("0x", "0X") else 10)), True)
    if found := scanner.take(_PROPERTY):
        return Property(found[1])
    if found := scanner.take(_FUNCTION):
        return Call(found[1].lower(), _arguments(scanner, depth))
    if scanner.peek(re.compile(r"\[")):
        return Array(tuple(read_array(scanner)))
    if scanner.take_backticks() is not None:
        raise SyntaxProblem("a text in backticks depends on where rsyslog runs; write it out")
    raise SyntaxProblem(f"expected an expression, found {scanner.next_word()}")


def _arguments(scanner: Scanner, depth: int) -> tuple[Expression, ...]:
    found: list[Expression] = []
    scanner.skip_blank()
    while not scanner.take_text(")"):
        if found:
            scanner.expect(",")
        found.append(read_expression(scanner, depth + 1))
        scanner.skip_blank()
    return tuple(found)


def read_array(scanner: Scanner) -> list[str]:
    """Read texts in brackets, with commas between them."""
    scanner.expect("[")
    items: list[str] = []
    while True:
        scanner.skip_blank()
        if scanner.take_text("]"):
            return items
        if items:
            scanner.take_text(",")
            scanner.skip_blank()
        text = scanner.take_string()
        if text is None:
            raise SyntaxProblem(f"expected a text in an array, found {scanner.next_word()}")
        items.append(text)
