"""Filters of syslog-ng, as conditions of the relay.

Where a part of a filter has no counterpart, there are two approximations: a *wide* one, which fits
more messages, for what a path takes, and a *narrow* one, for what it takes away from others.  A
message that comes once too often is better than one that does not come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from relay.cli.moving.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    Fits,
    Not,
    all_of,
    any_of,
    fits,
    negated,
    parts_of,
)
from relay.cli.moving.report import Statement
from relay.cli.moving.syslog_ng.tree import Atom, Body, Call, Item, Node
from relay.cli.toml_writing import TomlValue
from relay.model.expression import Expression
from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES

__all__ = ["FilterReader", "Fit", "field_condition", "macro_of"]

_SEVERITY_ALIASES = {
    "panic": 0,
    "emergency": 0,
    "critical": 2,
    "error": 3,
    "warn": 4,
    "informational": 6,
}
SEVERITIES: Mapping[str, int] = {
    **{name: number for number, name in enumerate(SEVERITY_NAMES)},
    **_SEVERITY_ALIASES,
}
FACILITIES: Mapping[str, int] = {name: number for number, name in enumerate(FACILITY_NAMES)}
_FIELDS = {
    "MESSAGE": "msg",
    "MSG": "msg",
    "MSGONLY": "msg",
    "PROGRAM": "app_name",
    "HOST": "hostname",
    "FULLHOST": "hostname",
    "PID": "procid",
    "MSGID": "msgid",
}
_SPECIAL = re.compile(r"[][.^$*+?{}\\|()]")
_MACRO = re.compile(r"\$(?:\{([^{}:]+)\}|([A-Za-z0-9_]+))")
_NEGATED = {"!=": "==", "ne": "==", "<": ">=", "lt": ">=", ">": "<=", "gt": "<="}
_SIGNS = {"eq": "==", "ge": ">=", "le": "<="}
_NESTING_MAX = 32
NODES_MAX = 4000


@dataclass(frozen=True, slots=True)
class Fit:
    """The messages that a filter fits: at most `wide`, at least `narrow`; equal if it is exact."""

    wide: Condition
    narrow: Condition

    @classmethod
    def exactly(cls, condition: Condition) -> Fit:
        return cls(condition, condition)

    @property
    def is_exact(self) -> bool:
        return self.wide == self.narrow

    def __invert__(self) -> Fit:
        return Fit(negated(self.narrow), negated(self.wide))

    def __and__(self, other: Fit) -> Fit:
        return Fit(all_of([self.wide, other.wide]), all_of([self.narrow, other.narrow]))

    def __or__(self, other: Fit) -> Fit:
        return Fit(any_of([self.wide, other.wide]), any_of([self.narrow, other.narrow]))


def literal(text: str) -> str:
    """An expression that finds `text` itself."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], text)


def beyond(condition: Condition, known: Condition) -> Condition:
    """The rest of `condition` where `known` holds anyhow."""
    held = parts_of(known)
    return all_of(
        negated(beyond(part.part, known)) if isinstance(part, Not) else part
        for part in parts_of(condition)
        if part not in held and not any(_implies(each, part) for each in held)
    )


def _implies(known: Condition, part: Condition) -> bool:
    """Whether a message from the sources of `known` is from those of `part` as well."""
    match known, part:
        case Fits("sources", [*some]), Fits("sources", [*others]):
            return all(id in others for id in some)
    return False


def tidy(condition: Condition) -> Condition:
    """The same, without saying in a denial what holds anyhow."""
    held = all_of(part for part in parts_of(condition) if not isinstance(part, Not))
    denials = [part for part in parts_of(condition) if isinstance(part, Not)]
    return all_of([held, *(beyond(part, held) for part in denials)])


def either(conditions: Sequence[Condition]) -> Condition:
    """One of `conditions`, with what all of them ask for said once."""
    shared = all_of(
        part
        for part in parts_of(conditions[0] if conditions else NEVER)
        if all(part in parts_of(other) for other in conditions)
    )
    return all_of([shared, any_of(beyond(each, shared) for each in conditions)])


EVERYTHING = Fit.exactly(ALWAYS)
UNKNOWN = Fit(ALWAYS, NEVER)


@dataclass(slots=True)
class FilterReader:
    """Reads filters.

    Attributes:
        named: The bodies of filters that have a name, and what the report says about each.
        sources: The ids of the relay's sources that stand for each source of syslog-ng.
        read_list: The text of a file for `in-list`; raises OSError.
    """

    named: Mapping[str, tuple[Body, Statement]]
    sources: Mapping[str, Sequence[str]]
    read_list: Callable[[str], str]
    _inside: list[str] = field(default_factory=list)
    _known: dict[str, Fit] = field(default_factory=dict)

    def of_items(self, items: Sequence[Item], statement: Statement) -> Fit:
        """The condition of a body's expression; inexact parts are noted on `statement`."""
        fit = EVERYTHING
        for item in items:
            fit &= self.of_nodes(item, statement)
        return fit

    def of_nodes(self, nodes: Sequence[Node], statement: Statement) -> Fit:
        """The condition of an expression in parentheses."""
        return _Expression(nodes, self, statement).fit()

    def by_name(self, name: str, statement: Statement) -> Fit:
        """The condition of the filter `name`; inexact parts are noted on its own statement."""
        if name in self._known:
            return self._known[name]
        if name not in self.named:
            statement.unsupported(f"there is no filter {name}")
            return UNKNOWN
        body, own = self.named[name]
        if name in self._inside or len(self._inside) >= _NESTING_MAX:
            own.unsupported(f"the filter {name} refers to itself")
            return UNKNOWN
        self._inside.append(name)
        try:
            self._known[name] = self.of_items(body.items, own)
        finally:
            self._inside.pop()
        return self._known[name]


class _Expression:
    """The nodes of an expression, read from the left; `not` binds closest, then `and`."""

    def __init__(self, nodes: Sequence[Node], reader: FilterReader, statement: Statement) -> None:
        self._nodes = [node for node in nodes if not _is_op(node, ",")]
        self._at = 0
        self._reader = reader
        self._statement = statement

    def fit(self) -> Fit:
        if not self._nodes:
            return EVERYTHING
        if len(self._nodes) > NODES_MAX:
            self._statement.unsupported(f"an expression of more than {NODES_MAX:,} words")
            return UNKNOWN
        found = self._any()
        if self._at < len(self._nodes):
            rest = self._nodes[self._at]
            self._statement.unsupported(f"cannot read the filter from {_shown(rest)} on")
            return Fit(ALWAYS, NEVER)
        return found

    def _any(self) -> Fit:
        parts = [self._all()]
        while self._has_word("or"):
            parts.append(self._all())
        return Fit(any_of(part.wide for part in parts), any_of(part.narrow for part in parts))

    def _all(self) -> Fit:
        parts = [self._one()]
        while self._has_word("and"):
            parts.append(self._one())
        return Fit(all_of(part.wide for part in parts), all_of(part.narrow for part in parts))

    def _one(self) -> Fit:
        denied = False
        while self._has_word("not"):
            denied = not denied
        found = self._primary()
        return ~found if denied else found

    def _primary(self) -> Fit:
        if self._at >= len(self._nodes):
            self._statement.unsupported("the filter ends too early")
            return UNKNOWN
        node = self._nodes[self._at]
        self._at += 1
        if isinstance(node, Call) and not node.name:
            return self._reader.of_nodes(node.arguments, self._statement)
        if isinstance(node, Atom):
            return self._comparison(node)
        if isinstance(node, Call):
            return _function(node, self._reader, self._statement)
        self._statement.unsupported(f"the relay's filters have nothing like {_shown(node)}")
        return UNKNOWN

    def _comparison(self, left: Atom) -> Fit:
        sign = self._sign()
        right = self._nodes[self._at] if self._at < len(self._nodes) else None
        if not sign or not isinstance(right, Atom):
            self._statement.unsupported(f"cannot compare {left.text!r} with anything")
            return UNKNOWN
        self._at += 1
        fit = _compared(left.text, sign, right.text)
        if fit is None:
            self._statement.unsupported(
                f"the relay compares a field with a text, not {left.text!r} {sign} {right.text!r}"
            )
            return UNKNOWN
        return fit

    def _sign(self) -> str:
        node = self._nodes[self._at] if self._at < len(self._nodes) else None
        if isinstance(node, Atom) and node.text in (*_NEGATED, *_SIGNS, "==", ">=", "<="):
            self._at += 1
            return node.text
        return ""

    def _has_word(self, word: str) -> bool:
        node = self._nodes[self._at] if self._at < len(self._nodes) else None
        if isinstance(node, Atom) and node.kind == "word" and node.text == word:
            self._at += 1
            return True
        return False


def _function(call: Call, reader: FilterReader, statement: Statement) -> Fit:
    name = call.name.replace("-", "_")
    match name:
        case "facility":
            return _numbers(call, "facility", FACILITIES, FACILITY_NAMES, statement)
        case "level" | "priority" | "severity":
            return _numbers(call, "severity", SEVERITIES, SEVERITY_NAMES, statement)
        case "program" | "host" | "message":
            key = {"program": "app_name", "host": "hostname", "message": "msg"}[name]
            return _text_fit(call, key, "", statement)
        case "match":
            return _match(call, statement)
        case "netmask" | "netmask6":
            return _network(call, statement)
        case "tags":
            return _tags(call, reader)
        case "source":
            return Fit.exactly(_from_sources(call.texts, reader))
        case "filter":
            return reader.by_name(call.first, statement)
        case "in_list":
            return _in_list(call, reader, statement)
    statement.unsupported(f"the relay's filters have nothing like {call.name}()")
    return UNKNOWN


def _from_sources(names: Sequence[str], reader: FilterReader) -> Condition:
    ids = [id for name in names for id in reader.sources.get(name, ())]
    return fits("sources", ids) if ids else NEVER


def _numbers(
    call: Call, key: str, known: Mapping[str, int], names: Sequence[str], statement: Statement
) -> Fit:
    numbers: set[int] = set()
    nodes = [node for node in call.arguments if isinstance(node, Atom) and node.text not in ",|"]
    texts = [node.text for node in nodes]
    while texts:
        first = _number(texts.pop(0), known)
        last = first
        if len(texts) > 1 and texts[0] == "..":
            last = _number(texts[1], known)
            del texts[:2]
        if first is None or last is None:
            statement.unsupported(f"there is no such {key} in {call.name}()")
            return UNKNOWN
        numbers |= set(range(min(first, last), max(first, last) + 1))
    return Fit.exactly(number_condition(key, numbers, names))


def _number(text: str, known: Mapping[str, int]) -> int | None:
    if text.isdecimal() and len(text) < 4 and int(text) in known.values():
        return int(text)
    return known.get(text.lower())


def number_condition(key: str, numbers: set[int], names: Sequence[str]) -> Condition:
    """The condition that the facility or severity is one of `numbers`."""
    if not numbers:
        return NEVER
    if len(numbers) == len(names):
        return ALWAYS
    ordered = sorted(numbers)
    first, last = ordered[0], ordered[-1]
    if len(ordered) > 2 and len(ordered) == last - first + 1:
        low = "" if first == 0 else names[first]
        return fits(key, f"{low}..{names[last] if last < len(names) - 1 else ''}")
    values: list[TomlValue] = [names[number] for number in ordered]
    return fits(key, values[0] if len(values) == 1 else values)


def _text_fit(call: Call, key: str, pair: str, statement: Statement) -> Fit:
    """The condition of the pattern that is the first argument of `call`."""
    options = {each.name.replace("-", "_"): each for each in call.calls}
    flags = set(options["flags"].texts) if "flags" in options else set()
    kind = options["type"].first.lower() if "type" in options else "pcre"
    pattern = call.first
    ignore_case = "ignore-case" in flags or "ignore_case" in flags
    value = _pattern(kind, pattern, flags, ignore_case=ignore_case)
    if isinstance(value, _Unusable):
        statement.unsupported(f"{call.name}({pattern!r}): {value.reason}")
        return UNKNOWN
    return Fit.exactly(field_condition(key, pair, value))


@dataclass(frozen=True, slots=True)
class _Unusable:
    reason: str


def _pattern(
    kind: str, pattern: str, flags: set[str], *, ignore_case: bool
) -> TomlValue | _Unusable:
    if kind == "string":
        if "substring" in flags:
            return _table("substring", pattern, ignore_case)
        escaped = literal(pattern)
        return _regex(f"^{escaped}" if "prefix" in flags else f"^{escaped}$", ignore_case)
    if kind == "glob":
        return _table("glob", pattern, ignore_case)
    if kind not in ("pcre", "posix"):
        return _Unusable(f"the relay has no patterns of type {kind}")
    return _regex(pattern, ignore_case)


def _regex(pattern: str, ignore_case: bool) -> TomlValue | _Unusable:
    inner = pattern.removeprefix("^").removesuffix("$")
    plain = re.sub(r"\\([^A-Za-z0-9])", r"\1", inner)
    if plain and not _SPECIAL.search(re.sub(r"\\[^A-Za-z0-9]", "", inner)):
        starts, ends = pattern.startswith("^"), pattern.endswith("$")
        if not starts and not ends:
            return _table("substring", plain, ignore_case)
        if not set(plain) & set("*?[]"):
            glob = f"{'' if starts else '*'}{plain}{'' if ends else '*'}"
            return glob if not ignore_case else _table("glob", glob, ignore_case)
    try:
        Expression(pattern)
    except ValueError as error:
        return _Unusable(str(error))
    return _table("regex", pattern, ignore_case)


def _table(kind: str, pattern: str, ignore_case: bool) -> TomlValue:
    return {kind: pattern, "ignore_case": True} if ignore_case else {kind: pattern}


def field_condition(key: str, pair: str, value: TomlValue) -> Condition:
    """The condition that the field `key`, or else the pair `pair`, has `value`."""
    if key == "msg" and isinstance(value, str):
        value = {"glob": value}  # a text alone would be a substring
    if key == "msg" and isinstance(value, dict) and [*value] == ["substring"]:
        value = value["substring"]
    return fits(key, value) if key else fits("pairs", {pair: value})


def _match(call: Call, statement: Statement) -> Fit:
    options = {each.name.replace("-", "_"): each for each in call.calls}
    if "value" in options:
        name = options["value"].first.removeprefix("$").strip("{}")
        return _text_fit(call, _FIELDS.get(name, ""), name, statement)
    if "template" in options:
        name = macro_of(options["template"].first)
        if not name:
            statement.unsupported("the relay's filters look at one field, not at a template")
            return UNKNOWN
        return _text_fit(call, _FIELDS.get(name, ""), name, statement)
    # Without value() it looks at "PROGRAM[PID]: MESSAGE".
    text, program = (_text_fit(call, key, "", statement) for key in ("msg", "app_name"))
    if "^" in call.first:
        statement.approximated("match() without value() looks at the program and the text apart")
    return program | text


def macro_of(template: str) -> str:
    """The one macro that `template` consists of; empty if it is anything else."""
    found = _MACRO.fullmatch(template.strip())
    return (found[1] or found[2]) if found else ""


def _network(call: Call, statement: Statement) -> Fit:
    try:
        network = str(ip_network(call.first, strict=False))
    except ValueError:
        statement.unsupported(f"{call.first!r} is no network")
        return UNKNOWN
    return Fit.exactly(fits("peers", [network]))


def _tags(call: Call, reader: FilterReader) -> Fit:
    own, sources = [], []
    for text in call.texts:
        if text.startswith(".source."):  # every message has that of its source
            sources.append(text.removeprefix(".source."))
        else:
            own.append(text)
    parts = [_from_sources(sources, reader)] if sources else []
    if own:
        parts.append(fits("tags", [re.sub(r"[*?]", "?", text) for text in own]))
    return Fit.exactly(any_of(parts))


def _in_list(call: Call, reader: FilterReader, statement: Statement) -> Fit:
    options = {each.name: each for each in call.calls}
    name = options["value"].first.removeprefix("$").strip("{}") if "value" in options else ""
    try:
        text = reader.read_list(call.first)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        statement.unsupported(f"in-list(): cannot read {call.first}: {reason}")
        return UNKNOWN
    values = sorted({line.strip() for line in text.splitlines() if line.strip()})
    if not values or any(set(value) & set("*?") for value in values):
        statement.unsupported(f"in-list(): the list {call.first} is empty or has wildcards")
        return UNKNOWN
    statement.approximated(f"the list {call.first} is copied: changes need another import")
    key = _FIELDS.get(name, "")
    globs: TomlValue = [{"glob": value} for value in values] if key == "msg" else values
    return Fit.exactly(fits(key, globs) if key else fits("pairs", {name: globs}))


def _compared(left: str, sign: str, right: str) -> Fit | None:
    """The condition ``left sign right``; None if the relay cannot compare that."""
    if sign in _NEGATED:
        fit = _compared(left, _NEGATED[sign], right)
        return None if fit is None else ~fit
    sign = _SIGNS.get(sign, sign)
    name = macro_of(left)
    if not name or "$" in right:
        return None
    for key, names, known in (
        ("facility", FACILITY_NAMES, FACILITIES),
        ("severity", SEVERITY_NAMES, SEVERITIES),
    ):
        macros = ("FACILITY",) if key == "facility" else ("LEVEL", "SEVERITY", "PRIORITY")
        is_number = name.removesuffix("_NUM") in macros and name.endswith("_NUM")
        if is_number or (name in macros and sign == "=="):
            number = _number(right, known)
            if number is None:
                return None
            numbers = {each for each in range(len(names)) if _holds(each, sign, number)}
            return Fit.exactly(number_condition(key, numbers, names))
    if sign != "==":
        return None
    if right == "":
        key = _FIELDS.get(name, "")
        empty: TomlValue = {"regex": "^$"}
        absent = ~Fit.exactly(fits("pairs", {name if not key else _macro_name(key): True}))
        return absent | Fit.exactly(field_condition(key, name, empty))
    value = _regex(f"^{literal(right)}$", ignore_case=False)
    if isinstance(value, _Unusable):
        return None
    return Fit.exactly(field_condition(_FIELDS.get(name, ""), name, value))


def _macro_name(key: str) -> str:
    return {"msg": "MESSAGE", "app_name": "PROGRAM", "hostname": "HOST"}.get(key, key.upper())


def _holds(left: int, sign: str, right: int) -> bool:
    return {"==": left == right, ">=": left >= right, "<=": left <= right}[sign]


def _is_op(node: Node, text: str) -> bool:
    return isinstance(node, Atom) and node.kind == "op" and node.text == text


def _shown(node: Node) -> str:
    match node:
        case Call(name=name):
            return f"{name}()"
        case Atom(text=text):
            return repr(text)
    return "a block in braces"
