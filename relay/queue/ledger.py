"""The account of one destination's queue.

    received = delivered + queued + quarantined + sum(dropped)

holds in every committed transaction, because each one changes the records and
the ledger together.  Records leave the queue from its head only, so what is
queued is the distance between two numbers.

What leaves the quarantine again stays accounted for.  Purged, it is dropped, under
a reason of its own.  Replayed, it becomes a new record at the end of a queue, with a
new number; and a record is counted as received only where it is now.  So the number
that it had is taken out of `received` (that is `moved`), and over all accounts nothing
is received twice.  An orphan's records that another queue adopts go the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from relay.model.errors import QueueFormatError


class Ledger(msgspec.Struct, forbid_unknown_fields=True):
    """Counts since the queue was made.  Kept as JSON, so that people can read it."""

    next_seq: int = 1
    """Number of the next record to be stored; never reused."""
    acknowledged_seq: int = 1
    """Every record before this one has left the queue."""
    delivered: int = 0
    """Records that the upstream acknowledged."""
    quarantined: int = 0
    """Records that are set aside now, with a reason."""
    dropped: dict[str, int] = {}  # msgspec copies it for each instance
    """Records that were dropped, by reason."""
    never_queued: int = 0
    """Those of the dropped records that were dropped before they got a number."""
    queued_bytes: int = 0
    """Bytes of payload in the blocks that are still there."""
    quarantine_bytes: int = 0
    """Bytes in the quarantine, with their labels."""
    moved: int = 0
    """Records that had a number here and have another one now, in this account (replayed)
    or in another one of this queue (replayed there, adopted)."""

    @property
    def received(self) -> int:
        """Records that were stored or dropped here, without those that moved on."""
        return self.next_seq - 1 + self.never_queued - self.moved

    @property
    def queued(self) -> int:
        """Records that wait for their acknowledgement."""
        return self.next_seq - self.acknowledged_seq

    def drop(self, reason: str, count: int) -> None:
        """Count records that were given up."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def drop_unqueued(self, reasons: Mapping[str, int]) -> None:
        """Count records that were dropped before they got a number: how many by reason."""
        for reason, count in reasons.items():
            self.drop(reason, count)
            self.never_queued += count

    def deliver_late(self, late: Mapping[str, int]) -> None:
        """Records that had been dropped, by reason, have arrived after all."""
        for reason, count in late.items():
            if not count:
                continue  # all that would have been late was set aside
            assert self.dropped.get(reason, 0) >= count, (reason, count, self)
            self.dropped[reason] -= count
            self.delivered += count
            if not self.dropped[reason]:
                del self.dropped[reason]

    @property
    def gap(self) -> int:
        """Records that are unaccounted for: 0, or there is a bug."""
        accounted = self.delivered + self.queued + self.quarantined + sum(self.dropped.values())
        return self.received - accounted


def decode_ledger(id: str, value: bytes | memoryview, *, checks: bool = True) -> Ledger:
    """The account of `id` that is stored as `value`.

    Args:
        checks: Refuse one that does not add up.

    Raises:
        QueueFormatError: It cannot be read, or does not add up.
    """
    try:
        ledger = msgspec.json.decode(value, type=Ledger)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise QueueFormatError(f"queue of {id}: its ledger cannot be read: {error}") from error
    if checks and (ledger.gap or ledger.queued < 0):
        raise QueueFormatError(f"queue of {id}: its ledger does not add up: {value!r}")
    return ledger


def added_up(ledgers: Sequence[Ledger]) -> Ledger:
    """One account for the queues that have `ledgers`.  It adds up as they do.

    Its `next_seq` and `acknowledged_seq` are no numbers of records.
    """
    if len(ledgers) == 1:
        return ledgers[0]
    whole = Ledger(next_seq=1, acknowledged_seq=1)
    dropped: Counter[str] = Counter()
    for ledger in ledgers:
        for name in Ledger.__struct_fields__:
            if name != "dropped":
                setattr(whole, name, getattr(whole, name) + getattr(ledger, name))
        dropped.update(ledger.dropped)
    whole.next_seq -= len(ledgers)
    whole.acknowledged_seq -= len(ledgers)
    whole.dropped = dict(dropped)
    return whole
