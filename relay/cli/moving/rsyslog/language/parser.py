"""Read the statements of rsyslog's configuration: RainerScript and legacy lines, mixed.

Each statement is opened in the report.  What cannot be read is said there and passed over up to
the end of its line, as rsyslog itself goes on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.report import Report, Statement
from relay.cli.moving.rsyslog.language.expressions import read_array, read_expression
from relay.cli.moving.rsyslog.language.scanner import Scanner, SyntaxProblem
from relay.cli.moving.rsyslog.language.syntax import (
    Directive,
    Expression,
    If,
    Jump,
    LegacyAction,
    Node,
    Object,
    Parameters,
    PriorityFilter,
    PropertyFilter,
    SetVariable,
    Unreadable,
)

__all__ = ["parse"]

_BLOCKS_MAX = 100
_OBJECT = re.compile(r"([A-Za-z_]+)[ \t]*\(")
_OBJECTS = {"global", "module", "input", "action", "ruleset", "template", "main_queue", "include"}
_OBJECTS |= {"lookup_table", "dyn_stats", "perctile_stats", "parser", "timezone", "ratelimit"}
_OBJECTS |= {"property", "constant", "reload_lookup_table", "call_indirect"}
_WITH_BODY = {"ruleset", "template"}
_WORD = re.compile(
    r"(if|set|reset|unset|stop|continue|call_indirect|call|foreach)(?![A-Za-z0-9_.,=*])"
)
_NAME = re.compile(r"[A-Za-z0-9_.:-]+")
_VARIABLE = re.compile(r"\$([!./][A-Za-z0-9_!.@#-]*)")
_DIRECTIVE = re.compile(r"\$([A-Za-z][A-Za-z0-9.]*)[ \t]*")
_FACILITY = r"(?:\*|[A-Za-z][A-Za-z0-9]*|[0-9]+)"
_SELECTOR_PART = rf"{_FACILITY}(?:,{_FACILITY})*\.[!=]{{0,2}}(?:\*|[A-Za-z0-9]+)"
# A backslash at its end continues a line.
_NEXT_PART = rf";(?:\\\n[ \t]*)?{_SELECTOR_PART}"
_SELECTOR = re.compile(rf"({_SELECTOR_PART}(?:{_NEXT_PART})*;?)(?=[ \t\n{{\\])")
_PROPERTY_FILTER = re.compile(
    r""":[ \t]*([$!./A-Za-z][^,\n]*?)[ \t]*,[ \t]*(!?)[ \t]*([A-Za-z_]+)[ \t]*"""
    r"""(?:,[ \t]*"((?:[^"\\]|\\.)*)")?""",
    re.DOTALL,
)
_PARAMETER = re.compile(r"([A-Za-z][A-Za-z0-9_.@-]*)[ \t]*=")
_BARE_VALUE = re.compile(r"[^\s,)\"']+")
# Lines for the next action may stand before the & of one.
_AND_SO_ON = re.compile(r"(?:\s++|#[^\n]*+\n|\$[A-Z][^\n&]*+\n)*+&")
_BSD_BLOCK = re.compile(r"[!+]|-(?![/?])")


def parse(files: InputFiles, path: str, report: Report) -> list[Node]:
    """The statements of the file at `path` and of those that it includes, in their order.

    Raises:
        ImportRefused, OSError: The file cannot be read; see `InputFiles.opened`.
    """
    with files.opened(path) as text:
        return _Parser(files, Scanner(path, text), report).file()


class _Parser:
    """Reads one file."""

    def __init__(self, files: InputFiles, scanner: Scanner, report: Report) -> None:
        self._files = files
        self._scanner = scanner
        self._report = report
        self._blocks = 0

    def file(self) -> list[Node]:
        nodes: list[Node] = []
        while True:
            nodes += self._until_brace()
            if self._scanner.is_at_end():
                return nodes
            start = self._scanner.position
            self._scanner.position += 1
            self._open(start).unsupported("found a } without a {; remove it")

    def _open(self, start: int, stop: int | None = None) -> Statement:
        """A statement of the report, with the text from `start` on."""
        text = self._scanner.text[start : self._scanner.position if stop is None else stop]
        return self._report.statement(self._scanner.place(start), text[:400])

    def _until_brace(self) -> list[Node]:
        nodes: list[Node] = []
        scanner = self._scanner
        while True:
            scanner.skip_blank()
            if scanner.is_at_end() or scanner.text[scanner.position] == "}":
                return nodes
            start = scanner.position
            try:
                nodes += self._statement()
            except SyntaxProblem as problem:
                scanner.position = max(scanner.position, start)
                scanner.take_line()
                self._open(start).unsupported(f"cannot be read: {problem}")

    def _block(self) -> list[Node]:
        """The statements between braces."""
        if self._blocks >= _BLOCKS_MAX:
            place = self._scanner.place()
            raise ImportRefused(f"{place}: more than {_BLOCKS_MAX} blocks inside each other")
        self._scanner.expect("{")
        self._blocks += 1
        nodes = self._until_brace()
        self._blocks -= 1
        self._scanner.expect("}")
        return nodes

    def _statement(self) -> Sequence[Node]:
        scanner = self._scanner
        if scanner.peek(re.compile(r"\{")):
            return self._block()
        found = scanner.peek(_OBJECT)
        if found is not None and found[1].lower() in _OBJECTS:
            return self._object()
        if scanner.peek(_WORD):
            return self._word()
        if scanner.peek(_DIRECTIVE):
            return self._directive()
        if found := scanner.peek(_SELECTOR):
            text = re.sub(r"\\\n[ \t]*", "", found[1]).rstrip(";")
            return self._rule(found, PriorityFilter(text))
        if found := scanner.peek(_PROPERTY_FILTER):
            text = re.sub(r"\\(.)", r"\1", found[4] or "", flags=re.DOTALL)
            condition = PropertyFilter(found[1].lower(), found[3].lower(), bool(found[2]), text)
            return self._rule(found, condition)
        return self._actions()

    def _rule(self, found: re.Match[str], condition: Expression) -> Sequence[Node]:
        """A filter of one word and what it is for: a block, or actions of a line each."""
        start, self._scanner.position = self._scanner.position, found.end()
        self._scanner.skip_spaces()
        if self._scanner.peek(re.compile(r"\n|\Z")):
            self._open(start).unsupported("expected an action behind the filter")
            return []
        said = self._open(start)
        said.taken("as the filter of what follows")
        is_block = self._scanner.peek(re.compile(r"\{")) is not None
        then = self._block() if is_block else self._actions()
        return [If(condition, then, (), said)]

    def _actions(self) -> list[Node]:
        """An action, and those after it that begin with `&`, for the same messages."""
        nodes = [*self._action()]
        while True:
            if not self._scanner.peek(_AND_SO_ON):
                return nodes
            self._scanner.skip_blank()
            if self._scanner.peek(_DIRECTIVE):
                nodes += self._directive()
                continue
            self._scanner.expect("&")
            self._scanner.skip_spaces()
            nodes += self._action()

    def _action(self) -> Sequence[Node]:
        scanner = self._scanner
        start = scanner.position
        found = scanner.peek(_OBJECT)
        if found is not None and found[1].lower() in _OBJECTS:
            return self._object()
        if scanner.peek(_WORD):
            return self._word()
        if scanner.peek(_BSD_BLOCK):
            scanner.take_line()
            self._open(start).unsupported(
                "blocks of BSD's syslogd; what follows is read as being for all programs and hosts"
            )
            return []
        text = scanner.take_line()
        if self._blocks and text.endswith("}") and "{" not in text:
            scanner.position = scanner.text.rindex("}", start, scanner.position)
            text = text[:-1].rstrip()
        said = self._open(start)
        return [Jump("stop", "", said)] if text == "~" else [LegacyAction(text, said)]

    def _directive(self) -> Sequence[Node]:
        scanner = self._scanner
        start = scanner.position
        found = scanner.take(_DIRECTIVE)
        assert found is not None
        value = scanner.take_line()
        said = self._open(start)
        name = found[1].lower()
        if name == "includeconfig":
            return _files_like(self._files, self._report, value, said, is_optional="*" in value)
        return [Directive(name, value, said)]

    def _object(self) -> Sequence[Node]:
        scanner = self._scanner
        start = scanner.position
        found = scanner.take(_OBJECT)
        assert found is not None
        kind = found[1].lower()
        try:
            parameters = _parameters(scanner)
        except SyntaxProblem as problem:
            raise SyntaxProblem(f"{problem} in {kind}(…)") from None
        said = self._open(start)
        if kind == "include":
            return _included(self._files, self._report, parameters, said)
        body: Sequence[Node] = ()
        if kind in _WITH_BODY:
            scanner.skip_blank()
            if scanner.peek(re.compile(r"\{")):
                body = self._block()
        scanner.skip_spaces()
        scanner.take_text(";")
        return [Object(kind, parameters, said, body)]

    def _word(self) -> Sequence[Node]:
        scanner = self._scanner
        start = scanner.position
        found = scanner.take(_WORD)
        assert found is not None
        word = found[1].lower()
        if word == "if":
            return self._if(start)
        if word in ("set", "reset", "unset"):
            return self._set(word, start)
        if word in ("call_indirect", "foreach"):
            return self._unknown(word, start)
        target = ""
        if word == "call":
            scanner.skip_spaces()
            name = scanner.take(_NAME)
            if name is None:
                raise SyntaxProblem(f"expected the name of a ruleset, found {scanner.next_word()}")
            target = name[0]
        said = self._open(start)
        scanner.skip_spaces()
        scanner.take_text(";")
        return [Jump(word, target, said)]

    def _if(self, start: int) -> Sequence[Node]:
        scanner = self._scanner
        condition = read_expression(scanner)
        scanner.skip_blank()
        if not scanner.take(re.compile(r"then\b", re.IGNORECASE)):
            raise SyntaxProblem(f"expected then, found {scanner.next_word()}")
        said = self._open(start)
        said.taken("as the filter of what follows")
        then = self._branch()
        before = scanner.position
        scanner.skip_blank()
        if scanner.take(re.compile(r"else\b", re.IGNORECASE)):
            return [If(condition, then, self._branch(), said)]
        scanner.position = before
        return [If(condition, then, (), said)]

    def _branch(self) -> Sequence[Node]:
        self._scanner.skip_blank()
        if self._scanner.is_at_end():
            raise SyntaxProblem("expected what is to be done, found the end of the file")
        if self._blocks >= _BLOCKS_MAX:
            place = self._scanner.place()
            raise ImportRefused(f"{place}: more than {_BLOCKS_MAX} blocks inside each other")
        self._blocks += 1
        try:
            is_block = self._scanner.peek(re.compile(r"\{")) is not None
            return self._block() if is_block else [*self._statement(), *self._further()]
        finally:
            self._blocks -= 1

    def _further(self) -> Sequence[Node]:
        """Actions behind `&`, which belong to the branch."""
        self._scanner.skip_blank()
        if self._scanner.take_text("&"):
            self._scanner.skip_spaces()
            return self._actions()
        return []

    def _set(self, word: str, start: int) -> Sequence[Node]:
        scanner = self._scanner
        scanner.skip_blank()
        name = scanner.take(_VARIABLE)
        if name is None:
            raise SyntaxProblem(f"expected a variable such as $!name, found {scanner.next_word()}")
        expression = None
        if word != "unset":
            scanner.expect("=")
            expression = read_expression(scanner)
        said = self._open(start)
        scanner.skip_spaces()
        scanner.take_text(";")
        return [SetVariable(name[1], expression, said)]

    def _unknown(self, word: str, start: int) -> Sequence[Node]:
        scanner = self._scanner
        if word == "foreach":
            scanner.take(re.compile(r"[^{]*?\bdo\b", re.DOTALL | re.IGNORECASE))
        else:
            scanner.take(re.compile(r"[^;\n]*;?"))
        said = self._open(start)
        said.unsupported("the relay has no loops and no rulesets by a name in a message")
        scanner.skip_blank()
        is_block = word == "foreach" and scanner.peek(re.compile(r"\{")) is not None
        return [Unreadable(said, self._block() if is_block else ())]


def _included(
    files: InputFiles, report: Report, parameters: Parameters, said: Statement
) -> Sequence[Node]:
    """The statements that an include() stands for."""
    values = parameters.values
    mode = "".join(values.get("mode", ["required"]))
    if "text" in values:
        said.taken("its text is read as a part of this file")
        scanner = Scanner(f"{said.place}", "".join(values["text"]))
        return _Parser(files, scanner, report).file()
    if "file" not in values:
        said.unsupported("found neither file nor text; name a file")
        return []
    pattern = "".join(values["file"])
    return _files_like(files, report, pattern, said, is_optional=mode == "optional")


def _files_like(
    files: InputFiles, report: Report, pattern: str, said: Statement, *, is_optional: bool
) -> Sequence[Node]:
    """The statements of all files with names like `pattern`."""
    if pattern.endswith("/"):
        pattern += "*"
    paths = files.matching(pattern)
    nodes: list[Node] = []
    for path in paths:
        try:
            nodes += parse(files, path, report)
        except OSError as error:
            if is_optional:
                said.taken(f"{path} is optional and cannot be read: {error.strerror}")
            else:
                said.unsupported(f"{path}: cannot read it: {error.strerror}")
        else:
            said.taken(f"read {path}")
    if not paths:
        said.taken(f"no file has a name like {pattern}")
    return nodes


def _parameters(scanner: Scanner) -> Parameters:
    """The parameters of an object, up to the closing parenthesis, which is read as well."""
    found = Parameters()
    while True:
        scanner.skip_blank()
        if scanner.take_text(")"):
            return found
        if scanner.take_text(","):
            continue
        name = scanner.take(_PARAMETER)
        if name is None:
            raise SyntaxProblem(f"expected NAME=VALUE or ), found {scanner.next_word()}")
        scanner.skip_blank()
        found.values[name[1].lower()] = _value(scanner)


def _value(scanner: Scanner) -> list[str]:
    if scanner.peek(re.compile(r"\[")):
        return read_array(scanner)
    text = scanner.take_string()
    if text is None and (text := scanner.take_backticks()) is not None:
        raise SyntaxProblem(f"`{text}` depends on where rsyslog runs; write the value out")
    if text is not None:
        return [text]
    if found := scanner.take(_BARE_VALUE):
        return [found[0]]
    raise SyntaxProblem(f"expected a value, found {scanner.next_word()}")
