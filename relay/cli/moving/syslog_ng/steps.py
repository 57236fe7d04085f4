"""Rewrite rules and parsers of syslog-ng, as steps of `rewrite`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.cli.moving.conditions import ALWAYS, Condition, fits, negated
from relay.cli.moving.report import Statement
from relay.cli.moving.syslog_ng.filters import FACILITIES, SEVERITIES, FilterReader, literal
from relay.cli.moving.syslog_ng.options import Option, Options
from relay.cli.moving.syslog_ng.templates import constant_or_template
from relay.cli.toml_writing import TomlValue
from relay.model.expression import Expression
from relay.rewrite.macros import HARD_MACROS
from relay.rewrite.steps.message_parsers import check_date_format

__all__ = ["Step", "Steps", "read_parser", "read_rewrite"]

Values = dict[str, TomlValue]
_NOT_PARSED = fits("tags", "syslogrelay.not-parsed")
_FIELD = re.compile(r"\$?\{?([^{}$]+)\}?")
_GROUP = re.compile(r"\$\{?([0-9]{1,2})\}?")


@dataclass(eq=False, slots=True)
class Step:
    """A step.

    Attributes:
        values: Its keys, but for `match`.
        when: Its `match`.
    """

    values: Values
    when: Condition = ALWAYS


@dataclass(slots=True)
class Steps:
    """The steps of a rewrite rule or a parser.

    Attributes:
        may_fail: Messages that do not fit go no further in the log path.
        adapters: The sources read formats of applications.
        syslog: The sources read syslog, even if they were told not to.
    """

    steps: list[Step] = field(default_factory=list)
    may_fail: bool = False
    adapters: bool = False
    syslog: bool = False

    @property
    def kept(self) -> Condition:
        """Which messages go further."""
        return negated(_NOT_PARSED) if self.may_fail else ALWAYS


def read_rewrite(options: Options, filters: FilterReader, statement: Statement) -> Steps:
    """The steps of one rewrite rule."""
    name = options.call.name.replace("-", "_")
    reader = _RULES.get(name)
    if reader is None:
        options.finish("its rule is not supported")
        statement.unsupported(f"the relay has no step like {options.call.name}()")
        return Steps()
    condition = options.take_own("condition")
    when = ALWAYS
    if condition is not None:
        fit = filters.of_nodes(condition.call.arguments, condition.statement)
        when = fit.wide
        condition.taken("is match of the step")
    values = reader(options, statement)
    options.finish()
    if not values and not statement.findings:
        statement.unsupported("see its options")
    for each in values:
        statement.taken(f"is the step {next(iter(each))}")
    return Steps([Step(each, when) for each in values])


def read_parser(options: Options, statement: Statement) -> Steps:
    """The steps of one parser."""
    name = options.call.name.replace("-", "_")
    reader = _PARSERS.get(name)
    if reader is None:
        options.finish("its parser is not supported")
        statement.unsupported(
            _NO_PARSER.get(name, f"the relay has no step like {options.call.name}()")
        )
        return Steps()
    found = reader(options, statement)
    options.finish()
    return found


def _name_of(option: Option | None, default: str = "") -> str:
    """The name in value("…"); a hard macro cannot be set."""
    if option is None:
        return default
    found = _FIELD.fullmatch(option.text.strip())
    name = found[1] if found is not None else ""
    if not name or name in HARD_MACROS:
        option.unsupported(f"{option.text!r} is worked out from the message and cannot be changed")
        return ""
    option.taken("is the name that changes")
    return name


def _set(options: Options, statement: Statement) -> list[Values]:
    given = options.take_own("value", "values")
    text = options.call.first
    constant = given is not None and "$" not in text and given.text.strip("${}")
    if constant in ("LEVEL", "SEVERITY", "PRIORITY") and text.lower() in SEVERITIES:
        return [{"set_severity": text.lower()}]
    if constant == "FACILITY" and text.lower() in FACILITIES:
        return [{"set_facility": text.lower()}]
    name = _name_of(given)
    template, problem = constant_or_template(text)
    if problem:
        statement.unsupported(problem)
    return [{"set": {name: template}}] if name and not problem else []


def _subst(options: Options, statement: Statement) -> list[Values]:
    texts = options.call.texts
    name = _name_of(options.take_own("value"), "MESSAGE")
    kind = options.take_own("type")
    flags = options.flags()
    if len(texts) < 2 or not name:
        statement.unsupported("subst() needs an expression, a text and value()")
        return []
    pattern, replacement = texts[:2]
    word = kind.text.lower() if kind is not None else "pcre"
    if word == "string":
        start = "" if "substring" in flags else "^"
        end = "" if {"substring", "prefix"} & flags else "$"
        pattern = f"{start}{literal(pattern)}{end}"
    elif word not in ("pcre", "posix"):
        statement.unsupported(f"the relay has no patterns of type {word}")
        return []
    if kind is not None:
        kind.taken("see the expression")
    try:
        Expression(pattern)
    except ValueError as error:
        statement.unsupported(str(error))
        return []
    replacement = _GROUP.sub(r"\\g<\1>", replacement.replace("\\", "\\\\"))
    if "$" in replacement:
        statement.unsupported("the new text has no macros; write set behind a step parse")
        return []
    values: Values = {"subst": pattern, "with": replacement, "in": [name]}
    if "ignore_case" in flags:
        values["ignore_case"] = True
    if "global" not in flags:
        values["first_only"] = True
    return [values]


def _unset(options: Options, statement: Statement) -> list[Values]:
    name = _name_of(options.take_own("value"))
    return [{"unset": [name]}] if name else []


def _group_set(options: Options, statement: Statement) -> list[Values]:
    names = options.take_own("values")
    template, problem = constant_or_template(options.call.first)
    if names is None or problem:
        statement.unsupported(problem or "values() is missing")
        return []
    names.taken("is in")
    return [{"groupset": template, "in": [*names.texts]}]


def _group_unset(options: Options, statement: Statement) -> list[Values]:
    names = options.take_own("values")
    if names is None:
        statement.unsupported("values() is missing")
        return []
    names.taken("is unset")
    return [{"unset": [*names.texts]}]


def _rename(options: Options, statement: Statement) -> list[Values]:
    match options.call.texts:
        case [old, new]:
            return [{"rename": {old: new}}]
    statement.unsupported("rename() needs two names")
    return []


def _set_tag(options: Options, statement: Statement) -> list[Values]:
    return [{"add_tags": [*options.call.texts]}] if options.call.texts else []


def _clear_tag(options: Options, statement: Statement) -> list[Values]:
    return [{"clear_tags": [*options.call.texts]}] if options.call.texts else []


def _numbered(known: Mapping[str, int], key: str) -> _Rule:
    def read(options: Options, statement: Statement) -> list[Values]:
        text = options.call.first.lower()
        if text in known or (text.isdecimal() and len(text) < 3 and int(text) in known.values()):
            return [{key: int(text) if text.isdecimal() else text}]
        statement.unsupported(f"there is no such value for {key}: {text!r}")
        return []

    return read


def _set_pri(options: Options, statement: Statement) -> list[Values]:
    text = options.call.first
    if text.isdecimal() and int(text[:4]) < 192:
        return [{"set_facility": int(text) // 8}, {"set_severity": int(text) % 8}]
    statement.unsupported("the relay sets a constant facility and severity")
    return []


def _cards(options: Options, statement: Statement) -> list[Values]:
    name = _name_of(options.take_own("value"), "MESSAGE")
    if not name:
        return []
    statement.approximated("the whole number is masked, without its first and last digits")
    return [{"mask": ["card"], "in": [name]}]


_Rule = Callable[[Options, Statement], list[Values]]
_RULES: Mapping[str, _Rule] = {
    "set": _set,
    "subst": _subst,
    "unset": _unset,
    "groupset": _group_set,
    "groupunset": _group_unset,
    "rename": _rename,
    "set_tag": _set_tag,
    "clear_tag": _clear_tag,
    **dict.fromkeys(("set_severity", "set_level"), _numbered(SEVERITIES, "set_severity")),
    "set_facility": _numbered(FACILITIES, "set_facility"),
    "set_pri": _set_pri,
    **dict.fromkeys(("credit_card_mask", "credit_card_hash"), _cards),
}


def _input(options: Options, statement: Statement, values: Values) -> bool:
    """Read template(), the value that is parsed, into `from`; False if it is none."""
    given = options.take_own("template")
    if given is None:
        return True
    found = _FIELD.fullmatch(given.text.strip())
    if found is None or not given.text.strip().startswith("$"):
        given.unsupported("the relay parses one value, not a template of several")
        return False
    if found[1] not in ("MESSAGE", "MSG", "MSGONLY"):
        values["from"] = found[1]
    given.taken("is from")
    return True


def _prefixed(options: Options, values: Values) -> None:
    prefix = options.text("prefix")
    if prefix:
        values["prefix"] = prefix


def _json(options: Options, statement: Statement) -> Steps:
    values: Values = {"parse": "json"}
    usable = _input(options, statement, values)
    _prefixed(options, values)
    marker = options.take_own("marker")
    when = ALWAYS
    if marker is not None:
        if marker.text.strip() in ("@cee:", "@cim:"):
            when = fits("msg", {"glob": f"{marker.text.strip()}*"})
            marker.taken("the step passes over @cee: and @cim:")
        else:
            marker.unsupported("the step passes over @cee: and @cim: only")
    statement.taken('is the step parse = "json"')
    kept = Steps([Step(values)], may_fail=True) if usable else Steps()
    if when != ALWAYS and usable:
        kept.steps[0].when = when
    return kept


def _key_value(options: Options, statement: Statement) -> Steps:
    values: Values = {"parse": "key-value"}
    usable = _input(options, statement, values)
    _prefixed(options, values)
    for name, key in (("value_separator",) * 2, ("pair_separator",) * 2):
        text = options.text(name)
        if text:
            values[key] = text
    options.pass_over({"allow_pair_separator_in_value": "quotes show where a value ends"})
    statement.taken('is the step parse = "key-value"')
    return Steps([Step(values)]) if usable else Steps()


def _csv(options: Options, statement: Statement) -> Steps:
    values: Values = {"parse": "csv"}
    usable = _input(options, statement, values)
    _prefixed(options, values)
    columns = options.take_own("columns")
    if columns is None or not columns.texts:
        statement.unsupported("the names of the columns are missing")
        return Steps()
    columns.taken("is columns")
    values["columns"] = [*columns.texts]
    delimiters = options.take_own("delimiters")
    flags = options.flags()
    if delimiters is not None:
        inner = Options(delimiters.call, options.report)
        characters = inner.take_own("chars")
        text = characters.text if characters is not None else delimiters.text
        inner.finish()
        values["delimiter"] = text[:1] or ","
        if characters is not None:
            characters.taken("is delimiter")
        if len(text) > 1 or not text.isascii():
            delimiters.approximated(f"the relay has one delimiter, {text[:1]!r}")
        else:
            delimiters.taken("is delimiter")
    if "greedy" in flags:
        values["greedy"] = True
    options.pass_over(
        {
            "quote_pairs": "values may stand in double quotes",
            "null": "an empty value is an empty pair",
            "dialect": "quotes inside of a value are doubled",
        }
    )
    statement.taken('is the step parse = "csv"')
    return Steps([Step(values)], may_fail="drop_invalid" in flags) if usable else Steps()


def _regexp(options: Options, statement: Statement) -> Steps:
    values: Values = {"parse": "regex"}
    usable = _input(options, statement, values)
    _prefixed(options, values)
    patterns = options.take_own("patterns", "pattern")
    flags = options.flags()
    texts = patterns.texts if patterns is not None else []
    if patterns is None or len(texts) != 1:
        statement.unsupported("the relay's step has one expression; write a step for each")
        return Steps()
    pattern = ("(?i)" if "ignore_case" in flags else "") + re.sub(
        r"\(\?<(?=[A-Za-z_])", "(?P<", texts[0]
    )
    try:
        Expression(pattern)
    except ValueError as error:
        patterns.unsupported(str(error))
        return Steps()
    if "(?P<" not in pattern:
        patterns.unsupported("only named groups, (?P<NAME>…), become pairs")
        return Steps()
    patterns.taken("is pattern")
    values["pattern"] = pattern
    statement.taken('is the step parse = "regex"')
    return Steps([Step(values)], may_fail=True) if usable else Steps()


def _date(options: Options, statement: Statement) -> Steps:
    values: Values = {"parse": "date"}
    usable = _input(options, statement, values)
    given = options.take_own("format")
    text = given.text if given is not None else "iso"
    if given is not None and text in ("%s", "%FT%T%z", "%Y-%m-%dT%H:%M:%S%z"):
        text = "unix" if text == "%s" else "iso"
    try:
        check_date_format(text)
    except ValueError as error:
        statement.unsupported(f"the format {text!r}: {error}")
        usable = False
    values["format"] = text
    if given is not None:
        given.taken("is format")
    zone = options.take_own("time_zone")
    if zone is not None:
        zone.approximated("a stamp without an offset is of this host's zone")
    options.pass_over({"time_stamp": "the stamp of the message"})
    options.flags()
    statement.taken('is the step parse = "date"')
    return Steps([Step(values)], may_fail=True) if usable else Steps()


def _read_already(options: Options, statement: Statement) -> Steps:
    flags = options.flags()
    options.pass_over(
        {
            "default_facility": "see parse of the source",
            "default_severity": "see parse of the source",
            "drop_invalid": "what is not syslog stays a text",
        }
    )
    if "no_parse" in flags:
        statement.approximated("every source of the relay parses syslog")
    else:
        statement.taken("every source of the relay reads syslog and opens EWMM")
    return Steps(syslog="no_parse" not in flags)


def _adapters(options: Options, statement: Statement) -> Steps:
    options.pass_over(
        {
            "topic": "adapters look at all messages",
            "prefix": "the names are those of syslog-ng's adapters",
            "template": "adapters look at the text",
            "auto_parse": "adapters are on",
        }
    )
    for name in ("auto_parse_exclude", "auto_parse_include"):
        given = options.take_own(name)
        if given is not None:
            given.unsupported("adapters of the relay are all on, or all off")
    statement.taken("is parse.adapters of the sources of this path")
    return Steps(adapters=True)


_Parser = Callable[[Options, Statement], Steps]
_PARSERS: Mapping[str, _Parser] = {
    "json_parser": _json,
    "kv_parser": _key_value,
    "csv_parser": _csv,
    "regexp_parser": _regexp,
    "date_parser": _date,
    "syslog_parser": _read_already,
    "ewmm_parser": _read_already,
    **dict.fromkeys(
        (
            *("app_parser", "cisco_parser", "fortigate_parser", "iptables_parser", "sudo_parser"),
            *("panos_parser", "junos_parser", "checkpoint_parser", "websense_parser"),
            *("netskope_parser", "cee_parser", "cim"),
        ),
        _adapters,
    ),
}
_GROUPS = "see group_by of docs/rewriting.md, which puts messages together"
_NO_PARSER: Mapping[str, str] = {
    **dict.fromkeys(
        ("apache_accesslog_parser", "apache_access_log_parser"),
        'write the step parse = "regex" with the names of the columns',
    ),
    "db_parser": 'the relay has no pattern database; write steps parse = "regex"',
    **dict.fromkeys(("grouping_by", "group_lines", "correlation"), _GROUPS),
    "geoip2": "see the step map, which reads the same database",
    "geoip": "see the step map, which reads GeoLite2",
    "add_contextual_data": "see the step map, which reads a CSV file with a key and columns",
    "xml": "the relay reads no XML",
    "windows_eventlog_xml_parser": "the relay reads no XML",
    "linux_audit_parser": 'write the step parse = "key-value"',
    "python": "the relay runs no Python of a configuration",
    "metrics_probe": "see [[watch]] and /metrics",
    "map_value_pairs": "write the step set with a template for each name",
}
