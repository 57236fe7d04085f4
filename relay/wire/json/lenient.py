"""JSON as json-c, and so syslog-ng, reads it.

Beyond RFC 8259 it accepts comments, single quotes, commas before a closing bracket,
control characters and bytes that are not UTF-8 in strings, halves of surrogate pairs,
literals in any case, NaN and Infinity, numbers such as ``01``, ``1.`` and ``1e``, and
anything at all after the value.  What is read can be written again as strict JSON.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from relay.model.message import JsonText

Node: TypeAlias = "dict[str, Node] | list[Node] | bytes"
"""A value: bytes for text, `JsonText` for everything else."""

DEPTH_MAX = 64
"""How deep objects and arrays may be nested.  json-c ends at 32."""

_BLANK = re.compile(rb"(?:[ \t\r\n]++|/\*(?s:.*?)\*/|//[^\n]*+)*+")
_ESCAPE = rb"\\(?:[\"\\/bfnrt]|u[0-9A-Fa-f]{4})"
_STRING = re.compile(
    rb"\"([^\"\\\0]*+(?:%s[^\"\\\0]*+)*+)\"|'([^'\\\0]*+(?:%s[^'\\\0]*+)*+)'" % (_ESCAPE, _ESCAPE)
)
_NUMBER = re.compile(rb"(-?)(?=[0-9])0*+([0-9]*+)(?:\.([0-9]*+))?(?:[eE]([+-]?[0-9]*+))?")
_STRICT_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_LITERAL = re.compile(rb"(true|false|null)|-?(?:NaN|Infinity)", re.IGNORECASE)

_ESCAPED = re.compile(rb"((?:\\u[0-9A-Fa-f]{4})++)|\\(.)")
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
# What a JSON string in double quotes cannot hold; surrogates stand for bytes.
_NOT_IN_STRING = re.compile('\\\\.|["\0-\x1f\udc80-\udcff]')
_encode = msgspec.json.Encoder().encode


class _Invalid(Exception):
    """Invalid even for json-c."""


def read_leniently(text: bytes) -> Node | None:
    """The value that `text` begins with, or None if there is none."""
    try:
        return _Reader(text).value(DEPTH_MAX)
    except _Invalid:
        return None


def write_strictly(node: Node) -> bytes:
    """`node` as JSON of RFC 8259, on one line, without blanks."""
    if isinstance(node, dict):
        members = [
            b"%s:%s" % (_text(name.encode(errors="surrogateescape")), write_strictly(value))
            for name, value in node.items()
        ]
        return b"{%s}" % b",".join(members)
    if isinstance(node, list):
        return b"[%s]" % b",".join([write_strictly(value) for value in node])
    if isinstance(node, JsonText):
        return bytes(node)
    return _text(node)


def unescape(body: bytes, *, errors: str = "strict") -> bytes:
    """Decode the escapes in `body`, a JSON string without its quotes.

    Args:
        errors: What to do with half a surrogate pair: ``strict`` or ``replace``.

    Raises:
        UnicodeDecodeError: It is half a pair, and `errors` is strict.
    """

    def character(escape: re.Match[bytes]) -> bytes:
        if escape[1] is None:
            return _ESCAPES.get(escape[2], escape[2])
        units = bytes.fromhex(escape[1].replace(b"\\u", b"").decode("ascii"))
        return units.decode("utf-16-be", errors).encode()

    return _ESCAPED.sub(character, body)


def _text(text: bytes) -> bytes:
    return _encode(text.decode(errors="backslashreplace"))


class _Reader:
    """Reads `text` from the front, a token at a time."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def value(self, depth: int) -> Node:
        """The value that comes next, with at most `depth` levels in it."""
        self._skip_blanks()
        text, at = self._text, self._at
        first = text[at : at + 1]
        if first in (b"{", b"["):
            if depth == 0:
                raise _Invalid
            self._at += 1
            return self._object(depth - 1) if first == b"{" else self._array(depth - 1)
        if first in (b'"', b"'"):
            return _string(self._string())
        number = _NUMBER.match(text, at)
        if number is not None:
            self._at = number.end()
            return JsonText(_strict_number(number))
        literal = _LITERAL.match(text, at)
        if literal is None:
            raise _Invalid
        self._at = literal.end()
        return literal[0] if literal[1] is None else JsonText(literal[0].lower())

    def _object(self, depth: int) -> Node:
        members: dict[str, Node] = {}
        while not self._takes(b"}"):
            self._skip_blanks()
            name = unescape(self._string(), errors="replace")
            if not self._takes(b":"):
                raise _Invalid
            members[name.decode(errors="surrogateescape")] = self.value(depth)
            if not self._takes(b","):
                if self._takes(b"}"):
                    break
                raise _Invalid
        return members

    def _array(self, depth: int) -> Node:
        items: list[Node] = []
        while not self._takes(b"]"):
            items.append(self.value(depth))
            if not self._takes(b","):
                if self._takes(b"]"):
                    break
                raise _Invalid
        return items

    def _string(self) -> bytes:
        """The string that comes next, without quotes, its escapes as they are."""
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise _Invalid
        self._at = match.end()
        return match[2] if match[1] is None else match[1]

    def _takes(self, byte: bytes) -> bool:
        self._skip_blanks()
        taken = self._text[self._at : self._at + 1] == byte
        self._at += taken
        return taken

    def _skip_blanks(self) -> None:
        match = _BLANK.match(self._text, self._at)
        assert match is not None  # it matches nothing, too
        self._at = match.end()


def _string(body: bytes) -> bytes:
    if b"\\" not in body:
        return body
    try:
        text = unescape(body)
    except UnicodeDecodeError:
        return JsonText(_quoted(body))
    return JsonText(_quoted(body)) if b"\0" in text else text


def _quoted(body: bytes) -> bytes:
    """A strict JSON string of `body`, its escapes as they were written."""
    text = _NOT_IN_STRING.sub(_escape, body.decode(errors="surrogateescape"))
    return b'"%s"' % text.encode()


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] == "\\":
        return found
    code = ord(found)
    if code >= 0xDC80:  # a byte that is not UTF-8, which gets its usual spelling
        return f"\\\\x{code - 0xDC00:02x}"
    return '\\"' if found == '"' else f"\\u{code:04x}"


def _strict_number(number: re.Match[bytes]) -> bytes:
    if _STRICT_NUMBER.fullmatch(number[0]) is not None:
        return number[0]
    sign, digits, fraction, exponent = number.groups()
    written = sign + (digits or b"0")
    if fraction:
        written += b"." + fraction
    if exponent and exponent not in b"+-":
        written += b"e" + exponent
    return written
