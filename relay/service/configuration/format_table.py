"""Read what a destination sends: ``format = "rfc5424"``, a table of it, or a template.

The keys of a JSON object are those of syslog-ng's value-pairs.  ``key`` and ``exclude``
work in the order in which they are written, and so do the entries of ``select``, for
those who do not want to depend on the order of keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from relay.model.output import (
    FORMATS,
    FRAC_DIGITS_MAX,
    ON_ERROR,
    SCOPES,
    STAMP_FORMATS,
    TYPES,
    Pair,
    Pattern,
    Rekey,
    Selection,
)
from relay.model.template import macros_of
from relay.rewrite.json.value_pairs import TRANSFORMS
from relay.service.configuration.model import FormatConfiguration
from relay.service.configuration.rewrite_table import names_a_form
from relay.service.configuration.table import (
    Anything,
    Choice,
    Flag,
    Kind,
    Text,
    Texts,
    Whole,
    did_you_mean,
    join_path,
    read_table,
    shown,
)

__all__ = ["FORMAT", "TimeZone", "read_format"]

_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class TimeZone:
    """A time zone: a name of the tz database, or an offset from UTC."""

    def read(self, value: object) -> tzinfo:
        zone = self._zone(value) if isinstance(value, str) else None
        if zone is None:
            raise ValueError(
                'expected a time zone, such as "UTC", "+01:00" or "Europe/Berlin", found '
                f"{shown(value)}"
            )
        return zone

    @staticmethod
    def _zone(name: str) -> tzinfo | None:
        if name in ("UTC", "Z"):
            return UTC
        offset = _OFFSET.fullmatch(name)
        if offset is not None:
            minutes = int(offset[2]) * 60 + int(offset[3])
            return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, KeyError):  # KeyError: no zone of that name
            return None


@dataclass(frozen=True, slots=True)
class _Template:
    """A text with macros."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f'expected a template, such as "$ISODATE $MSG", found {shown(value)}')
        macros_of(value)
        return value


@dataclass(frozen=True, slots=True)
class _OneOrMore:
    """A text, or a list of texts."""

    allowed: str

    def read(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str) and value:
            return (value,)
        return Texts(f"{self.allowed}, or a list of them").read(value)


@dataclass(frozen=True, slots=True)
class _Words:
    """One of a few words, or a list of them."""

    words: tuple[str, ...]

    def read(self, value: object) -> tuple[str, ...]:
        found = _OneOrMore("a name").read(value)
        for word in found:
            if word not in self.words:
                near = did_you_mean(word, self.words)
                raise ValueError(
                    f"expected some of {', '.join(self.words)}; found {shown(word)}{near}"
                )
        return found


@dataclass(frozen=True, slots=True)
class _Change:
    """An old text and the new one."""

    def read(self, value: object) -> tuple[str, str]:
        match value:
            case [str(old), str(new)] if old:
                return old, new
        raise ValueError(f'expected two texts, such as [".", "_"], found {shown(value)}')


@dataclass(frozen=True, slots=True)
class _True:
    """true: what is not wanted is not written."""

    def read(self, value: object) -> bool:
        if value is True:
            return True
        raise ValueError(f"expected true, found {shown(value)}; remove the key instead")


_GLOBS = _OneOrMore('a name, where * and ? are wildcards, such as ".SDATA.*"')
_PATTERNS: Mapping[str, Kind] = {"key": _GLOBS, "exclude": _GLOBS}

_STAMP_KEYS: Mapping[str, Kind] = {
    "frac_digits": Whole(0, FRAC_DIGITS_MAX),
    "time_zone": TimeZone(),
    "ts_format": Choice(STAMP_FORMATS),
}
_SELECTION_KEYS: Mapping[str, Kind] = {
    "scope": _Words(SCOPES),
    **_PATTERNS,
    "select": Anything(),
    "pair": Anything(),
    "rekey": Anything(),
    "subkeys": _OneOrMore('a prefix of names, such as ".cee."'),
    "omit_empty_values": Flag(),
    "leave_initial_dot": Flag(),
    "on_error": Choice(ON_ERROR),
}
FORMAT: Mapping[str, Kind] = {
    "name": Choice(FORMATS),
    "template": _Template(),
    **_STAMP_KEYS,
    **_SELECTION_KEYS,
}
"""The keys of a format."""

_PAIR: Mapping[str, Kind] = {"type": Choice(TYPES), "value": _Template()}
_REKEY: Mapping[str, Kind] = {
    "match": Text("a name, where * and ? are wildcards"),
    "shift": Whole(0, 255),
    "shift_levels": Whole(0, 255),
    "add_prefix": Text(),
    "replace_prefix": _Change(),
    "upper": _True(),
    "lower": _True(),
}
assert _REKEY.keys() == {"match", *TRANSFORMS}

# A key that is not here has a meaning for JSON only.
_FORMATS_OF_KEY: Mapping[str, tuple[str, ...]] = {
    "name": FORMATS,
    "template": ("template",),
    **dict.fromkeys(_STAMP_KEYS, ("rfc5424", "rfc3164", "json", "template")),
    "ts_format": ("rfc3164", "json", "template"),
}
# Fields of a `Selection` that are as they are written.
_FIELD_OF_KEY = {
    "scope": "scopes",
    "omit_empty_values": "omits_empty",
    "leave_initial_dot": "keeps_initial_dot",
    "on_error": "on_error",
}
_RFC5424_DIGITS_MAX = 6  # §6.2.3
_RFC3164_STAMPS = ("bsd", "iso")


def read_format(
    table: Mapping[str, object], path: str, *, problems: list[str]
) -> FormatConfiguration | None:
    """Read the keys ``format`` and ``template`` of a destination.

    Args:
        table: The destination's, as TOML gave it; it may have one of them or neither.
        path: Its dotted path, for the problems.
        problems: One line is appended for each thing that is wrong.

    Returns:
        None if the destination has neither key, or a problem with them.
    """
    ways = [key for key in ("format", "template") if key in table]
    if not ways:
        return None
    if len(ways) == 2:
        problems.append(
            f"{path}: has both format and template; write the template alone, or "
            'format = { name = "template", template = "…" }'
        )
        return None
    if names_a_form(table.get("rewrite")):
        problems.append(
            f"{path}: has both rewrite and {ways[0]}, and each of them says what is sent; "
            "remove one"
        )
        return None
    value = table[ways[0]]
    if ways == ["template"]:
        return _read_table({"name": "template", "template": value}, path, problems)
    where = join_path(path, "format")
    if not isinstance(value, str):
        return _read_table(value, where, problems)
    try:
        name = FORMAT["name"].read(value)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None
    if name == "template":
        problems.append(f'{where}: has no template; write template = "…" instead of it')
        return None
    return FormatConfiguration(name)


def _read_table(values: object, path: str, problems: list[str]) -> FormatConfiguration | None:
    known = len(problems)
    table = read_table(values, FORMAT, path, problems)
    if not isinstance(values, dict):
        return None
    if "name" not in values:
        problems.append(f'{path}.name: is missing; write for example name = "rfc5424"')
    if "name" in table:
        problems.extend(_unfit(table, path))
        if table["name"] == "template" and "template" not in values:
            problems.append(f'{path}.template: is missing; write for example "$ISODATE $MSG"')
    selection = _selection(table, path, problems) if _SELECTION_KEYS.keys() & table else None
    if len(problems) > known:
        return None
    stamps = {key: table[key] for key in _STAMP_KEYS if key in table}
    return FormatConfiguration(table["name"], table.get("template", ""), selection, **stamps)


def _unfit(table: Mapping[str, Any], path: str) -> list[str]:
    """Problems of keys that do not go together with the format."""
    name = table["name"]
    problems = []
    for key in table:
        formats = _FORMATS_OF_KEY.get(key, ("json",))
        if name not in formats:
            problems.append(
                f"{join_path(path, key)}: has no meaning for the format {name}, only for "
                f"{' and '.join(formats)}; remove it"
            )
    if name == "rfc5424" and table.get("frac_digits", 0) > _RFC5424_DIGITS_MAX:
        problems.append(
            f"{path}.frac_digits: RFC 5424 allows {_RFC5424_DIGITS_MAX} digits at most, found "
            f"{table['frac_digits']}"
        )
    if name == "rfc3164" and table.get("ts_format", "bsd") not in _RFC3164_STAMPS:
        problems.append(
            f"{path}.ts_format: the format rfc3164 has {' and '.join(_RFC3164_STAMPS)}, found "
            f"{shown(table['ts_format'])}"
        )
    if "select" in table and set(_PATTERNS) & set(table):
        problems.append(f"{path}: has select as well as key or exclude; write all of it in select")
    return problems


def _selection(table: Mapping[str, Any], path: str, problems: list[str]) -> Selection:
    patterns: list[Pattern] = []
    for key in table:
        if key in _PATTERNS:
            patterns.extend(Pattern(glob, key == "key") for glob in table[key])
        elif key == "select":
            patterns.extend(_patterns(table[key], join_path(path, key), problems))
    subkeys = table.get("subkeys", ())
    return Selection(
        patterns=(*patterns, *(Pattern(_literally(prefix) + "*") for prefix in subkeys)),
        pairs=tuple(_pairs(table.get("pair", {}), join_path(path, "pair"), problems)),
        rekeys=(
            *(
                Rekey(_literally(prefix) + "*", (("replace_prefix", (prefix, "")),))
                for prefix in subkeys
            ),
            *_rekeys(table.get("rekey", []), join_path(path, "rekey"), problems),
        ),
        **{field: table[key] for key, field in _FIELD_OF_KEY.items() if key in table},
    )


def _patterns(values: object, path: str, problems: list[str]) -> Iterable[Pattern]:
    for where, entry in _entries(values, path, problems):
        table = read_table(entry, _PATTERNS, where, problems)
        if isinstance(entry, dict) and len(entry) != 1:
            problems.append(
                f"{where}: has {len(entry)} keys, expected one of them; write an entry for each"
            )
        for key, globs in table.items():
            yield from (Pattern(glob, key == "key") for glob in globs)


def _pairs(values: object, path: str, problems: list[str]) -> Iterable[Pair]:
    if not isinstance(values, dict):
        problems.append(
            f'{path}: expected a table, such as {{ host = "$HOST" }}, found {shown(values)}'
        )
        return
    for name, value in values.items():
        where = join_path(path, name)
        if isinstance(value, dict):
            table = read_table(value, _PAIR, where, problems)
            if "value" not in value:
                problems.append(f'{where}.value: is missing; write for example value = "$PID"')
            elif "value" in table:
                yield Pair(name, table["value"], table.get("type", "string"))
            continue
        try:
            yield Pair(name, _Template().read(value))
        except ValueError as error:
            problems.append(f"{where}: {error}")


def _rekeys(values: object, path: str, problems: list[str]) -> Iterable[Rekey]:
    for where, entry in _entries(values, path, problems):
        table = read_table(entry, _REKEY, where, problems)
        if not isinstance(entry, dict):
            continue
        if "match" not in entry:
            problems.append(f'{where}.match: is missing; write for example match = ".cee.*"')
        if not entry.keys() - {"match"}:
            problems.append(f"{where}: changes nothing; add one of {', '.join(TRANSFORMS)}")
        if "match" in table:
            yield Rekey(table.pop("match"), tuple(table.items()))


def _entries(values: object, path: str, problems: list[str]) -> Iterable[tuple[str, object]]:
    """The tables of a list, each with its path."""
    if not isinstance(values, list):
        problems.append(f"{path}: expected a list of tables, found {shown(values)}")
        return
    for number, entry in enumerate(values):
        yield f"{path}[{number}]", entry


def _literally(text: str) -> str:
    """A pattern for `text`; its wildcards fit any character, themselves included."""
    return text.replace("*", "?")
