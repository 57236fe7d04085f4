"""Filters of Logagent, as conditions and steps."""

from __future__ import annotations

import re

from relay.cli.moving.conditions import ALWAYS, NEVER, Condition, all_of, any_of, fits, negated
from relay.cli.moving.report import Statement
from relay.cli.moving.structured import Entry, Given, Keys
from relay.cli.toml_writing import TomlValue
from relay.model.expression import Expression
from relay.model.message import SEVERITY_NAMES

__all__ = ["MACROS", "expression_of", "read_input_filter", "read_output_filter"]

_WRITTEN = re.compile(r"/(.*)/([gimsuy]*)", re.DOTALL)
_FIELDS = {
    "message": "msg",
    "host": "hostname",
    "syslog-tag": "app_name",
    "service": "app_name",
    "program": "app_name",
    "appname": "app_name",
    "pid": "procid",
}
MACROS = {
    "message": "MESSAGE",
    "host": "HOST",
    "service": "PROGRAM",
    "program": "PROGRAM",
    "severity": "LEVEL",
    "facility": "FACILITY",
    "pid": "PID",
    "@timestamp": "ISODATE",
    "syslog-tag": "SYSLOGTAG",
    "logSource": "PROGRAM",
}
"""Macros for fields of Logagent's events."""


def expression_of(entry: Entry) -> tuple[str, bool]:
    """A regular expression of JavaScript, and whether case does not matter.

    Raises:
        ValueError: The relay cannot run it.
    """
    found = _WRITTEN.fullmatch(entry.text.strip())
    pattern, flags = (found[1], found[2]) if found is not None else (entry.text.strip(), "")
    pattern = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", pattern.replace(r"\/", "/"))
    Expression(pattern)
    return pattern, "i" in flags


def _test(pattern: str, ignore_case: bool) -> TomlValue:
    return {"regex": pattern, "ignore_case": True} if ignore_case else {"regex": pattern}


def _condition(field: str, pattern: str, ignore_case: bool) -> Condition:
    """The condition that a field has what `pattern` finds."""
    if field == "severity":
        found = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
        names = [name for name in SEVERITY_NAMES if found.search(name)]
        return fits("severity", [*names]) if names else NEVER
    key = _FIELDS.get(field, "")
    value = _test(pattern, ignore_case)
    return fits(key, value) if key else fits("pairs", {field: value})


def _patterns(given: Given | None, field: str) -> list[Condition]:
    if given is None:
        return []
    try:
        found = [_condition(field, *expression_of(item)) for item in given.entry.items]
    except (ValueError, re.error) as error:
        given.unsupported(str(error).splitlines()[0] if str(error) else "no expression")
        return []
    given.taken("is in match of all destinations")
    return found


def read_input_filter(keys: Keys, statement: Statement) -> Condition:
    """Which lines pass the filter; `grep` is the only one that has a counterpart."""
    module = keys.text("module")
    if module not in ("grep", "input-filter-grep", "@sematext/logagent-filter-grep"):
        keys.finish("its filter is not supported")
        statement.unsupported(f"the relay has no filter like {module or 'this'}")
        return ALWAYS
    _match_source(keys)
    included = _patterns(keys.take("include"), "message")
    excluded = _patterns(keys.take("exclude"), "message")
    keys.finish()
    statement.taken("is in match of all destinations")
    return all_of([any_of(included) if included else ALWAYS, negated(any_of(excluded))])


def read_output_filter(
    keys: Keys, statement: Statement
) -> tuple[Condition, list[dict[str, TomlValue]]]:
    """Which events pass the filter, and how it changes them."""
    module = keys.text("module").removeprefix("output-filter-")
    _match_source(keys)
    condition, steps = ALWAYS, list[dict[str, TomlValue]]()
    match module:
        case "drop-events":
            condition = _dropped(keys)
        case "remove-fields":
            steps = _removed(keys)
        case "rename-fields":
            steps = _renamed(keys)
        case "ip-truncate-fields" | "anonymizer" | "anonymize":
            steps = [{"mask": ["ipv4", "ipv6"]}]
            _ignored(keys, "the step masks each address in the message")
            statement.approximated("addresses are masked as a whole")
        case "journald-format":
            _ignored(keys, "messages of journald:// have the fields of the journal")
            statement.taken("messages of journald:// have the fields of the journal")
        case _:
            keys.finish("its filter is not supported")
            statement.unsupported(_NO_FILTER.get(module, f"the relay has no filter like {module}"))
            return ALWAYS, []
    keys.pass_over({"debug": "see syslogrelay tap"})
    keys.finish()
    statement.taken("is in all destinations")
    return condition, steps


_NO_FILTER = {
    "sql": "write match, and steps of rewrite",
    "hash-fields": "write the step hash, which needs a key in a file",
    "aes-encrypt-fields": "the relay encrypts no values; write the step hash",
    "rsa-encrypt-fields": "the relay encrypts no values; write the step hash",
    "lowercase-fields": "names keep their case",
    "geoip": "write the step map with a GeoLite2 database",
    "stringify-fields": "values have the types that they came with",
    "docker-enrichment": "the relay asks no Docker",
    "kubernetes-enrichment": "the relay asks no Kubernetes",
}


def _match_source(keys: Keys) -> None:
    source = keys.take("matchSource", "sourceName")
    if source is None:
        return
    if source.text.strip("/").strip("^$") in (".*", ""):
        source.taken("all sources")
    else:
        source.approximated("the filter is for messages of all sources")


def _ignored(keys: Keys, reason: str) -> None:
    for given in keys.left:
        given.taken(reason)


def _dropped(keys: Keys) -> Condition:
    filters = keys.inner("filters")
    parts: list[Condition] = []
    for given in filters.left if filters is not None else ():
        inner = Keys(given.entry, keys.report, keys.file)
        included = _patterns(inner.take("include"), given.name)
        excluded = _patterns(inner.take("exclude"), given.name)
        inner.finish()
        given.taken("is in match of all destinations")
        parts += [any_of(included) if included else ALWAYS, negated(any_of(excluded))]
    return all_of(parts)


def _removed(keys: Keys) -> list[dict[str, TomlValue]]:
    fields = keys.take("fields")
    names = fields.texts if fields is not None else []
    if fields is None or not names:
        return []
    own = [name for name in names if name in MACROS and name != "message"]
    if own:
        fields.approximated(f"{', '.join(own)}: a field of syslog is emptied, not removed")
    fields.taken("is the step unset")
    return [{"unset": [MACROS.get(name, name) for name in names if name != "@timestamp"]}]


def _renamed(keys: Keys) -> list[dict[str, TomlValue]]:
    fields = keys.take("fields")
    names: dict[str, TomlValue] = {}
    for item in fields.entry.items if fields is not None else ():
        old = item.table.get("source") or item.table.get("oldName") or item.table.get("from")
        new = item.table.get("target") or item.table.get("newName") or item.table.get("to")
        if old is not None and new is not None and old.text and new.text:
            names[MACROS.get(old.text, old.text)] = new.text
    if fields is not None:
        if names:
            fields.taken("is the step rename")
        else:
            fields.unsupported("expected a list of tables with an old and a new name")
    return [{"rename": names}] if names else []
