"""JSON as text: write strings from any bytes, and add members to objects unseen.

An object that passes through is never decoded and encoded again, because that
would change numbers (``1e400``, twenty digits) and lose duplicate keys.  It is
checked, and then members are put into its text.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

import msgspec

__all__ = ["COOKIE", "JsonObject", "add_members", "find_object", "json_string"]

COOKIE = b"@cee:"
"""What marks the MSG behind it as JSON (Common Event Expression, lumberjack)."""

_WHITESPACE = b" \t\r\n"  # RFC 8259 §2
_LINE_ENDS_TO_SPACE = bytes.maketrans(b"\r\n", b"  ")

# Values stay raw: their syntax is checked, but nothing is made of them.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


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


def add_members(text: bytes, members: bytes) -> bytes:
    """Put `members`, ``"name": value`` separated by commas, first into the object `text`."""
    rest = text[1:].lstrip(_WHITESPACE)
    return b"{%s%s%s" % (members, b"" if rest == b"}" else b", ", rest)
