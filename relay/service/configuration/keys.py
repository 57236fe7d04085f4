"""Keys of tables, declared where their values live: as fields of frozen dataclasses.

    @dataclass(frozen=True, slots=True)
    class Buffer:
        receive_buffer_bytes: int = key(Size(4 * KiB, 1 * GiB), 8 * MiB, "SO_RCVBUF to ask for")

Such a class is a group of keys.  A class may have whole groups as fields: their keys stand in the
same table of the file, so the names of all of them are different.  A group of a source or of a
destination may have a method `problems` (`model.Examinable`) for what does not fit together in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from relay.service.configuration.reading import Nested, Readable, Reading
from relay.service.configuration.table import Leaf, join_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")

_KEY, _GROUP = "key", "group"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table."""

    kind: Readable
    """What it may hold."""
    default: object = MISSING
    """The value without it; without a default it has to be there."""
    help: str = ""
    """One line of what it does, for the reference; Markdown."""
    default_text: str = ""
    """What holds without it, where `default` does not tell."""
    named: str = ""
    """Its name, where that is none for a field."""
    example: str = ""
    """What to write where it is missing."""
    required: bool = False
    """It has to be there, though values that no table describes have a default."""


@overload
def key(kind: Leaf[T] | Nested[T], *, named: str = "", example: str = "") -> T: ...


@overload
def key(
    kind: Leaf[T] | Nested[T],
    default: T,
    help: str = "",
    *,
    default_text: str = "",
    named: str = "",
    example: str = "",
    required: bool = False,
) -> T: ...


def key(
    kind: Readable,
    default: object = MISSING,
    help: str = "",
    *,
    required: bool = False,
    **texts: str,
) -> object:
    """A field of a dataclass that is a key of a table: see `Key`."""
    metadata = {_KEY: Key(kind, default, help, required=required, **texts)}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def group(cls: type[D], *, without: Collection[str] = ()) -> D:
    """A field of a dataclass that is a group of keys.

    Args:
        without: Keys of the group that have no meaning there.
    """
    return field(default_factory=cls, metadata={_GROUP: (cls, without)})


def keys_of(cls: type[DataclassInstance]) -> dict[str, Key]:
    """The keys of a class and of its groups, by their names."""
    return dict(_keys_of(cls))


@cache  # a large configuration asks thousands of times
def _keys_of(cls: type[DataclassInstance]) -> Mapping[str, Key]:
    found: dict[str, Key] = {}
    for each in fields(cls):
        if _KEY in each.metadata:
            found[name_of(each)] = each.metadata[_KEY]
        elif _GROUP in each.metadata:
            of_group, without = each.metadata[_GROUP]
            found |= {name: key for name, key in keys_of(of_group).items() if name not in without}
    return found


def groups_of(value: DataclassInstance) -> list[object]:
    """The groups of keys that a value of a class has."""
    return [getattr(value, each.name) for each in fields(value) if _GROUP in each.metadata]


def entries_of(value: DataclassInstance) -> Iterator[tuple[str, Key, object]]:
    """The names of the keys that a value of a class has, without groups; the keys; their values."""
    for each in fields(value):
        if _KEY in each.metadata:
            yield name_of(each), each.metadata[_KEY], getattr(value, each.name)


def compose(cls: type[D], values: Mapping[str, object]) -> D:
    """A value of `cls`.

    Args:
        values: By the names of keys, or of fields of `cls` that are no keys.  What is missing has
            its default; names that `cls` does not know are left out.
    """
    found: dict[str, object] = {}
    for each in fields(cls):
        if (name := name_of(each)) in values:
            found[each.name] = values[name]
        elif _GROUP in each.metadata:
            found[each.name] = compose(each.metadata[_GROUP][0], values)
    return cls(**found)


def read_record(
    cls: type[D], values: object, path: str, reading: Reading, *, also_allowed: Sequence[str] = ()
) -> D:
    """The value of `cls` that a table describes.

    Args:
        also_allowed: Keys that are read elsewhere.

    Raises:
        Reported: Something in it is wrong.
    """
    keys = keys_of(cls)
    with reading.whole():
        kinds = {name: key.kind for name, key in keys.items()}
        found = reading.table(values, kinds, path, fitting=[*keys, *also_allowed])
        given = values if isinstance(values, dict) else keys
        for name, key in keys.items():
            if (key.required or key.default is MISSING) and name not in given:
                hint = f"; write for example {name} = {key.example}" if key.example else ""
                reading.add(join_path(path, name), f"is missing{hint}")
    return compose(cls, found)


@dataclass(frozen=True, slots=True)
class Table(Generic[D]):
    """A table that is a value of a class."""

    cls: type[D]

    def read_at(self, value: object, path: str, reading: Reading) -> D:
        return read_record(self.cls, value, path, reading)


def name_of(each: Field[object]) -> str:
    """The name of a field as the file has it."""
    declared = each.metadata.get(_KEY)
    return declared.named or each.name if declared else each.name
