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

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from relay.model.expression import Expression
from relay.rewrite.filters.conditions import Condition, always
from relay.rewrite.filters.pattern import glob
from relay.rewrite.steps import changes as steps
from relay.rewrite.steps import message_parsers, redaction, sampling, sequence_ids
from relay.rewrite.steps.pipeline import Change, Drops, Stage, stage_of
from relay.service.configuration.filter_table import FACILITIES, SEVERITIES, FilterTables
from relay.service.configuration.table import Named, did_you_mean, join_path, plain, shown

__all__ = ["StepTables"]

_REASON = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEY_BYTES_MAX = 4096
_PARSERS = ("json", "key-value", "csv", "regex", "date")

_Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Verb:
    """What a verb's table may hold beside the verb and `match`."""

    keys: tuple[str, ...]
    read: Callable[[StepTables, _Table, Drops], Change]


class StepTables:
    """Makes stages of TOML values.

    Args:
        counter: Who numbers messages, as ``relay/destination``.
        template: Compiles a template; ValueError says what is wrong with it.
        check_settable: Raises ValueError for names that no step may set.
        lookup: Opens a table of texts, given its absolute path; ValueError says
            what is wrong with it.
        base_dir: Directory for relative paths.
        zone: Of dates without an offset.
        problems: One line is appended for everything that is wrong.
    """

    def __init__(
        self,
        filters: FilterTables,
        *,
        counter: str,
        template: Callable[[str], steps.Template],
        check_settable: Callable[[str], None],
        lookup: Callable[[str], steps.Lookup],
        base_dir: str,
        zone: tzinfo,
        problems: list[str],
    ) -> None:
        self._filters = filters
        self._counter = counter
        self._template = template
        self._check_settable = check_settable
        self._lookup = lookup
        self._base_dir = base_dir
        self._zone = zone
        self._problems = problems

    def stage(self, value: object, path: str, drops: Drops) -> Stage | None:
        """The stage that the table `value` describes, or None if it is wrong.

        Args:
            drops: Where it counts what it drops.
        """
        known = len(self._problems)
        if not isinstance(value, dict):
            self._problems.append(f"{path}: expected a table with one step, found {shown(value)}")
            return None
        verbs = [key for key in value if key in _VERBS or key == "suppress_repeats"]
        if len(verbs) != 1:
            self._problems.append(f"{path}: {_which_verb(value, verbs)}")
            return None
        verb = verbs[0]
        keys = () if verb == "suppress_repeats" else _VERBS[verb].keys
        for key in value:
            if key not in (verb, "match", *keys):
                near = did_you_mean(key, (*keys, "match")) or "."
                allowed = ", ".join((verb, *keys, "match"))
                self._problems.append(
                    f"{join_path(path, key)}: unknown key{near} Allowed beside {verb}: {allowed}"
                )
        condition: Condition = always
        if "match" in value:
            condition = self._filters.condition(value["match"], join_path(path, "match"))
        try:
            if verb == "suppress_repeats":
                seconds = _number(value[verb], 1, 86400)
                return sampling.RepeatSuppression(condition, seconds, drops)
            change = _VERBS[verb].read(self, value, drops)
        except ValueError as error:
            self._problems.append(f"{join_path(path, verb)}: {error}")
            return None
        if len(self._problems) > known:
            return None
        return stage_of(change, condition)

    # What the verbs do.

    def set(self, table: _Table, drops: Drops) -> Change:
        values = table["set"]
        if not isinstance(values, dict) or not values:
            raise ValueError(f'expected a table such as {{ NAME = "text" }}, found {shown(values)}')
        for name in values:
            self._check_settable(name)
        return steps.set_values({name: self._text(text) for name, text in values.items()})

    def unset(self, table: _Table, drops: Drops) -> Change:
        return steps.unset(self._settable(table["unset"]))

    def rename(self, table: _Table, drops: Drops) -> Change:
        names = table["rename"]
        if not isinstance(names, dict) or not all(isinstance(new, str) for new in names.values()):
            raise ValueError(f'expected a table such as {{ OLD = "NEW" }}, found {shown(names)}')
        for old, new in names.items():
            self._check_settable(old)
            self._check_settable(new)
        return steps.rename(names)

    def subst(self, table: _Table, drops: Drops) -> Change:
        pattern = Expression(_text(table["subst"]), ignore_case=table.get("ignore_case") is True)
        replacement = _text(table.get("with", "")).encode()
        try:
            pattern.check_replacement(replacement)
        except ValueError as error:
            raise ValueError(f"cannot put in {shown(table['with'])}: {error}") from None
        names = self._settable(table.get("in", ["MESSAGE"]))
        return steps.subst(pattern, replacement, names, count=int(table.get("first_only") is True))

    def groupset(self, table: _Table, drops: Drops) -> Change:
        if "in" not in table:
            raise ValueError('says not where; write for example in = [".secret.*"]')
        return steps.groupset(self._text(table["groupset"]), self._settable(table["in"]))

    def map(self, table: _Table, drops: Drops) -> Change:
        for key in ("key", "into"):
            if not isinstance(table.get(key), str):
                raise ValueError(
                    f'{key} is missing; write for example {{ map = "teams.csv", '
                    'key = "${HOST}", into = ".env.team" }'
                )
        self._check_settable(table["into"])
        default = self._text(table["default"]) if "default" in table else None
        lookup = self._lookup(self._absolute(table["map"]))
        return steps.look_up(lookup, self._text(table["key"]), table["into"], default=default)

    def mask(self, table: _Table, drops: Drops) -> Change:
        names = self._settable(table.get("in", ["MESSAGE"]))
        replacement = _text(table.get("with", "***")).encode()
        return redaction.mask(_patterns(table["mask"]), names, replacement=replacement)

    def hash(self, table: _Table, drops: Drops) -> Change:
        if "key_file" not in table:
            raise ValueError(
                "key_file is missing; hashes of short values can be guessed without a secret key"
            )
        key = _secret(self._absolute(table["key_file"]))
        names = self._settable(table.get("in", ["MESSAGE"]))
        if table["hash"] is True:
            if "in" not in table:
                raise ValueError('says not what; write for example in = ["HOST"]')
            return redaction.hash_values(names, key)
        return redaction.hash_found(_patterns(table["hash"]), names, key)

    def add_tags(self, table: _Table, drops: Drops) -> Change:
        return steps.add_tags([tag.encode() for tag in _texts(table["add_tags"])])

    def clear_tags(self, table: _Table, drops: Drops) -> Change:
        return steps.clear_tags([glob(tag) for tag in _texts(table["clear_tags"])])

    def set_severity(self, table: _Table, drops: Drops) -> Change:
        return steps.set_priority(severity=Named(SEVERITIES, 7).read(table["set_severity"]))

    def set_facility(self, table: _Table, drops: Drops) -> Change:
        return steps.set_priority(facility=Named(FACILITIES, 23).read(table["set_facility"]))

    def drop(self, table: _Table, drops: Drops) -> Change:
        reason = table["drop"]
        if not isinstance(reason, str) or not _REASON.fullmatch(reason):
            raise ValueError(
                "expected the reason that is counted, of lower-case letters, digits and '-', such "
                f'as drop = "noise", found {shown(reason)}'
            )
        return sampling.drop(reason, drops)

    def sample(self, table: _Table, drops: Drops) -> Change:
        return sampling.sample(int(_number(table["sample"], 2, 1_000_000, whole=True)), drops)

    def rate(self, table: _Table, drops: Drops) -> Change:
        rate = _number(table["rate"], 0.001, 1_000_000)
        burst = _number(table.get("burst", max(1.0, rate)), 1, 10_000_000)
        per = self._text(table["per"]) if "per" in table else None
        return sampling.limit_rate(rate, burst, drops, per=per)

    def number(self, table: _Table, drops: Drops) -> Change:
        if table["number"] is not True:
            raise ValueError(f"expected true, found {shown(table['number'])}")
        return sequence_ids.number(self._counter)

    def parse(self, table: _Table, drops: Drops) -> Change:
        kind, source = table["parse"], _text(table.get("from", "MESSAGE"))
        prefix = _text(table.get("prefix", ""))
        if kind == "json":
            return message_parsers.parse_json(source, prefix)
        if kind == "key-value":
            return message_parsers.parse_key_values(
                source,
                prefix,
                pair_separator=_separator(table.get("pair_separator", " ")),
                value_separator=_separator(table.get("value_separator", "=")),
            )
        if kind == "csv":
            columns = _texts(table.get("columns", []))
            delimiter = _text(table.get("delimiter", ","))
            if len(delimiter) != 1 or not delimiter.isascii():
                raise ValueError(f"delimiter: expected one character, found {shown(delimiter)}")
            greedy = table.get("greedy") is True
            return message_parsers.parse_csv(
                source, prefix, columns, delimiter=delimiter, greedy=greedy
            )
        if kind == "regex":
            pattern = Expression(_text(table.get("pattern", "")))
            if not pattern.names:
                raise ValueError("pattern: has no named group; write for example (?P<USER>[a-z]+)")
            return message_parsers.parse_regex(source, prefix, pattern)
        if kind == "date":
            format = _text(table.get("format", "iso"))
            message_parsers.check_date_format(format)
            return message_parsers.parse_date(source, format, self._zone)
        near = did_you_mean(str(kind), _PARSERS) or ";"
        raise ValueError(f"there is no parser {shown(kind)}{near} there are {', '.join(_PARSERS)}")

    def _text(self, value: object) -> steps.Template:
        return self._template(_text(value))

    def _settable(self, value: object) -> list[str]:
        names = _texts([value] if isinstance(value, str) else value)
        for name in names:
            self._check_settable(name)
        return names

    def _absolute(self, value: object) -> str:
        return os.path.normpath(os.path.join(self._base_dir, _text(value)))


_VERBS: Mapping[str, _Verb] = {
    "set": _Verb((), StepTables.set),
    "unset": _Verb((), StepTables.unset),
    "rename": _Verb((), StepTables.rename),
    "subst": _Verb(("with", "in", "ignore_case", "first_only"), StepTables.subst),
    "groupset": _Verb(("in",), StepTables.groupset),
    "map": _Verb(("key", "into", "default"), StepTables.map),
    "mask": _Verb(("in", "with"), StepTables.mask),
    "hash": _Verb(("in", "key_file"), StepTables.hash),
    "add_tags": _Verb((), StepTables.add_tags),
    "clear_tags": _Verb((), StepTables.clear_tags),
    "set_severity": _Verb((), StepTables.set_severity),
    "set_facility": _Verb((), StepTables.set_facility),
    "drop": _Verb((), StepTables.drop),
    "sample": _Verb((), StepTables.sample),
    "rate": _Verb(("burst", "per"), StepTables.rate),
    "number": _Verb((), StepTables.number),
    "parse": _Verb(
        (
            *("from", "prefix", "columns", "delimiter", "greedy", "pattern", "format"),
            *("pair_separator", "value_separator"),
        ),
        StepTables.parse,
    ),
}


def _which_verb(table: _Table, verbs: Sequence[str]) -> str:
    allowed = ", ".join([*_VERBS, "suppress_repeats"])
    if verbs:
        return f"{' and '.join(verbs)} are two steps; write a table for each"
    near = next((hint for key in table if (hint := did_you_mean(key, _VERBS))), ";")
    found = f"found {', '.join(table)}" if table else "found an empty table"
    return f"expected a step, {found}{near} the steps are: {allowed}"


def _patterns(value: object) -> list[redaction.Finder]:
    """Kinds of personal data by name, or a regular expression."""
    kinds = redaction.KINDS
    if isinstance(value, str) and value not in kinds:
        if re.fullmatch(r"[a-z0-9]+", value):
            near = did_you_mean(value, kinds) or ";"
            raise ValueError(f"there is no kind {shown(value)}{near} there are {', '.join(kinds)}")
        return [Expression(value)]
    names = _texts([value] if isinstance(value, str) else value)
    for name in names:
        if name not in kinds:
            near = did_you_mean(name, kinds) or ";"
            raise ValueError(f"there is no kind {shown(name)}{near} there are {', '.join(kinds)}")
    return [kinds[name] for name in names]


def _secret(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            key = file.read(_KEY_BYTES_MAX + 1).strip()
    except OSError as error:
        raise ValueError(f"cannot read the key file {path}: {error.strerror}") from None
    if not 16 <= len(key) <= _KEY_BYTES_MAX:
        raise ValueError(
            f"the key file {path} holds {len(key)} octets; a key has 16 to {_KEY_BYTES_MAX}"
        )
    return key


def _number(value: object, low: float, high: float, *, whole: bool = False) -> float:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high:
        return value
    what = "a whole number" if whole else "a number"
    raise ValueError(f"expected {what} from {plain(low)} to {plain(high)}, found {shown(value)}")


def _separator(value: object) -> str:
    text = _text(value)
    if not text or "\\" in text or '"' in text or "'" in text:
        raise ValueError(f"expected a separator without quotes and backslashes, found {text!r}")
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, found {shown(value)}")
    return value


def _texts(value: object) -> list[str]:
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return value
    raise ValueError(f"expected a list of texts, found {shown(value)}")
