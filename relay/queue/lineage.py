"""The history of a queue's numbers, as the sending relay keeps it.

One for each queue of a destination, a position named `SENT` + "/" + the queue's id, as JSON:
{"id": …, "epochs": [[epoch, seq of the first record stored in it], …], "place": …, "is_copy": …},
without the last two where they say nothing.
Each start of the relay begins an epoch.  Their purpose is explained in
`relay/wire/relp/lineage.py`.

An epoch whose records have all left the queue tells nothing any more and is
forgotten; so is the oldest beyond `EPOCHS_MAX` starts with records waiting.
"""

from __future__ import annotations

import secrets
import uuid
from itertools import pairwise

import msgspec

SENT = "/sent"
"""Where the positions of lineages are; no source's id contains a slash."""
EPOCHS_MAX = 1000


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The id of a queue's history, and the epochs that still matter, oldest first."""

    id: str
    epochs: list[tuple[str, int]]
    place: str = ""
    """Where a log keeps its records, such as a topic and its partitions; empty = it is not said."""
    is_copy: bool = False
    """The queue was restored from a backup, so other records of its numbers may have been sent."""

    @classmethod
    def new(cls, next_seq: int) -> Lineage:
        """The beginning of a history, which no receiver knows yet."""
        return cls(str(uuid.uuid4()), [(_new_epoch(), next_seq)])

    @classmethod
    def decode(cls, value: bytes | None) -> Lineage | None:
        """What `encode` made, or None if there is nothing that can be read."""
        try:
            lineage = None if value is None else msgspec.json.decode(value, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return lineage if lineage is not None and lineage.epochs else None

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def epoch(self) -> str:
        """The present one."""
        return self.epochs[-1][0]

    def record_id(self, seq: int) -> str:
        """A name of the record `seq`, in any restart the same, and of no other record.

        The epoch is part of it: a queue that was restored from an older copy uses its numbers
        again, in another epoch.
        """
        begun = (epoch for epoch, start in reversed(self.epochs) if start <= seq)
        return f"{next(begun, self.id)}-{seq}"

    def begun(self, *, acknowledged_seq: int, next_seq: int) -> Lineage:
        """With one more epoch, which begins at `next_seq`."""
        epochs = [*self.epochs, (_new_epoch(), next_seq)]
        kept = [epoch for epoch, (_, stop) in pairwise(epochs) if stop > acknowledged_seq]
        return Lineage(self.id, [*kept[1 - EPOCHS_MAX :], epochs[-1]], self.place, self.is_copy)

    def contains(self, seq: int, *, epoch: str, next_seq: int) -> bool:
        """Whether record `seq` can have been sent in `epoch`, one of this history.

        Args:
            next_seq: Where the queue ends now.
        """
        stops = [start for _, start in self.epochs[1:]] + [next_seq]
        return any(
            name == epoch and seq < stop for (name, _), stop in zip(self.epochs, stops, strict=True)
        )


def _new_epoch() -> str:
    return secrets.token_hex(8)
