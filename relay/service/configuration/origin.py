"""Which file, and which line of it, says what in a configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from relay.service.configuration.table import join_path
from relay.service.configuration.toml_text import line_of, lines_of, parts_of

_LISTS = ("tests", "watch")
_MERGED = ("relay", "apps", "sources", "destinations", "filters", "alerts", "web")
_TWICE = {
    "sources": "choose another id, or remove one of them",
    "destinations": "choose another id, or remove one of them",
    "apps": "choose another id, or remove one of them",
    "filters": "choose another name, or remove one of them",
}


@dataclass(slots=True)
class TomlFile:
    """A file of a configuration."""

    name: str
    """As errors name it."""
    text: str
    values: Mapping[str, object]
    _lines: dict[tuple[str, ...], int] | None = None

    @property
    def directory(self) -> str:
        """Where relative paths in it start from; absolute."""
        return os.path.dirname(os.path.abspath(self.name))

    def line_of(self, path: str) -> int:
        """The line of the key at a dotted path, or of the nearest table around it; 0 = none."""
        if self._lines is None:  # to find them costs more than parsing, and is for errors
            self._lines = lines_of(self.text)
        return line_of(path, self._lines)


@dataclass(slots=True)
class Origin:
    """Where everything in a configuration is written.

    Dotted paths are those of the whole: entries of lists are counted through all files.
    """

    files: list[TomlFile]
    """The file that includes the others comes first."""
    values: dict[str, object]
    """The tables of all files together."""
    placed: list[tuple[str, int, str]] = field(default_factory=list)
    """Problems of the files together: a file's name, the line or 0, and the problem."""
    is_complete: bool = True
    """Every file that is meant could be read."""
    hides_state_dir: bool = False
    """One that could not be read may say where the state directory is."""
    absolute: dict[tuple[str, str], str] = field(default_factory=dict)
    """Resolved relative paths and URLs, by the dotted path of their key and their text."""
    _owners: dict[tuple[str, ...], TomlFile] = field(default_factory=dict)
    """The file of each entry of a table or list, by its path."""
    _skipped: dict[tuple[str, ...], int] = field(default_factory=dict)
    """How many entries of the list stand in earlier files, by the path of an entry."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The absolute paths of all files, the including one first."""
        return tuple(os.path.abspath(file.name) for file in self.files)

    def file_of(self, path: str) -> TomlFile:
        """The file with the key at a dotted path, which may be the beginning of a line."""
        parts = parts_of(path)
        return self._owners.get(parts[:2]) or self._owners.get(parts[:1]) or self.files[0]

    def directory_of(self, path: str) -> str:
        """Where a relative path starts from that is the value at a dotted path; absolute."""
        return self.file_of(path).directory

    def place_of(self, path: str) -> tuple[str, int]:
        """The file's name and the line of the key at a dotted path; 0 = no line says it."""
        file, parts = self.file_of(path), parts_of(path)
        if skipped := self._skipped.get(parts[:2], 0):
            list_name, number = parts[:2]
            beginning = f"{list_name}[{number}]"
            path = f"{list_name}[{int(number) - skipped}]{path[len(beginning) :]}"
        return file.name, file.line_of(path)

    def where(self, path: str) -> str:
        """The same as ``FILE:LINE``."""
        name, line = self.place_of(path)
        return f"{name}:{line}" if line else name

    def in_order(self, problems: Iterable[str] = ()) -> list[str]:
        """Problems with their places, those of `placed` too, in the order of these.

        Those of no line come last.
        """
        numbers = {file.name: number for number, file in enumerate(self.files)}
        placed = [(*self.place_of(problem), problem) for problem in problems] + self.placed
        placed.sort(key=lambda each: (each[1] == 0, numbers.get(each[0], len(numbers)), each[1]))
        return [
            f"{name}:{line}: {text}" if line else f"{name}: {text}" for name, line, text in placed
        ]

    def add(self, file: TomlFile) -> None:
        """Put the tables of another file to those that are there."""
        for name, value in file.values.items():
            there = self.values.get(name)
            if name not in self.values:
                self._own(file, (name,), value)
                self.values[name] = _copied(value)
            elif name in _MERGED and isinstance(there, dict) and isinstance(value, dict):
                for inner, content in value.items():
                    if inner in there:
                        self._twice(file, join_path(name, inner), _TWICE.get(name, ""))
                    else:
                        there[inner] = content
                        self._owners[name, inner] = file
            elif name in _LISTS and isinstance(there, list) and isinstance(value, list):
                for number in range(len(there), len(there) + len(value)):
                    self._owners[name, str(number)] = file
                    self._skipped[name, str(number)] = len(there)
                there += value
            else:
                self._twice(file, name, "")

    def _own(self, file: TomlFile, path: tuple[str, ...], value: object) -> None:
        self._owners[path] = file
        if path[0] in _MERGED and isinstance(value, dict):
            for inner in value:
                self._owners[*path, inner] = file

    def _twice(self, file: TomlFile, path: str, remedy: str) -> None:
        problem = f"{path}: is in {self.where(path)} already; {remedy or 'remove one of them'}"
        self.placed.append((file.name, file.line_of(path), problem))

    def lacks(self, name: str, line: int, problem: str, *, hides_state_dir: bool = True) -> None:
        """A part of what is included is missing, because of `problem`."""
        self.placed.append((name, line, problem))
        self.is_complete = False
        self.hides_state_dir = self.hides_state_dir or hides_state_dir


def _copied(value: object) -> object:
    """`value`, so that what other files have can be added to it."""
    if isinstance(value, dict):
        return dict(value)
    return list(value) if isinstance(value, list) else value
