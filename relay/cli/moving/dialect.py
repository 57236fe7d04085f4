"""The dialects that are understood, and which of them a text is written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.imported import Imported

__all__ = ["Dialect", "guess"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A dialect.

    Attributes:
        name: As `--from` has it.
        score: How many signs of the dialect a text has; 0 = none.
        read: Reads the file with this name, and those that it includes.  Raises ImportRefused
            (one line) or OSError if the first file cannot be read at all; everything else is
            said in the report of the result.
    """

    name: str
    score: Callable[[str], int]
    read: Callable[[InputFiles, str], Imported]


def guess(path: str, text: str, dialects: Mapping[str, Dialect]) -> Dialect:
    """The dialect that `text`, of the file `path`, has most signs of.

    Raises:
        ImportRefused: There is no sign of any, or as many of two.
    """
    scores = {name: dialect.score(text) for name, dialect in dialects.items()}
    best = max(scores.values(), default=0)
    found = [name for name, score in scores.items() if score == best]
    if best == 0 or len(found) > 1:
        raise ImportRefused(
            f"{path}: cannot tell what wrote this{_either(found) if best else ''}; say so with "
            f"--from, one of {', '.join(dialects)}"
        )
    return dialects[found[0]]


def _either(names: Sequence[str]) -> str:
    return f" ({' or '.join(names)})"
