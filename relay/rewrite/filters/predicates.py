"""Tests of messages, which lines pass or fail without being made messages.

What looks at a field takes its values for all lines at once, as a column, and asks a test of texts
once for each value that a batch has: a regular expression costs more than to look up what it said.

Predicates that do the same compare equal, so that lines of many origins are asked about together.
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
    """What is true of some messages."""

    def __call__(self, message: SyslogMessage) -> bool: ...

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        """Those of `indexes` whose lines it is true of, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class FieldIn:
    """The value of a field is one of `values`, which may include None for no value.

    Attributes:
        field: Of `SyslogMessage`.
    """

    field: str
    values: frozenset[Any]

    def __call__(self, message: SyslogMessage) -> bool:
        return getattr(message, self.field) in self.values

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        return lines.where(self.field, self.values, indexes)


@dataclass(frozen=True, slots=True)
class FieldFits:
    """The value of a field passes a test.

    Attributes:
        field: Of `SyslogMessage`.
        test: Of values, or of None; says the same of the same value each time.
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
        if self.field == "msg":  # hardly two are the same
            return [index for index, value in zip(indexes, column, strict=True) if test(value)]
        passing = {value for value in set(column) if test(value)}
        return [index for index, value in zip(indexes, column, strict=True) if value in passing]


@dataclass(frozen=True, slots=True)
class MessageFits:
    """A message passes a test, for which it has to be made."""

    test: Callable[[SyslogMessage], bool]

    def __call__(self, message: SyslogMessage) -> bool:
        return self.test(message)

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        test = self.test
        messages = lines.messages(indexes)
        return [index for index, each in zip(indexes, messages, strict=True) if test(each)]


@dataclass(frozen=True, slots=True)
class Conjunction:
    """All of `parts` are true; later ones are not asked where an earlier one is false."""

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
    """`part` is false."""

    part: Predicate

    def __call__(self, message: SyslogMessage) -> bool:
        return not self.part(message)

    def select(self, lines: Lines, indexes: Sequence[int]) -> Sequence[int]:
        fitting = frozenset(self.part.select(lines, indexes))
        return [index for index in indexes if index not in fitting]
