"""Selectors such as ``*.info;mail,news.none;kern.!err``, as sysklogd defined them."""

from __future__ import annotations

from relay.cli.moving.conditions import Condition, all_of, any_of, fits, negated
from relay.cli.toml_writing import TomlValue
from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES

__all__ = ["FACILITIES", "NAMES", "SEVERITIES", "condition_of_selector", "priorities"]

FACILITIES = {
    **{name: number for number, name in enumerate(FACILITY_NAMES)},
    "security": 4,
    "authpriv": 10,
    "audit": 13,
    "alert": 14,
    "clock": 15,
}
SEVERITIES = {
    **{name: number for number, name in enumerate(SEVERITY_NAMES)},
    "panic": 0,
    "emergency": 0,
    "critical": 2,
    "error": 3,
    "warn": 4,
    "informational": 6,
}
NAMES = [*FACILITY_NAMES[:13], "audit", "alert", "clock", *FACILITY_NAMES[16:]]
"""The facilities as rsyslog calls them; the relay has other names for 13 to 15."""
_ALL = frozenset(range(8))


def condition_of_selector(text: str) -> Condition:
    """The condition that `text` describes.

    Raises:
        ValueError: It names a facility or a severity that there is not.
    """
    taken: list[frozenset[int]] = [frozenset()] * 24
    for part in text.split(";"):
        if part:
            facilities, level = part.rsplit(".", 1)
            for number in _facilities(facilities):
                taken[number] = _changed(taken[number], level.lower())
    return priorities(dict(enumerate(taken)))


def priorities(taken: dict[int, frozenset[int]]) -> Condition:
    """The condition that the severity is one of those of the facility in `taken`."""
    by_severities: dict[frozenset[int], list[int]] = {}
    for facility, severities in taken.items():
        if severities:
            by_severities.setdefault(severities, []).append(facility)
    parts = []
    for severities, facilities in by_severities.items():
        conditions = []
        if len(facilities) < len(FACILITY_NAMES):
            conditions.append(_facility_test(facilities))
        if severities != _ALL:
            conditions.append(fits("severity", _severity_value(sorted(severities))))
        parts.append(all_of(conditions))
    return any_of(parts)


def _facility_test(facilities: list[int]) -> Condition:
    names: list[TomlValue] = [FACILITY_NAMES[number] for number in facilities]
    if len(names) <= len(FACILITY_NAMES) // 2:
        return fits("facility", names if len(names) > 1 else names[0])
    others: list[TomlValue] = [name for name in FACILITY_NAMES if name not in names]
    return negated(fits("facility", others if len(others) > 1 else others[0]))


def _severity_value(severities: list[int]) -> TomlValue:
    """One name, or the shortest way to write several."""
    if severities == list(range(severities[-1] + 1)):
        return f"..{SEVERITY_NAMES[severities[-1]]}"
    if severities == list(range(severities[0], 8)):
        return f"{SEVERITY_NAMES[severities[0]]}.."
    names = [SEVERITY_NAMES[number] for number in severities]
    return names[0] if len(names) == 1 else names


def _facilities(text: str) -> list[int]:
    numbers: list[int] = []
    for name in text.lower().split(","):
        if name == "*":
            return list(range(24))
        if name.isdecimal() and int(name) < 24:
            numbers.append(int(name))
        elif name in FACILITIES:
            numbers.append(FACILITIES[name])
        else:
            raise ValueError(f"there is no facility {name!r}")
    return numbers


def _changed(before: frozenset[int], level: str) -> frozenset[int]:
    """The severities taken of a facility after one more part of the selector."""
    is_negated, level = level.startswith("!"), level.removeprefix("!")
    is_exact, level = level.startswith("="), level.removeprefix("=")
    if level == "none":
        return before if is_negated else frozenset()
    if level == "*":
        return frozenset() if is_negated else _ALL
    if level.isdecimal() and int(level) < 8:
        number = int(level)
    elif level in SEVERITIES:
        number = SEVERITIES[level]
    else:
        raise ValueError(f"there is no severity {level!r}")
    meant = frozenset({number}) if is_exact else frozenset(range(number + 1))
    return before - meant if is_negated else before | meant
