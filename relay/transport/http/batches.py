"""Records that wait for a request, in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relay.transport.http.suspects import FAILURES_MIN, Item

_TRIES_MAX = 3


@dataclass(frozen=True, slots=True)
class Batches:
    """When a batch is sent, how many at a time, and when one of its records is given up."""

    records_max: int
    bytes_max: int
    """Of payloads; a larger one goes alone."""
    seconds_max: float
    """How long the first record waits for more."""
    requests_max: int
    failing_seconds_min: float
    """How long the server fails at a record, and takes others, before the record is given up."""

    @property
    def tries_max(self) -> int:
        """Of one request, before others are tried in its place: later where order counts."""
        return FAILURES_MIN if self.requests_max == 1 else _TRIES_MAX


class Waiting:
    """The batch that is not full, and those that no request brings at present.

    Attributes:
        open: The batch that is not full.
    """

    def __init__(self, sizes: Batches) -> None:
        self.open: list[Item] = []
        self._sizes = sizes
        self._open_bytes = 0
        self._batches: deque[list[Item]] = deque()

    def __bool__(self) -> bool:
        """Whether there are full batches, or such as wait no longer for more."""
        return bool(self._batches)

    def __iter__(self) -> Iterator[Item]:
        """The records of those batches."""
        for batch in self._batches:
            yield from batch

    def add(self, item: Item) -> bool:
        """Add a record to the batch that is not full.  Returns whether a batch was closed."""
        is_too_much = bool(self.open) and self._open_bytes + item.size > self._sizes.bytes_max
        if is_too_much:
            self.close()
        self.open.append(item)
        self._open_bytes += item.size
        is_full = len(self.open) >= self._sizes.records_max
        if is_full:
            self.close()
        return is_too_much or is_full

    def close(self) -> None:
        """Have the batch wait no longer for more records."""
        if self.open:
            self._batches.append(self.open)
        self.open, self._open_bytes = [], 0

    def take(self, size: int) -> list[Item]:
        """At most `size` records of the first batch."""
        batch = self._batches.popleft()
        if len(batch) > size:
            self._batches.appendleft(batch[size:])
        return batch[:size]

    def take_single(self, turn: int) -> list[Item]:
        """The oldest record if `turn` is even, else one of the others by turns."""
        waiting = [*self]
        single = waiting[(turn // 2 + 1) % len(waiting) if turn % 2 else 0]
        rests = [[item for item in batch if item is not single] for batch in self._batches]
        self._batches = deque(rest for rest in rests if rest)
        return [single]

    def put_first(self, batches: Sequence[list[Item]]) -> None:
        self._batches.extendleft(reversed(batches))

    def put_back(self, batch: list[Item]) -> None:
        """Have a batch wait where it was, in the order of the queue."""
        if batch:
            self._batches.append(batch)
            self._batches = deque(sorted(self._batches, key=lambda each: each[0].number))
