"""Templates of rsyslog as pieces: constants and properties with options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from relay.cli.moving.rsyslog.language.scanner import unescaped
from relay.cli.moving.rsyslog.language.syntax import Node, Object

__all__ = ["BUILT_IN", "Constant", "Piece", "Replaced", "pieces_of_list", "pieces_of_text"]

BUILT_IN = {
    "RSYSLOG_TraditionalFileFormat": (
        "%TIMESTAMP% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%%msg:::drop-last-lf%\\n"
    ),
    "RSYSLOG_FileFormat": (
        "%TIMESTAMP:::date-rfc3339% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%"
        "%msg:::drop-last-lf%\\n"
    ),
    "RSYSLOG_TraditionalForwardFormat": (
        "<%PRI%>%TIMESTAMP% %HOSTNAME% %syslogtag:1:32%%msg:::sp-if-no-1st-sp%%msg%"
    ),
    "RSYSLOG_ForwardFormat": (
        "<%PRI%>%TIMESTAMP:::date-rfc3339% %HOSTNAME% %syslogtag:1:32%%msg:::sp-if-no-1st-sp%%msg%"
    ),
    "RSYSLOG_SysklogdFileFormat": (
        "%TIMESTAMP% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%%msg%\\n"
    ),
    "RSYSLOG_SyslogProtocol23Format": (
        "<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% %APP-NAME% %PROCID% %MSGID% "
        "%STRUCTURED-DATA% %msg%\\n"
    ),
    "RSYSLOG_DebugFormat": "%rawmsg%\\n",
    "StdJSONFmt": (
        '{"message":"%msg:::json%","fromhost":"%HOSTNAME:::json%","facility":'
        '"%syslogfacility-text%","priority":"%syslogpriority-text%","timereported":'
        '"%timereported:::date-rfc3339%","timegenerated":"%timegenerated:::date-rfc3339%"}'
    ),
}
"""The templates that rsyslog has without being told, as the text of each."""


@dataclass(frozen=True, slots=True)
class Constant:
    """`name` is that of the member of a JSON object that it becomes."""

    text: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A property, and what is done with its value.

    Attributes:
        name: In lower case, unless it is a variable; without a dollar sign before ``!`` and ``.``.
        start, stop: Positions of the first and last character, from 1; 0 = from the start, to the
            end.
        pattern, group: An expression, and the number of its group that is the value.
        separator, column: A field of the value; a separator in text, the column from 1.
        fallback: What stands where the expression does not match: DFLT, BLANK, ZERO, FIELD.
        options: Words such as ``date-rfc3339``, ``json``, ``lowercase``.
        member: Name of the member of a JSON object that it becomes.
    """

    name: str
    start: int = 0
    stop: int = 0
    pattern: str = ""
    group: int = 0
    separator: str = ""
    column: int = 0
    fallback: str = "DFLT"
    options: frozenset[str] = field(default_factory=frozenset)
    member: str = ""


Piece: TypeAlias = Constant | Replaced

_PERCENT = re.compile(r"((?:[^%\\]|\\.)*)(?:%|\Z)", re.DOTALL)
_PROPERTY = re.compile(r"(.*?)(?:(?::R(?=[:,])([^:]*):(.*?)--end)(?::([^%]*))?)?%", re.DOTALL)
_FIELD = re.compile(r"F(?:,([0-9]+))?")


def pieces_of_text(text: str) -> list[Piece]:
    r"""The pieces of a template such as ``%HOSTNAME% %msg:2:$%\n``.

    Raises:
        ValueError: A property has no end, or its positions are none.
    """
    pieces: list[Piece] = []
    position = 0
    while position < len(text):
        found = _PERCENT.match(text, position)
        assert found is not None
        if found[1]:
            pieces.append(Constant(unescaped(found[1])))
        position = max(found.end(), position + 1)
        if not text[found.start() : found.end()].endswith("%"):
            continue
        if text.startswith("%", position):
            pieces.append(Constant("%"))
            position += 1
            continue
        inner = _PROPERTY.match(text, position)
        if inner is None:
            raise ValueError(f"found % without the second one: {text[position : position + 30]!r}")
        pieces.append(_from_text(inner))
        position = inner.end()
    return pieces


def _from_text(found: re.Match[str]) -> Replaced:
    parts = found[1].split(":")
    name = canonical_name(parts[0])
    if found[3] is not None:
        options = found[2].lstrip(",").split(",")
        group = int(options[1]) if len(options) > 1 and options[1].isdecimal() else 0
        fallback = options[2] if len(options) > 2 and options[2] else "DFLT"
        words = _words(found[4] or "")
        if options[:1] == ["BRE"]:
            words |= {"bre"}
        return Replaced(name, pattern=found[3], group=group, fallback=fallback, options=words)
    start = parts[1] if len(parts) > 1 else ""
    stop = parts[2] if len(parts) > 2 else ""
    options = _words(":".join(parts[3:]))
    if column := _FIELD.fullmatch(start):
        separator = chr(int(column[1]) & 0x10FFFF) if column[1] else "\t"
        number = re.sub(r"[^0-9].*", "", stop) or "1"
        return Replaced(name, separator=separator, column=int(number), options=options)
    return Replaced(name, _position(start), _position(stop), options=options)


def _position(text: str) -> int:
    if text in ("", "$"):
        return 0
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError(f"{text!r} is no position")
    return int(text)


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in text.split(",") if word.strip())


def canonical_name(name: str) -> str:
    """A property's name as the code here has it."""
    name = name.strip()
    if name.startswith(("$!", "$.", "$/")):
        return name[1:]
    return name if name[:1] in ("!", ".", "/") else name.lower()


_CASES = {"lower": "lowercase", "upper": "uppercase"}
_CONTROLS = {"escape": "escape-cc", "space": "space-cc", "drop": "drop-cc"}


def pieces_of_list(body: Iterable[Node]) -> tuple[list[Piece], list[str]]:
    """The pieces of a template of type list, and what of them is not understood.

    Raises:
        ValueError: A position is none.
    """
    pieces: list[Piece] = []
    unknown: list[str] = []
    for node in body:
        if isinstance(node, Object) and node.kind == "constant":
            text = _one(node, "value")
            pieces.append(Constant(text, _one(node, "outname")))
            node.said.taken("as a part of its template")
        elif isinstance(node, Object) and node.kind == "property":
            pieces.append(_from_object(node))
            node.said.taken("as a part of its template")
            rest = node.parameters.values.keys() - _KNOWN
            unknown += [f"{name} of a property" for name in sorted(rest)]
    return pieces, unknown


_KNOWN = {"name", "outname", "format", "dateformat", "date.inutc", "caseconversion"}
_KNOWN |= {"controlcharacters", "position.from", "position.to", "droplastlf", "spifno1stsp"}
_KNOWN |= {"regex.expression", "regex.type", "regex.submatch", "regex.nomatchmode", "datatype"}
_KNOWN |= {"field.number", "field.delimiter", "securepath", "compressspace", "regex.match"}


def _from_object(node: Object) -> Replaced:
    words = {word.lower() for word in (_one(node, "format"),) if word}
    if date := _one(node, "dateformat"):
        words.add(date if date.startswith("date-") else f"date-{date}")
    if _is_on(_one(node, "date.inutc")):
        words.add("date-utc")
    words |= {_CASES[word] for word in (_one(node, "caseconversion"),) if word in _CASES}
    words |= {_CONTROLS[word] for word in (_one(node, "controlcharacters"),) if word in _CONTROLS}
    for name, word in (("droplastlf", "drop-last-lf"), ("spifno1stsp", "sp-if-no-1st-sp")):
        if _is_on(_one(node, name)):
            words.add(word)
    if _one(node, "datatype"):
        words.add(f"type-{_one(node, 'datatype').lower()}")
    if _one(node, "regex.type").upper() == "BRE":
        words.add("bre")
    column, group = _one(node, "field.number"), _one(node, "regex.submatch")
    delimiter = _one(node, "field.delimiter")
    return Replaced(
        canonical_name(_one(node, "name")),
        _position(_one(node, "position.from")),
        _position(_one(node, "position.to")),
        pattern=_one(node, "regex.expression"),
        group=int(group) if group.isdecimal() else 0,
        separator=(chr(int(delimiter)) if delimiter.isdecimal() else "\t") if column else "",
        column=int(column) if column.isdecimal() else 0,
        fallback=_one(node, "regex.nomatchmode") or "DFLT",
        options=frozenset(words),
        member=_one(node, "outname"),
    )


def _one(node: Object, name: str) -> str:
    values: Sequence[str] = node.parameters.values.get(name, ())
    return values[0] if values else ""


def _is_on(text: str) -> bool:
    return text.lower() in ("on", "yes", "1")
