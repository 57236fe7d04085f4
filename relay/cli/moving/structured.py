"""Configurations that are YAML or TOML, with the line of each value.

PyYAML is an extra (``syslogrelay[import]``): only an import of YAML needs it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from relay.cli.moving.files import ImportRefused
from relay.cli.moving.report import Place, Report, Said
from relay.service.configuration.toml_text import TomlSlip, lines_of, parse_toml

__all__ = ["Entry", "Expression", "Given", "Keys", "read_toml", "read_yaml"]

DEPTH_MAX = 32
ENTRIES_MAX = 50_000
_EXCERPT_MAX = 120


class Expression(NamedTuple):
    """A regular expression or a function of JavaScript, as YAML's tags have it."""

    kind: str
    text: str


Content: TypeAlias = "bool | int | float | str | Expression | list[Entry] | dict[str, Entry] | None"


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its line."""

    content: Content
    line: int

    @property
    def table(self) -> dict[str, Entry]:
        """Its members; none if it is no table."""
        return self.content if isinstance(self.content, dict) else {}

    @property
    def items(self) -> list[Entry]:
        """Its items; a single value is a list of itself, and nothing is none."""
        if isinstance(self.content, list):
            return self.content
        return [] if self.content is None else [self]

    @property
    def text(self) -> str:
        """Its text; empty if it is a table or a list."""
        match self.content:
            case bool():
                return "true" if self.content else "false"
            case str() | int() | float():
                return str(self.content)
            case Expression(text=text):
                return text
        return ""

    @property
    def texts(self) -> list[str]:
        """The texts of its items."""
        return [item.text for item in self.items if item.text]


def shown(entry: Entry) -> str:
    """An entry as it is shown, cut where it is long."""
    return "".join(_pieces(entry))[:_EXCERPT_MAX]


def _pieces(entry: Entry) -> Iterator[str]:
    match entry.content:
        case dict():
            yield "{…}" if entry.content else "{}"
        case list():
            yield f"[{', '.join(item.text or '…' for item in entry.content[:20])}]"
        case None:
            yield "nothing"
        case _:
            yield entry.text


def read_yaml(text: str, path: str) -> Entry:
    """The document in `text`.

    Raises:
        ImportRefused: It is no YAML, too deep or too long, or PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise ImportRefused(
            f"{path}: needs PyYAML to be read; install it with pip install 'syslogrelay[import]'"
        ) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return _Yaml(yaml.SafeLoader("")).entry(node, 0) if node is not None else Entry(None, 1)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ImportRefused(f"{path}:{line}: no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else "too deep"
        raise ImportRefused(f"{path}: no YAML: {reason}") from None


class _Yaml:
    """Makes entries of PyYAML's nodes.  Aliases are counted each time, so they cannot explode."""

    def __init__(self, loader: object) -> None:
        self._loader = loader
        self._count = 0

    def entry(self, node: object, depth: int) -> Entry:
        self._count += 1
        if depth > DEPTH_MAX or self._count > ENTRIES_MAX:
            raise ValueError(f"more than {DEPTH_MAX} levels or {ENTRIES_MAX:,} values")
        value = getattr(node, "value", None)
        tag = str(getattr(node, "tag", ""))
        line = int(getattr(getattr(node, "start_mark", None), "line", 0)) + 1
        kind = getattr(node, "id", "")
        if kind == "mapping" and isinstance(value, list):
            table = {}
            for key, item in value:
                table[str(getattr(key, "value", ""))] = self.entry(item, depth + 1)
            return Entry(table, line)
        if kind == "sequence" and isinstance(value, list):
            return Entry([self.entry(item, depth + 1) for item in value], line)
        if "js/" in tag:
            return Entry(Expression(tag.rpartition("/")[2], str(value)), line)
        return Entry(_scalar(tag, str(value)), line)


def _scalar(tag: str, text: str) -> Content:
    match tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() in ("yes", "true", "on")
        case "int" if text.lstrip("+-").isdecimal() and len(text) < 19:
            return int(text)
    return text


def read_toml(text: str, path: str) -> Entry:
    """The document in `text`.

    Raises:
        ImportRefused: It is no TOML, or too deep or too long.
    """
    try:
        document = parse_toml(text)
        lines = lines_of(text)
        counter = [0]
        return _toml(document, (), lines, counter)
    except TomlSlip as error:
        raise ImportRefused(f"{path}: no TOML: {error}") from None
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "too deep"
        raise ImportRefused(f"{path}: no TOML: {reason}") from None


def _toml(
    value: object, where: tuple[str, ...], lines: Mapping[tuple[str, ...], int], counter: list[int]
) -> Entry:
    counter[0] += 1
    if len(where) > DEPTH_MAX or counter[0] > ENTRIES_MAX:
        raise ValueError(f"more than {DEPTH_MAX} levels or {ENTRIES_MAX:,} values")
    line = next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), 1)
    if isinstance(value, dict):
        table = {name: _toml(item, (*where, name), lines, counter) for name, item in value.items()}
        return Entry(table, line)
    if isinstance(value, list):
        items = [_toml(item, (*where, str(n)), lines, counter) for n, item in enumerate(value)]
        return Entry(items, line)
    if isinstance(value, bool | int | float | str):
        return Entry(value, line)
    return Entry(str(value), line)


@dataclass(frozen=True, slots=True)
class Given(Said):
    """A key, and what the report says about it."""

    name: str
    entry: Entry

    @property
    def text(self) -> str:
        return self.entry.text

    @property
    def texts(self) -> list[str]:
        return self.entry.texts

    @property
    def flag(self) -> bool | None:
        """Whether it is true or false; None if it is neither."""
        return self.entry.content if isinstance(self.entry.content, bool) else None


class Keys:
    """The keys of a table: each is read once, or the report says that nobody reads it.

    Args:
        hidden: Keys whose values are secrets.
    """

    def __init__(
        self, entry: Entry, report: Report, file: str, *, hidden: tuple[str, ...] = ()
    ) -> None:
        self.report = report
        self.file = file
        self._left: dict[str, Given] = {}
        for name, value in entry.table.items():
            if name in hidden and value.text:
                report.hide(value.text)
            statement = report.statement(Place(file, value.line), f"{name}: {shown(value)}")
            self._left[name] = Given(statement, name, value)

    def take(self, *names: str) -> Given | None:
        """The key with one of `names`."""
        return next((self._left.pop(name) for name in names if name in self._left), None)

    def text(self, *names: str, default: str = "") -> str:
        """The text of a key that says what the statement around it is about."""
        given = self.take(*names)
        if given is None:
            return default
        given.taken("belongs to the table that it is in")
        return given.text

    def inner(self, *names: str, hidden: tuple[str, ...] = ()) -> Keys | None:
        """The keys of the table under one of `names`."""
        given = self.take(*names)
        if given is None:
            return None
        given.taken("see its keys")
        return Keys(given.entry, self.report, self.file, hidden=hidden)

    def pass_over(self, reasons: Mapping[str, str]) -> None:
        """Say of keys that the relay needs no counterpart, and why."""
        for name, reason in reasons.items():
            given = self.take(name)
            if given is not None:
                given.taken(reason)

    @property
    def left(self) -> list[Given]:
        """The entries that nobody took, which are taken now."""
        left = [*self._left.values()]
        self._left.clear()
        return left

    def finish(self, why: str = "the relay has no counterpart") -> None:
        """Say of all that nobody took that they are not supported."""
        for given in self.left:
            given.unsupported(why)
