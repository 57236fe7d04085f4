"""Write TOML: tables with comments, texts escaped, long lists over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Octal", "Table", "TomlValue", "key_text", "value_text", "write_toml"]

TomlValue: TypeAlias = "str | bool | int | float | Sequence[TomlValue] | Mapping[str, TomlValue]"

_WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Octal(int):
    """A number that is written as ``0o640``, as permissions are."""


@dataclass(slots=True)
class Table:
    """One table of a TOML file.

    Attributes:
        path: Its name, as in ``("sources", "network")``.
        comments: Lines above it, without the ``#``; line ends in them become spaces.
    """

    path: Sequence[str]
    values: Mapping[str, TomlValue]
    comments: Sequence[str] = field(default_factory=tuple)


def write_toml(tables: Iterable[Table], *, head: Iterable[str] = ()) -> str:
    """The text of a TOML file.

    Args:
        head: Lines of a comment at its top.
    """
    lines = [_comment(line) for line in head]
    for table in tables:
        lines += ["", *map(_comment, table.comments)]
        lines.append(f"[{'.'.join(map(key_text, table.path))}]")
        lines += [f"{key_text(name)} = {value_text(value)}" for name, value in table.values.items()]
    return "\n".join(lines) + "\n"


def key_text(name: str) -> str:
    """The name of a key, quoted where that is needed."""
    return name if _BARE_KEY.fullmatch(name) else _text(name)


def value_text(value: TomlValue) -> str:
    """A value behind ``KEY =``."""
    text = _inline(value)
    if len(text) <= _WIDTH or isinstance(value, str) or not isinstance(value, Sequence):
        return text
    # A table has to stand on one line, a list need not.
    return "[\n" + "".join(f"    {_inline(item)},\n" for item in value) + "]"


def _comment(line: str) -> str:
    text = "".join(each if each.isprintable() else " " for each in line)
    return f"# {text}".rstrip()


def _inline(value: TomlValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Octal():
            return f"0o{value:03o}"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case Mapping():
            members = [f"{key_text(name)} = {_inline(item)}" for name, item in value.items()]
            return "{ " + ", ".join(members) + " }" if members else "{}"
    return "[" + ", ".join(map(_inline, value)) + "]"


def _text(text: str) -> str:
    """A literal text where backslashes would have to be doubled, otherwise a basic one."""
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    escaped = json.dumps(text, ensure_ascii=False)  # TOML knows all of its escapes but \/
    return _UNPRINTABLE.sub(lambda found: _escape(found[0]), escaped)


def _escape(character: str) -> str:
    # TOML has no way to write half of a surrogate pair.
    return "\\ufffd" if "\ud800" <= character <= "\udfff" else f"\\u{ord(character):04x}"
