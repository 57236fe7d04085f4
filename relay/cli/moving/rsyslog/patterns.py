"""Regular expressions of POSIX in the syntax that the relay reads."""

from __future__ import annotations

import re

from relay.model.expression import Expression

__all__ = ["from_basic", "from_extended"]

_CLASSES = {
    "alnum": "A-Za-z0-9",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_CLASS = re.compile(r"\[:([a-z]+):\]")
_SWAPPED = set("(){}|+?")


def from_extended(pattern: str) -> str:
    """A POSIX extended regular expression in Python's syntax.

    Raises:
        ValueError: It is not valid.
    """
    return _checked("".join(_pieces(pattern, is_basic=False)))


def from_basic(pattern: str) -> str:
    """A POSIX basic regular expression (with GNU's extensions) in Python's syntax.

    Raises:
        ValueError: It is not valid.
    """
    return _checked("".join(_pieces(pattern, is_basic=True)))


def _pieces(pattern: str, *, is_basic: bool) -> list[str]:
    pieces: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "[":
            stop = _end_of_brackets(pattern, position)
            pieces.append(_brackets(pattern[position:stop]))
            position = stop
        elif character == "\\" and position + 1 < len(pattern):
            pieces.append(_escaped(pattern[position + 1], is_basic=is_basic))
            position += 2
        else:
            is_literal = is_basic and (
                character in _SWAPPED or (character == "*" and not _repeats(pieces))
            )
            pieces.append(f"\\{character}" if is_literal else character)
            position += 1
    return pieces


def _repeats(pieces: list[str]) -> bool:
    """Whether there is something before that a ``*`` can repeat."""
    return bool(pieces) and pieces[-1] not in ("(", "^", "|")


def _escaped(character: str, *, is_basic: bool) -> str:
    if is_basic and character in _SWAPPED:
        return character
    if character in "<>":
        return r"\b"
    if character.isalnum() and character not in "wWsSbB123456789":
        return character  # POSIX has no \d and the like
    return f"\\{character}"


def _end_of_brackets(pattern: str, start: int) -> int:
    position = start + 1
    position += pattern.startswith("^", position)
    position += pattern.startswith("]", position)  # the first one is an ordinary character
    while position < len(pattern) and pattern[position] != "]":
        found = _CLASS.match(pattern, position)
        position = found.end() if found else position + 1
    return min(position + 1, len(pattern))


def _brackets(text: str) -> str:
    if not text.endswith("]") or len(text) < 3:
        raise ValueError(f"found {text!r} without its end; write a ]")
    negation = "^" if text.startswith("[^") else ""
    inner = text[1 + len(negation) : -1]
    pieces, position = [], 0
    while position < len(inner):
        if found := _CLASS.match(inner, position):
            if found[1] not in _CLASSES:
                raise ValueError(f"there is no class [:{found[1]}:]")
            pieces.append(_CLASSES[found[1]])
            position = found.end()
        else:
            character = inner[position]
            pieces.append(f"\\{character}" if character in "\\[]&~|" else character)
            position += 1
    return f"[{negation}{''.join(pieces)}]"


def _checked(pattern: str) -> str:
    Expression(pattern)  # or ValueError
    return pattern
