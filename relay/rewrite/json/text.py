"""JSON as text: write strings from any bytes, add members to objects or remove some.

A forwarded object is never decoded and encoded again, because that would change numbers
(``1e400``, twenty digits) and lose duplicate keys.  It is validated, and members are
inserted into its text or cut out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from relay.codec import IS_COMPILED, native
from relay.model.message import JsonText
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK

_NAME_TOKEN = re.compile(r"\.*(?:@[0-9]+(?:\.[0-9]+)*|[^.])++(?:\.+\Z)?|\.+\Z")

# Names come from peers; the product bounds the cache.
_LAYOUTS_MAX = 1024
_LAYOUT_BYTES_MAX = 4096
_DEPTH_MAX = 32

_Tree: TypeAlias = dict[str, "_Tree | int"]


class Strings(dict[bytes, bytes]):
    """JSON strings of texts, made on first use.

    Messages of a batch share most of their values.  Make one for each batch, so
    that it cannot outgrow the batch.
    """

    def __missing__(self, text: bytes) -> bytes:
        string = self[text] = write_string(text)
        return string


Layout = tuple[bytes, tuple[int, ...] | None]
"""A pattern, and which value goes where if that is not the order of the names."""


class Layouts:
    """Writes objects from names and values, nested at the dots of the names.

    Messages have few different sets of names.  For each set the text around the values is made
    once, as a pattern for ``%``.

    ``a.b`` and ``a.c`` become ``{"a":{"b":…,"c":…}}``.  A dot at the beginning belongs to
    the name behind it, as does a second dot in a row and one at the end, and the
    numbers of an enterprise id stay together (``x@1.2.3``).  Where ``a`` itself has a
    value, too, ``a.b`` is written with its dot: ``{"a":…,"a.b":…}``.  So every name finds its
    place and no object has two members of one name.  More than 32 levels are not made.

    Args:
        layout: Makes the pattern for a set of names, if it is another than this.
    """

    def __init__(self, layout: Callable[[tuple[str, ...]], Layout] | None = None) -> None:
        self._layout = layout or _layout
        self._known: dict[tuple[str, ...], Layout] = {}

    def write(self, pairs: Mapping[str, bytes], strings: Strings) -> bytes:
        """`pairs` as one JSON object on one line."""
        names = tuple(pairs)
        found = self._known.get(names)
        if found is None:
            found = self._layout(names)
            if len(found[0]) <= _LAYOUT_BYTES_MAX:
                if len(self._known) >= _LAYOUTS_MAX:
                    self._known.clear()
                self._known[names] = found
        pattern, order = found
        values = [
            value if value.__class__ is JsonText else strings[value] for value in pairs.values()
        ]
        if order is not None:
            values = [values[index] for index in order]
        return pattern % tuple(values)


def _layout(names: tuple[str, ...]) -> Layout:
    order: list[int] = []
    pattern = _pattern(_tree(names), order)
    return pattern, None if order == list(range(len(names))) else tuple(order)


def _tree(names: tuple[str, ...]) -> _Tree:
    tree: _Tree = {}
    paths = [_tokens(name) if "." in name else [name] for name in names]
    leaves = set(map(tuple, paths))
    for index, path in enumerate(paths):
        branch = tree
        for depth, token in enumerate(path[:-1]):
            if tuple(path[: depth + 1]) in leaves:
                path = [*path[:depth], ".".join(path[depth:])]
                break
            inner = branch.setdefault(token, {})
            assert isinstance(inner, dict), names
            branch = inner
        branch[path[-1]] = index
    return tree


def _pattern(tree: _Tree, order: list[int]) -> bytes:
    members: list[bytes] = []
    for name, inner in tree.items():
        key = json_string(name.encode("utf-8", "surrogateescape")).replace(b"%", b"%%")
        if isinstance(inner, int):
            order.append(inner)
            members.append(key + b":%s")
        else:
            members.append(b"%s:%s" % (key, _pattern(inner, order)))
    return b"{%s}" % b",".join(members)


def _tokens(name: str) -> list[str]:
    tokens: list[str] = []
    start = 0
    while (found := _NAME_TOKEN.match(name, start)) is not None:
        tokens.append(found[0])
        start = found.end() + 1  # after the dot that separates the next one
    return tokens if len(tokens) <= _DEPTH_MAX else [name]


COOKIE = b"@cee:"
"""Marks the following MSG as JSON (Common Event Expression, lumberjack)."""

_WHITESPACE = b" \t\r\n"  # RFC 8259 §2
_LINE_ENDS_TO_SPACE = bytes.maketrans(b"\r\n", b"  ")

# Possessive throughout: linear, whatever the input.
_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRINGS = re.compile(_STRING, re.DOTALL)
_OPENING = re.compile(
    rb"(?:%s)?%s(?:%s%s)?(?=\{)" % (BYTE_ORDER_MARK, _SPACE, re.escape(COOKIE), _SPACE)
)
_TEXT_VALUE = re.compile(rb"(%s)%s(?:(,)%s|(?=\}))" % (_STRING, _SPACE, _SPACE), re.DOTALL)
_STRUCTURE = re.compile(rb"%s|[][{},]" % _STRING, re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))

# Values stay raw: their syntax is checked, but they are not decoded.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str)


class JsonObject(NamedTuple):
    """A JSON object in a message."""

    text: bytes
    """The object, verbatim but for line ends between its tokens."""
    members: Mapping[str, msgspec.Raw]
    """Its members by their unescaped names; the last of those with one name.  Not those of
    objects inside it."""


def json_string(text: bytes) -> bytes:
    """Write `text` as a JSON string with its quotes, in valid UTF-8.

    UTF-8 stays as it is.  A byte that is not UTF-8, and NUL, which many
    receivers take for the end, becomes the four characters ``\\xNN``.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = text.decode(errors="backslashreplace")
    if "\0" in decoded:
        decoded = decoded.replace("\0", "\\x00")
    return _encode(decoded)


write_string = native.text.string if IS_COMPILED else json_string
"""`json_string`, in compiled code where there is any."""


def find_object(msg: bytes) -> JsonObject | None:
    """The JSON object that `msg` is, with or without the ``@cee:`` cookie, or None.

    A byte order mark, which legacy messages have, too, may stand before it.

    Strict (RFC 8259): UTF-8, no control characters in strings, no NaN, nothing
    after the object.
    """
    text = msg.removeprefix(BYTE_ORDER_MARK).strip(_WHITESPACE)
    if text.startswith(COOKIE):
        text = text[len(COOKIE) :].lstrip(_WHITESPACE)
    if text[:1] != b"{" or text[-1:] != b"}":
        return None
    try:
        members = _members.decode(text)
        text.decode()  # the decoder skips values without looking at their encoding
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if b"\n" in text or b"\r" in text:
        # In valid JSON they can only be whitespace.  Left in, a transport that
        # ends messages with LF would escape them and break the object.
        text = text.translate(_LINE_ENDS_TO_SPACE)
    return JsonObject(text, members)


def add_members(text: bytes, members: bytes) -> bytes:
    """Put `members`, ``"name": value`` separated by commas, first into the object `text`."""
    rest = text[1:].lstrip(_WHITESPACE)
    return b"{%s%s%s" % (members, b"" if rest == b"}" else b", ", rest)


def text_cutter(name: str) -> Callable[[bytes], tuple[bytes, list[bytes]] | None]:
    """Make a function that cuts the members called `name` out of an object, if texts are in them.

    It takes what should be a JSON object, with or without the ``@cee:`` cookie, and returns
    that without those members (the others stay as written, and those of objects inside stay)
    and the texts in them, as bytes; or None if it is no object or has no such member.  An
    object that is broken, because its end was cut off or it is not UTF-8, will do as far as
    it goes: of a member the comma behind it has to be there.

    Args:
        name: Printable US-ASCII without quote and backslash.
    """
    key = b'"%s"%s:%s' % (b"".join(map(_spellings, name)), _SPACE, _SPACE)
    key_there = re.compile(key)
    # Everything before the next key, in one go: to look at each piece here would let a
    # peer keep us busy.
    before_key = re.compile(rb'(?:[^"]++|(?!%s)%s)*+' % (key, _STRING), re.DOTALL)

    def cut(msg: bytes) -> tuple[bytes, list[bytes]] | None:
        opening = _OPENING.match(msg)
        if opening is None:
            return None
        parts: list[bytes] = []
        texts: list[bytes] = []
        kept = depth = 0
        position = opening.end()
        while (stop := before_key.match(msg, position)) is not None:
            found = key_there.match(msg, stop.end())
            depth = _depth(msg[position : stop.end()], depth)
            if found is None or depth == 0:
                break
            position = found.end()
            value = _TEXT_VALUE.match(msg, position) if depth == 1 else None
            if value is None:
                continue
            texts.append(_text_or_raw(value[1]))
            parts.append(msg[kept : found.start()])
            kept = position = value.end()
            if not value[2]:  # the last one goes with the comma before it
                start = b"".join(parts).rstrip(_WHITESPACE)
                parts = [start.removesuffix(b",").rstrip(_WHITESPACE)]
                kept = position = value.end(1)
        return (b"".join([*parts, msg[kept:]]), texts) if texts else None

    return cut


def member_cutter(name: str) -> Callable[[bytes], bytes]:
    """Make a function that cuts all members called `name` out of an object, whatever their values.

    It takes the text of a `JsonObject`.  The other members stay as written.

    Args:
        name: Printable US-ASCII without quote and backslash.
    """
    wanted = re.compile(b'"%s"' % b"".join(map(_spellings, name)))

    def cut(text: bytes) -> bytes:
        ends = _member_ends(text)
        starts = [text.index(b"{"), *ends[:-1]]
        kept = [
            text[start + 1 : end]
            for start, end in zip(starts, ends, strict=True)
            if wanted.match(text[start + 1 : end].lstrip(_WHITESPACE)) is None
        ]
        return b"{%s}" % b",".join(kept).strip(_WHITESPACE)

    return cut


def text_of_string(value: bytes) -> bytes | None:
    """The text of a JSON string, in UTF-8; None if `value` is other JSON.

    Half a surrogate pair stands for no text, so a string with one is None as well.
    """
    try:
        return _text.decode(value).encode()
    except (msgspec.DecodeError, UnicodeError):
        return None


def _member_ends(text: bytes) -> list[int]:
    """Where the members of a JSON object end: at their commas and at the last brace."""
    ends = []
    depth = 0
    for found in _STRUCTURE.finditer(text):
        match found[0]:
            case b"{" | b"[":
                depth += 1
            case b"}" | b"]":
                depth -= 1
                if not depth:
                    ends.append(found.start())
            case b"," if depth == 1:
                ends.append(found.start())
    return ends


def _spellings(letter: str) -> bytes:
    """A pattern for the ways to write a character in a JSON string."""
    code = b"%04x" % ord(letter)
    either = b"".join(b"[%c%c]" % (digit, ord(chr(digit).upper())) for digit in code)
    return rb"(?:%s|\\u%s)" % (re.escape(letter.encode("ascii")), either)


def _depth(text: bytes, depth: int) -> int:
    """How many objects and arrays are open after `text`; 0 as soon as all are closed."""
    for bracket in _STRINGS.sub(b"", text).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"{[" else -1
        if depth == 0:
            break
    return depth


def _text_or_raw(value: bytes) -> bytes:
    """What a JSON string stands for; what stands for nothing, as it is written."""
    text = text_of_string(value)
    return value if text is None else text
