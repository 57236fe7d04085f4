"""Read what a destination sends: ``format = "rfc5424"``, a table of it, or a template.

The keys of a JSON object are those of syslog-ng's value-pairs.  ``key`` and ``exclude``
work in the order in which they are written, and so do the entries of ``select``, for
those who do not want to depend on the order of keys.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta, timezone, tzinfo
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
from relay.service.configuration.keys import group, keys_of, read_record
from relay.service.configuration.keys import key as declare
from relay.service.configuration.reading import (
    Entries,
    OneOrMore,
    Reading,
    TableOf,
    Template,
    True_,
)
from relay.service.configuration.table import Choice, Flag, Text, Whole, all_of, join_path, shown

_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-9]|2[0-3]):([0-5][0-9])")


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
class _SomeNames:
    """One of a few names, or a list of them."""

    choices: tuple[str, ...]

    def read(self, value: object) -> tuple[str, ...]:
        return all_of(Choice(self.choices).read, OneOrMore("a name").read(value))


class _Change:
    """An old text and the new one."""

    def read(self, value: object) -> tuple[str, str]:
        match value:
            case [str(old), str(new)] if old:
                return old, new
        raise ValueError(f'expected two texts, such as [".", "_"], found {shown(value)}')


_GLOBS = OneOrMore('a name, where * and ? are wildcards, such as ".SDATA.*"')


@dataclass(frozen=True, slots=True)
class _Patterns:
    """An entry of `select`."""

    key: tuple[str, ...] = declare(_GLOBS, default=())
    exclude: tuple[str, ...] = declare(_GLOBS, default=())


@dataclass(frozen=True, slots=True)
class _Pair:
    value: str = declare(Template(), example='"$PID"')
    type: str = declare(Choice(TYPES), default="string")


@dataclass(frozen=True, slots=True)
class _Rekey:
    match: str = declare(Text("a name, where * and ? are wildcards"), example='".cee.*"')
    shift: int = declare(Whole(0, 255), default=0)
    shift_levels: int = declare(Whole(0, 255), default=0)
    add_prefix: str = declare(Text(), default="")
    replace_prefix: tuple[str, str] = declare(_Change(), default=("", ""))
    upper: bool = declare(True_(), default=False)
    lower: bool = declare(True_(), default=False)


class _Entry:
    """An entry of `select`: names to take, or to leave out."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> tuple[Pattern, ...]:
        if isinstance(value, dict) and len(value) != 1:
            raise ValueError(
                f"has {len(value)} keys, expected one of them; write an entry for each"
            )
        table = read_record(_Patterns, value, path, reading)
        return (*_patterns(table.key, takes=True), *_patterns(table.exclude, takes=False))


class _PairOfOurs:
    """A template, or a table of it with a type."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> _Pair:
        if isinstance(value, dict):
            return read_record(_Pair, value, path, reading)
        return _Pair(Template().read(value))


class _NewNames:
    """Names, and how to change them; the changes follow one another as they are written."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> Rekey:
        if isinstance(value, dict) and not value.keys() - {"match"}:
            names = ", ".join([*keys_of(_Rekey)][1:])
            reading.add(path, f"changes nothing; add one of {names}")
        table = read_record(_Rekey, value, path, reading)
        assert isinstance(value, dict)
        changes = ((key, getattr(table, key)) for key in value if key != "match")
        return Rekey(table.match, tuple(changes))


@dataclass(frozen=True, slots=True)
class FormatConfiguration:
    """The format in which a destination sends."""

    name: str = declare(Choice(FORMATS), "raw", required=True, example='"rfc5424"')
    template: str = declare(Template(), default="")
    """For template."""
    frac_digits: int | None = declare(Whole(0, FRAC_DIGITS_MAX), default=None)
    """Digits of a fraction of a second; None = as the format has it."""
    time_zone: tzinfo | None = declare(TimeZone(), default=None)
    """Zone to write stamps in; None = each in its own offset."""
    ts_format: str | None = declare(Choice(STAMP_FORMATS), default=None)
    """None = as the format has it."""
    hops: bool = declare(Flag(), default=False)
    """For rfc5424: add the relays that a message has passed to its structured data."""
    selection: Selection | None = None
    """For json; None = the default one."""
    key: str = field(default="format", compare=False)
    """The key of the destination that it is written under: format or template."""


SD_NUMBER = (
    "write lineage and seq of a record into its structured data, as "
    '`[syslogrelay@32473 lineage="…" seq="…"]`, for programs that do not see the header; needs '
    '`format = "rfc5424"`'
)
"""Help of the key `sd_number`."""


def sd_number_problem(form: FormatConfiguration | None) -> str:
    """Why `sd_number` cannot be set with a format; empty = it can."""
    if form is not None and form.name == "rfc5424":
        return ""
    found = "no format" if form is None else f"the format {form.name}"
    return f'with {found} there is no structured data to write into; write format = "rfc5424"'


@dataclass(frozen=True, slots=True)
class _Format:
    form: FormatConfiguration = group(FormatConfiguration)
    scope: tuple[str, ...] | None = declare(_SomeNames(SCOPES), default=None)
    key: tuple[str, ...] = declare(_GLOBS, default=())
    exclude: tuple[str, ...] = declare(_GLOBS, default=())
    select: tuple[tuple[Pattern, ...], ...] = declare(Entries(_Entry()), default=())
    pair: Mapping[str, _Pair] | None = declare(
        TableOf(_PairOfOurs(), '{ host = "$HOST" }'), default=None
    )
    rekey: tuple[Rekey, ...] = declare(Entries(_NewNames()), default=())
    subkeys: tuple[str, ...] = declare(OneOrMore('a prefix of names, such as ".cee."'), default=())
    omit_empty_values: bool = declare(Flag(), default=False)
    leave_initial_dot: bool = declare(Flag(), default=False)
    on_error: str = declare(Choice(ON_ERROR), default="fallback-to-string")


FORMAT = tuple(keys_of(_Format))
"""The keys of a format."""

_STAMP_KEYS = ("frac_digits", "time_zone", "ts_format")
# A key that is not here has a meaning for JSON only.
_FORMATS_OF_KEY: Mapping[str, tuple[str, ...]] = {
    "name": FORMATS,
    "template": ("template",),
    **dict.fromkeys(_STAMP_KEYS, ("rfc5424", "rfc3164", "json", "template")),
    "ts_format": ("rfc3164", "json", "template"),
    "hops": ("rfc5424",),
}
_RFC5424_DIGITS_MAX = 6  # §6.2.3
_RFC3164_STAMPS = ("bsd", "iso")


class FormatTable:
    """The name of a format, or a table of it."""

    allowed = "name or table"

    def read_at(self, value: object, path: str, reading: Reading, /) -> FormatConfiguration:
        if not isinstance(value, str):
            return _read_table(value, path, reading)
        name = Choice(FORMATS).read(value)
        if name == "template":
            raise ValueError('has no template; write template = "…" instead of it')
        return FormatConfiguration(name)


FORMAT_TABLE = FormatTable()


class TemplateOnly:
    """A template that says all of what is sent."""

    def read(self, value: object) -> FormatConfiguration:
        return FormatConfiguration("template", Template().read(value), key="template")


def format_problem(values: Collection[str], *, has_form: bool) -> str:
    """What is wrong with the keys of a destination that say what is sent; empty = nothing.

    Args:
        has_form: Its rewrite says that too.
    """
    match [key for key in ("format", "template") if key in values]:
        case [_, _]:
            return (
                "has both format and template; write the template alone, or "
                'format = { name = "template", template = "…" }'
            )
        case [key] if has_form:
            return f"has both rewrite and {key}, and each of them says what is sent; remove one"
    return ""


def _read_table(values: object, path: str, reading: Reading) -> FormatConfiguration:
    with reading.whole():
        name = values.get("name") if isinstance(values, dict) else None
        if isinstance(values, dict) and name in FORMATS:
            _look_for_foreign_keys(name, values, path, reading)
            if name == "template" and "template" not in values:
                reading.add(f"{path}.template", 'is missing; write for example "$ISODATE $MSG"')
        table = read_record(_Format, values, path, reading)
        form = table.form
        assert isinstance(values, dict)
        if name == "rfc5424" and (form.frac_digits or 0) > _RFC5424_DIGITS_MAX:
            reading.add(
                f"{path}.frac_digits",
                f"RFC 5424 allows {_RFC5424_DIGITS_MAX} digits at most, found {form.frac_digits}",
            )
        if name == "rfc3164" and (form.ts_format or "bsd") not in _RFC3164_STAMPS:
            reading.add(
                f"{path}.ts_format",
                f"the format rfc3164 has {' and '.join(_RFC3164_STAMPS)}, found "
                f"{shown(form.ts_format)}",
            )
        if "select" in values and {"key", "exclude"} & values.keys():
            reading.add(path, "has select as well as key or exclude; write all of it in select")
    asks = values.keys() - {"name", "template", "hops", *_STAMP_KEYS}
    return replace(form, selection=_selection(table, values)) if asks else form


def _look_for_foreign_keys(name: str, values: Iterable[str], path: str, reading: Reading) -> None:
    """Keys that have no meaning for the format."""
    for key in values:
        formats = _FORMATS_OF_KEY.get(key, ("json",))
        if key in FORMAT and name not in formats:
            reading.add(
                join_path(path, key),
                f"has no meaning for the format {name}, only for {' and '.join(formats)}; "
                "remove it",
            )


def _selection(table: _Format, written: Iterable[str]) -> Selection:
    patterns: list[Pattern] = []
    for key in written:
        if key in ("key", "exclude"):
            patterns += _patterns(getattr(table, key), takes=key == "key")
    patterns += [pattern for entry in table.select for pattern in entry]
    globs = {prefix: prefix.replace("*", "?") + "*" for prefix in table.subkeys}
    return Selection(
        scopes=table.scope,
        patterns=(*patterns, *map(Pattern, globs.values())),
        pairs=tuple(Pair(name, pair.value, pair.type) for name, pair in (table.pair or {}).items()),
        rekeys=(
            # A wildcard fits any character, itself included.
            *(Rekey(glob, (("replace_prefix", (name, "")),)) for name, glob in globs.items()),
            *table.rekey,
        ),
        omits_empty=table.omit_empty_values,
        keeps_initial_dot=table.leave_initial_dot,
        on_error=table.on_error,
    )


def _patterns(globs: Iterable[str], *, takes: bool) -> list[Pattern]:
    return [Pattern(glob, takes) for glob in globs]
