"""Conditions of RainerScript and property filters, as filters of the relay.

Two habits of rsyslog matter here.  The property ``msg`` of a line such as ``su: text`` begins with
the space behind the tag, which is not part of MSG in the relay.  ``programname`` ends at a slash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.moving.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    all_of,
    any_of,
    fits,
    negated,
)
from relay.cli.moving.rsyslog.language.syntax import (
    Array,
    Binary,
    Call,
    Expression,
    Literal,
    PriorityFilter,
    Property,
    PropertyFilter,
    Unary,
)
from relay.cli.moving.rsyslog.patterns import from_basic, from_extended
from relay.cli.moving.rsyslog.selectors import (
    NAMES,
    condition_of_selector,
    priorities,
)
from relay.cli.toml_writing import TomlValue
from relay.model.message import SEVERITY_NAMES

__all__ = ["FilterReader", "NotSupported", "pair_name"]

_ALL_SEVERITIES = frozenset(range(8))
_OPPOSITE = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
}
_FIELDS = {
    "msg": "msg",
    "hostname": "hostname",
    "source": "hostname",
    "procid": "procid",
    "msgid": "msgid",
    "app-name": "app_name",
    "programname": "app_name",
    "syslogtag": "app_name",
    "rawmsg": "msg",
    "rawmsg-after-pri": "msg",
}
_NUMBERS = {"syslogfacility", "syslogseverity", "syslogpriority", "pri"}
_PROPERTY_OPERATIONS = {"contains": "contains", "isequal": "==", "startswith": "startswith"}
_PROPERTY_OPERATIONS |= {"endswith": "endswith", "contains_i": "contains_i"}
_NETWORK = re.compile(r"(?:[0-9]{1,3}\.){1,3}")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+")


class NotSupported(ValueError):
    """The relay has no filter like that; the text says why."""


def pair_name(variable: str) -> str:
    """The name-value pair for a variable such as ``!a!b`` or ``.a``.

    Raises:
        NotSupported: It is a global variable.
    """
    if variable.startswith("/"):
        raise NotSupported(f"${variable} is for all messages; the relay has variables of messages")
    if variable.lower().startswith("!rfc5424-sd!"):
        return ".SDATA." + variable.split("!", 2)[2].replace("!", ".")
    kind = ".json." if variable.startswith("!") else ".var."
    return kind + variable[1:].replace("!", ".")


@dataclass(slots=True)
class FilterReader:
    """Turns conditions into filters.

    Attributes:
        inputs: The ids of the sources by what `inputname` says.
        has_slashes: Program names may have slashes in them.
        notes: Why the filter that was made last is not quite the same.
    """

    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    has_slashes: bool = False
    notes: list[str] = field(default_factory=list)

    def condition(self, expression: Expression) -> Condition:
        """The filter for `expression`.

        Raises:
            NotSupported: There is none.
        """
        match expression:
            case Binary("and", left, right):
                return all_of([self.condition(left), self.condition(right)])
            case Binary("or", left, right):
                return any_of([self.condition(left), self.condition(right)])
            case Unary("not", operand):
                return negated(self.condition(operand))
            case Binary(operator, left, right):
                return self._comparison(operator, left, right)
            case Literal(text):
                return NEVER if text.strip() in ("", "0") or not text[:1].isdigit() else ALWAYS
            case Property(name) if name[0] in "!.":
                return fits("pairs", {pair_name(name): {"regex": "^-?0*[1-9]"}})
            case PriorityFilter(text):
                return self._selector(text)
            case PropertyFilter():
                return self._property_filter(expression)
            case Call():
                return self._call(expression)
        raise NotSupported(f"{_shown(expression)} is no condition")

    def _selector(self, text: str) -> Condition:
        try:
            return condition_of_selector(text)
        except ValueError as error:
            raise NotSupported(str(error)) from None

    def _call(self, call: Call) -> Condition:
        match call:
            case Call("re_match" | "re_match_i" as name, (Property(about), Literal(pattern))):
                return self._matches(about, _translated(from_extended, pattern), name[-2:] == "_i")
            case Call("prifilt", (Literal(text),)):
                return self._selector(text)
            case Call("exists", (Property(name),)) if name[0] in "!.":
                return fits("pairs", {pair_name(name): True})
        raise NotSupported(f"the function {call.function}() in a condition")

    def _property_filter(self, found: PropertyFilter) -> Condition:
        name = found.name.removeprefix("$")
        if found.operation == "isempty":
            condition = self._comparison("==", Property(name), Literal(""))
        elif found.operation == "regex":
            condition = self._matches(name, _translated(from_basic, found.text), False)
        elif found.operation == "ereregex":
            condition = self._matches(name, _translated(from_extended, found.text), False)
        elif found.operation in _PROPERTY_OPERATIONS:
            operator = _PROPERTY_OPERATIONS[found.operation]
            condition = self._comparison(operator, Property(name), Literal(found.text))
        else:
            raise NotSupported(f"there is no operation {found.operation!r}")
        return negated(condition) if found.is_negated else condition

    def _comparison(self, operator: str, left: Expression, right: Expression) -> Condition:
        if isinstance(left, Unary) and left.operator == "not":
            raise NotSupported(
                "rsyslog applies this `not` to what stands directly behind it and compares the "
                "result, a number; write not (…)"
            )
        if isinstance(left, Call) and isinstance(right, Literal) and right.is_number:
            return self._of_number(operator, self._call(left), int(right.text))
        ignore_case = operator.endswith("_i")
        match left:
            case Call("tolower" | "toupper", (Property() as inner,)):
                left, ignore_case = inner, True
        if isinstance(left, Literal) and isinstance(right, Property) and operator in _OPPOSITE:
            left, right, operator = right, left, _OPPOSITE[operator]
        if isinstance(left, Literal) and isinstance(right, Literal):
            return self._constant(operator, left, right)
        if not isinstance(left, Property):
            raise NotSupported(f"{_shown(left)} in a comparison")
        if isinstance(right, Array):
            if operator == "!=":
                return negated(self._comparison("==", left, right))
            return any_of(self._comparison(operator, left, Literal(each)) for each in right.items)
        if not isinstance(right, Literal):
            raise NotSupported(f"a comparison with {_shown(right)}; the relay needs a constant")
        return self._of_property(left.name, operator.removesuffix("_i"), right, ignore_case)

    def _constant(self, operator: str, left: Literal, right: Literal) -> Condition:
        if left.is_number and right.is_number and operator in _COMPARE:
            holds = _COMPARE[operator](int(left.text), int(right.text))
        elif operator in ("==", "!="):
            holds = (left.text == right.text) == (operator == "==")
        else:
            raise NotSupported("a comparison of two constants")
        return ALWAYS if holds else NEVER

    def _of_number(self, operator: str, condition: Condition, number: int) -> Condition:
        """A comparison of a condition, which is 0 or 1."""
        if operator not in _COMPARE:
            raise NotSupported(f"the operator {operator} with a number")
        of_true, of_false = (_COMPARE[operator](value, number) for value in (1, 0))
        if of_true == of_false:
            return ALWAYS if of_true else NEVER
        return condition if of_true else negated(condition)

    def _of_property(self, name: str, operator: str, right: Literal, any_case: bool) -> Condition:
        if name[0] not in "!./":
            name = name.lower()
        if operator == "!=":
            return negated(self._of_property(name, "==", right, any_case))
        if name in _NUMBERS and operator in _COMPARE:
            return self._of_priority(name, operator, right)
        if operator in ("<", ">", "<=", ">="):
            raise NotSupported(f"the order of {name}; the relay compares numbers of PRI only")
        if name.startswith(("syslogfacility", "syslogseverity", "syslogpriority", "pri-text")):
            return self._by_name(name, operator, right.text.lower())
        if name in ("fromhost-ip", "fromhost"):
            return self._by_address(name, operator, right.text)
        if name == "inputname" and operator in ("==", "contains", "startswith"):
            return self._by_input(right.text)
        if right.text == "" and operator == "==":
            if name[0] in "!.":
                return negated(fits("pairs", {pair_name(name): True}))
            raise NotSupported(f"whether {name} is empty")
        if right.text == "":
            return ALWAYS  # each text contains the empty one
        return self._of_text(name, operator, right.text, any_case)

    def _of_priority(self, name: str, operator: str, right: Literal) -> Condition:
        if not right.text.lstrip("-").isdecimal():
            raise NotSupported(f"{name} compared with {right.text!r}, which is no number")
        number, compare = int(right.text), _COMPARE[operator]
        taken: dict[int, frozenset[int]] = {}
        for facility in range(24):
            if name == "syslogfacility":
                taken[facility] = _ALL_SEVERITIES if compare(facility, number) else frozenset()
                continue
            base = facility * 8 if name == "pri" else 0
            taken[facility] = frozenset(n for n in range(8) if compare(base + n, number))
        return priorities(taken)

    def _by_name(self, name: str, operator: str, text: str) -> Condition:
        """A comparison with the name of a facility or a severity."""
        taken: dict[int, frozenset[int]] = dict.fromkeys(range(24), frozenset())
        for facility, word in enumerate(NAMES):
            for severity, level in enumerate(SEVERITY_NAMES):
                value = (
                    f"{word}.{level}"
                    if name.startswith("pri")
                    else word
                    if name.startswith("syslogfacility")
                    else level
                )
                if _holds(operator, value, text):
                    taken[facility] |= {severity}
        return priorities(taken)

    def _by_address(self, name: str, operator: str, text: str) -> Condition:
        if operator == "==" and _ADDRESS.fullmatch(text):
            return fits("peers", [text])
        if operator == "startswith" and _NETWORK.fullmatch(text):
            octets = text.rstrip(".").split(".")
            if all(int(each) < 256 for each in octets):
                address = ".".join([*octets, *["0"] * (4 - len(octets))])
                return fits("peers", [f"{address}/{8 * len(octets)}"])
        if name == "fromhost" and operator == "==":
            if text in ("localhost", "127.0.0.1"):
                return fits("peers", ["127.0.0.0/8", "::1"])
            self.notes.append("the name in the message counts, not that of the sender's address")
            return self._of_text("hostname", operator, text, False)
        raise NotSupported(f"{name} by a part of its text; write a network such as 10.0.0.0/8")

    def _by_input(self, text: str) -> Condition:
        found = [id for name, ids in self.inputs.items() if text in name for id in ids]
        return fits("sources", sorted(set(found))) if found else NEVER

    def _of_text(self, name: str, operator: str, text: str, any_case: bool) -> Condition:
        if name[0] in "!./":
            tests = [{pair_name(name): each} for each in _tests(operator, text, any_case)]
            return any_of(fits("pairs", each) for each in tests)
        if name not in _FIELDS:
            raise NotSupported(f"the property {name} in a condition")
        if name == "syslogtag":
            text, operator = self._program_of_tag(text, operator)
        if name.startswith("rawmsg"):
            self.notes.append("the text of the message is searched, not all of the line")
        key = _FIELDS[name]
        if key == "msg":
            return self._of_message(operator, text, any_case)
        values = _tests(operator, text, any_case)
        if name == "programname" and operator == "==" and not self.has_slashes and "/" not in text:
            values += _tests("startswith", f"{text}/", any_case)
        return any_of(fits(key, value) for value in values)

    def _of_message(self, operator: str, text: str, any_case: bool) -> Condition:
        """A test of MSG, which does not have the space behind the tag."""
        inner = text.removeprefix(" ")
        parts = [fits("msg", value) for value in _tests(operator, inner, any_case, "substring")]
        if operator == "contains" and inner != text:
            parts = [fits("msg", value) for value in _tests(operator, text, any_case, "substring")]
            if inner:
                starts = _tests("startswith", inner, any_case, "substring")
                parts += [fits("msg", value) for value in starts]
        elif operator in ("==", "startswith") and inner == text:
            self.notes.append(
                "for rsyslog msg begins with the space behind the tag, so this fits messages "
                "without that space only; here it fits both"
            )
        return any_of(parts)

    def _program_of_tag(self, text: str, operator: str) -> tuple[str, str]:
        self.notes.append("the program is compared, without the pid and the colon of the tag")
        program = re.sub(r"(?:\[[^\]]*\]?)?:?\s*$", "", text)
        if not program:
            raise NotSupported(f"the tag {text!r} by its punctuation")
        is_whole = operator == "endswith" or (program != text and operator == "startswith")
        return program, "==" if is_whole else operator

    def _matches(self, name: str, pattern: str, any_case: bool) -> Condition:
        name = name if name[0] in "!./" else name.lower()
        test: TomlValue = {"regex": pattern, **({"ignore_case": True} if any_case else {})}
        if name[0] in "!./":
            return fits("pairs", {pair_name(name): test})
        if name not in _FIELDS:
            raise NotSupported(f"the property {name} with a regular expression")
        if name == "syslogtag":
            self.notes.append("the program is searched, without the pid and the colon of the tag")
        elif name.startswith("rawmsg"):
            self.notes.append("the text of the message is searched, not all of the line")
        elif name == "msg" and pattern.startswith("^"):
            pattern = re.sub(r"^\^(?: |\\s[*+]?|\[ \][*+]?)", "^", pattern)
            test = {"regex": pattern, **({"ignore_case": True} if any_case else {})}
        return fits(_FIELDS[name], test)


def _tests(operator: str, text: str, any_case: bool, default: str = "glob") -> list[TomlValue]:
    """The value of a filter's key for a comparison with `text`.

    Args:
        default: Kind of test that a mere text is for the key.
    """
    is_plain = not any_case and not re.search(r"[*?\[\]\\\n]", text)
    if operator == "contains" and not any_case:
        return [text if default == "substring" else {"substring": text}]
    if is_plain and default == "glob":
        globs = {"==": text, "startswith": f"{text}*", "endswith": f"*{text}"}
        if operator in globs:
            return [globs[operator]]
    escaped = re.sub(r"([^A-Za-z0-9_ \-/:;,=<>@\"'%&!~`\x80-\U0010ffff])", r"\\\1", text)
    patterns = {
        "==": f"^{escaped}$",
        "startswith": f"^{escaped}",
        "endswith": f"{escaped}$",
        "contains": escaped,
    }
    if operator not in patterns:
        raise NotSupported(f"the operator {operator} with a text")
    test: dict[str, TomlValue] = {"regex": patterns[operator]}
    if any_case:
        test["ignore_case"] = True
    return [test]


def _holds(operator: str, value: str, text: str) -> bool:
    match operator:
        case "==":
            return value == text
        case "contains":
            return text in value
        case "startswith":
            return value.startswith(text)
        case "endswith":
            return value.endswith(text)
    raise NotSupported(f"the operator {operator} with a text")


def _translated(translate: Callable[[str], str], pattern: str) -> str:
    try:
        return translate(pattern)
    except ValueError as error:
        raise NotSupported(str(error)) from None


def _shown(expression: Expression) -> str:
    match expression:
        case Property(name):
            return f"${name}"
        case Call(function):
            return f"the function {function}()"
        case Binary(operator) | Unary(operator):
            return f"an expression with {operator}"
        case Literal(text):
            return f"the constant {text[:30]!r}"
        case Array():
            return "an array"
    return "a filter"
