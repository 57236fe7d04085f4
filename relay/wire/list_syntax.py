"""syslog-ng's list syntax, as in ``mytag,"other tag",.source.s_net``.

Items are separated by commas.  One with a blank, a comma, a quote or a backslash in it,
or with nothing in it, is quoted: in single quotes if it has double ones, else in double
ones.  Within either, a backslash escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_QUOTED = re.compile(rb"[\s,\"'\\\x00-\x1f]")
_ITEM = re.compile(
    rb"(?:\"((?:[^\"\\]|\\.)*+)\"(?=,|\Z)|'((?:[^'\\]|\\.)*+)'(?=,|\Z)|([^,]*+))(,|\Z)", re.DOTALL
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_ESCAPE_OF = {byte: b"\\" + letter for letter, byte in _ESCAPES.items()}
_TO_ESCAPE_IN_SINGLE = re.compile(rb"[\\\b\f\n\r\t]")
_TO_ESCAPE_IN_DOUBLE = re.compile(rb"[\\\b\f\n\r\t\"]")


def parse_list(text: bytes) -> list[bytes]:
    """Take a list apart.  Any text is one; quotes that do not enclose an item are part of it."""
    if not text:
        return []
    if b'"' not in text and b"'" not in text:  # nearly always
        return text.split(b",")
    items: list[bytes] = []
    at = 0
    while (match := _ITEM.match(text, at)) is not None:
        double, single, plain, separator = match.groups()
        quoted = single if double is None else double
        items.append(plain if quoted is None else _ESCAPED.sub(_unescaped, quoted))
        if not separator:
            break
        at = match.end()
    return items


def format_list(items: Iterable[bytes]) -> bytes:
    """Write a list; `parse_list` gives the same items."""
    return b",".join([_item(item) for item in items])


def _item(item: bytes) -> bytes:
    if item and _QUOTED.search(item) is None:
        return item
    if b'"' in item and b"'" not in item:
        return b"'%s'" % _TO_ESCAPE_IN_SINGLE.sub(_escaped, item)
    return b'"%s"' % _TO_ESCAPE_IN_DOUBLE.sub(_escaped, item)


def _escaped(byte: re.Match[bytes]) -> bytes:
    return _ESCAPE_OF.get(byte[0], b"\\" + byte[0])


def _unescaped(escape: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(escape[1], escape[1])
