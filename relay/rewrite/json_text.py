"""JSON as text: write strings from any bytes, add members to objects unseen, or take some out.

An object that passes through is never decoded and encoded again, because that
would change numbers (``1e400``, twenty digits) and lose duplicate keys.  It is
checked, and then members are put into its text or cut out of it.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

import msgspec

__all__ = [
    "COOKIE",
    "JsonObject",
    "add_members",
    "find_broken_object",
    "find_object",
    "json_string",
    "without_member",
]

COOKIE = b"@cee:"
"""What marks the MSG behind it as JSON (Common Event Expression, lumberjack)."""

_WHITESPACE = b" \t\r\n"  # RFC 8259 §2
_LINE_ENDS_TO_SPACE = bytes.maketrans(b"\r\n", b"  ")

# A string, even if its end was cut off, or what stands between values.  Possessive: linear
# whatever the input.
_PIECE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)

# Values stay raw: their syntax is checked, but nothing is made of them.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_string = msgspec.json.Decoder(str)


class JsonObject(NamedTuple):
    """A JSON object in a message."""

    text: bytes
    """The object, verbatim but for line ends between its tokens."""
    keys: Container[str]
    """Names of its members, unescaped; not those of objects inside it."""


def json_string(text: bytes) -> bytes:
    """Write `text` as a JSON string with its quotes, in valid UTF-8.

    UTF-8 stays as it is.  An octet that is not UTF-8, and NUL, which many
    receivers take for the end, becomes the four characters ``\\xNN``.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = text.decode(errors="backslashreplace")
    if "\0" in decoded:
        decoded = decoded.replace("\0", "\\x00")
    return _encode(decoded)


def find_object(msg: bytes) -> JsonObject | None:
    """The JSON object that `msg` is, with or without the ``@cee:`` cookie, or None.

    Strict (RFC 8259): UTF-8, no control characters in strings, no NaN, nothing
    after the object.
    """
    text = msg.strip(_WHITESPACE)
    if text.startswith(COOKIE):
        text = text[len(COOKIE) :].lstrip(_WHITESPACE)
    if text[:1] != b"{" or text[-1:] != b"}":
        return None
    try:
        keys = _members.decode(text)
        text.decode()  # the decoder skips values without looking at their encoding
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if b"\n" in text or b"\r" in text:
        # In valid JSON they can only be whitespace.  Left in, a transport that
        # ends messages with LF would escape them and break the object.
        text = text.translate(_LINE_ENDS_TO_SPACE)
    return JsonObject(text, keys)


def find_broken_object(msg: bytes) -> bytes | None:
    """The object that `msg` would be, had its end not been cut off or its text been UTF-8."""
    text = msg.lstrip(_WHITESPACE)
    if text.startswith(COOKIE):
        text = text[len(COOKIE) :].lstrip(_WHITESPACE)
    if text[:1] != b"{":
        return None
    depth = 0
    for piece in _PIECE.finditer(text):
        depth += _deeper(piece[0][:1])
        if depth == 0:
            stop = piece.end()
            return None if text[stop:].strip(_WHITESPACE) else text[:stop]
    return text


def add_members(text: bytes, members: bytes) -> bytes:
    """Put `members`, ``"name": value`` separated by commas, first into the object `text`."""
    rest = text[1:].lstrip(_WHITESPACE)
    return b"{%s%s%s" % (members, b"" if rest == b"}" else b", ", rest)


def without_member(text: bytes, name: str) -> tuple[bytes, list[bytes]]:
    """The object `text` without its own members called `name`; the others stay as written.

    Args:
        text: An object, without white space around it.  It may be broken, for example at
            its end: of what is there, a member is seen if a comma follows it.

    Returns:
        The rest, and the values that were taken out, as they were written.
    """
    members = _members_of(text)
    taken = [_is_string(text[start:stop], name) for start, stop, _, _ in members]
    values = [
        text[start:stop]
        for (_, _, start, stop), is_taken in zip(members, taken, strict=True)
        if is_taken
    ]
    # A member goes with the comma behind it; those at the end with the one before them.
    last = max((index for index, is_taken in enumerate(taken) if not is_taken), default=-1)
    parts: list[bytes] = []
    position = 0
    for index in range(last):
        if taken[index]:
            parts.append(text[position : members[index][0]])
            position = members[index + 1][0]
    if last < len(members) - 1:
        parts.append(text[position : members[last][3] if last >= 0 else members[0][0]])
        position = members[-1][3]
    rest = text[position:]
    if last < 0 and members and rest.lstrip(_WHITESPACE)[:1] == b",":  # it was cut
        rest = rest.lstrip(_WHITESPACE)[1:].lstrip(_WHITESPACE)
    parts.append(rest)
    return b"".join(parts), values


def _members_of(text: bytes) -> list[tuple[int, int, int, int]]:
    """Where the name and the value of each member of an object begin and end."""
    members = []
    depth = 0
    name: tuple[int, int] | None = None
    for piece in _PIECE.finditer(text):
        first = text[piece.start() : piece.start() + 1]
        if first == b'"':
            name = name or (piece.span() if depth == 1 else None)
            continue
        if name is not None and depth == 1 and first in b",}":
            colon = text.find(b":", name[1], piece.start())
            if colon >= 0:
                members.append((*name, *_trimmed(text, colon + 1, piece.start())))
            name = None
        depth += _deeper(first)
    return members


def _deeper(first: bytes) -> int:
    """By how much more is open after a piece that begins with `first`."""
    return (first in b"{[") - (first in b"}]")


def _is_string(octets: bytes, text: str) -> bool:
    try:
        return _string.decode(octets) == text
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _trimmed(text: bytes, start: int, stop: int) -> tuple[int, int]:
    while text[start] in _WHITESPACE:
        start += 1
    while text[stop - 1] in _WHITESPACE:
        stop -= 1
    return start, stop
