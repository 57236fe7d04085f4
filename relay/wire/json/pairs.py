"""JSON objects as name-value pairs: names of objects inside objects joined with dots.

    {"a":{"b":"x"},"n":1.10}      a.b = x, n = 1.10 (`JsonText`)

Numbers keep their text, because any number type would lose some of them (``1e400``, twenty
digits).  Strict JSON takes a fast path; everything else goes through `relay.wire.json.lenient`,
which accepts everything that json-c accepts.
"""

from __future__ import annotations

import msgspec

from relay.model.message import JsonText
from relay.wire.json.lenient import DEPTH_MAX, Node, read_leniently, unescape, write_strictly
from relay.wire.list_syntax import format_list

Path = tuple[str, ...]
"""Names from the outermost object to the value."""

# Values stay raw: their syntax is checked, but they are not decoded.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)

_CONTROL_TO_SPACE = bytes.maketrans(b"\t\r\n", b"   ")


def flatten_json(text: bytes) -> dict[str, bytes] | None:
    """Name-value pairs of the JSON object that `text` begins with, or None if none does.

    Of names that occur twice, spelled with dots or as objects, the later one counts.
    A value that no plain text stands for is a `JsonText` (`text_of` makes text of it),
    always valid JSON on one line.  Whatever follows the object is ignored.
    """
    members = members_of(text)
    if members is None:
        return None
    return {".".join(path): value for path, value in members}


def members_of(text: bytes) -> list[tuple[Path, bytes]] | None:
    """As `flatten_json`, but in order, each with the names as they are nested."""
    members: list[tuple[Path, bytes]] = []
    try:
        text.decode()  # the decoder skips values without looking at their encoding
        _walk(text, (), DEPTH_MAX, members)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _TooDeep):
        node = read_leniently(text)
        if not isinstance(node, dict):
            return None
        members = []
        _walk_node(node, (), members)
    return members


def items_of(text: bytes) -> list[bytes] | None:
    """The values in the JSON array that `text` begins with, or None if none does."""
    try:
        text.decode()
        items = [bytes(raw) for raw in _items.decode(text)]
        if _may_be_deeper(text, DEPTH_MAX):
            raise _TooDeep
        return [_value(raw) for raw in items]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _TooDeep):
        node = read_leniently(text)
        return [_leaf(item) for item in node] if isinstance(node, list) else None


def text_of(value: bytes) -> bytes:
    """The plain text of a pair's value, for templates, filters and header fields.

    Of a `JsonText`: nothing for null, a number as it was written, an array of plain
    values in list syntax, other arrays and objects as JSON.  Anything else is text.
    """
    if not isinstance(value, JsonText):
        return value
    first = value[:1]
    if first == b'"':
        return unescape(value[1:-1], errors="replace")
    if first == b"[":
        items = items_of(value)
        if items is not None and not any(map(_is_nested, items)):
            return format_list(map(text_of, items))
    return b"" if value == b"null" else bytes(value)


class _TooDeep(Exception):
    """Nested too deep, or too complicated for the fast path."""


def _walk(text: bytes, path: Path, depth: int, members: list[tuple[Path, bytes]]) -> None:
    """Add the members of the object `text`, which is strict JSON or raises an error."""
    for name, raw in _members.decode(text).items():
        value = bytes(raw)
        if "\0" in name:
            name = _without_nul(name)
        first = value[:1]
        if first == b'"' and b"\\" not in value:
            members.append(((*path, name), value[1:-1]))
        elif first == b"{" and value[1:-1].strip(b" \t\r\n"):
            if depth == 1:
                raise _TooDeep
            _walk(value, (*path, name), depth - 1, members)
        else:
            if first == b"[" and _may_be_deeper(value, depth - 1):
                raise _TooDeep
            members.append(((*path, name), _value(value)))


def _may_be_deeper(text: bytes, depth: int) -> bool:
    return text.count(b"[") + text.count(b"{") > depth


def _value(raw: bytes) -> bytes:
    """The value of strict JSON that is no object with members, or is inside an array."""
    first = raw[:1]
    if first == b'"':
        if b"\\" not in raw:
            return raw[1:-1]
        text = _string.decode(raw)
        return JsonText(raw) if "\0" in text else text.encode()
    if first == b"{" and not raw[1:-1].strip(b" \t\r\n"):
        return JsonText(b"{}")
    # In valid JSON these can only be blanks between tokens.
    return JsonText(raw.translate(_CONTROL_TO_SPACE))


def _walk_node(node: dict[str, Node], path: Path, members: list[tuple[Path, bytes]]) -> None:
    for name, value in node.items():
        name = _without_nul(name)
        if isinstance(value, dict) and value:
            _walk_node(value, (*path, name), members)
        else:
            members.append(((*path, name), _leaf(value)))


def _without_nul(name: str) -> str:
    """As NUL is written in an EWMM line, so that the name is the same at the next hop."""
    return name.replace("\0", "\\x00")


def _leaf(node: Node) -> bytes:
    return node if isinstance(node, bytes) else JsonText(write_strictly(node))


def _is_nested(item: bytes) -> bool:
    return isinstance(item, JsonText) and item[:1] in (b"{", b"[")
