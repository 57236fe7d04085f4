"""Queue numbers and ranges of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeqRange:
    """Consecutive queue numbers, half open like `range`: `stop` is not in it."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.stop, self

    def __len__(self) -> int:
        return self.stop - self.start
