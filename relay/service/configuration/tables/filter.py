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
from typing import ClassVar, TypeAlias

from relay.model.expression import Expression
from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES
from relay.service.configuration.reading import Entries, Nested, Reading, TableOf
from relay.service.configuration.table import Networks, did_you_mean, join_path, shown, unknown_name

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


@dataclass(frozen=True, slots=True)
class Match:
    """A filter: a table, or a list of them."""

    allowed: ClassVar[str] = "filter"
    name: str = ""
    """That of the table below ``filters`` that it is."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> Filter:
        if len(reading.inside) > _DEPTH_MAX:
            raise ValueError(f"more than {_DEPTH_MAX} tables inside each other")
        reading.inside.append(self.name)
        try:
            if isinstance(value, dict):
                return _joined(reading.table(value, FILTER, path))
            if not isinstance(value, list):
                raise ValueError(f"expected a table or a list of tables, found {shown(value)}")
            if not value:
                raise ValueError("an empty list fits nothing; remove it or write tables")
            return AnyOf(Entries(MATCH).read_at(value, path, reading))
        finally:
            reading.inside.pop()


MATCH = Match()


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of a filter."""

    read_at: Callable[[object, str, Reading], Filter]


def _joined(parts: dict[str, Filter]) -> AllOf:
    match (parts.get("time"), parts.get("weekdays")):
        case CameWithin(start, stop), CameWithin(weekdays=weekdays):
            del parts["time"], parts["weekdays"]  # they are one condition
            parts["time, weekdays"] = CameWithin(start, stop, weekdays)
    return AllOf(parts)


def _field(name: str) -> _Key:
    default = "substring" if name == "msg" else "glob"
    return _Key(lambda value, path, reading: FieldFits(name, _tests(value, path, reading, default)))


class _Pair:
    """Tests of a value, or whether there is to be one."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> bool | tuple[TextTest, ...]:
        return value if isinstance(value, bool) else _tests(value, path, reading)


_PAIRS = TableOf(_Pair(), '{ "NAME" = "glob*" }', may_be_empty=False)


def _pairs(value: object, path: str, reading: Reading) -> Filter:
    parts: dict[str, Filter] = {}
    for name, tests in _PAIRS.read_at(value, path, reading).items():
        # Only the key `hostname` fits the sender's name where a message has none.
        field = "HOST" if name == "hostname" else name
        fits = FieldFits(field, None if isinstance(tests, bool) else tests)
        parts[name] = Not(fits) if tests is False else fits
    return AllOf(parts)


def _came_by(value: object, path: str, reading: Reading) -> Filter:
    ids = _ids(value, reading.sources, "source", path, reading)
    # A set of listeners means all of its members, whose ids begin with its own.
    members = [TextTest(f"{id}.*") for id in ids if "*" not in id]
    return CameBy((*map(TextTest, ids), *members))


def _ids(
    value: object, known: Sequence[str], what: str, path: str, reading: Reading
) -> tuple[str, ...]:
    ids = []
    for item in _listed(value):
        if not isinstance(item, str):
            raise ValueError(f"expected ids, found {shown(item)}")
        fits = re.compile(re.escape(item).replace(r"\*", ".*").replace(r"\?", ".")).fullmatch
        if not any(fits(id) or id.startswith(f"{item}.") for id in known):
            reading.add(path, unknown_name(what, item, known))
        ids.append(item)
    return tuple(ids)


def _by_name(value: object, path: str, reading: Reading) -> Filter:
    filters = []
    for name in _listed(value):
        if not isinstance(name, str) or name not in reading.filters:
            raise ValueError(unknown_name("filter", name, reading.filters))
        if name in reading.inside:
            chain = filter(None, [*reading.inside[reading.inside.index(name) :], name])
            raise ValueError(f"the filter refers to itself: {' → '.join(chain)}")
        place = join_path("filters", name)
        filters.append(reading.read(Match(name), reading.filters[name], place))
    return AnyOf(tuple(filters))


def _tests(
    value: object, path: str, reading: Reading, default: str = "glob"
) -> tuple[TextTest, ...]:
    """Texts (for a test of kind `default`), tables with one test, or a list of both."""
    if value == []:
        raise ValueError("an empty list fits nothing; remove it or write patterns")
    tests = tuple(_test(item, default) for item in _listed(value))
    for test in tests:
        if test.kind == "regex":
            reading.note_expression(test.pattern, f"{path}.regex")
    return tests


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


def numbers_in(value: object, what: str) -> tuple[int, ...]:
    """Numbers by name, by number, or as ranges with both ends, such as ``"..warning"``.

    Args:
        what: facility, severity or day.
    """
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


FILTER: Mapping[str, Nested[Filter]] = {
    "facility": _Key(lambda value, *_: NumberIn("facility", numbers_in(value, "facility"))),
    "severity": _Key(lambda value, *_: NumberIn("severity", numbers_in(value, "severity"))),
    **{name: _field(name) for name in ("hostname", "app_name", "procid", "msgid", "msg")},
    "pairs": _Key(_pairs),
    "tags": _Key(lambda value, *place: TagFits(_tests(value, *place))),
    "sources": _Key(_came_by),
    "peers": _Key(lambda value, *_: CameFrom(Networks().read(_listed(value)))),
    "apps": _Key(lambda value, *place: OfApp(_ids(value, place[1].apps, "app", *place))),
    "time": _Key(lambda value, *_: CameWithin(*_span(value))),
    "weekdays": _Key(lambda value, *_: CameWithin(weekdays=numbers_in(value, "day"))),
    "filter": _Key(_by_name),
    "any": MATCH,
    "not": _Key(lambda value, *place: Not(MATCH.read_at(value, *place))),
}
"""What the keys of a filter may hold."""
