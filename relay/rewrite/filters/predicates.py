"""Predicates on lines, evaluated without making messages of them.

A predicate on a field reads its values for all lines at once, as a column, and runs a text
test once for each distinct value of the batch: a regular expression costs more than a look-up
of its earlier result.

Equal predicates compare equal, so that lines of many origins are tested together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from relay.codec import Lines
from relay.model.message import SyslogMessage

__all__ = [
    "Conjunction",
    "FieldFits",
    "FieldIn",
    "MessageFits",
    "Negation",
    "Predicate",
]


class Predicate(Protocol):
    """A test of messages."""

    def __call__(self, message: SyslogMessage) -> bool: ...

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        """Those of `indexes` whose lines match, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class FieldIn:
    """The value of a field is one of `values`, which may include None for no value.

    Attributes:
        field: Of `SyslogMessage`.
    """

    field: str
    values: frozenset[object]

    def __call__(self, message: SyslogMessage) -> bool:
        return getattr(message, self.field) in self.values

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        return lines.where(self.field, self.values, indexes)


@dataclass(frozen=True, slots=True)
class FieldFits:
    """The value of a field passes a test.

    Attributes:
        field: Of `SyslogMessage`.
        test: Of values, or of None; deterministic.
        instead: Stands in for values that are missing or empty, if it is not empty.
    """

    field: str
    test: Callable[[Any], bool]
    instead: bytes = b""

    def __call__(self, message: SyslogMessage) -> bool:
        value = getattr(message, self.field)
        return self.test(value or self.instead if self.instead else value)

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        test, column = self.test, lines.column(self.field, indexes)
        if self.instead:
            column = [value or self.instead for value in column]
        if self.field == "msg":  # nearly all values differ
            return [index for index, value in zip(indexes, column, strict=True) if test(value)]
        passing = {value for value in set(column) if test(value)}
        return [index for index, value in zip(indexes, column, strict=True) if value in passing]


@dataclass(frozen=True, slots=True)
class MessageFits:
    """A test of whole messages, which makes them from lines."""

    test: Callable[[SyslogMessage], bool]

    def __call__(self, message: SyslogMessage) -> bool:
        return self.test(message)

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        test = self.test
        messages = lines.messages(indexes)
        return [index for index, each in zip(indexes, messages, strict=True) if test(each)]


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Conjunction of `parts`, evaluated in order until one is false."""

    parts: tuple[Predicate, ...]

    def __call__(self, message: SyslogMessage) -> bool:
        return all(part(message) for part in self.parts)

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        for part in self.parts:
            if indexes:
                indexes = part.select(lines, indexes)
        return indexes


@dataclass(frozen=True, slots=True)
class Negation:
    """Negation of `part`."""

    part: Predicate

    def __call__(self, message: SyslogMessage) -> bool:
        return not self.part(message)

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        fitting = frozenset(self.part.select(lines, indexes))
        return [index for index in indexes if index not in fitting]
