"""Read one destination's queue from its head on, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.committer import RunInThread

__all__ = ["Batch", "Cursor", "Reads"]


class Reads(Protocol):
    """A store, as far as a cursor needs one."""

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records in memory."""

    seqs: SeqRange
    payloads: Sequence[bytes]


class Cursor:
    """A position in the queue of one destination.

    It only reads: what was taken and not acknowledged is there again after
    `rewind`.  Blocks are read whole; records of a block that did not fit into
    a batch are kept for the next one.

    Args:
        position: Seq of the next record to take.
        run_in_thread: Keeps page faults out of the reactor thread.
    """

    def __init__(
        self, store: Reads, destination: str, *, position: int, run_in_thread: RunInThread
    ) -> None:
        self.position = position
        self._store = store
        self._destination = destination
        self._run_in_thread = run_in_thread
        self._ahead: list[bytes] = []  # records from `position` on, already read
        self._generation = 0  # of rewinds; a read from before one is thrown away

    async def take(self, *, records_max: int, bytes_max: int) -> Batch:
        """The next records, at least one if there is one, and the position after them.

        An empty batch means that there are none, or that `rewind` was called
        meanwhile.

        Raises:
            DamagedRange: The next record is in a damaged block.
            QueueError: The queue cannot be read.
        """
        start = self.position
        if not self._ahead:
            generation = self._generation
            read = partial(
                self._store.read,
                self._destination,
                start=start,
                records_max=records_max,
                bytes_max=bytes_max,
            )
            try:
                payloads = await self._run_in_thread(read)
            except QueueError:
                if generation == self._generation:
                    raise
                payloads = []  # whatever is wrong there, it is not what comes next
            if generation != self._generation:
                return Batch(SeqRange(self.position, self.position), [])
            self._ahead = payloads
        count = _fitting(self._ahead, records_max, bytes_max)
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        self.position = start + count
        return Batch(SeqRange(start, self.position), taken)

    def rewind(self, seq: int) -> None:
        """Take `seq` next."""
        self.position = seq
        self._ahead = []
        self._generation += 1


def _fitting(payloads: Sequence[bytes], records_max: int, bytes_max: int) -> int:
    """How many of `payloads` fit, but at least one if there is one."""
    size = 0
    for count, payload in enumerate(payloads):
        size += len(payload)
        if count == records_max or (size > bytes_max and count):
            return count
    return len(payloads)
