"""Read filters: which messages a destination takes, and a step changes.

    match = { severity = "..warning", facility = ["auth", "authpriv"] }
    match = [{ app_name = "sshd" }, { msg = { regex = "fail(ed|ure)" } }]

A table fits when all its keys fit, a list when any of its items does.  A filter becomes a tree
of the values below; `relay.service.routes.stages` makes the condition that it describes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

from relay.model.expression import Expression
from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES
from relay.service.configuration.reading import Reading
from relay.service.configuration.table import Networks, did_you_mean, join_path, shown

__all__ = ["ALWAYS", "FACILITIES", "SEVERITIES", "Filter", "FilterTables", "TextTest"]

SEVERITIES: Mapping[str, int] = {
    **{name: number for number, name in enumerate(SEVERITY_NAMES)},
    "panic": 0,
    "emergency": 0,
    "critical": 2,
    "error": 3,
    "warn": 4,
    "informational": 6,
}
FACILITIES: Mapping[str, int] = {name: number for number, name in enumerate(FACILITY_NAMES)}
_NUMBERS: Mapping[str, Mapping[str, int]] = {
    "facility": FACILITIES,
    "severity": SEVERITIES,
    "day": {name: n for n, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))},
}
_CLOCK = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
_SPAN = re.compile(rf"\s*{_CLOCK}\s*\.\.\s*{_CLOCK}\s*")
_DEPTH_MAX = 32
_FIELDS = ("hostname", "app_name", "procid", "msgid", "msg")


@dataclass(frozen=True, slots=True)
class TextTest:
    """A pattern for a text: glob, substring or regex."""

    pattern: str
    kind: str = "glob"
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class NumberIn:
    """The facility or the severity is one of `numbers`."""

    field: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FieldFits:
    """The field or pair `name` passes one of `tests`; None = it has any value."""

    name: str
    tests: tuple[TextTest, ...] | None


@dataclass(frozen=True, slots=True)
class TagFits:
    """A tag passes one of `tests`."""

    tests: tuple[TextTest, ...]


@dataclass(frozen=True, slots=True)
class CameBy:
    """The id of the source passes one of `tests`."""

    tests: tuple[TextTest, ...]


@dataclass(frozen=True, slots=True)
class OfApp:
    """It belongs to one of `apps`, which are ids."""

    apps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CameFrom:
    """The sender's address is in one of `networks`."""

    networks: tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class CameWithin:
    """It came on one of `weekdays` (0 is Monday), from `start` up to `stop`; equal = all day."""

    start: time = time()
    stop: time = time()
    weekdays: tuple[int, ...] = tuple(range(7))


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of `parts` fit; each has the key that it was written under."""

    parts: Mapping[str, Filter]


Filter: TypeAlias = (
    NumberIn | FieldFits | TagFits | CameBy | OfApp | CameFrom | CameWithin | Not | AnyOf | AllOf
)
ALWAYS = AllOf({})


class FilterTables:
    """Reads filters.

    Args:
        named: The tables that ``filter = "NAME"`` refers to, by name.
        sources: Ids of the sources.
        apps: Ids of the apps.
    """

    def __init__(
        self,
        named: Mapping[str, object],
        *,
        sources: Sequence[str],
        apps: Sequence[str],
        reading: Reading,
    ) -> None:
        self._named = named
        self._sources = sources
        self._apps = apps
        self._reading = reading
        self._open: list[str] = []  # names of filters that are being read, outermost first
        self._readers: Mapping[str, Callable[[object, str, int], Filter]] = {
            "facility": lambda value, *_: NumberIn("facility", _numbers(value, "facility")),
            "severity": lambda value, *_: NumberIn("severity", _numbers(value, "severity")),
            **dict.fromkeys(_FIELDS, self._field),
            "pairs": self._pairs,
            "tags": lambda value, path, _: TagFits(self._tests(value, path)),
            "sources": self._came_by,
            "peers": lambda value, *_: CameFrom(Networks().read(_listed(value))),
            "apps": lambda value, path, _: OfApp(self._ids(value, self._apps, "app", path)),
            "time": lambda value, *_: CameWithin(*_span(value)),
            "weekdays": lambda value, *_: CameWithin(weekdays=_numbers(value, "day")),
            "filter": self._by_name,
            "any": self._nested,
            "not": lambda value, path, depth: Not(self._nested(value, path, depth)),
        }

    def all_named(self) -> dict[str, Filter]:
        """The filters that have a name, by name."""
        return {
            name: self.filter(value, join_path("filters", name))
            for name, value in self._named.items()
        }

    def filter(self, value: object, path: str, depth: int = 0) -> Filter:
        """The filter that `value` describes, or `ALWAYS` if it is wrong."""
        if depth > _DEPTH_MAX:
            return self._wrong(path, f"more than {_DEPTH_MAX} tables inside each other")
        if isinstance(value, list):
            if not value:
                return self._wrong(path, "an empty list fits nothing; remove it or write tables")
            items = (self.filter(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
            return AnyOf(tuple(items))
        if not isinstance(value, dict):
            return self._wrong(path, f"expected a table or a list of tables, found {shown(value)}")
        parts: dict[str, Filter] = {}
        for key, item in value.items():
            where = join_path(path, key)
            try:
                if key not in self._readers:
                    near = did_you_mean(key, self._readers) or "."
                    raise ValueError(f"unknown key{near} Allowed here: {', '.join(self._readers)}")
                parts[key] = self._readers[key](item, where, depth)
            except ValueError as error:
                self._wrong(where, str(error))
        match (parts.get("time"), parts.get("weekdays")):
            case CameWithin(start, stop), CameWithin(weekdays=weekdays):
                del parts["time"], parts["weekdays"]  # they are one condition
                parts["time, weekdays"] = CameWithin(start, stop, weekdays)
        return AllOf(parts)

    def _nested(self, value: object, path: str, depth: int) -> Filter:
        return self.filter(value, path, depth + 1)

    def _field(self, value: object, path: str, depth: int) -> Filter:
        name = path.rpartition(".")[2]
        return FieldFits(name, self._tests(value, path, "substring" if name == "msg" else "glob"))

    def _pairs(self, value: object, path: str, depth: int) -> Filter:
        if not isinstance(value, dict) or not value:
            raise ValueError(
                f'expected a table such as {{ "NAME" = "glob*" }}, found {shown(value)}'
            )
        parts: dict[str, Filter] = {}
        for name, item in value.items():
            where = join_path(path, name)
            # Only the key `hostname` fits the sender's name where a message has none.
            field = "HOST" if name == "hostname" else name
            try:
                if isinstance(item, bool):
                    has_value = FieldFits(field, None)
                    parts[name] = has_value if item else Not(has_value)
                else:
                    parts[name] = FieldFits(field, self._tests(item, where))
            except ValueError as error:
                self._wrong(where, str(error))
        return AllOf(parts)

    def _came_by(self, value: object, path: str, depth: int) -> Filter:
        ids = self._ids(value, self._sources, "source", path)
        # A set of listeners means all of its members, whose ids begin with its own.
        members = [TextTest(f"{id}.*") for id in ids if "*" not in id]
        return CameBy((*map(TextTest, ids), *members))

    def _ids(self, value: object, known: Sequence[str], what: str, path: str) -> tuple[str, ...]:
        ids = []
        for item in _listed(value):
            if not isinstance(item, str):
                raise ValueError(f"expected ids, found {shown(item)}")
            fits = re.compile(re.escape(item).replace(r"\*", ".*").replace(r"\?", ".")).fullmatch
            if not any(fits(id) or id.startswith(f"{item}.") for id in known):
                near = did_you_mean(item, known) or ";"
                self._wrong(
                    path,
                    f"there is no {what} {shown(item)}{near} there are: "
                    f"{', '.join(known) or 'none'}",
                )
            ids.append(item)
        return tuple(ids)

    def _by_name(self, value: object, path: str, depth: int) -> Filter:
        filters = []
        for name in _listed(value):
            if not isinstance(name, str) or name not in self._named:
                near = did_you_mean(str(name), self._named) or ";"
                raise ValueError(
                    f"there is no filter {shown(name)}{near} "
                    f"the filters are: {', '.join(self._named) or 'none'}"
                )
            if name in self._open:
                chain = " → ".join([*self._open[self._open.index(name) :], name])
                raise ValueError(f"the filter refers to itself: {chain}")
            self._open.append(name)
            where = join_path("filters", name)
            filters.append(self.filter(self._named[name], where, depth + 1))
            self._open.pop()
        return AnyOf(tuple(filters))

    def _tests(self, value: object, path: str, default: str = "glob") -> tuple[TextTest, ...]:
        """Texts (for a test of kind `default`), tables with one test, or a list of both."""
        if value == []:
            raise ValueError("an empty list fits nothing; remove it or write patterns")
        tests = tuple(_test(item, default) for item in _listed(value))
        for test in tests:
            if test.kind == "regex":
                self._reading.note_expression(test.pattern, f"{path}.regex")
        return tests

    def _wrong(self, path: str, why: str) -> Filter:
        problem = f"{path}: {why}"
        if problem not in self._reading.problems:  # a named filter is read wherever it is used
            self._reading.problems.append(problem)
        return ALWAYS


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _test(value: object, default: str) -> TextTest:
    if isinstance(value, str):
        return TextTest(value, default)
    table = {**value} if isinstance(value, dict) else {}
    ignore_case = table.pop("ignore_case", False)
    match [*table.items()]:
        case [(("glob" | "substring" | "regex") as kind, str(pattern))] if isinstance(
            ignore_case, bool
        ):
            if kind == "regex":
                Expression(pattern)  # or ValueError
            return TextTest(pattern, kind, ignore_case)
    raise ValueError(
        f"expected a {default}, a table such as {{ regex = 'a+', ignore_case = true }} (glob, "
        f"substring or regex), or a list of them, found {shown(value)}"
    )


def _numbers(value: object, what: str) -> tuple[int, ...]:
    """Numbers by name, by number, or as ranges with both ends, such as ``"..warning"``."""
    names = _NUMBERS[what]
    numbers: list[int] = []
    for item in _listed(value):
        if isinstance(item, str) and ".." in item:
            first, _, last = (part.strip() for part in item.partition(".."))
            start = _number(first, names, what) if first else 0
            stop = _number(last, names, what) if last else max(names.values())
            if start > stop:
                raise ValueError(f"the range {shown(item)} is empty; turn it around")
            numbers += range(start, stop + 1)
        else:
            numbers.append(_number(item, names, what))
    if not numbers:
        raise ValueError("an empty list fits nothing; remove it or write names")
    return tuple(numbers)


def _number(item: object, names: Mapping[str, int], what: str) -> int:
    number = int(item) if isinstance(item, str) and item.isdecimal() else item
    if type(number) is int and number in names.values():
        return number
    if isinstance(item, str) and item.lower() in names:
        return names[item.lower()]
    near = did_you_mean(str(item), names) or ";"
    raise ValueError(
        f"there is no {what} {shown(item)}{near} allowed are 0 to {max(names.values())} and "
        f"{', '.join(names)}, and ranges of them"
    )


def _span(value: object) -> tuple[time, time]:
    found = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        hour, minute, until_hour, until_minute = map(int, found.groups())
        return time(hour, minute), time(until_hour, until_minute)
    raise ValueError(f'expected a span such as "22:00..06:00", found {shown(value)}')
