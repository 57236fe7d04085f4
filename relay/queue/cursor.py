"""Read one destination's queue from its head on, a batch at a time.

What a commit has just stored is handed to the cursor too.  If that is what it has to
take next, it stays in memory: a drain that keeps up never asks the disk.  A drain that
does not keep up reads blocks from the disk, until it has reached the end of the queue.
A read waits for a thread, so it fetches several batches, which `take` then cuts up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from relay.codec import fitting, joined, total_bytes
from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.committer import RunInThread
from relay.queue.store import QueueStore
from relay.queue.transaction import RECORD_BYTES

AHEAD_BYTES_MAX = 16 * 1024 * 1024
"""Size from which commits leave nothing more in memory for one cursor, `RECORD_BYTES` a
record included.  Some commits' worth: while one is written, the drain sends the one before it."""
READ_BYTES_MAX = 4 * 1024 * 1024
READ_RECORDS_MAX = 32_768
"""Together the most that one read from the disk fetches, beside the rest of its last block."""


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
        self, store: QueueStore, destination: str, *, position: int, run_in_thread: RunInThread
    ) -> None:
        self.position = position
        self._store = store
        self._destination = destination
        self._run_in_thread = run_in_thread
        self._ahead = _Ahead()  # records from `position` on, already in memory
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
        if not self._ahead.records:
            generation = self._generation
            read = partial(
                self._store.read,
                self._destination,
                start=start,
                records_max=READ_RECORDS_MAX,
                bytes_max=READ_BYTES_MAX,
            )
            try:
                payloads = await self._run_in_thread(read)
            except QueueError:
                if generation == self._generation:
                    raise
                payloads = []  # whatever is wrong there, it is not what comes next
            if generation != self._generation:
                return Batch(SeqRange(self.position, self.position), [])
            self._ahead = _Ahead()  # of what came meanwhile, this is the beginning
            self._ahead.add(payloads)
        taken = self._ahead.take(records_max, bytes_max)
        self.position = start + len(taken)
        return Batch(SeqRange(start, self.position), taken)

    def stored(self, upto: int, payloads: Sequence[bytes]) -> None:
        """A commit has stored `payloads`, the records up to before `upto`.

        They must not be changed any more.
        """
        follows = self.position + self._ahead.records == upto - len(payloads)
        # What is there already stays: it comes first, whatever has to be read after it.
        if follows and self._ahead.size < AHEAD_BYTES_MAX:
            self._ahead.add(payloads)

    def rewind(self, seq: int) -> None:
        """Take `seq` next."""
        self.position = seq
        self._ahead = _Ahead()
        self._generation += 1


class _Ahead:
    """Consecutive records in memory, in the runs in which they came.

    Attributes:
        records: How many there are.
        size: What the runs take that were not taken whole, in bytes.
    """

    def __init__(self) -> None:
        self.records = 0
        self.size = 0
        self._runs: deque[tuple[Sequence[bytes], int]] = deque()  # with bytes of payload
        self._taken = 0  # records of the oldest run

    def add(self, payloads: Sequence[bytes]) -> None:
        if payloads:
            size = total_bytes(payloads)
            self._runs.append((payloads, size))
            self.records += len(payloads)
            self.size += size + RECORD_BYTES * len(payloads)

    def take(self, records_max: int, bytes_max: int) -> Sequence[bytes]:
        """Take the oldest ones, as many as fit, at least one if there is one."""
        pieces: list[Sequence[bytes]] = []
        while self._runs and records_max > 0 and (bytes_max > 0 or not pieces):
            run, size = self._runs[0]
            start, stop = self._taken, len(run)
            if start or stop > records_max or size > bytes_max:
                stop = min(stop, start + records_max)
                stop = start + (fitting(run, start, stop, bytes_max) or (0 if pieces else 1))
                if stop == start:
                    break
            piece = run if stop - start == len(run) else run[start:stop]
            pieces.append(piece)
            records_max -= len(piece)
            bytes_max -= size if piece is run else total_bytes(piece)
            self._forget(stop)
        return joined(pieces)

    def _forget(self, stop: int) -> None:
        """The oldest run was taken up to `stop`."""
        run, size = self._runs[0]
        self.records -= stop - self._taken
        self._taken = stop
        if stop == len(run):
            self._runs.popleft()
            self._taken = 0
            self.size -= size + RECORD_BYTES * len(run)
