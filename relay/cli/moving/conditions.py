"""Conditions of rules, and how they are written as `match`.

A dialect builds a `Condition` with `fits`, `all_of`, `any_of` and `negated`, which simplify as far
as that is cheap; `to_match` writes the table (or list of tables) of docs/rewriting.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from relay.cli.toml_writing import TomlValue

__all__ = [
    "ALWAYS",
    "NEVER",
    "Condition",
    "TooDeep",
    "all_of",
    "any_of",
    "negated",
    "parts_of",
    "sources_of",
    "fits",
    "to_match",
]

_DEPTH_MAX = 24  # tables inside each other; the relay reads 32
_PARTS_MAX = 2000


class TooDeep(ValueError):
    """The condition is larger than a `match` may be."""


@dataclass(frozen=True, slots=True)
class Fits:
    """One key of a filter and its value, as in ``app_name = "sshd"``."""

    key: str
    value: TomlValue


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]


Condition: TypeAlias = Fits | Not | AllOf | AnyOf
ALWAYS: Condition = AllOf(())
NEVER: Condition = AnyOf(())


def fits(key: str, value: TomlValue) -> Condition:
    """The condition that `key` of a filter (`facility`, `msg`, `pairs`, …) has `value`."""
    return Fits(key, value)


def all_of(parts: Iterable[Condition]) -> Condition:
    """The condition that all of `parts` hold; none at all is `ALWAYS`."""
    flat: list[Condition] = []
    for part in parts:
        flat += part.parts if isinstance(part, AllOf) else [part]
    flat, has_opposites = _once(flat)
    if has_opposites or NEVER in flat:
        return NEVER
    return flat[0] if len(flat) == 1 else AllOf(tuple(flat))


def any_of(parts: Iterable[Condition]) -> Condition:
    """The condition that one of `parts` holds; none at all is `NEVER`."""
    flat: list[Condition] = []
    for part in parts:
        flat += part.parts if isinstance(part, AnyOf) else [part]
    flat, has_opposites = _once(flat)
    if has_opposites or ALWAYS in flat:
        return ALWAYS
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def negated(part: Condition) -> Condition:
    """The condition that `part` does not hold."""
    if part == ALWAYS:
        return NEVER
    if part == NEVER:
        return ALWAYS
    if isinstance(part, Not):
        return part.part
    if isinstance(part, AnyOf):
        return all_of(negated(each) for each in part.parts)
    return Not(part)


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that all have to hold for `condition`."""
    return condition.parts if isinstance(condition, AllOf) else (condition,)


def sources_of(condition: Condition, known: Sequence[str]) -> tuple[list[str], Condition]:
    """The sources to which `condition` restricts itself, out of `known`, and what else it wants."""
    allowed, rest = list(known), []
    for part in parts_of(condition):
        match part:
            case Fits("sources", [*ids]):
                allowed = [id for id in allowed if id in ids]
            case Not(Fits("sources", [*ids])):
                allowed = [id for id in allowed if id not in ids]
            case _:
                rest.append(part)
    return allowed, all_of(rest)


def to_match(condition: Condition) -> TomlValue:
    """The value of `match` for `condition`, which is neither `ALWAYS` nor `NEVER`.

    Raises:
        TooDeep: The relay would refuse it, or nobody could read it.
    """
    if _size(condition) > _PARTS_MAX:
        raise TooDeep(f"more than {_PARTS_MAX:,} conditions at once")
    return _match(condition, 1)


def _size(condition: Condition) -> int:
    match condition:
        case Not(part):
            return _size(part)
        case AllOf(parts) | AnyOf(parts):
            return sum(map(_size, parts)) + 1
    return 1


def _match(condition: Condition, depth: int) -> TomlValue:
    if depth > _DEPTH_MAX:
        raise TooDeep(f"more than {_DEPTH_MAX} conditions inside each other")
    match condition:
        case AnyOf(parts):
            merged = _merged(parts)
            if len(merged) == 1:
                return _table([merged[0]], depth)
            return [_table(parts_of(part), depth + 1) for part in merged]
        case AllOf(parts):
            return _table(parts, depth)
    return _table([condition], depth)


def _table(parts: Iterable[Condition], depth: int) -> Mapping[str, TomlValue]:
    """One table whose keys must all match."""
    table: dict[str, TomlValue] = {}
    excluded: list[TomlValue] = []
    negative: list[Condition] = []
    for part in parts:
        if isinstance(part, AnyOf) and len(merged := _merged(part.parts)) == 1:
            part = merged[0]
        match part:
            case Fits(key, value) if key not in table:
                table[key] = value
            case Fits("pairs", Mapping() as more) if _are_apart(table["pairs"], more):
                table["pairs"] = {**_mapping(table["pairs"]), **more}
            case AnyOf() if "any" not in table:
                table["any"] = _match(part, depth + 1)
            case Not(inner):
                negative.append(inner)
            case _:  # the key is taken: not (not …) needs no key of its own
                excluded.append({"not": _match(part, depth + 2)})
    for inner in _merged(negative):
        found = _match(inner, depth + 1)
        excluded += found if isinstance(found, list) else [found]
    if excluded:
        table["not"] = excluded[0] if len(excluded) == 1 else excluded
    return table


def _are_apart(one: TomlValue, other: Mapping[str, TomlValue]) -> bool:
    return not _mapping(one).keys() & other.keys()


def _mapping(value: TomlValue) -> Mapping[str, TomlValue]:
    return value if isinstance(value, Mapping) else {}


_LISTED = {"facility", "severity", "app_name", "hostname", "procid", "msgid", "msg"}
_LISTED |= {"sources", "peers", "tags"}


def _merged(parts: Iterable[Condition]) -> list[Condition]:
    """Alternatives for one key become one list: ``app_name = ["a", "b"]``."""
    merged: dict[str, dict[str, TomlValue]] = {}
    found: list[Condition] = []
    for part in parts:
        if isinstance(part, Fits) and part.key in _LISTED:
            values = part.value if isinstance(part.value, list) else [part.value]
            if part.key in merged:
                merged[part.key] |= {repr(each): each for each in values}
            else:
                merged[part.key] = {repr(each): each for each in values}
                found.append(part)
        else:
            found.append(part)
    return [
        Fits(part.key, _single([*merged[part.key].values()]))
        if isinstance(part, Fits) and part.key in merged
        else part
        for part in found
    ]


def _single(values: list[TomlValue]) -> TomlValue:
    return values[0] if len(values) == 1 else values


def _once(parts: Iterable[Condition]) -> tuple[list[Condition], bool]:
    """The different ones of `parts`, and whether one is the opposite of another.

    They are compared as texts: values of filters may be lists, which have no hash, and hundreds
    of rules with a stop make long conditions.
    """
    found = {repr(part): part for part in parts}
    opposites = (part.part for part in found.values() if isinstance(part, Not))
    return [*found.values()], any(repr(part) in found for part in opposites)
