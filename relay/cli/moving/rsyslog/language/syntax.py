"""The parts of a configuration of rsyslog, after it was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from relay.cli.moving.report import Statement

# Expressions


@dataclass(frozen=True, slots=True)
class Literal:
    """A text or a number; numbers are kept as they are written."""

    text: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Property:
    """A property or a variable without the dollar sign: ``msg``, ``!name``, ``.name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """`operator` is ``not`` or ``-``."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is in lower case; ``<>`` has become ``!=``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Array:
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PriorityFilter:
    """A selector such as ``mail.*;kern.none``."""

    text: str


@dataclass(frozen=True, slots=True)
class PropertyFilter:
    """A filter such as ``:msg, !contains, "x"``; the text has no escapes any more."""

    name: str
    operation: str
    is_negated: bool
    text: str


Expression: TypeAlias = (
    Literal | Property | Call | Unary | Binary | Array | PriorityFilter | PropertyFilter
)

# Statements


@dataclass(slots=True)
class Parameters:
    """Parameters of an object, by name in lower case.

    `asked` are the names of those that somebody has asked for; see `values.Reader`.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Object:
    """An object such as ``input(type="imudp")``, with what is in the braces behind it."""

    kind: str
    parameters: Parameters
    said: Statement
    body: Sequence[Node] = ()


@dataclass(slots=True)
class Directive:
    """A legacy line such as ``$ModLoad imudp``; the name is in lower case, without the dollar."""

    name: str
    value: str
    said: Statement


@dataclass(slots=True)
class LegacyAction:
    """An action of one line, such as ``@@central:514;format``."""

    text: str
    said: Statement


@dataclass(slots=True)
class If:
    condition: Expression
    then: Sequence[Node]
    otherwise: Sequence[Node]
    said: Statement


@dataclass(slots=True)
class SetVariable:
    """``set $!name = expression;``; without an expression it is ``unset``."""

    name: str
    expression: Expression | None
    said: Statement


@dataclass(slots=True)
class Jump:
    """``stop``, ``continue``, or ``call`` with the name of a ruleset."""

    kind: str
    target: str
    said: Statement


@dataclass(slots=True)
class Unreadable:
    """Something that is in the report already, and nothing else can be done about it."""

    said: Statement
    body: Sequence[Node] = ()


Node: TypeAlias = Object | Directive | LegacyAction | If | SetVariable | Jump | Unreadable

Rulesets: TypeAlias = Mapping[str, Sequence[Node]]
