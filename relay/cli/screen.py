"""Tables and lines as wide as the terminal; one line a record if there is none.

Nothing is truncated or broken within a word.  A table that is wider than the terminal
takes two lines a row, and where that is not enough, a line for each cell.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from relay.model.text import printable

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Style:
    """Highlighting of text on a terminal."""

    colour: str | None = None
    bold: bool = False


STRONG = Style(bold=True)
GOOD = Style("green")
WARNING = Style("yellow", bold=True)
SEVERE = Style("red", bold=True)


class Table:
    """Rows below a line of titles.

    Numbers have no spaces in them (``61.2KiB``), so that every number is one field
    for programs such as awk.

    Args:
        columns: Their titles.
        texts: The first so many columns are text, the others numbers.
    """

    def __init__(self, *columns: str, texts: int = 1) -> None:
        self.columns = columns
        self.texts = texts
        self.rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        texts = (printable(cell, length_max=None) for cell in cells[: self.texts])
        numbers = (cell.replace(" ", "") for cell in cells[self.texts :])
        self.rows.append((*texts, *numbers))


class Screen:
    """An output for lines and tables.

    Args:
        width: Columns of the terminal; None = no terminal, and lines have any length.
        has_colour: Texts may be styled.
    """

    def __init__(self, width: int | None = None, *, has_colour: bool = False) -> None:
        self._width = width
        self._has_colour = has_colour

    @classmethod
    def of_output(cls) -> Screen:
        """Standard output; without colour if NO_COLOR is set (no-color.org)."""
        if sys.stdout is None or not sys.stdout.isatty():
            return cls()
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return cls(shutil.get_terminal_size().columns, has_colour=not plain)

    def say(self, text: str = "", style: Style | None = None, *, about: str = "") -> None:
        """Print a line; on a terminal as a paragraph whose later lines are indented.

        Args:
            about: The subject, printed in bold before the text.
        """
        head = f"{about}:" if about else ""
        text = printable(text, length_max=None)
        first, *others = self._wrapped(f"{head} {text}" if head else text)
        if not first.startswith(head):  # an id that is wider than the terminal
            head = ""
        click.echo(self._styled(head, STRONG) + self._styled(first[len(head) :], style))
        for line in others:
            click.echo(self._styled(line, style))

    def line(self, *parts: tuple[str, Style | None]) -> None:
        """Print one line, however long it is; the terminal wraps it."""
        texts = ((printable(text, length_max=None), style) for text, style in parts)
        click.echo(" ".join(self._styled(text, style) for text, style in texts))

    def show(self, table: Table) -> None:
        """Print a table."""
        for line in self._lines(table):
            click.echo(line.rstrip())

    def _wrapped(self, text: str) -> list[str]:
        if self._width is None:
            return [text]
        lines = textwrap.wrap(
            text,
            self._width,
            subsequent_indent=_GAP,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return lines or [""]

    def _styled(self, text: str, style: Style | None) -> str:
        if style is None or not text or not self._has_colour:
            return text
        return click.style(text, fg=style.colour, bold=style.bold or None)

    def _lines(self, table: Table) -> Iterator[str]:
        lines = [table.columns, *table.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        if self._fits(widths):
            for number, line in enumerate(lines):
                yield self._row(line, widths, table.texts, is_title=not number)
        elif self._fits([0, *widths[table.texts :]]):
            for number, line in enumerate(lines):
                yield from self._texts(line[: table.texts])
                numbers = self._row(
                    line[table.texts :], widths[table.texts :], 0, is_title=not number
                )
                yield _GAP + numbers
        else:
            yield from self._blocks(table)

    def _texts(self, texts: Sequence[str]) -> Iterator[str]:
        if self._fits([len(text) for text in texts]):
            texts = [_GAP.join(texts)]
        for number, text in enumerate(texts):
            yield self._styled(f"{_GAP if number else ''}{text}", STRONG)

    def _fits(self, widths: Sequence[int]) -> bool:
        return self._width is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= self._width

    def _row(
        self, cells: Sequence[str], widths: Sequence[int], texts: int, *, is_title: bool
    ) -> str:
        aligned = [
            cell.ljust(width) if index < texts else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return self._styled(_GAP.join(aligned).rstrip(), STRONG if is_title else None)

    def _blocks(self, table: Table) -> Iterator[str]:
        """The first cell of each row, and below it a line for each other one with its title."""
        titles = table.columns[1:]
        width = max(map(len, titles))
        for number, (name, *cells) in enumerate(table.rows):
            if number:
                yield ""
            yield self._styled(name, STRONG)
            for title, cell in zip(titles, cells, strict=True):
                if self._fits([0, width, len(cell)]):
                    yield f"{_GAP}{title.ljust(width)}{_GAP}{cell}"
                else:
                    yield f"{_GAP}{title}"
                    yield f"{_GAP}{cell}"
