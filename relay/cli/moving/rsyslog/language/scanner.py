"""The text of one file, read from its beginning to its end."""

from __future__ import annotations

import re
from bisect import bisect_right

from relay.cli.moving.report import Place

__all__ = ["Scanner", "SyntaxProblem"]

_BLANK = re.compile(r"(?:[ \t\r\n\f\v]+|#[^\n]*|/\*.*?(?:\*/|\Z))+", re.DOTALL)
_SPACES = re.compile(r"(?:[ \t]|\\\n)*")
_LINE = re.compile(r"(?:\\\n|[^\n])*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_BACKTICKS = re.compile(r"`([^`]*)`")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class SyntaxProblem(ValueError):
    """An error that says what was expected, and what was found."""


class Scanner:
    """A position in the text of a file.

    Attributes:
        position: Index of the next character.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.position = 0
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, position: int | None = None) -> Place:
        """Where the next character is, or the one at `position`."""
        at = self.position if position is None else position
        return Place(self.path, bisect_right(self._line_starts, at))

    def skip_blank(self) -> None:
        """Pass over blanks, line ends and comments."""
        if found := _BLANK.match(self.text, self.position):
            self.position = found.end()

    def skip_spaces(self) -> None:
        """Pass over blanks of the line, which a backslash at its end continues."""
        found = _SPACES.match(self.text, self.position)
        assert found is not None
        self.position = found.end()

    def is_at_end(self) -> bool:
        return self.position >= len(self.text)

    def peek(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The match of `pattern` here, without moving."""
        return pattern.match(self.text, self.position)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Move over what `pattern` finds here."""
        found = pattern.match(self.text, self.position)
        if found is not None:
            self.position = found.end()
        return found

    def take_text(self, text: str) -> bool:
        """Move over `text` if it is here."""
        if self.text.startswith(text, self.position):
            self.position += len(text)
            return True
        return False

    def expect(self, text: str) -> None:
        """Move over `text`, after blanks; raises SyntaxProblem if it is not there."""
        self.skip_blank()
        if not self.take_text(text):
            raise SyntaxProblem(f"expected {text}, found {self.next_word()}")

    def take_line(self) -> str:
        """The rest of the line, which a backslash at its end continues."""
        found = self.take(_LINE)
        assert found is not None
        return re.sub(r"\\\n[ \t]*", "", found[0]).strip()

    def take_string(self) -> str | None:
        """A text in quotation marks, without its escapes; None if there is none."""
        found = self.take(_DOUBLE) or self.take(_SINGLE)
        return None if found is None else unescaped(found[1])

    def take_backticks(self) -> str | None:
        """The text between two backticks; None if there are none."""
        found = self.take(_BACKTICKS)
        return None if found is None else found[1]

    def next_word(self) -> str:
        """The text at this place, for a message."""
        rest = self.text[self.position : self.position + 30].split("\n")[0].strip()
        return repr(rest) if rest else "the end of the line"


def unescaped(text: str) -> str:
    r"""`text` without its escapes (``\n``, ``\"``, ``\x41``, ``\101``)."""

    def replace(found: re.Match[str]) -> str:
        code = found[1]
        if len(code) == 3:
            return chr(int(code[1:], 16)) if code[0] == "x" else chr(int(code, 8) & 0xFF)
        return _ESCAPES.get(code, code)

    return _ESCAPE.sub(replace, text)
