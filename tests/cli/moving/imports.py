"""What an import of a text gives, for tests of dialects."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.cli.moving.command import DIALECTS
from relay.cli.moving.files import InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.report import Statement, Verdict
from relay.cli.toml_writing import write_toml

__all__ = ["Result", "import_file", "import_text"]


@dataclass
class Result:
    """The tables of the configuration, and the report."""

    tables: dict[str, Any]
    imported: Imported

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        return self.tables.get("sources", {})

    @property
    def destinations(self) -> dict[str, dict[str, Any]]:
        return self.tables.get("destinations", {})

    @property
    def lines(self) -> list[str]:
        """The report, each line without the name of the file."""
        return [line.split(":", 1)[-1] for line in self.imported.report.lines()][:-1]

    @property
    def doubts(self) -> list[str]:
        """Lines about what was not taken over."""
        return [line for line in self.lines if ": taken over: " not in line]

    def said_of(self, text: str) -> list[Verdict]:
        """The verdicts on statements whose text begins with `text`."""
        return [each.verdict for each in self.statements if each.text.startswith(text)]

    @property
    def statements(self) -> list[Statement]:
        return self.imported.report.statements


def import_file(dialect: str, path: Path) -> Result:
    imported = DIALECTS[dialect].read(InputFiles(), str(path))
    text = write_toml(imported.tables())
    return Result(tomllib.loads(text), imported)


def import_text(dialect: str, text: str, folder: Path, **others: str) -> Result:
    """The import of `text`, with `others` as files beside it."""
    for name, other in others.items():
        (folder / name.replace("__", ".")).write_text(other)
    path = folder / "main.conf"
    path.write_text(text)
    return import_file(dialect, path)
