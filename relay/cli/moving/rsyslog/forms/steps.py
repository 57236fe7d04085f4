"""Changes that rsyslog makes to messages, as steps of `rewrite`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.moving.conditions import ALWAYS, Condition
from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.moving.report import Statement
from relay.cli.moving.rsyslog.filters import NotSupported, pair_name
from relay.cli.moving.rsyslog.forms.macros import macro_of, source_of
from relay.cli.moving.rsyslog.forms.template_text import Replaced, canonical_name
from relay.cli.moving.rsyslog.forms.templates import with_group
from relay.cli.moving.rsyslog.language.syntax import (
    Binary,
    Call,
    Expression,
    Literal,
    Object,
    Property,
    SetVariable,
)
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.patterns import from_extended
from relay.cli.moving.rsyslog.settings import Settings
from relay.cli.toml_writing import TomlValue

__all__ = ["Step", "Steps", "needed"]

_TABLE_BYTES_MAX = 16 * 1024 * 1024
_UNSUPPORTED = {
    "mmnormalize": 'rule bases of liblognorm; write a step with parse = "regex"',
    "mmexternal": "a program that changes messages",
    "mmfields": 'fields by number; write a step with parse = "csv"',
    "mmsequence": "see the step number",
    "mmcount": "see the metrics of [web]",
    "mmdblookup": 'write a step with map = "FILE.mmdb"',
    "mmsnmptrapd": "messages of snmptrapd",
    "mmgrok": 'write a step with parse = "regex"',
    "mmrfc5424addhmac": "signed messages",
    "mmtaghostname": "write host_override in parse of the source",
    "mmkubernetes": "see the pairs of the journal",
    "mmleefparse": 'write a step with parse = "key-value"',
    "mmjsontransform": "names with dots; see rekey of a json format",
    "mmitag": "write a step with set",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and for which messages it is.

    Attributes:
        gives: Beginning of the names that it sets; empty = it changes the message itself.
    """

    table: Mapping[str, TomlValue]
    gives: str = ""
    path: Condition = ALWAYS


def needed(steps: Sequence[Step], text: str) -> list[Step]:
    """The `steps` that change the message, or set a value that `text` names."""
    found: list[Step] = []
    for step in reversed(steps):
        is_all = "subkeys" in text and step.gives.startswith(".json.")
        if not step.gives or step.gives in text or is_all:
            found.append(step)
            text += repr(step)
    return found[::-1]


@dataclass(slots=True)
class Steps:
    """Makes steps."""

    imported: Imported
    settings: Settings
    _parts: int = field(default=0)

    def of_module(self, action: Object) -> list[Step] | None:
        """The steps for an action that changes messages; None if it is another one."""
        read = Reader(action.parameters, action.said)
        kind = read.text("type").lower()
        if not kind.startswith(("mm", "fm", "pm")):
            return None
        match kind:
            case "mmjsonparse":
                container = read.text("container", "$!").lstrip("$").rstrip("!") or "!"
                prefix = ".json." if container == "!" else f"{pair_name(container)}."
                read.ignore(["cookie", "userawmsg", "name", "mode"], "JSON is found without it")
                read.said.approximated("JSON without the cookie @cee: is read, too")
                found = [Step({"parse": "json", "prefix": prefix}, prefix)]
            case "mmanon":
                for name in [*action.parameters.values]:
                    read.text(name)
                read.said.approximated("addresses are replaced by ***, in the text of messages")
                found = [Step({"mask": ["ipv4", "ipv6"]})]
            case "mmutf8fix":
                read.ignore(["mode", "replacementchar"], "all text is UTF-8 behind the source")
                read.said.taken("all text is UTF-8 behind the source")
                found = []
            case "mmrm1stspace":
                read.said.taken("MSG does not have the space behind the tag here")
                found = []
            case "mmpstrucdata":
                read.ignore(["jsonroot", "sd_name.lowercase"], "names are as they came")
                read.said.taken("structured data is parsed here: ${.SDATA.ID.PARAM}")
                found = []
            case _:
                read.said.unsupported(_UNSUPPORTED.get(kind, f"the relay has nothing like {kind}"))
                return []
        if found:
            read.said.taken("as a step of the destinations behind it")
        read.finish()
        return found

    def of_variable(self, node: SetVariable) -> list[Step]:
        """The steps that give a variable its value.

        Raises:
            NotSupported: The relay has no steps like that.
        """
        name = pair_name(node.name)
        match node.expression:
            case None:
                return [Step({"unset": [name, f"{name}.*"]}, name)]
            case Call("lookup", (Literal(table), key)):
                return [self._lookup(name, table, key, node.said)]
            case Call("re_extract", (Property(about), Literal(pattern), _, group, default)):
                return self._extracted(name, about, pattern, group, default)
        return [Step({"set": {name: self._template(node.expression)}}, name)]

    def _template(self, expression: Expression) -> str:
        """The template for the value of an expression."""
        match expression:
            case Literal(text):
                return text.replace("$", "$$")
            case Property(name):
                macro = macro_of(Replaced(canonical_name(name)))
                return macro.text
            case Binary("&", left, right):
                return self._template(left) + self._template(right)
            case Call("cstr" | "cnum", (inner,)):
                return self._template(inner)
            case Call(function):
                raise NotSupported(f"the function {function}() in a value")
            case Binary(operator):
                raise NotSupported(f"calculations: {operator}")
        raise NotSupported("a value like that")

    def _extracted(
        self, name: str, about: str, pattern: str, group: Expression, default: Expression
    ) -> list[Step]:
        if not isinstance(group, Literal) or not group.text.isdecimal():
            raise NotSupported("a group whose number is no constant")
        try:
            found = with_group(from_extended(pattern), int(group.text))
        except ValueError as error:
            raise NotSupported(str(error)) from None
        self._parts += 1
        prefix = f"{name}.part{self._parts}."
        source = source_of(canonical_name(about))
        parse: dict[str, TomlValue] = {"parse": "regex", "pattern": found, "prefix": prefix}
        if source != "MESSAGE":
            parse["from"] = source
        otherwise = self._template(default)
        if re.search(r"[{}]", otherwise.replace("$$", "")):
            raise NotSupported("a default that is no constant")
        value = f"${{{prefix}value:-{otherwise}}}" if otherwise else f"${{{prefix}value}}"
        return [Step(parse, prefix), Step({"set": {name: value}}, name)]

    def _lookup(self, name: str, table: str, key: Expression, said: Statement) -> Step:
        if table not in self.settings.tables:
            raise NotSupported(f"there is no lookup table {table!r}")
        each = self.settings.tables[table]
        read = Reader(each.parameters, each.said)
        read.text("name")
        read.ignore(["reloadonhup"], "the relay reads tables again when they change")
        rows, default = _table_of(read.text("file"))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        file = self.imported.add_file(f"{table}.csv", ExtraFile(text.getvalue()))
        each.said.taken(f"as {file}")
        step: dict[str, TomlValue] = {"map": file, "key": self._template(key), "into": name}
        if default:
            step["default"] = default.replace("$", "$$")
        said.taken(f"as a step with map = {file}")
        return Step(step, name)


def _table_of(path: str) -> tuple[list[tuple[str, str]], str]:
    """The rows of a lookup table, and what stands for keys that it lacks.

    Raises:
        NotSupported: It cannot be read, or its type is another one than string or array.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = json.loads(file.read(_TABLE_BYTES_MAX))
    except OSError as error:
        raise NotSupported(f"the lookup table {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise NotSupported(f"the lookup table {path} is no JSON") from None
    kind = document.get("type", "string") if isinstance(document, dict) else None
    if kind not in ("string", "array"):
        raise NotSupported(f"a lookup table of type {kind!r}; the relay has string and array")
    rows: list[tuple[str, str]] = []
    for row in document.get("table", []):
        if not isinstance(row, dict) or not {"index", "value"} <= row.keys():
            raise NotSupported(f"the lookup table {path} has a row without index and value")
        rows.append((str(row["index"]), str(row["value"])))
    if not rows:
        raise NotSupported(f"the lookup table {path} is empty")
    return rows, str(document.get("nomatch", ""))
