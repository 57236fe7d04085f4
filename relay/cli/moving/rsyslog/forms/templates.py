"""Templates of rsyslog as formats of the relay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from relay.cli.moving.rsyslog.filters import NotSupported, pair_name
from relay.cli.moving.rsyslog.forms.macros import macro_of, source_of
from relay.cli.moving.rsyslog.forms.template_text import Constant, Piece, Replaced
from relay.cli.moving.rsyslog.patterns import from_basic, from_extended
from relay.cli.toml_writing import TomlValue

__all__ = ["Form", "form_of", "path_of", "subtree_form", "with_group"]

_TAG_AND_TEXT = "${SYSLOGTAG} ${MSG}"
_SHAPES: Mapping[str, TomlValue] = {
    f"<${{PRI}}>${{DATE}} ${{HOST}} {_TAG_AND_TEXT}": "rfc3164",
    f"<${{PRI}}>${{ISODATE}} ${{HOST}} {_TAG_AND_TEXT}": {"name": "rfc3164", "ts_format": "iso"},
    "<${PRI}>1 ${ISODATE} ${HOST} ${PROGRAM:--} ${PID:--} ${MSGID:--} ${SDATA:--} ${MSG}": (
        "rfc5424"
    ),
    "${RAWMSG}": "raw",
}
"""Templates that are a format of the relay."""
_TOKEN = "logsene-app-token"
_HEADERS: Mapping[str, Mapping[str, TomlValue]] = {
    "<${PRI}>${ISODATE} ${HOST} ${SYSLOGTAG}@cee: ": {"mode": "cee"},
    "<${PRI}>${DATE} ${HOST} ${SYSLOGTAG}@cee: ": {"mode": "cee", "header": "rfc3164"},
    "<${PRI}>1 ${ISODATE} ${HOST} ${PROGRAM:--} ${PID:--} ${MSGID:--} ${SDATA:--} ": {
        "mode": "json"
    },
}
"""The text before an object with a token, without blanks at its end."""
_JSON = {"json", "jsonf", "jsonr", "jsonfr"}
_OPEN, _CLOSE, _BARE = "\ue000", "\ue001", "\ue002"
_HOLDER = re.compile(f"[{_OPEN}{_BARE}]([0-9]+){_CLOSE}")
_FALLBACKS = {"DFLT": "**NO MATCH**", "BLANK": "", "ZERO": "0"}


@dataclass(slots=True)
class Form:
    """How a destination writes messages.

    Attributes:
        keys: `format` or `template`.
        steps: Steps of `rewrite` that the keys need.
        mode: The last entry of `rewrite`, instead of `keys`.
        token: The token that belongs to `mode`; it has to be in a file.
        notes: In what it differs from the template.
    """

    keys: dict[str, TomlValue] = field(default_factory=dict)
    steps: list[TomlValue] = field(default_factory=list)
    mode: dict[str, TomlValue] | None = None
    token: str = ""
    notes: list[str] = field(default_factory=list)


def form_of(
    pieces: Sequence[Piece], *, wants_lines: bool = True, has_slashes: bool = False
) -> Form:
    """The form that messages get by a template.

    Args:
        wants_lines: They go to a file or the like, where a message is a line.
        has_slashes: For rsyslog, too, a program's name does not end at a slash.

    Raises:
        NotSupported: It has a property that the relay lacks.
    """
    builder = _Builder(".part.", has_slashes=has_slashes)
    pieces, ends_line = _without_line_end(pieces)
    if any(isinstance(each, Replaced) and each.options & _JSON for each in pieces) or (
        _is_object(pieces)
    ):
        found = builder.json_form(pieces)
        if found is not None:
            return found
    text = builder.text(pieces)
    if wants_lines and not ends_line:
        builder.form.notes.append("messages are lines here; the template has no line end")
    if "\n" in text:
        builder.form.notes.append("a line end within a message is written as #012")
    return builder.finished(text)


def subtree_form(tree: str) -> Form:
    """The form of a template of type subtree: one JSON object of variables below `tree`."""
    name = ".json." if tree in ("!", "!all-json") else f"{pair_name(tree)}."
    format: dict[str, TomlValue] = {"name": "json", "scope": ["none"], "subkeys": name}
    return Form({"format": format})


def path_of(pieces: Sequence[Piece], *, has_slashes: bool = False) -> tuple[str, Form]:
    """The path with macros that a template for names of files makes.

    Returns:
        The path, and a form with the steps and notes.

    Raises:
        NotSupported: It has a property that the relay lacks.
    """
    builder = _Builder(".path.", has_slashes=has_slashes)
    text = builder.text(_without_line_end(pieces)[0])
    return text, builder.form


def _without_line_end(pieces: Sequence[Piece]) -> tuple[list[Piece], bool]:
    """The pieces without a line end behind the last one, and whether there was one."""
    found = list(pieces)
    match found[-1:]:
        case [Constant(text) as last] if text.endswith("\n"):
            found[-1:] = [replace(last, text=text[:-1])] if len(text) > 1 else []
            return found, True
    return found, False


def _is_object(pieces: Sequence[Piece]) -> bool:
    match [*pieces]:
        case [Constant(first), *_]:
            return first.lstrip().startswith("{")
        case [Replaced(name)]:
            return name.endswith("all-json") or name in ("!", ".")
    return False


class _Builder:
    """Makes one form.

    Args:
        stem: Beginning of the names that its steps give.
    """

    def __init__(self, stem: str, *, has_slashes: bool) -> None:
        self._stem = stem
        self._has_slashes = has_slashes
        self._parts: dict[tuple[str, str], str] = {}
        self.form = Form()
        self._is_utc: set[bool] = set()
        self._steps = 0

    def finished(self, text: str) -> Form:
        shape = _SHAPES.get(text)
        form = self.form
        if len(self._is_utc) > 1:
            form.notes.append("all stamps are in UTC")
        zone: dict[str, TomlValue] = {"time_zone": "UTC"} if True in self._is_utc else {}
        if shape is None:
            table: TomlValue = {"name": "template", "template": text, **zone}
            form.keys = {"format": table} if zone else {"template": text}
        elif zone:
            named = shape if isinstance(shape, Mapping) else {"name": shape}
            form.keys = {"format": {**named, **zone}}
        else:
            form.keys = {"format": shape}
        return form

    def text(self, pieces: Sequence[Piece]) -> str:
        """The template in the relay's words."""
        words: list[str] = []
        for index, piece in enumerate(pieces):
            if isinstance(piece, Constant):
                words.append(piece.text.replace("$", "$$"))
                continue
            if piece.name == "msg" and "sp-if-no-1st-sp" in piece.options:
                continue  # it is a space or nothing, and the tag gets its space below
            before = pieces[index - 1] if index else None
            if piece.name == "msg" and isinstance(before, Replaced):
                if before.name == "msg" and index > 1:
                    before = pieces[index - 2]
                if isinstance(before, Replaced) and before.name == "syslogtag":
                    words.append(" ")
            words.append(self._macro(piece, escapes=bool(piece.options & _JSON)))
        return "".join(words)

    def _macro(self, piece: Replaced, *, escapes: bool = False) -> str:
        """The macro for a piece; `escapes` makes its value the inside of a JSON text."""
        for case in sorted(piece.options & {"lowercase", "uppercase"}):
            if case == "uppercase" or not piece.name.endswith("-text"):
                self.form.notes.append(f"{piece.name} is not written in {case}")
        if piece.pattern or piece.column:
            text = self._part(piece)
        elif self._is_cut(piece):
            text = self._cut(piece)
        elif piece.name == "programname" and not self._has_slashes:
            text = self._parsed(piece, "^(?P<value>[^/]*)", "")
        else:
            macro = macro_of(piece)
            if macro.note:
                self.form.notes.append(macro.note)
            if "timereported" in piece.name or "time" in piece.name:
                self._is_utc.add(macro.is_utc)
            text = macro.text
        return self._escaped(text) if escapes else text

    def _is_cut(self, piece: Replaced) -> bool:
        if piece.name.startswith("time") or (piece.name, piece.start) == ("syslogtag", 1):
            return False  # a tag of 32 characters is what RFC 3164 allowed
        start = piece.start - (piece.name == "msg")
        return start > 1 or piece.stop > 0

    def _cut(self, piece: Replaced) -> str:
        # For rsyslog, the first character of msg is the space behind the tag.
        less = 1 if piece.name == "msg" else 0
        start, stop = max(1, piece.start - less), max(0, piece.stop - less)
        if piece.stop and stop < start:
            return ""
        count = f"{{0,{min(stop - start + 1, 1000)}}}" if piece.stop else "*"
        skipped = f".{{{min(start - 1, 1000)}}}" if start > 1 else ""
        return self._parsed(piece, f"(?s)^{skipped}(?P<value>.{count})", "")

    def _part(self, piece: Replaced) -> str:
        """A part that an expression or a separator finds."""
        if piece.column:
            separator = re.sub(r"([^A-Za-z0-9 ,;:=/])", r"\\\1", piece.separator)
            skipped = f"(?:[^{separator}]*{separator}){{{min(piece.column - 1, 1000)}}}"
            skipped = "" if piece.column == 1 else skipped
            # A pattern that is never empty, so that the fallback stands for an empty field, too.
            pattern = f"^{skipped}(?P<value>[^{separator}]*)"
            return self._parsed(piece, pattern, "**FIELD NOT FOUND**")
        try:
            translate = from_basic if "bre" in piece.options else from_extended
            pattern = with_group(translate(piece.pattern), piece.group)
        except ValueError as error:
            raise NotSupported(str(error)) from None
        fallback = _FALLBACKS.get(piece.fallback.upper())
        if fallback is None:
            return self._parsed(piece, pattern, "", instead=f"${{{source_of(piece.name)}}}")
        return self._parsed(piece, pattern, fallback)

    def _parsed(self, piece: Replaced, pattern: str, fallback: str, *, instead: str = "") -> str:
        """A macro with what `pattern` finds, after a step that looks for it."""
        source = source_of(piece.name)
        if (source, pattern) in self._parts:
            return self._parts[source, pattern]
        self._steps += 1
        prefix = f"{self._stem}{self._steps}."
        if instead:
            self.form.steps.append({"set": {f"{prefix}value": instead}})
        step: dict[str, TomlValue] = {"parse": "regex", "pattern": pattern, "prefix": prefix}
        self.form.steps.append({**step, **({"from": source} if source != "MESSAGE" else {})})
        text = f"${{{prefix}value:-{fallback}}}" if fallback else f"${{{prefix}value}}"
        self._parts[source, pattern] = text
        return text

    def _escaped(self, text: str) -> str:
        """A macro whose value is `text` as the inside of a JSON text."""
        if not re.search(r"MSG\}|MESSAGE|HOST|PROGRAM|TAG|SDATA|\.", text):
            return text
        self._steps += 1
        name = f".text{self._stem}{self._steps}"
        self.form.steps += [
            {"set": {name: text}},
            {"subst": r'(["\\])', "with": r"\\\1", "in": [name]},
            {"subst": r"[\x00-\x1f]", "with": " ", "in": [name]},
        ]
        self.form.notes.append("control characters in JSON become spaces")
        return f"${{{name}}}"

    def json_form(self, pieces: Sequence[Piece]) -> Form | None:
        """The form of a template that is a JSON object, perhaps behind a header; or None."""
        match [*pieces]:
            case [Replaced(name)] if name.endswith("all-json") or name in ("!", "."):
                return subtree_form(name)
        header, members = _object_in(pieces)
        if members is None:
            return None
        replaced = [piece for piece in pieces if isinstance(piece, Replaced)]
        token = members.get(_TOKEN)
        if header:
            if not isinstance(token, str) or _HOLDER.search(token):
                return None
            return self._with_token(header, members, token, replaced)
        pairs: dict[str, TomlValue] = {}
        for name, value in _flat(members):
            pairs[name] = self._member(value, replaced)
        for name in members:
            if "." in name:
                self.form.notes.append(f"the dot in the name {name} makes an object inside")
        self.form.keys = {"format": {"name": "json", "scope": ["none"], "pair": pairs}}
        return self.form

    def _with_token(
        self,
        header: Sequence[Piece],
        members: Mapping[str, object],
        token: str,
        replaced: Sequence[Replaced],
    ) -> Form | None:
        """The mode of the relay that makes what Sematext describes for rsyslog."""
        mode = _HEADERS.get(self.text(header).rstrip() + " ")
        if mode is None:
            return None
        self.form = Form(mode=dict(mode), token=token)
        for name, value in members.items():
            is_text = isinstance(value, str) and self._member(value, replaced) == "${MSG}"
            if name != _TOKEN and not (name == "message" and is_text):
                self.form.notes.append(f"the member {name} is left out")
        return self.form

    def _member(self, value: object, replaced: Sequence[Replaced]) -> TomlValue:
        """A value of `pair`."""

        def macro(found: re.Match[str]) -> str:
            return self._macro(replaced[int(found[1])])

        if isinstance(value, str):
            text = _HOLDER.sub(macro, value.replace("$", "$$"))
            return {"type": "json", "value": text} if value.startswith(_BARE) else text
        return {
            "type": "json",
            "value": _HOLDER.sub(macro, json.dumps(value, ensure_ascii=False).replace("$", "$$")),
        }


def _flat(members: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Members of objects inside of objects, under names with dots."""
    for name, value in members.items():
        if isinstance(value, dict) and value and "." not in name:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def with_group(pattern: str, group: int) -> str:
    """`pattern` with the name `value` for its group of this number, 0 for all of it.

    Raises:
        NotSupported: It has no such group.
    """
    if group == 0:
        return f"(?P<value>{pattern})"
    number = 0
    for found in re.finditer(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?!\?)", pattern, re.DOTALL):
        number += found[0] == "("
        if number == group:
            return f"{pattern[: found.end()]}?P<value>{pattern[found.end() :]}"
    raise NotSupported(f"the group {group} of {pattern!r}, which has {number}")


def _object_in(pieces: Sequence[Piece]) -> tuple[list[Piece], dict[str, object] | None]:
    """The text before an object that ends a template, and its members with place-holders."""
    text, number, header = "", 0, list[Piece]()
    for piece in pieces:
        if isinstance(piece, Replaced):
            if not text:
                header.append(piece)
            else:
                text += _held(piece, number)
            number += 1
        elif not text and "{" in piece.text:
            before, _, rest = piece.text.partition("{")
            header += [Constant(before)] if before.strip() else []
            text = "{" + rest
        elif not text:
            header.append(piece)
        else:
            text += piece.text
    bare = re.compile(rf"(?<=[:\[,])(\s*){_OPEN}([0-9]+{_CLOSE})(?=\s*[,\}}\]])")
    text = bare.sub(rf'\1"{_BARE}\2"', text)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return header, None
    return header, found if isinstance(found, dict) else None


def _held(piece: Replaced, number: int) -> str:
    holder = f"{_OPEN}{number}{_CLOSE}"
    if piece.options & {"jsonf", "jsonfr"}:
        name = json.dumps(piece.member or piece.name.lstrip("!."))
        is_raw = "jsonfr" in piece.options or piece.options & {"type-number", "type-bool"}
        return f"{name}:{holder}" if is_raw else f'{name}:"{holder}"'
    return holder
