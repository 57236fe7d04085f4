"""Tokens of syslog-ng's configuration language.

The language is a stream of tokens into which other texts are put while it is read: files of
``@include``, variables between backticks, and the bodies of blocks with their arguments.  The
scanner therefore is a stack of texts; the reader of its tokens may `push` another one.

Everything is bounded, since a file may include itself and a block may call itself: the texts
that are open at a time, the characters of all of them together, and the number of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from relay.cli.moving.report import Place

__all__ = ["ConfigurationText", "Scanner", "SyntaxProblem", "Token", "filled_in", "unescaped"]

DEPTH_MAX = 32
FILES_MAX = 1000
CHARACTERS_MAX = 16 << 20
TOKENS_MAX = 500_000

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v]+|\\\r?\n)
      | (?P<newline>\n)
      | (?P<comment>\#[^\n]*)
      | (?P<string>"(?:[^"\\]|\\.)*"|'[^']*')
      | `(?P<variable>[^`\n]*)`
      | (?P<op>=>|\.\.|[=!<>]=|[{}();,|<>=!&])
      | (?P<directive>@[A-Za-z_]+)
      | (?P<word>(?:(?!\.\.)[^\s\#'"(){};,|@`=<>!&\\])(?:(?!\.\.|=>|[!<>]?=)[^\s\#'"(){};,|`\\])*)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_VARIABLE = re.compile(r"`([A-Za-z_][A-Za-z0-9_.-]*)?`")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|o[0-7]{3}|\r?\n|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "v": "\v"}


class SyntaxProblem(Exception):
    """The text is not in the language.

    Attributes:
        place: Where.
        reason: What was found, and what is allowed.
    """

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class Token(NamedTuple):
    """A piece of the text.

    Attributes:
        kind: word, string, op, directive, or end (of all texts).
        text: That of a string is without quotes and escapes.
    """

    kind: str
    text: str
    place: Place

    def is_op(self, *texts: str) -> bool:
        return self.kind == "op" and self.text in texts

    def __str__(self) -> str:
        return "the end of the file" if self.kind == "end" else repr(self.text)


@dataclass(frozen=True, slots=True)
class ConfigurationText:
    """A text to scan.

    Attributes:
        line: Number of its first line.
        is_body: It is the body of a block: all of it counts as written at `line`, where the
            block is called, because that is the line that a user has to change.
        name: Tells texts that are open at the same time apart, for cycles.
    """

    text: str
    file: str
    line: int = 1
    is_body: bool = False
    name: str = ""


class _Reading:
    """How far a text has been read."""

    def __init__(self, source: ConfigurationText, depth: int = 0) -> None:
        self.source = source
        self.depth = depth
        self.offset = 0
        self.line = source.line

    @property
    def place(self) -> Place:
        return Place(self.source.file, self.line)

    def pass_over(self, text: str) -> None:
        self.offset += len(text)
        if not self.source.is_body:
            self.line += text.count("\n")


class Scanner:
    """Cuts a stack of texts into tokens.

    Args:
        variables: Values of names between backticks.  It may get more of them while the text
            is scanned (``@define``).
    """

    def __init__(self, source: ConfigurationText, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._open = [_Reading(source)]
        self._put_back: list[Token] = []
        self._characters = len(source.text)
        self._tokens = 0
        self._last = Place(source.file, source.line)
        self.unknown_variables: list[tuple[str, Place]] = []

    def push(self, *sources: ConfigurationText) -> None:
        """Go on with `sources`, one after the other, and behind them with what follows now.

        Raises:
            SyntaxProblem: Too many texts are open, one of `sources` is, or they are too long.
        """
        assert not self._put_back, "a token was looked at that comes behind the new text"
        depth = self._open[-1].depth + 1
        names = {reading.source.name for reading in self._open if reading.source.name}
        for source in sources:
            self._characters += len(source.text)
            if source.name in names:
                raise SyntaxProblem(self._last, f"{source.name} includes itself")
        if depth > DEPTH_MAX or len(self._open) + len(sources) > FILES_MAX:
            raise SyntaxProblem(
                self._last,
                f"more than {DEPTH_MAX} includes, blocks and variables inside each other, or "
                f"{FILES_MAX:,} files",
            )
        if self._characters > CHARACTERS_MAX:
            raise SyntaxProblem(
                self._last, f"more than {CHARACTERS_MAX:,} characters with all includes and blocks"
            )
        self._open += [_Reading(source, depth) for source in reversed(sources)]

    def put_back(self, token: Token) -> None:
        """Have `next` return `token` again."""
        self._put_back.append(token)

    def next(self) -> Token:
        """The next token; kind end after the last one.

        Raises:
            SyntaxProblem: There is something that is no token.
        """
        if self._put_back:
            return self._put_back.pop()
        self._tokens += 1
        if self._tokens > TOKENS_MAX:
            raise SyntaxProblem(self._last, f"more than {TOKENS_MAX:,} words")
        while True:
            reading = self._open[-1]
            found = _TOKEN.match(reading.source.text, reading.offset)
            if found is None:
                if len(self._open) == 1:
                    return Token("end", "", reading.place)
                self._open.pop()
                continue
            token = self._token(reading, found)
            if token is not None:
                self._last = token.place
                return token

    def rest_of_line(self) -> str:
        """The rest of a directive's line, without a comment behind it."""
        reading = self._open[-1]
        end = reading.source.text.find("\n", reading.offset)
        text = reading.source.text[reading.offset : end if end >= 0 else None]
        reading.pass_over(text)
        return re.sub(r"""^((?:[^#"']|"[^"]*"|'[^']*')*)#.*$""", r"\1", text).strip()

    def raw(self, opening: str, closing: str) -> str:
        """The text up to the `closing` that belongs to the `opening` which was the last token.

        Raises:
            SyntaxProblem: There is none.
        """
        assert not self._put_back
        reading = self._open[-1]
        start, depth = reading.offset, 1
        while found := _TOKEN.match(reading.source.text, reading.offset):
            reading.pass_over(found[0])
            depth += {opening: 1, closing: -1}.get(found["op"] or "", 0)
            if depth == 0:
                return reading.source.text[start : reading.offset - 1]
        raise SyntaxProblem(self._last, f"{opening} without {closing}")

    def _token(self, reading: _Reading, found: re.Match[str]) -> Token | None:
        place = reading.place
        kind, text = found.lastgroup or "other", found[0]
        reading.pass_over(text)
        if kind in ("space", "newline", "comment"):
            return None
        if kind == "variable":
            self._last = place
            name = found["variable"]
            value = self._value(name, place) if name else ""
            self.push(ConfigurationText(value, place.file, place.line, is_body=True))
            return None
        if kind == "string":
            if text[0] == '"':
                text = unescaped(self._filled_in(text[1:-1], place))
            else:
                text = self._filled_in(text[1:-1], place)
        elif kind == "other":
            what = "a text without its end" if text in "\"'`" else f"the character {text!r}"
            raise SyntaxProblem(place, f"found {what}; expected a name, a number or a text")
        return Token(kind, text, place)

    def _filled_in(self, text: str, place: Place) -> str:
        if "`" not in text:
            return text
        return _VARIABLE.sub(lambda found: self._value(found[1] or "", place), text)

    def _value(self, name: str, place: Place) -> str:
        if not name:
            return "`"  # two backticks are one
        value = self._variables.get(name)
        if value is None:
            self.unknown_variables.append((name, place))
            return ""
        return value


def unescaped(text: str) -> str:
    """The value of a text in double quotes; a backslash that means nothing is left out."""
    return _ESCAPE.sub(_unescaped_character, text)


def _unescaped_character(found: re.Match[str]) -> str:
    escape = found[1]
    if escape.endswith("\n"):
        return ""
    if len(escape) > 1:
        return chr(int(escape[1:], 16 if escape[0] == "x" else 8))
    return _ESCAPED.get(escape, escape)


def filled_in(body: str, arguments: Mapping[str, str]) -> str:
    """The body of a block with its arguments in place of their names between backticks.

    An argument is the text as it was written in parentheses; inside of a text in quotes
    it loses its own quotes.  Names that are no argument stay: they may be variables.
    """

    def argument(found: re.Match[str]) -> str:
        return arguments.get(found[1] or "", found[0])

    def inside(found: re.Match[str]) -> str:
        value = argument(found).strip()
        quoted = re.fullmatch(r"""(["'])(.*)\1""", value, re.DOTALL)
        if quoted is None:
            return value
        if quoted[1] == '"':
            return quoted[2]
        return quoted[2].replace("\\", "\\\\").replace('"', '\\"')

    parts: list[str] = []
    offset = 0
    while found := _TOKEN.match(body, offset):
        text = found[0]
        if found["string"] is not None:
            text = _VARIABLE.sub(inside, text)
        elif found["variable"] is not None:
            text = _VARIABLE.sub(argument, text)
        parts.append(text)
        offset = found.end()
    return "".join(parts)
