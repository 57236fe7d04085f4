"""Read the steps of a rewrite.

    rewrite = [
        { drop = "noise", match = { app_name = "healthcheck" } },
        { mask = ["ipv4", "email"], in = ["MESSAGE"] },
        { set = { ".env.team" = "web" }, match = { hostname = "web-*" } },
        { mode = "cee", token_file = "token" },
    ]

Each table has one verb; `match` says which messages it is for.  A last table with
`mode` says in which form messages are sent; it is read elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, get_args

from relay.model.expression import Expression as Regex
from relay.service.configuration.keys import key, keys_of, read_record
from relay.service.configuration.reading import (
    FilePath,
    OneOrMore,
    Reading,
    Reported,
    SecretFile,
    TableOf,
    Template,
    True_,
)
from relay.service.configuration.table import (
    Choice,
    Expression,
    Flag,
    Named,
    Seconds,
    Text,
    Texts,
    Whole,
    did_you_mean,
    join_path,
    shown,
    unknown_name,
)
from relay.service.configuration.table import Number as Real
from relay.service.configuration.tables.filter import ALWAYS, FACILITIES, MATCH, SEVERITIES, Filter

PERSONAL_DATA = ("ipv4", "ipv6", "email", "card", "token")
"""What `relay.rewrite.steps.redaction` knows how to find."""

_TEXT = Text("a text", r".*")
_TEXTS = Texts("a list of texts", may_repeat=True)
_NAMES = OneOrMore("a name", may_repeat=True)
_SEPARATOR = Text("a separator without quotes and backslashes", r"[^\\\"']+")


@dataclass(frozen=True, slots=True)
class _PersonalData:
    """Kinds of personal data by name, or one regular expression.

    Args:
        whole: true is allowed too, for the whole value.
    """

    whole: bool = False

    def read_at(self, value: object, path: str, reading: Reading) -> tuple[str, ...]:
        if self.whole and value is True:
            return ()
        if isinstance(value, str) and not re.fullmatch(r"[a-z0-9]+", value):
            Regex(value)  # or ValueError
            reading.note_expression(value, path)
            return (value,)
        for name in (names := _NAMES.read(value)):
            if name not in PERSONAL_DATA:
                raise ValueError(unknown_name("kind", name, PERSONAL_DATA))
        return names


@dataclass(frozen=True, slots=True)
class SetValues:
    """Give names new values."""

    values: Mapping[str, str] = key(
        TableOf(Template(), '{ NAME = "text" }', may_be_empty=False), named="set"
    )


@dataclass(frozen=True, slots=True)
class Unset:
    """Take away the values of all names that fit."""

    names: tuple[str, ...] = key(_NAMES, named="unset")


@dataclass(frozen=True, slots=True)
class Rename:
    """Move values from old to new names."""

    names: Mapping[str, str] = key(TableOf(_TEXT, '{ OLD = "NEW" }'), named="rename")


@dataclass(frozen=True, slots=True)
class Subst:
    """Replace what an expression finds in the values of names."""

    pattern: str = key(Expression(), named="subst")
    replacement: str = key(_TEXT, default="", named="with")
    names: tuple[str, ...] = key(_NAMES, default=("MESSAGE",), named="in")
    ignore_case: bool = key(Flag(), default=False)
    first_only: bool = key(Flag(), default=False)


@dataclass(frozen=True, slots=True)
class GroupSet:
    """Give all names that exist and fit the same value."""

    template: str = key(Template(), named="groupset")
    names: tuple[str, ...] = key(_NAMES, named="in", example='[".secret.*"]')


@dataclass(frozen=True, slots=True)
class MapValue:
    """Set names to what a table in a file has for a key."""

    file: str = key(FilePath(), named="map")
    lookup: str = key(Template(), named="key", example='"${HOST}"')
    name: str = key(_TEXT, default="", named="into")
    """Of the second of two columns without names; empty = columns have names."""
    columns: tuple[str, ...] = key(_TEXTS, default=())
    """Empty = all."""
    prefix: str = key(_TEXT, default="")
    default: str | None = key(Template(), default=None)


@dataclass(frozen=True, slots=True)
class Mask:
    """Write a text for personal data."""

    found: tuple[str, ...] = key(_PersonalData(), named="mask")
    names: tuple[str, ...] = key(_NAMES, default=("MESSAGE",), named="in")
    replacement: str = key(_TEXT, default="***", named="with")


@dataclass(frozen=True, slots=True)
class Hash:
    """Write keyed hashes for personal data."""

    found: tuple[str, ...] = key(_PersonalData(whole=True), named="hash")
    """Empty = whole values."""
    key_file: str = key(
        SecretFile(),
        example='"hash.key"; hashes of short values can be guessed without a secret key',
    )
    names: tuple[str, ...] = key(_NAMES, default=(), named="in")


@dataclass(frozen=True, slots=True)
class AddTags:
    tags: tuple[str, ...] = key(_TEXTS, named="add_tags")


@dataclass(frozen=True, slots=True)
class ClearTags:
    tags: tuple[str, ...] = key(_TEXTS, named="clear_tags")
    """With wildcards."""


@dataclass(frozen=True, slots=True)
class SetSeverity:
    severity: int = key(Named(SEVERITIES, 7), named="set_severity")


@dataclass(frozen=True, slots=True)
class SetFacility:
    facility: int = key(Named(FACILITIES, 23), named="set_facility")


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop messages, counted under a reason."""

    reason: str = key(
        Text(
            "the reason that is counted, of lower-case letters, digits and '-', such as "
            'drop = "noise"',
            r"[a-z][a-z0-9-]{0,31}",
        ),
        named="drop",
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """Let one of so many messages pass."""

    one_of: int = key(Whole(2, 1_000_000), named="sample")


@dataclass(frozen=True, slots=True)
class Rate:
    """Drop what comes faster."""

    rate: float = key(Real(0.001, 1_000_000))
    burst: float | None = key(Real(1, 10_000_000), default=None)
    """None = what comes in one second."""
    per: str | None = key(Template(), default=None)


@dataclass(frozen=True, slots=True)
class Number:
    """Number messages, so that a receiver sees gaps."""

    number: bool = key(True_())


@dataclass(frozen=True, slots=True)
class Parse:
    """Take a value apart into pairs."""

    parser: str = key(Choice(("json", "key-value", "csv", "regex", "date")), named="parse")
    source: str = key(_TEXT, default="MESSAGE", named="from")
    prefix: str = key(_TEXT, default="")
    columns: tuple[str, ...] = key(_TEXTS, default=())
    delimiter: str = key(Text("one character of US-ASCII", r"[\x00-\x7f]"), default=",")
    greedy: bool = key(Flag(), default=False)
    pattern: str = key(Expression(), default="")
    format: str = key(_TEXT, default="iso")
    pair_separator: str = key(_SEPARATOR, default=" ")
    value_separator: str = key(_SEPARATOR, default="=")


@dataclass(frozen=True, slots=True)
class SuppressRepeats:
    """Say only once what is repeated."""

    seconds: float = key(Seconds(1, 86400), named="suppress_repeats")


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Make one message of those that belong together."""

    template: str = key(Template(), named="group_by", example='"$HOST $PID"')
    end: Filter | None = key(MATCH, default=None)
    seconds_max: float = key(Seconds(1, 3600), default=10.0)
    records_max: int = key(Whole(2, 10_000), default=100)


Action: TypeAlias = (
    SetValues | Unset | Rename | Subst | GroupSet | MapValue | Mask | Hash | AddTags | ClearTags
) | (SetSeverity | SetFacility | Drop | Sample | Rate | Number | Parse | SuppressRepeats | GroupBy)
_ACTIONS: Mapping[str, type[Action]] = {next(iter(keys_of(cls))): cls for cls in get_args(Action)}


@dataclass(frozen=True, slots=True)
class Step:
    """An action, and the messages that it is for."""

    action: Action
    match: Filter = ALWAYS

    @property
    def verb(self) -> str:
        """The key that names the action."""
        return next(iter(keys_of(type(self.action))))


class StepTable:
    """One step of a rewrite."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> Step:
        if not isinstance(value, dict):
            raise ValueError(f"expected a table with one step, found {shown(value)}")
        verbs = [key for key in value if key in _ACTIONS]
        if len(verbs) > 1:
            raise ValueError(f"{' and '.join(verbs)} are two steps; write a table for each")
        if not verbs:
            near = next((hint for key in value if (hint := did_you_mean(key, _ACTIONS))), ";")
            found = ", ".join(value) or "an empty table"
            raise ValueError(
                f"expected a step, found {found}{near} the steps are: {', '.join(_ACTIONS)}"
            )
        table = {**value}
        match: Filter = ALWAYS
        with reading.whole():
            if "match" in table:
                with suppress(Reported):
                    match = reading.read(MATCH, table.pop("match"), join_path(path, "match"))
            cls = _ACTIONS[verbs[0]]
            action: Action = read_record(cls, table, path, reading, also_allowed=("match",))
        return Step(action, match)
