"""Templates of syslog-ng, as `template`, `format` or a mode of the relay."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from relay.cli.toml_writing import TomlValue
from relay.model.output import SCOPES, TYPES
from relay.model.template import split_template

__all__ = ["Form", "constant_or_template", "read_template"]

_TOKEN = re.compile(r"logsene-app-token[\"']?\s*[:=]\s*[\"']?([0-9A-Za-z][0-9A-Za-z-]{7,127})")
_FUNCTION = re.compile(r"\$\(\s*([A-Za-z0-9_-]+)")
_CALL = re.compile(r"\$\(\s*(format-[a-z-]+)((?:[^()$]|\$(?!\()|\([^()]*\))*)\)\s*")
_TYPED = re.compile(r"([a-z0-9]+)\((.*)\)", re.DOTALL)
_NUMBERED = re.compile(r"\$\{?[0-9]")
_STAMP = re.compile(r"DATE|STAMP|UNIXTIME")
_TEMPLATE_MAX = 16 * 1024
_JSON_FLAGS = {
    "--leave-initial-dot": "leave_initial_dot",
    "--omit-empty-values": "omit_empty_values",
}


@dataclass(slots=True)
class Form:
    """The format in which a destination sends.

    Attributes:
        keys: Of the destination: `template`, `format`; or none where `mode` says it.
        mode: A mode for the end of `rewrite`; a `token` belongs to it.
        token: An app's token that was in the template.
        doubts: What is not the same; `unsupported` is worse.
    """

    keys: dict[str, TomlValue] = field(default_factory=dict)
    mode: str = ""
    token: str = ""
    doubts: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    ends_line: bool = True


def read_template(text: str, stamps: Mapping[str, TomlValue]) -> Form:
    """What `text` means.

    Args:
        stamps: Keys for stamps that a format gets: `ts_format`, `frac_digits`, `time_zone`.
    """
    form = Form(ends_line=text.endswith("\n"))
    text = text.removesuffix("\n")
    if len(text) > _TEMPLATE_MAX:
        form.unsupported.append(f"a template of more than {_TEMPLATE_MAX:,} characters")
        return form
    token = _TOKEN.search(text)
    if token is not None:
        form.token = token[1]
        form.mode = "cee" if "@cee:" in text else "json"
        form.doubts.append(
            f"the mode {form.mode} writes Sematext's JSON, with what this template has and the "
            "members of messages that are JSON themselves"
        )
        return form
    call = _CALL.fullmatch(text)
    name = call[1] if call is not None else ""
    if name == "format-ewmm":
        form.mode = "ewmm"
    elif call is not None and name in ("format-json", "format-flat-json"):
        _read_json(call[2], form, stamps)
        if name == "format-flat-json":
            form.doubts.append("dots in names make nested objects")
    else:
        _read_text(text, form, stamps)
    return form


def _read_text(text: str, form: Form, stamps: Mapping[str, TomlValue]) -> None:
    functions = sorted({found[1] for found in _FUNCTION.finditer(text)})
    if functions:
        form.unsupported.append(
            f"the relay's templates have no functions, found {', '.join(functions)}: "
            "the message is sent in its default form"
        )
        return
    if _NUMBERED.search(text):
        form.unsupported.append("what a filter's expression has matched ($1) is not kept")
        return
    if "\n" in text:
        form.doubts.append("line ends inside of a line are escaped in files")
    problem = _problem(text)
    if problem:
        form.unsupported.append(f"template: {problem}")
        return
    if stamps and _STAMP.search(text):
        form.keys["format"] = {"name": "template", "template": text, **stamps}
    else:
        form.keys["template"] = text


def _problem(text: str) -> str:
    try:
        split_template(text)
    except ValueError as error:
        return str(error)
    return ""


def constant_or_template(text: str) -> tuple[str, str]:
    """A template of the relay for `text`, and what is wrong with it; empty = nothing."""
    functions = _FUNCTION.search(text)
    if functions is not None:
        return "", f"the relay's templates have no functions, found {functions[1]}"
    if _NUMBERED.search(text):
        return "", "what an expression has matched ($1) is not kept"
    return text, _problem(text)


def _read_json(arguments: str, form: Form, stamps: Mapping[str, TomlValue]) -> None:
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        form.unsupported.append(f"format-json: {error}")
        return
    selection = _Selection(form)
    selection.read(words)
    has_stamps = selection.scopes or selection.select or _STAMP.search(arguments)
    table: dict[str, TomlValue] = {"name": "json", **(stamps if has_stamps else {})}
    if selection.scopes:
        table["scope"] = [*selection.scopes]
    elif not selection.select and not selection.pairs:
        table["scope"] = "none"
    if not selection.scopes and (selection.select or selection.pairs):
        table["scope"] = "none"
    if selection.select:
        table["select"] = [*selection.select]
    if selection.pairs:
        table["pair"] = selection.pairs
    if selection.rekeys:
        table["rekey"] = [*selection.rekeys]
    if selection.subkeys:
        table["subkeys"] = [*selection.subkeys]
    for name in selection.switches:
        table[name] = True
    form.keys["format"] = table


class _Selection:
    """The arguments of format-json."""

    def __init__(self, form: Form) -> None:
        self.scopes: list[str] = []
        self.select: list[Mapping[str, TomlValue]] = []
        self.pairs: dict[str, TomlValue] = {}
        self.rekeys: list[dict[str, TomlValue]] = []
        self.subkeys: list[str] = []
        self.switches: list[str] = []
        self._form = form
        self._words: Iterator[str] = iter(())

    def read(self, words: Sequence[str]) -> None:
        self._words = iter(words)
        last: str = ""
        for word in self._words:
            name, _, value = word.partition("=")
            if word.startswith("--"):
                last = self._option(name, value, word, last)
            elif "=" in word:
                self._pair(name, value)
            else:
                self.select.append({"key": word})
        empty = [rekey for rekey in self.rekeys if len(rekey) == 1]
        self.rekeys = [rekey for rekey in self.rekeys if rekey not in empty]

    def _option(self, name: str, value: str, word: str, last: str) -> str:
        actions: Mapping[str, Callable[[str], None]] = {
            "--scope": self._scope,
            "--key": lambda text: self._patterns("key", text),
            "--exclude": lambda text: self._patterns("exclude", text),
            "--pair": lambda text: self._pair(*text.partition("=")[::2]),
            "--subkeys": self.subkeys.append,
            "--rekey": lambda text: self.rekeys.append({"match": text}),
            "--shift": lambda text: self._change("shift", _number(text)),
            "--shift-levels": lambda text: self._change("shift_levels", _number(text)),
            "--add-prefix": lambda text: self._change("add_prefix", text),
            "--replace-prefix": self._replace_prefix,
            "--replace": self._replace_prefix,
        }
        if name in _JSON_FLAGS:
            self.switches.append(_JSON_FLAGS[name])
        elif name in ("--upper", "--lower"):
            self._change(name[2:], True)
        elif name in ("-s", "-k", "-x", "-p", "-r") or name not in actions:
            self._form.unsupported.append(f"format-json: {word} is not supported")
        else:
            is_given = bool(value) and name not in ("--pair", "--replace-prefix", "--replace")
            text = value if is_given else next(self._words, "")
            if value and name == "--replace-prefix" and "=" not in text and not is_given:
                text = value
            actions[name](text)
            return name
        return last

    def _scope(self, text: str) -> None:
        for name in text.replace(",", " ").split():
            scope = name.replace("_", "-")
            if scope in SCOPES:
                self.scopes.append(scope)
            else:
                self._form.unsupported.append(f"format-json: there is no scope {name}")

    def _patterns(self, key: str, text: str) -> None:
        self.select += [{key: name} for name in text.split(",") if name]

    def _pair(self, name: str, value: str) -> None:
        typed = _TYPED.fullmatch(value)
        template, problem = constant_or_template(typed[2] if typed and typed[1] in TYPES else value)
        if problem or not name:
            self._form.unsupported.append(f"format-json: the pair {name}: {problem}")
        elif typed and typed[1] in TYPES:
            self.pairs[name] = {"type": typed[1], "value": template}
        else:
            self.pairs[name] = template

    def _change(self, key: str, value: TomlValue) -> None:
        if self.rekeys:
            self.rekeys[-1][key] = value
        elif self.select:  # after --key it changes what this key has selected
            self.rekeys.append({"match": str(next(iter(self.select[-1].values()))), key: value})

    def _replace_prefix(self, text: str) -> None:
        old, _, new = text.partition("=")
        if old:
            self._change("replace_prefix", [old, new])


def _number(text: str) -> int:
    return min(int(text), 255) if text.isdecimal() and len(text) < 9 else 0
