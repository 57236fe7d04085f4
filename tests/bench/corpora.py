"""Files with messages of each kind of traffic, for the generator and the sink."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench import traffic

__all__ = ["Corpora"]

LINE_SECONDS = 40e-6
"""About how long it takes to make a message."""


class Corpora:
    """Makes the file of a kind when it is first asked for; later it is there.

    Args:
        folder: Where the files go.
        count: Messages of each.
        seed: Of the draws.
        given: A file to take instead, whatever is asked for.
    """

    def __init__(self, folder: Path, count: int, seed: int = 1, given: Path | None = None) -> None:
        self.given = given
        self._folder = folder
        self._count = count
        self._seed = seed

    def kinds(self, wanted: Sequence[str]) -> Sequence[str]:
        """The kinds that there are of those `wanted`: a given file is one for all."""
        return wanted if self.given is None else (self.given.name,)

    def seconds(self, kinds: int) -> float:
        """About how long it takes to make so many files."""
        return 0.0 if self.given is not None else kinds * self._count * LINE_SECONDS

    def path(self, kind: str) -> Path:
        """The file with messages of `kind`, a line each."""
        if self.given is not None:
            return self.given
        path = self._folder / f"{kind}.corpus"
        if not path.exists():
            traffic.write(path, kind, self._count, self._seed)
        return path
