"""Legacy lines in the words of RainerScript, so that everything after this has one style."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from relay.cli.moving.report import Statement
from relay.cli.moving.rsyslog.language.directives import (
    FOR_NEXT_ACTION,
    FOR_NEXT_INPUT,
    FOR_RSYSLOG_ALONE,
    GLOBAL,
    LASTING,
    OPENS_INPUT,
)
from relay.cli.moving.rsyslog.language.scanner import unescaped
from relay.cli.moving.rsyslog.language.syntax import (
    Directive,
    If,
    LegacyAction,
    Node,
    Object,
    Parameters,
    Unreadable,
)
from relay.cli.moving.rsyslog.language.values import is_on

__all__ = ["DEFAULT_RULESET", "Modern"]

DEFAULT_RULESET = "RSYSLOG_DefaultRuleset"

_TEMPLATE = re.compile(r'([^,\s]+)\s*,\s*(?:"((?:[^"\\]|\\.)*)"|=\s*([^\s,]+))\s*(?:,\s*(.*))?')
_CHANNEL = re.compile(r"([^,\s]+)\s*,\s*([^,]+?)\s*(?:,\s*([0-9]+)\s*(?:,\s*(.*))?)?")
_FORWARD = re.compile(r"(@@?)\s*(?:\(([^)]*)\))?\s*(\[[^\]]*\]|[^:;\s]+)(?::([0-9A-Za-z]+))?")
_MODULE_ACTION = re.compile(r":(om[a-z0-9]+|mm[a-z0-9]+|fm[a-z0-9]+):(.*)", re.DOTALL)
_OF_OTHERS = {"fileowner", "fileownernum", "dirowner"}
_USERS = re.compile(r"[A-Za-z0-9_*.-]+(?:,[A-Za-z0-9_*.-]+)*")


def parameters(**values: str) -> Parameters:
    """Parameters with one value each; ``_`` in a name stands for a dot."""
    return Parameters({name.replace("_", "."): [value] for name, value in values.items()})


class Modern:
    """The statements in the words of RainerScript.

    Attributes:
        rulesets: What each ruleset does, by its name, in the order of the file.
        others: All other objects: module, input, global, template, main_queue, lookup_table, and
            ``senders``, with the allowed senders of a protocol.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.rulesets: dict[str, list[Node]] = {DEFAULT_RULESET: []}
        self.ruleset_objects: list[Object] = []
        self.others: list[Object] = []
        self._ruleset = DEFAULT_RULESET
        self._next_action: dict[str, list[str]] = {}
        self._lasting: dict[str, list[str]] = {}
        self._next_input: dict[str, dict[str, list[str]]] = {}
        self._channels: dict[str, tuple[str, str, Statement]] = {}
        for node in nodes:
            found = self._modern(node)
            self.rulesets.setdefault(self._ruleset, []).extend(found)

    def _all(self, nodes: Sequence[Node]) -> list[Node]:
        return [found for node in nodes for found in self._modern(node)]

    def _modern(self, node: Node) -> Sequence[Node]:
        """The replacement of a statement in its ruleset."""
        match node:
            case Directive():
                self._directive(node)
                return []
            case LegacyAction():
                return [Object("action", self._action(node), node.said)]
            case If():
                return [
                    If(
                        node.condition,
                        self._all(node.then),
                        self._all(node.otherwise),
                        node.said,
                    )
                ]
            case Unreadable():
                return [Unreadable(node.said, self._all(node.body))]
            case Object(kind="action"):
                return [node]
            case Object(kind="ruleset"):
                name = "".join(node.parameters.values.get("name", []))
                self.rulesets.setdefault(name, []).extend(self._all(node.body))
                self.ruleset_objects.append(node)
                return []
            case Object():
                self.others.append(node)
                return []
        return [node]

    def _object(self, kind: str, values: dict[str, list[str]], said: Statement) -> None:
        self.others.append(Object(kind, Parameters(values), said))

    def _directive(self, line: Directive) -> None:
        name, value, said = line.name, _unquoted(line.value), line.said
        if name in FOR_NEXT_ACTION:
            self._next_action[FOR_NEXT_ACTION[name]] = [value]
            said.taken("for the next action")
        elif name in LASTING:
            self._last(LASTING[name], value)
            if name in _OF_OTHERS:
                self._lasting.pop(LASTING[name])
                said.approximated("files belong to the relay's user; as root, write owner")
            elif "group" in name:
                said.approximated(f"the relay's user has to be a member of the group {value}")
            else:
                said.taken("for the actions that follow")
        elif name in FOR_NEXT_INPUT:
            module, parameter = FOR_NEXT_INPUT[name]
            self._next_input.setdefault(module, {})[parameter] = [value]
            said.taken(f"for the inputs of {module} that follow")
        elif name in OPENS_INPUT:
            module, parameter = OPENS_INPUT[name]
            values = {"type": [module], **self._next_input.get(module, {})}
            if module == "imfile":  # others keep what was said, for all inputs that follow
                self._next_input.pop(module, None)
            self._object("input", {**values, **({parameter: [value]} if parameter else {})}, said)
        elif name in GLOBAL:
            kind, parameter = GLOBAL[name]
            if kind in ("global", "main_queue"):
                self._object(kind, {parameter: [value]}, said)
            else:
                self._object("module", {"@of": [kind], parameter: [value]}, said)
        elif name in FOR_RSYSLOG_ALONE:
            said.taken(FOR_RSYSLOG_ALONE[name])
        else:
            self._special(line)

    def _last(self, parameter: str, value: str) -> None:
        if parameter == "streamdriverpermittedpeers" and parameter in self._lasting:
            self._lasting[parameter].append(value)
        else:
            self._lasting[parameter] = [value]

    def _special(self, line: Directive) -> None:
        value, said = _unquoted(line.value), line.said
        match line.name:
            case "modload":
                name = value.rpartition("/")[2].removesuffix(".so")
                self._object("module", {"load": [name]}, said)
            case "template":
                self._template(line.value, said)
            case "outchannel":
                self._channel(line.value, said)
            case "ruleset":
                self._ruleset = value
                said.taken(f"what follows belongs to the ruleset {value}")
            case "defaultruleset":
                self._object("global", {"@ruleset": [value]}, said)
            case "allowedsender":
                self._object("senders", {"networks": [value]}, said)
            case "repeatedmsgreduction":
                self._repeats(value, said)
            case "resetconfigvariables":
                self._lasting.clear()
                self._next_action.clear()
                said.taken("what was said for actions is forgotten")
            case _:
                said.unsupported("the import does not know this line")

    def _repeats(self, value: str, said: Statement) -> None:
        if is_on(value):
            self._lasting["@repeats"] = ["on"]
            said.approximated("repeats are suppressed for at most 30 seconds, in each destination")
        else:
            self._lasting.pop("@repeats", None)
            said.taken("that is the default")

    def _template(self, value: str, said: Statement) -> None:
        found = _TEMPLATE.fullmatch(value)
        if found is None:
            said.unsupported('expected NAME,"TEXT" or NAME,=GENERATOR')
            return
        values = {"name": [found[1]], "type": ["string"], "string": [found[2] or ""]}
        if found[3]:
            values = {"name": [found[1]], "type": ["plugin"], "plugin": [found[3]]}
        if found[4]:
            for option in found[4].split(","):
                values[f"option.{option.strip().lower()}"] = ["on"]
        self._object("template", values, said)

    def _channel(self, value: str, said: Statement) -> None:
        found = _CHANNEL.fullmatch(value)
        if found is None:
            said.unsupported("expected NAME,FILE,SIZE,COMMAND")
            return
        self._channels[found[1]] = (found[2], found[3] or "", said)
        if found[4]:
            said.approximated(
                "at this size the relay itself renames the file and begins a new one; "
                "the command is not run"
            )
        else:
            said.taken("for the actions that write to it")

    def _action(self, line: LegacyAction) -> Parameters:
        """The parameters that a legacy action stands for."""
        text, _, template = _split_template(line.text)
        values = {name: value for name, value in self._lasting.items() if name[0] != "@"}
        own = {**self._of_text(text.strip()), "@noted": ["on"]}
        kind = "".join(own["type"])
        if kind != "omfile":
            values = {name: value for name, value in values.items() if name.startswith("stream")}
        if kind != "omfwd":
            values = {name: each for name, each in values.items() if not name.startswith("stream")}
        default = {"omfile": "@file", "omfwd": "@forward", "omrelp": "@forward"}.get(kind, "")
        if default in self._lasting:
            values["template"] = self._lasting[default]
        if template:
            values["template"] = [template]
        if "@repeats" in self._lasting:
            values["@repeats"] = ["on"]
        if is_on("".join(self._lasting.get("@failures", []))):
            values["action.execonlywhenpreviousissuspended"] = ["on"]
        pending, self._next_action = self._next_action, {}
        return Parameters({**values, **pending, **own})

    def _of_text(self, text: str) -> dict[str, list[str]]:
        if found := _FORWARD.fullmatch(text):
            return _forward(found)
        if text.startswith("|"):
            return _plain("ompipe", pipe=text[1:].strip())
        if text.startswith("^"):
            return _plain("omshell", program=text[1:].strip())
        if found := _MODULE_ACTION.fullmatch(text):
            return self._of_module(found[1], found[2].strip())
        if text.startswith("$"):
            return self._to_channel(text[1:])
        path = text.removeprefix("-")
        if path.startswith("?"):
            return _plain("omfile", dynafile=path[1:].strip())
        if path.startswith("/"):
            return _plain("omfile", file=path)
        if _USERS.fullmatch(text):
            return {"type": ["omusrmsg"], "users": text.split(",")}
        return _plain("@unknown", text=text)

    def _of_module(self, module: str, rest: str) -> dict[str, list[str]]:
        if module == "omusrmsg":
            return {"type": [module], "users": [each.strip() for each in rest.split(",")]}
        if module == "omrelp":
            target, _, port = rest.rpartition(":") if ":" in rest else (rest, "", "")
            return _plain(module, target=target or rest, **({"port": port} if port else {}))
        if module == "omfile":
            if rest.startswith("$"):
                return self._to_channel(rest[1:])
            return _plain(module, file=rest.removeprefix("-"))
        return _plain(module)

    def _to_channel(self, name: str) -> dict[str, list[str]]:
        path, size, _ = self._channels.get(name.strip(), ("", "", None))
        if not path:
            return _plain("@unknown", text=f"${name}")
        return _plain("omfile", file=path, **({"@size": size} if size else {}))


def _plain(kind: str, **values: str) -> dict[str, list[str]]:
    return {"type": [kind], **{name: [value] for name, value in values.items()}}


def _forward(found: re.Match[str]) -> dict[str, list[str]]:
    values = _plain("omfwd", target=found[3].strip("[]"))
    values["protocol"] = ["tcp" if found[1] == "@@" else "udp"]
    if found[4]:
        values["port"] = [found[4]]
    for option in (found[2] or "").split(","):
        option = option.strip().lower()
        if option == "o":
            values["tcp_framing"] = ["octet-counted"]
        elif option.startswith("z"):
            values["ziplevel"] = [option[1:] or "9"]
        elif option:
            values[f"@option {option}"] = ["on"]
    return values


def _split_template(text: str) -> tuple[str, str, str]:
    """An action, and the name of the template behind it."""
    found = re.fullmatch(r"(.*?)\s*(;)\s*([A-Za-z_][A-Za-z0-9_.-]*)?\s*", text, re.DOTALL)
    return (found[1], found[2], found[3] or "") if found else (text, "", "")


def _unquoted(value: str) -> str:
    """A value without quotation marks, and without a comment behind it."""
    value = re.sub(r"\s+#.*$", "", value).strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return unescaped(value[1:-1])
    return value
