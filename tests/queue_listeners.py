"""A listener of all queues, for tests of the committer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

__all__ = ["OfAllQueues"]


class OfAllQueues(dict[str, Callable[[int, Sequence[bytes]], None]]):
    """Has `stored` called for each queue, with its id first."""

    def __init__(self, stored: Callable[[str, int, Sequence[bytes]], object]) -> None:
        super().__init__()
        self._stored = stored

    def __contains__(self, queue: object) -> bool:
        return True

    def __missing__(self, queue: str) -> Callable[[int, Sequence[bytes]], None]:
        return partial(self._told, queue)

    def _told(self, queue: str, next_seq: int, payloads: Sequence[bytes]) -> None:
        self._stored(queue, next_seq, payloads)
