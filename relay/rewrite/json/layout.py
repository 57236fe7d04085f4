"""JSON objects from names and values, nested at the dots of the names.

Strategy: messages have few different sets of names.  For each set the text around
the values is made once, as a pattern for ``%``.

``a.b`` and ``a.c`` become ``{"a":{"b":…,"c":…}}``.  A dot at the beginning belongs to
the name behind it, as does a second dot in a row and one at the end, and the
numbers of an enterprise id stay together (``x@1.2.3``).  Where ``a`` itself has a
value, too, ``a.b`` is written with its dot: ``{"a":…,"a.b":…}``.  So every name finds its
place and no object has two members of one name.  More than 32 levels are not made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from relay.model.message import JsonText
from relay.rewrite.json.text import json_string

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
        string = self[text] = json_string(text)
        return string


class Layouts:
    """Writes objects, and caches the text around the values."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[bytes, tuple[int, ...] | None]] = {}

    def write(self, pairs: Mapping[str, bytes], strings: Strings) -> bytes:
        """`pairs` as one JSON object on one line."""
        names = tuple(pairs)
        found = self._known.get(names)
        if found is None:
            found = _layout(names)
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


def _layout(names: tuple[str, ...]) -> tuple[bytes, tuple[int, ...] | None]:
    """A pattern, and which value goes where if that is not the order of the names."""
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
