"""Lists as text, in the syntax of syslog-ng: ``a,"b c",d``.

Items are separated by commas.  An item with white space, a comma, a quote or a
backslash in it stands in double quotes, where a backslash escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["format_list", "parse_list"]

_TO_QUOTE = re.compile(rb"[\s,\"'\\]|\A\Z")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
# An item that is quoted to its end, or what lies between two commas.
_ITEM = re.compile(
    rb"[ \t]*+(?:\"((?:[^\"\\]|\\.)*+)\"|'((?:[^'\\]|\\.)*+)'|([^,]*))[ \t]*(?:,|\Z)", re.DOTALL
)


def format_list(items: Iterable[bytes]) -> bytes:
    """Write `items` as one text."""
    return b",".join([_quoted(item) if _TO_QUOTE.search(item) else item for item in items])


def parse_list(text: bytes) -> list[bytes]:
    """Take a list apart.  Total: a text that is no list is one of its odd items."""
    items: list[bytes] = []
    start = 0
    while start < len(text):
        found = _ITEM.match(text, start)
        assert found is not None  # an item without quotes may be anything
        double, single, bare = found.groups()
        quoted = double if double is not None else single
        items.append(bare.rstrip(b" \t") if quoted is None else _ESCAPED.sub(rb"\1", quoted))
        start = found.end()
    return items


def _quoted(item: bytes) -> bytes:
    return b'"%s"' % item.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
