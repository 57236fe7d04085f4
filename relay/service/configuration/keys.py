"""Keys of tables, declared where their values live: as fields of frozen dataclasses.

    @dataclass(frozen=True, slots=True)
    class Buffer:
        receive_buffer_bytes: int = key(Size(4 * KiB, 1 * GiB), 8 * MiB, "SO_RCVBUF to ask for")

Such a class is a group of keys.  A class may have whole groups as fields: their keys stand in the
same table of the file, so the names of all of them are different.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, TypeVar

from relay.service.configuration.reading import Readable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Key", "compose", "group", "key", "keys_of"]

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")

_KEY, _GROUP = "key", "group"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table."""

    kind: Readable
    """What it may hold."""
    default: object
    """The value without it."""
    help: str
    """One line of what it does, for the reference; Markdown."""
    default_words: str = ""
    """What holds without it, where `default` does not tell."""


def key(kind: Readable, default: T, help: str, *, default_words: str = "") -> T:
    """A field of a dataclass that is a key of a table."""
    declared = Key(kind, default, help, default_words)
    return field(default=default, metadata={_KEY: declared})


def group(cls: type[D], *, without: Collection[str] = ()) -> D:
    """A field of a dataclass that is a group of keys.

    Args:
        without: Keys of the group that have no meaning there.
    """
    return field(default_factory=cls, metadata={_GROUP: (cls, without)})


def keys_of(cls: type[DataclassInstance]) -> dict[str, Key]:
    """The keys of a class and of its groups, by their names."""
    found: dict[str, Key] = {}
    for each in fields(cls):
        if _KEY in each.metadata:
            found[each.name] = each.metadata[_KEY]
        elif _GROUP in each.metadata:
            of_group, without = each.metadata[_GROUP]
            found |= {name: key for name, key in keys_of(of_group).items() if name not in without}
    return found


def compose(cls: type[D], values: Mapping[str, object]) -> D:
    """A value of `cls`.

    Args:
        values: By the names of keys, or of fields of `cls` that are no keys.  What is missing has
            its default; names that `cls` does not know are left out.
    """
    found: dict[str, object] = {}
    for each in fields(cls):
        if each.name in values:
            found[each.name] = values[each.name]
        elif _GROUP in each.metadata:
            found[each.name] = compose(each.metadata[_GROUP][0], values)
    return cls(**found)
