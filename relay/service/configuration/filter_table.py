"""Read filters: which messages a destination takes, and a step changes.

    match = { severity = "..warning", facility = ["auth", "authpriv"] }
    match = [{ app_name = "sshd" }, { msg = { regex = "fail(ed|ure)" } }]

A table fits when all its keys fit, a list when any of its items does.  Reading makes
the condition at once, so that whatever can be read can also be used.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import time, tzinfo
from typing import Any

from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES
from relay.rewrite.filters import conditions as filters
from relay.rewrite.filters.conditions import Condition
from relay.rewrite.filters.pattern import (
    TextTest,
    glob,
    regex,
    substring,
)
from relay.service.configuration.table import Networks, did_you_mean, join_path, shown

__all__ = ["FACILITIES", "SEVERITIES", "FilterTables"]

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
_WEEKDAYS = {name: n for n, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))}
_CLOCK = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
_SPAN = re.compile(rf"\s*{_CLOCK}\s*\.\.\s*{_CLOCK}\s*")
_DEPTH_MAX = 32

_Matcher = Callable[..., TextTest]
_MATCHERS: Mapping[str, _Matcher] = {"glob": glob, "substring": substring, "regex": regex}
_FIELDS = ("hostname", "app_name", "procid", "msgid", "msg")
_KEYS = (
    *("facility", "severity", *_FIELDS, "pairs", "tags", "sources", "peers", "apps"),
    *("time", "weekdays", "filter", "any", "not"),
)


class FilterTables:
    """Makes conditions of TOML values.

    Args:
        named: The tables that ``filter = "NAME"`` refers to, by name.
        sources: Ids of the sources.
        apps: Ids of the apps.
        relay_name: Host of local messages that name none.
        zone: Whose clock ``time`` means.
        problems: One line is appended for everything that is wrong.
    """

    def __init__(
        self,
        named: Mapping[str, object],
        *,
        sources: Sequence[str],
        apps: Sequence[str],
        relay_name: bytes,
        zone: tzinfo,
        problems: list[str],
    ) -> None:
        self._named = named
        self._sources = sources
        self._apps = apps
        self._relay_name = relay_name
        self._zone = zone
        self._problems = problems
        self._open: list[str] = []  # names of filters that are being read, outermost first

    def condition(self, value: object, path: str) -> Condition:
        """The condition that `value` describes, or one that always fits if it is wrong."""
        return self._condition(value, path, 0)

    def _condition(self, value: object, path: str, depth: int) -> Condition:
        if depth > _DEPTH_MAX:
            return self._wrong(path, f"more than {_DEPTH_MAX} tables inside each other")
        if isinstance(value, list):
            if not value:
                return self._wrong(path, "an empty list fits nothing; remove it or write tables")
            return filters.any_of(
                [self._condition(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
            )
        if not isinstance(value, dict):
            return self._wrong(path, f"expected a table or a list of tables, found {shown(value)}")
        conditions = []
        for key, item in value.items():
            where = join_path(path, key)
            if key in ("time", "weekdays"):
                continue  # they are one condition
            try:
                conditions.append(self._key(key, item, where, depth))
            except ValueError as error:
                self._problems.append(f"{where}: {error}")
        if "time" in value or "weekdays" in value:
            try:
                conditions.append(self._time(value))
            except ValueError as error:
                key = "time" if "time" in value else "weekdays"
                self._problems.append(f"{join_path(path, key)}: {error}")
        return filters.all_of(conditions) if conditions else filters.always

    def _key(self, key: str, value: object, path: str, depth: int) -> Condition:
        if key == "facility":
            return filters.facility_in(_numbers(value, FACILITIES, 23, "facility"))
        if key == "severity":
            return filters.severity_in(_numbers(value, SEVERITIES, 7, "severity"))
        if key in _FIELDS:
            tests = _tests(value, "substring" if key == "msg" else "glob")
            sender = self._relay_name if key == "hostname" else b""
            return filters.field_fits(key, tests, sender_name=sender)
        if key == "pairs":
            return self._pairs(value, path)
        if key == "tags":
            return filters.tag_fits(_tests(value, "glob"))
        if key == "sources":
            self._check_ids(value, self._sources, "source", path)
            return filters.source_in([*_tests(value, "glob"), *_members(value)])
        if key == "apps":
            self._check_ids(value, self._apps, "app", path)
            return filters.app_in([item for item in _listed(value) if isinstance(item, str)])
        if key == "peers":
            return filters.peer_in(_networks(value))
        if key == "filter":
            return filters.any_of([self._by_name(item, path) for item in _listed(value)])
        if key in ("any", "not"):
            inner = self._condition(value, path, depth + 1)
            return inner if key == "any" else filters.negated(inner)
        near = did_you_mean(key, _KEYS) or "."
        raise ValueError(f"unknown key{near} Allowed here: {', '.join(_KEYS)}")

    def _pairs(self, value: object, path: str) -> Condition:
        if not isinstance(value, dict) or not value:
            raise ValueError(
                f'expected a table such as {{ "NAME" = "glob*" }}, found {shown(value)}'
            )
        conditions = []
        for name, item in value.items():
            try:
                if isinstance(item, bool):
                    missing = filters.field_missing(name)
                    conditions.append(filters.negated(missing) if item else missing)
                else:
                    conditions.append(filters.field_fits(name, _tests(item, "glob")))
            except ValueError as error:
                self._problems.append(f"{join_path(path, name)}: {error}")
        return filters.all_of(conditions)

    def _by_name(self, name: object, path: str) -> Condition:
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
        try:
            return self._condition(self._named[name], join_path("filters", name), len(self._open))
        finally:
            self._open.pop()

    def _time(self, value: Mapping[str, Any]) -> Condition:
        start, stop = _span(value["time"]) if "time" in value else (time(), time())
        weekdays = _numbers(value.get("weekdays", "mon..sun"), _WEEKDAYS, 6, "day")
        return filters.time_within(start, stop, weekdays=weekdays, zone=self._zone)

    def _check_ids(self, value: object, known: Sequence[str], what: str, path: str) -> None:
        for item in _listed(value):
            if not isinstance(item, str):
                raise ValueError(f"expected ids, found {shown(item)}")
            fits = glob(item)
            # A set of listeners is known by its members.
            if not any(fits(id.encode()) or id.startswith(f"{item}.") for id in known):
                near = did_you_mean(item, known) or ";"
                self._problems.append(
                    f"{path}: there is no {what} {shown(item)}{near} "
                    f"there are: {', '.join(known) or 'none'}"
                )

    def _wrong(self, path: str, why: str) -> Condition:
        self._problems.append(f"{path}: {why}")
        return filters.always


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _members(value: object) -> list[TextTest]:
    """A set of listeners means all of its members, whose ids begin with its own."""
    return [glob(f"{item}.*") for item in _listed(value) if "*" not in item]


def _tests(value: object, default: str) -> list[TextTest]:
    """Tests of a text: texts (of kind `default`), tables of one kind, or a list of both."""
    if value == []:
        raise ValueError("an empty list fits nothing; remove it or write patterns")
    return [_test(item, default) for item in _listed(value)]


def _test(value: object, default: str) -> TextTest:
    if isinstance(value, str):
        return _MATCHERS[default](value)
    if isinstance(value, dict):
        kinds = [key for key in value if key in _MATCHERS]
        unknown = [key for key in value if key not in _MATCHERS and key != "ignore_case"]
        ignore_case = value.get("ignore_case", False)
        if len(kinds) == 1 and not unknown and isinstance(ignore_case, bool):
            pattern = value[kinds[0]]
            if isinstance(pattern, str):
                return _MATCHERS[kinds[0]](pattern, ignore_case=ignore_case)
    raise ValueError(
        f"expected a {default}, a table such as {{ regex = 'a+', ignore_case = true }} (glob, "
        f"substring or regex), or a list of them, found {shown(value)}"
    )


def _numbers(value: object, names: Mapping[str, int], high: int, what: str) -> list[int]:
    """Numbers by name, by number, or as ranges with both ends, such as ``"..warning"``."""
    numbers: list[int] = []
    for item in _listed(value):
        if isinstance(item, str) and ".." in item:
            first, _, last = (part.strip() for part in item.partition(".."))
            start = _number(first, names, high, what) if first else 0
            stop = _number(last, names, high, what) if last else high
            if start > stop:
                raise ValueError(f"the range {shown(item)} is empty; turn it around")
            numbers += range(start, stop + 1)
        else:
            numbers.append(_number(item, names, high, what))
    if not numbers:
        raise ValueError("an empty list fits nothing; remove it or write names")
    return numbers


def _number(item: object, names: Mapping[str, int], high: int, what: str) -> int:
    if isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= high:
        return item
    if isinstance(item, str):
        if item.lower() in names:
            return names[item.lower()]
        if item.isdecimal() and int(item) <= high:
            return int(item)
    near = did_you_mean(str(item), names) or ";"
    raise ValueError(
        f"there is no {what} {shown(item)}{near} allowed are 0 to {high} and "
        f"{', '.join(names)}, and ranges of them"
    )


def _networks(value: object) -> Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return Networks().read(value if isinstance(value, list) else [value])


def _span(value: object) -> tuple[time, time]:
    found = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        hour, minute, until_hour, until_minute = map(int, found.groups())
        return time(hour, minute), time(until_hour, until_minute)
    raise ValueError(f'expected a span such as "22:00..06:00", found {shown(value)}')
