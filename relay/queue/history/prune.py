"""Let entries of histories leave that are too old, or that room is needed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from relay.queue.changes import Changes, RemovesOnly
from relay.queue.files.trees import Database, Transaction
from relay.queue.history.keep import ENTRIES_PER_STEP_MAX, Histories, acknowledged_at

__all__ = ["PruneHistories"]


@dataclass(frozen=True, slots=True)
class PruneHistories(RemovesOnly):
    """Let entries leave: those that are too old, and the oldest where room is short.

    Args:
        before: By destination: those acknowledged before that (seconds since 1970-01-01
            UTC) leave; of destinations that are not named all leave.
        excess: Bytes of the map that have to become free, as far as a step gets.
    """

    histories: Histories
    before: Mapping[str, float]
    excess: int = 0

    def apply(self, changes: Changes) -> bool:
        """Returns: whether there is more to do."""
        room = ENTRIES_PER_STEP_MAX
        for id, database in changes.history.items():
            room -= _forget_before(changes.txn, database, self.before.get(id), room)
        if self.excess > 0:
            self.histories.shed(changes.txn, self.excess)
        return room == 0


def _forget_before(
    txn: Transaction, database: Database, before: float | None, entries_max: int
) -> int:
    """Delete entries acknowledged before that, or all; return how many."""
    count = 0
    cursor = txn.cursor(db=database)
    while count < entries_max and cursor.first():
        if before is not None and acknowledged_at(cursor.value()) >= before:
            break
        cursor.delete()
        count += 1
    return count
