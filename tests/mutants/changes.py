"""Small changes to a module, each of which a test should notice."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Change", "changes_of", "describe"]

_COMPARED = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_CALCULATED = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
_NOT_CALLED = {"TypeVar", "Logger", "NewType", "cast", "assert_never"}
"""What these are given is for people or for type checkers."""


@dataclass(frozen=True, slots=True)
class Change:
    """Replace the bytes from `start` to `stop` by `text`."""

    line: int
    start: int
    stop: int
    text: bytes
    what: str

    def applied_to(self, source: bytes) -> bytes:
        return source[: self.start] + self.text + source[self.stop :]


def changes_of(source: bytes) -> list[Change]:
    """All changes to a module, in the order of its lines.

    Annotations, docstrings, `__all__`, assertions and type declarations stay as they are;
    what would be no Python is left out.
    """
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    found = {(change.start, change.stop, change.text): change for change in finder.found}
    return sorted(
        (change for change in found.values() if _is_python(change.applied_to(source))),
        key=lambda change: (change.line, change.start, change.stop),
    )


def _is_python(source: bytes) -> bool:
    try:
        compile(source, "changed", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class _Finder(ast.NodeVisitor):
    def __init__(self, source: bytes) -> None:
        self.found: list[Change] = []
        self._source = source
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts

    def visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_params", "decorator_list"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not self._is_left_alone(child):
                    self.visit(child)
        method = getattr(self, f"_of_{type(node).__name__.lower()}", None)
        if method is not None:
            method(node)

    def _is_left_alone(self, node: ast.AST) -> bool:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Assert() | ast.Import() | ast.ImportFrom():
                return True
            case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.JoinedStr():
                return True
            case ast.Call(func=ast.Name(id=name)):
                return name in _NOT_CALLED
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return True
        return False

    def _of_call(self, node: ast.Call) -> None:
        given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        for argument in given:
            value = argument.value if isinstance(argument, ast.keyword) else argument
            if isinstance(argument, ast.keyword) and argument.arg is None:
                self._replace(value, b"{}", "gives none of these")
            elif not isinstance(value, ast.Constant | ast.Starred):
                self._replace(value, b"None", "gives None")
        if len(given) > 1 or node.keywords:
            self._drop_each(given, "leaves an argument out")

    def _of_list(self, node: ast.List) -> None:
        if isinstance(node.ctx, ast.Load):
            self._drop_each(node.elts, "leaves an element out")

    def _of_tuple(self, node: ast.Tuple) -> None:
        if isinstance(node.ctx, ast.Load) and len(node.elts) > 2:
            self._drop_each(node.elts, "leaves an element out")

    def _of_dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            start = self._at(value)[0] - 2 if key is None else self._at(key)[0]
            self._drop(start, self._at(value)[1], value.lineno, "leaves an entry out")

    def _of_compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            text = f" {_COMPARED[type(operator)]} ".encode()
            self._between(left, right, text, "compares otherwise")
            left = right

    def _of_binop(self, node: ast.BinOp) -> None:
        if type(node.op) in _CALCULATED:
            text = f" {_CALCULATED[type(node.op)]} ".encode()
            self._between(node.left, node.right, text, "calculates otherwise")

    def _of_boolop(self, node: ast.BoolOp) -> None:
        other = b" or " if isinstance(node.op, ast.And) else b" and "
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, other, "asks for one or for both")

    def _of_unaryop(self, node: ast.UnaryOp) -> None:
        self._replace(node, self._text(node.operand), "without the sign")

    def _of_constant(self, node: ast.Constant) -> None:
        match node.value:
            case bool():
                self._replace(node, str(not node.value).encode(), "the opposite")
            case int() | float():
                self._replace(node, f"({node.value!r} + 1)".encode(), "one more")
            case str():
                self._replace(node, repr(f"X{node.value}X").encode(), "another text")
            case bytes():
                self._replace(node, repr(b"X%sX" % node.value).encode(), "other bytes")

    def _of_if(self, node: ast.If) -> None:
        self._turn(node.test)

    def _of_ifexp(self, node: ast.IfExp) -> None:
        self._turn(node.test)

    def _of_while(self, node: ast.While) -> None:
        self._turn(node.test)

    def _of_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._turn(test)

    def _of_return(self, node: ast.Return) -> None:
        if node.value is not None and ast.unparse(node.value) != "None":
            self._replace(node.value, b"None", "returns None")

    def _of_assign(self, node: ast.Assign) -> None:
        if not isinstance(node.value, ast.Constant) and not isinstance(node.targets[0], ast.Tuple):
            self._replace(node.value, b"None", "assigns None")

    def _of_augassign(self, node: ast.AugAssign) -> None:
        self._replace(node, b"pass", "without this statement")

    def _of_expr(self, node: ast.Expr) -> None:
        self._replace(node, b"pass", "without this statement")

    def _of_raise(self, node: ast.Raise) -> None:
        self._replace(node, b"pass", "without this statement")

    def _turn(self, test: ast.expr) -> None:
        self._replace(test, b"(not (%s))" % self._text(test), "asks the opposite")

    def _drop_each(self, nodes: Sequence[ast.expr | ast.keyword], what: str) -> None:
        for node in nodes:
            start, stop = self._at(node)
            if isinstance(node, ast.keyword) and node.arg is None:
                continue  # see `_of_call`
            self._drop(start, stop, node.lineno, what)

    def _drop(self, start: int, stop: int, line: int, what: str) -> None:
        """Without what stands from `start` to `stop`, and the comma behind or before it."""
        rest = self._source[stop:].lstrip()
        if rest.startswith(b","):
            stop = len(self._source) - len(rest) + 1
        else:
            before = self._source[:start].rstrip()
            start = len(before) - before.endswith(b",")
        self.found.append(Change(line, start, stop, b"", what))

    def _between(self, left: ast.expr, right: ast.expr, text: bytes, what: str) -> None:
        start, stop = self._at(left)[1], self._at(right)[0]
        gap = self._source[start:stop]
        closing, opening = gap.count(b")"), gap.count(b"(")
        self.found.append(
            Change(left.lineno, start, stop, b")" * closing + text + b"(" * opening, what)
        )

    def _replace(self, node: ast.expr | ast.stmt, text: bytes, what: str) -> None:
        start, stop = self._at(node)
        self.found.append(Change(node.lineno, start, stop, text, what))

    def _text(self, node: ast.expr) -> bytes:
        start, stop = self._at(node)
        return self._source[start:stop]

    def _at(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )


def describe(source: bytes, change: Change) -> str:
    """A change as a line for people."""
    before = source[change.start : change.stop].decode()
    words = f"{' '.join(before.split())} -> {change.text.decode() or 'nothing'}"
    return f"{change.line}: {change.what}: {words}"
