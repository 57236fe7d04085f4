"""The small part of Vector's language VRL that the relay has counterparts for.

Conditions are comparisons of fields with constants, a few functions, ``&&``, ``||`` and ``!``.
Programs are read line by line: assignments of constants, ``del`` and parsing of the message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.cli.moving.conditions import Condition, all_of, any_of, fits, negated
from relay.cli.toml_writing import TomlValue
from relay.model.expression import Expression
from relay.service.configuration.tables.filter import FACILITIES, SEVERITIES

__all__ = ["FIELDS", "condition_of", "macro_of", "step_of"]

NESTING_MAX = 32
FIELDS = {
    "message": "msg",
    "host": "hostname",
    "hostname": "hostname",
    "appname": "app_name",
    "procid": "procid",
    "msgid": "msgid",
}
_MACROS = {
    "message": "MESSAGE",
    "host": "HOST",
    "hostname": "HOST",
    "appname": "PROGRAM",
    "procid": "PID",
    "msgid": "MSGID",
    "severity": "LEVEL",
    "facility": "FACILITY",
    "timestamp": "ISODATE",
    "source_ip": "SOURCEIP",
    "file": "FILE_NAME",
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|r'[^']*'|s'[^']*')
      | (?P<path>\.[A-Za-z_@][\w.@-]*|\."(?:[^"\\]|\\.)*")
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?)
      | (?P<word>[A-Za-z_]\w*!?)
      | (?P<op>&&|\|\||==|!=|<=|>=|[()\[\],!<>:])
    )""",
    re.VERBOSE | re.DOTALL,
)
_CALLS = ("contains", "starts_with", "ends_with", "match", "includes", "exists", "is_null")
_CASTS = ("string", "to_string", "downcase", "string!", "to_string!", "downcase!")


class Unreadable(ValueError):
    """The program has something for which there is no counterpart."""


def macro_of(field: str) -> str:
    """The macro or pair for a field."""
    return _MACROS.get(field, field)


def condition_of(text: str) -> Condition:
    """The condition that a program computes.

    Raises:
        Unreadable: It has something else than comparisons of fields.
    """
    reader = _Reader(_tokens(text))
    found = reader.either(0)
    reader.end()
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    offset = 0
    text = re.sub(r"#[^\n]*$", "", text, flags=re.MULTILINE).strip()
    while offset < len(text):
        found = _TOKEN.match(text, offset)
        if found is None:
            raise Unreadable(f"cannot read {text[offset : offset + 20].strip()!r}")
        tokens.append((found.lastgroup or "", found[found.lastgroup or 0]))
        offset = found.end()
    return tokens


class _Reader:
    """Reads tokens from the left."""

    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise Unreadable(f"cannot read on from {self._tokens[self._at][1]!r}")

    def either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._has("||"):
            parts.append(self._both(depth))
        return any_of(parts)

    def _both(self, depth: int) -> Condition:
        parts = [self._one(depth)]
        while self._has("&&"):
            parts.append(self._one(depth))
        return all_of(parts)

    def _one(self, depth: int) -> Condition:
        if depth > NESTING_MAX:
            raise Unreadable("too many parentheses")
        if self._has("!"):
            return negated(self._one(depth + 1))
        if self._has("("):
            found = self.either(depth + 1)
            self._need(")")
            return found
        kind, text = self._next()
        if kind == "word":
            name = text.rstrip("!")
            if name in _CALLS:
                return self._call(name)
            self._at -= 1
        elif kind != "path":
            raise Unreadable(f"expected a field, found {text!r}")
        else:
            self._at -= 1
        field = self._field(depth)
        sign = self._next()[1]
        if sign not in ("==", "!=", "<", ">", "<=", ">="):
            raise Unreadable(f"expected a comparison, found {sign!r}")
        kind, value = self._next()
        return _compared(field, sign, _constant(kind, value))

    def _field(self, depth: int) -> str:
        """A field, perhaps made a text by functions."""
        kind, text = self._next()
        if kind == "path":
            return text[1:].strip('"')
        if kind == "word" and text in _CASTS and depth <= NESTING_MAX:
            self._need("(")
            field = self._field(depth + 1)
            self._need(")")
            return field
        raise Unreadable(f"the relay compares fields, not {text!r}")

    def _call(self, name: str) -> Condition:
        self._need("(")
        if name == "includes":
            return self._includes()
        field = self._field(0)
        if name in ("exists", "is_null"):
            self._need(")")
            has = fits("pairs", {macro_of(field): True})
            return has if name == "exists" else negated(has)
        self._need(",")
        kind, text = self._next()
        value = _constant(kind, text)
        ignore_case = False
        if self._has(","):
            word, _, flag = self._next()[1], self._next(), self._next()[1]
            if word != "case_sensitive":
                raise Unreadable(f"the argument {word!r}")
            ignore_case = flag == "false"
        self._need(")")
        return _text_test(name, field, value, ignore_case=ignore_case)

    def _includes(self) -> Condition:
        self._need("[")
        values = []
        while not self._has("]"):
            values.append(_constant(*self._next()))
            self._has(",")
        self._need(",")
        field = self._field(0)
        self._need(")")
        return any_of(_compared(field, "==", value) for value in values)

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise Unreadable("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _has(self, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("op", text):
            self._at += 1
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._has(text):
            raise Unreadable(f"expected {text!r}")


def _constant(kind: str, text: str) -> str:
    if kind == "text":
        if text[0] == '"':
            return re.sub(r"\\(.)", _escape, text[1:-1], flags=re.DOTALL)
        return text[2:-1]
    if kind == "number" or text in ("true", "false"):
        return text
    raise Unreadable(f"expected a constant, found {text!r}")


def _escape(found: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1])


def _compared(field: str, sign: str, value: str) -> Condition:
    if sign == "!=":
        return negated(_compared(field, "==", value))
    known = {"severity": SEVERITIES, "facility": FACILITIES}.get(field)
    if known is not None and sign == "==":
        if value.lower() not in known:
            raise Unreadable(f"there is no {field} {value!r}")
        return fits(field, value.lower())
    if sign != "==":
        raise Unreadable(f"the relay compares no numbers ({sign})")
    literal = f"^{re.escape(value)}$"
    plain = value if value and not set(value) & set("*?[") else ""
    key = FIELDS.get(field, "")
    if key:
        test: TomlValue = plain if plain and key != "msg" else {"regex": literal}
        return fits(key, test)
    return fits("pairs", {field: plain or {"regex": literal}})


def _text_test(name: str, field: str, value: str, *, ignore_case: bool) -> Condition:
    if field in ("severity", "facility"):
        raise Unreadable(f"the {field} is compared as a whole")
    if name == "contains":
        test: dict[str, TomlValue] = {"substring": value}
    else:
        pattern = value if name == "match" else re.escape(value)
        pattern = f"^{pattern}" if name == "starts_with" else pattern
        pattern = f"{pattern}$" if name == "ends_with" else pattern
        pattern = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", pattern)
        try:
            Expression(pattern)
        except ValueError as error:
            raise Unreadable(str(error)) from None
        test = {"regex": pattern}
    if ignore_case:
        test["ignore_case"] = True
    key = FIELDS.get(field, "")
    return fits(key, test) if key else fits("pairs", {field: test})


_ASSIGNED = re.compile(r"""\.([\w.@-]+)\s*=\s*("(?:[^"\\]|\\.)*"|-?[0-9.]+|true|false)""")
_COPIED = re.compile(r"\.([\w.@-]+)\s*=\s*\.([\w.@-]+)")
_DELETED = re.compile(r"del\(\s*\.([\w.@-]+)\s*\)")
_PARSED = re.compile(
    r"\.(?:(?P<into>[\w@]+)\s*=|\s*\|?=|\s*=\s*merge\(\s*\.,)\s*(?:object!\()?"
    r"parse_(?P<how>json|key_value|syslog)!?\(\s*(?:string!?\()?\.message\)?"
    r"(?P<rest>[^)]*)\)\)?(?:\s*\?\?\s*(?:\{\}|\.))?\)?"
)


def step_of(line: str) -> dict[str, TomlValue] | None:
    """The step for a line of a program; None if the line does nothing here.

    Raises:
        Unreadable: It does something for which there is no step.
    """
    line = line.strip().rstrip(";")
    if found := _ASSIGNED.fullmatch(line):
        kind = "text" if found[2][0] == '"' else "number"
        value = _constant(kind, found[2]).replace("$", "$$")
        if found[1] in ("severity", "facility"):
            known = {"severity": SEVERITIES, "facility": FACILITIES}[found[1]]
            if value.lower() in known:
                return {f"set_{found[1]}": value.lower()}
            raise Unreadable(f"there is no {found[1]} {value!r}")
        return {"set": {_settable(found[1]): value}}
    if found := _COPIED.fullmatch(line):
        return {"set": {_settable(found[1]): f"${{{macro_of(found[2])}}}"}}
    if found := _DELETED.fullmatch(line):
        return {"unset": [_settable(found[1])]}
    if found := _PARSED.fullmatch(line):
        if found["how"] == "syslog":
            return None  # every source reads syslog
        if found["rest"].strip(" ,"):
            raise Unreadable("arguments of the parser")
        how = {"json": "json", "key_value": "key-value"}[found["how"]]
        step: dict[str, TomlValue] = {"parse": how}
        if found["into"]:
            step["prefix"] = f"{found['into']}."
        return step
    raise Unreadable("the relay runs no VRL; see the steps of rewrite")


def _settable(field: str) -> str:
    if field in ("severity", "facility", "timestamp", "source_ip"):
        raise Unreadable(f"the field {field} has steps of its own, or none")
    return macro_of(field)
