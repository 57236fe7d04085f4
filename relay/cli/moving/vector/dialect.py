"""Vector as a dialect of `syslogrelay import`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from relay.cli.moving.conditions import (
    ALWAYS,
    NEVER,
    Condition,
    Fits,
    TooDeep,
    all_of,
    fits,
    to_match,
)
from relay.cli.moving.dialect import Dialect
from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.report import Place, Report, Statement
from relay.cli.moving.structured import Entry, Given, Keys, read_toml, read_yaml, shown
from relay.cli.moving.syslog_ng.branches import Branch
from relay.cli.moving.syslog_ng.filters import Fit, beyond, either
from relay.cli.moving.syslog_ng.steps import Step, Steps
from relay.cli.moving.vector.kafka import tables_of_source
from relay.cli.moving.vector.sinks import read_sink
from relay.cli.moving.vector.transforms import Transform, read_transform
from relay.cli.toml_writing import TomlValue

__all__ = ["VECTOR"]

BRANCHES_MAX = 100
DEPTH_MAX = 32
_SIGNS = re.compile(
    r"""^(?:\[(?:sources|transforms|sinks)\.[^\]]+\]|(?:sources|transforms|sinks):[ \t]*$"""
    r"""|[ \t]*inputs[ \t]*[=:][ \t]*\[?|[ \t]*type[ \t]*[=:][ \t]*"?"""
    r"""(?:socket|remap|journald|elasticsearch|sematext_logs|syslog|file|filter|route|kafka)\b)""",
    re.MULTILINE,
)
_SECTIONS = ("sources", "transforms", "sinks")
_NEEDS_NONE = {
    "data_dir": "the queue is in relay.state_dir",
    "acknowledgements": "answers mean that a message is on disk",
    "healthchecks": "a destination that cannot be reached has its queue",
    "log_schema": "fields have the names of syslog",
    "schema": "fields have the names of syslog",
    "expire_metrics_secs": "see /metrics",
    "expire_metrics": "see /metrics",
}


def _score(text: str) -> int:
    found = _SIGNS.findall(text)
    has_sections = re.search(r"^\[?(?:sources|sinks)\b", text, re.MULTILINE)
    return len(found) if has_sections and re.search(r"\binputs\b", text) else 0


def _read(files: InputFiles, path: str) -> Imported:
    with files.opened(path) as text:
        is_yaml = not re.search(r"^\s*\[\[?[\w.\"-]+\]\]?\s*(?:#.*)?$", text, re.MULTILINE)
        document = (read_yaml if is_yaml else read_toml)(text, path)
    if not document.table:
        raise ImportRefused(f"{path}: has no table; is it a configuration of Vector?")
    imported = Imported("vector", Report())
    _Reader(imported, document, path).read()
    imported.report.statements.sort(key=lambda each: each.place.line)
    return imported


VECTOR = Dialect("vector", _score, _read)


class _Reader:
    """Reads sources and transforms, and follows the inputs of each sink back to its sources."""

    def __init__(self, imported: Imported, document: Entry, path: str) -> None:
        self._imported = imported
        self._report = imported.report
        self._path = path
        self._document = document
        self._sources: dict[str, list[str]] = {}
        self._transforms: dict[str, tuple[Transform, list[str], Statement]] = {}
        self._known: dict[str, list[Branch]] = {}

    def read(self) -> None:
        for name, entry in self._document.table.items():
            if name in _SECTIONS:
                continue
            statement = self._report.statement(
                Place(self._path, entry.line), f"{name}: {shown(entry)}"
            )
            if name in _NEEDS_NONE:
                statement.taken(_NEEDS_NONE[name])
            elif name == "api":
                statement.unsupported("write [web], and see syslogrelay top")
            elif name == "timezone":
                statement.approximated(
                    "write parse.time_zone at sources with stamps without offset"
                )
            else:
                statement.unsupported("the relay has nothing like this table")
        for given, keys, kind, _ in self._tables("sources"):
            self._sources[given.name] = [
                self._imported.add_source(given.name, table, given.statement).id
                for table in tables_of_source(kind, keys, self._imported, given.statement)
            ]
        for given, keys, kind, inputs in self._tables("transforms"):
            transform = read_transform(kind, keys, given.statement)
            self._transforms[given.name] = transform, inputs, given.statement
        for given, keys, kind, inputs in self._tables("sinks"):
            table = read_sink(kind, keys, self._imported, given.statement)
            if table is not None:
                self._sink(given, table, inputs)

    def _tables(self, section: str) -> Iterator[tuple[Given, Keys, str, list[str]]]:
        """The tables of a section, each with its keys, its type and its inputs."""
        entry = self._document.table.get(section)
        if entry is None:
            return
        for name, table in entry.table.items():
            place = Place(self._path, table.line)
            statement = self._report.statement(place, f"{section}.{name}")
            hidden = ("token", "default_token", "password", "key_pass")
            keys = Keys(table, self._report, self._path, hidden=hidden)
            kind = keys.take("type")
            if kind is not None:
                kind.taken("is the kind")
            inputs = keys.take("inputs")
            if inputs is not None:
                inputs.taken("is sources, and what they pass through")
            texts = inputs.texts if inputs is not None else []
            yield Given(statement, name, table), keys, kind.text if kind else "", texts

    def _sink(self, given: Given, table: dict[str, TomlValue], inputs: list[str]) -> None:
        branches = _together(
            [
                branch
                for name in self._names(inputs, given.statement)
                for branch in self._branches(name, given.statement, ())
            ]
        )[:BRANCHES_MAX]
        early = [branch.early.wide for branch in branches]
        everyone = either(early)
        steps: list[TomlValue] = []
        for branch in branches:
            settled = branch.settled()
            who = beyond(branch.early.wide, everyone)
            for step in settled.steps:
                try:
                    written = _written(step, all_of([who, step.when]))
                except TooDeep as error:
                    given.statement.unsupported(f"the filter of a step is too large: {error}")
                    continue
                if written is not None and written not in steps:
                    steps.append(written)
        if len(branches) > 1:
            given.statement.taken("a message that comes by two ways is sent once")
        if steps:
            table["rewrite"] = steps
        condition = everyone if branches else NEVER
        destination = self._imported.add_destination(given.name, table, condition, given.statement)
        given.statement.taken(f"is destinations.{destination.id}")

    def _names(self, inputs: list[str], statement: Statement) -> list[str]:
        """Names of components; a star at the end stands for any."""
        known = [
            *self._sources,
            *self._transforms,
            *(
                f"{name}.{output}"
                for name, (transform, *_) in self._transforms.items()
                for output in transform.outputs
            ),
        ]
        found: list[str] = []
        for text in inputs:
            names = [name for name in known if name == text]
            if text.endswith("*"):
                names = [name for name in known if name.startswith(text[:-1])]
            elif text.rpartition(".")[0] in self._transforms and not names:
                names = []
            if not names:
                statement.unsupported(f"there is no input {text}")
            found += [name for name in names if name not in found]
        return found

    def _branches(self, name: str, statement: Statement, inside: tuple[str, ...]) -> list[Branch]:
        """The ways on which messages come out of a component, which are found once."""
        if name not in self._known:
            found = self._found(name, statement, inside)
            self._known[name] = found
        return self._known[name]

    def _found(self, name: str, statement: Statement, inside: tuple[str, ...]) -> list[Branch]:
        if name in self._sources:
            ids = self._sources[name]
            return [Branch().restricted(_from(ids))] if ids else []
        base, _, output = name.rpartition(".")
        key = name if name in self._transforms else base
        if key in inside or len(inside) >= DEPTH_MAX:
            statement.unsupported(f"the inputs of {key} lead to itself")
            return []
        transform, inputs, own = self._transforms[key]
        found: list[Branch] = []
        ways = [
            branch
            for each in self._names(inputs, own)
            for branch in self._branches(each, statement, (*inside, key))
        ]
        for way in _together(ways):
            branch = way.restricted(transform.fit)
            if output in transform.outputs and key != name:
                branch = branch.restricted(transform.outputs[output])
            if transform.steps:
                branch = branch.settled().changed(Steps(transform.steps))
            found.append(branch)
        if len(found) > BRANCHES_MAX:
            statement.unsupported(f"more than {BRANCHES_MAX} ways from sources to here")
            return found[:BRANCHES_MAX]
        return found


def _together(branches: list[Branch]) -> list[Branch]:
    """Ways straight from sources are one, so that a rate holds for all of them."""
    ids: list[str] = []
    others: list[Branch] = []
    for branch in branches:
        match branch.early.wide:
            case Fits("sources", [*own]) if not branch.steps:
                ids += [id for id in map(str, own) if id not in ids]
            case _:
                others.append(branch)
    return [*([Branch().restricted(_from(ids))] if ids else []), *others]


def _from(ids: list[str]) -> Fit:
    return Fit.exactly(fits("sources", [*ids]))


def _written(step: Step, when: Condition) -> Mapping[str, TomlValue] | None:
    if when == NEVER:
        return None
    return step.values if when == ALWAYS else {**step.values, "match": to_match(when)}
