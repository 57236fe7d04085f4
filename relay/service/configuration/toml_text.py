"""The text of a TOML file: which line a key is on, and slips in plain English.

`tomllib` gives values without their lines, and its errors name its grammar.  What is
here reads the same text again, only as far as names and lines need it, and never fails:
of a text that is not TOML it finds what stands before the slip.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from relay.service.configuration.table import join_path

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+)
      | (?P<comment>\#[^\n]*)
      | (?P<newline>\n)
      | (?P<text>\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''.*?'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')
      | (?P<sign>[\[\]{}=,.])
      | (?P<word>[^\s\[\]{}=,."'#]+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_PART_OF_PATH = re.compile(r'\.?([A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*")|\[([0-9]+)\]')
_STATE_DIR = re.compile(
    r"""(?:["']?relay["']?\s*\.\s*)?["']?state_dir["']?\s*=\s*(?:"([^"\\]+)"|'([^']+)')\s*(?:\#.*)?"""
)
_TYPOGRAPHIC = set("\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb")
_DEPTH_MAX = 50

# By the beginning of what tomllib says.
_IN_PLAIN_ENGLISH = {
    "Illegal character '\\n'": "a text ends with a quotation mark on the same line",
    "Illegal character": "found a control character; in a text write it as \\u and four digits",
    "Unescaped '\\'": (r"a backslash in a text is written twice (\\), or the text stands in '…'"),
    "Expected '='": "expected KEY = VALUE, or the name of a table in brackets",
    "Invalid statement": "expected KEY = VALUE, or the name of a table in brackets",
    "Expected newline": (
        "something follows the value; each KEY = VALUE needs a line of its own, and a value such "
        "as 64 KiB needs quotation marks"
    ),
    "Expected ']' at the end of": "the name of a table ends with a ] on the same line",
    "Unclosed inline table": (
        "a table in braces needs commas between its keys and a } at its end, all on one line"
    ),
    "Invalid initial character": (
        "expected the name of a key; a table in braces stands on one line, without a comma "
        "before its }"
    ),
    "Cannot mutate immutable": "a table in braces gets all of its keys inside of them",
}


class Place(NamedTuple):
    """Where something gets its value."""

    path: tuple[str, ...]
    """Its key after those of the tables that it is in; entries of lists by their number
    from 0."""
    line: int
    """Counted from 1."""
    is_table: bool = False
    """A line such as ``[sources.network]``."""


class TomlSlip(ValueError):
    """The text is not TOML.

    Attributes:
        line, column: Counted from 1; 0 = unknown.
        reason: What is wrong, for people; shows no value, which may be a secret.
    """

    def __init__(self, line: int, column: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.column = column
        self.reason = reason


def parse_toml(text: str) -> dict[str, object]:
    """What `tomllib` makes of `text`.

    Raises:
        TomlSlip: Nothing.
    """
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        found = _PLACE.fullmatch(str(error))
        if found is None:
            raise TomlSlip(0, 0, f"not TOML: {error}") from None
        line = int(found[2] or text.count("\n") + 1)
        column = int(found[3] or len(text) - text.rfind("\n"))
        raise TomlSlip(line, column, _plain(found[1], text, line, column)) from None
    except RecursionError:
        raise TomlSlip(0, 0, "not TOML: lists and tables are nested too deep") from None


def line_of(path: str, lines: Mapping[tuple[str, ...], int]) -> int:
    """The line of the key at a dotted path, or of the nearest table around it; 0 = none.

    Args:
        lines: As of `lines_of`.
    """
    parts = parts_of(path)
    for length in range(len(parts), 0, -1):
        if line := lines.get(parts[:length]):
            return line
    return 0


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """The first line of each key and table of `text`, and of those around them."""
    lines: dict[tuple[str, ...], int] = {}
    for place in places(text):
        for length in range(1, len(place.path) + 1):
            lines.setdefault(place.path[:length], place.line)
    return lines


def places(text: str) -> list[Place]:
    """Where the keys and tables of `text` are, in its order."""
    return list(_Reader(text).statements())


def state_dir_in(text: str) -> str | None:
    """What the only ``state_dir = "…"`` of a text says that may not be TOML.

    Returns:
        Empty if the text does not mention it; None if that cannot be told for sure.
    """
    values = set()
    for line in map(str.strip, text.splitlines()):
        if "state_dir" not in line or line.startswith("#"):
            continue
        given = _STATE_DIR.fullmatch(line)
        if given is None:
            return None
        values.add(given[1] or given[2])
    if len(values) > 1:
        return None
    return values.pop() if values else ""


def parts_of(path: str) -> tuple[str, ...]:
    """The keys of a dotted path, which may be the beginning of a line."""
    parts = []
    position = 0
    while found := _PART_OF_PATH.match(path, position):
        name = found[1] or found[2]
        if name.startswith('"'):
            name = name[1:-1].replace('\\"', '"').encode().decode("unicode_escape")
        parts.append(name)
        position = found.end()
    return tuple(parts)


def _plain(said: str, text: str, line: int, column: int) -> str:
    if said.startswith(("Cannot overwrite", "Cannot declare", "Duplicate inline")):
        return _twice(text, line, column) or f"not TOML: {said}"
    if said.startswith("Unclosed array"):
        found = [place for place in places(_until(text, line, column)) if not place.is_table]
        keys = [place for place in found if not place.path[-1].isdecimal()]
        where = f", which begins on line {keys[-1].line}," if keys else ""
        return f"a list{where} needs commas between its entries and a ] at its end"
    if said.startswith("Invalid value"):
        if _until(text, line, column + 1)[-1:] in _TYPOGRAPHIC:
            return """quotation marks are written " or ', not as they are printed in books"""
        return (
            "expected a value: put texts in quotation marks, and write true and false in lower case"
        )
    if said.startswith(('Expected "\'"', "Unterminated string")):
        return f"the text that begins on line {_unended(text)} has no quotation mark at its end"
    for beginning, text in _IN_PLAIN_ENGLISH.items():
        if said.startswith(beginning):
            return text
    return f"not TOML: {said}"


def _unended(text: str) -> int:
    """The line of the first quotation mark that no other one ends."""
    for found in _TOKEN.finditer(text):
        if found.lastgroup == "other" and found[0] in "'\"":
            return text.count("\n", 0, found.start()) + 1
    return text.count("\n") + 1


def _twice(text: str, line: int, column: int) -> str:
    """What is there twice, the second time where `tomllib` has stopped; empty if unknown."""
    found = places(_until(text, line, column))
    if not found:
        return ""
    last = found[-1]
    path = last.path
    if last.is_table and path[-1:] == ("0",) and any(path[:-1] == one.path for one in found[:-1]):
        path = path[:-1]  # [[a]] after [a]
    # The same path goes before one that begins or ends with it.
    for earlier in sorted(found[:-1], key=lambda each: each.path != path):
        shorter = min(len(earlier.path), len(path))
        is_around = earlier.is_table and len(earlier.path) < len(path)
        if earlier.path[:shorter] == path[:shorter] and not is_around:
            return _said_twice(path[:shorter], earlier, last)
    return ""


def _said_twice(path: Sequence[str], earlier: Place, last: Place) -> str:
    name = reduce(join_path, path, "")
    if earlier.is_table and last.is_table:
        name = f"[{name}]"
    where = f"lines {earlier.line} and {last.line}"
    if earlier.line == last.line:
        where = f"line {last.line}"
    return f"{name} is there twice, on {where}; remove one"


def _until(text: str, line: int, column: int) -> str:
    lines = text.split("\n")
    return "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]])


class _Reader:
    """Reads statements, as far as they are right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []  # kind, text, line
        line = 1
        for found in _TOKEN.finditer(text):
            kind = found.lastgroup or ""
            if kind not in ("space", "comment"):
                self._tokens.append((kind, found[0], line))
            line += found[0].count("\n")
        self._tokens.append(("end", "", line))
        self._position = 0
        self._counts: dict[tuple[str, ...], int] = {}  # of the tables in a [[list]] so far

    def statements(self) -> Iterator[Place]:
        table: tuple[str, ...] = ()
        while self._kind != "end":
            if self._kind == "newline":
                self._position += 1
            elif self._sign == "[":
                table = self._header()
                yield Place(table, self._line, is_table=True)
                self._skip_line()
            else:
                yield from self._key_and_value(table, 0)
                self._skip_line()

    def _header(self) -> tuple[str, ...]:
        self._position += 1
        is_list = self._take("[")
        path = self._key()
        for length in range(1, len(path)):  # [a.b] after [[a]] is in the last table of a
            count = self._counts.get(path[:length])
            if count is not None:
                path = (*path[:length], str(count - 1), *path[length:])
        if is_list:
            self._counts[path] = self._counts.get(path, 0) + 1
            path = (*path, str(self._counts[path] - 1))
        return path

    def _key_and_value(self, table: tuple[str, ...], depth: int) -> Iterator[Place]:
        line = self._line
        path = (*table, *self._key())
        if self._take("="):
            yield Place(path, line)
            yield from self._value(path, depth)

    def _value(self, path: tuple[str, ...], depth: int) -> Iterator[Place]:
        if depth > _DEPTH_MAX:
            return
        if self._take("{"):
            while self._kind != "end" and not self._take("}"):
                before = self._position
                yield from self._key_and_value(path, depth + 1)
                if self._kind == "newline" or (not self._take(",") and self._position == before):
                    return
        elif self._take("["):
            number = 0
            while self._kind != "end" and not self._take("]"):
                before = self._position
                if self._kind == "newline":
                    self._position += 1
                elif self._take(","):
                    number += 1
                else:
                    entry = (*path, str(number))
                    yield Place(entry, self._line)
                    yield from self._value(entry, depth + 1)
                if self._position == before:
                    return
        else:
            while self._kind not in ("end", "newline") and self._sign not in (",", "]", "}"):
                self._position += 1

    def _key(self) -> tuple[str, ...]:
        parts = []
        while self._kind in ("word", "text"):
            text = self._tokens[self._position][1]
            parts.append(text[1:-1] if self._kind == "text" else text)
            self._position += 1
            if not self._take("."):
                break
        return tuple(parts)

    def _skip_line(self) -> None:
        while self._kind not in ("end", "newline"):
            self._position += 1

    def _take(self, sign: str) -> bool:
        if self._sign != sign:
            return False
        self._position += 1
        return True

    @property
    def _kind(self) -> str:
        return self._tokens[self._position][0]

    @property
    def _sign(self) -> str:
        kind, text, _ = self._tokens[self._position]
        return text if kind == "sign" else ""

    @property
    def _line(self) -> int:
        return self._tokens[self._position][2]
