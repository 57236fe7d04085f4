"""What waits for the next commit, while another one may be under way: appends and removals.

Usually a commit takes everything that waits.  On a full disk that would never fit again
once more waits than there is room for.  So the limit of a batch is halved with each
failure, down to one message, and doubled with each success until everything fits again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred

from relay.queue.transaction import Append, Removal, account_of_source, split

__all__ = ["NOT_STORED", "PendingAppends", "PendingRemovals"]

NOT_STORED = "not-stored"
"""Why messages are given up that could not be stored before the relay stopped."""


class PendingAppends:
    """The appends that wait, oldest first.

    Attributes:
        size: Octets of what waits and of what is on its way to disk, about.
    """

    def __init__(self) -> None:
        self.size = 0
        self._appends: list[Append] = []
        self._underway: list[Append] = []
        self._batch_bytes: int | None = None  # None = no limit
        self._withheld: list[Append] = []  # committed to a file that is not in its place

    def __bool__(self) -> bool:
        return bool(self._appends)

    def add(self, append: Append) -> None:
        self._appends.append(append)
        self.size += append.size

    def take(self) -> list[Append]:
        """What the next commit stores."""
        if self._batch_bytes is None:
            self._underway, self._appends = self._appends, []
            return self._underway
        size = count = 0
        for append in self._appends:
            if count and size + append.size > self._batch_bytes:
                break
            size += append.size
            count += 1
        batch, self._appends = self._appends[:count], self._appends[count:]
        if size > self._batch_bytes and (parts := split(batch[-1], self._batch_bytes)):
            batch[-1], rest = parts
            self._appends.insert(0, rest)
        self._underway = batch
        return batch

    def take_back(self) -> bool:
        """The commit failed: its appends wait again.  Returns whether fewer will be tried next."""
        batch, self._underway = self._underway, []
        self._appends[:0] = batch
        if not batch:
            return False
        size = sum(append.size for append in batch)
        can_be_smaller = len(batch) > 1 or split(batch[0], size // 2) is not None
        self._batch_bytes = max(1, size // 2)
        return can_be_smaller

    def stored(self, batch: Sequence[Append]) -> bool:
        """`batch` is on disk.  Returns whether nothing waits that came before it or with it."""
        stored = sum(append.size for append in batch)
        self.size -= stored
        is_everything = self._batch_bytes is None or not self._appends
        if is_everything:
            self._batch_bytes = None
        elif batch and self._batch_bytes is not None:
            self._batch_bytes = 2 * max(self._batch_bytes, stored)
        return is_everything

    def withhold(self, batch: Sequence[Append]) -> None:
        """`batch` is in a file that a restart would not find: it is not to be answered yet."""
        self._withheld += batch

    def answered(self, batch: Sequence[Append]) -> list[Append]:
        """Everything that is to be answered now, with `batch`."""
        withheld, self._withheld = self._withheld, []
        return [*withheld, *batch]

    def give_up(self) -> tuple[list[Deferred[None]], Counter[str]]:
        """Forget everything that is not on disk.

        Returns:
            Who waits for it, and how many messages of those are lost that nobody sends
            again: by account.
        """
        appends = [append for append in self._underway if not append.done.called]
        appends += self._appends
        withheld, self._withheld = self._withheld, []
        self._underway, self._appends, self.size = [], [], 0
        lost: Counter[str] = Counter()
        for append in appends:
            if not append.comes_again:
                lost.update(_records(append.payloads))
                for refusal in append.refusals:
                    lost[account_of_source(refusal.source)] += len(refusal.frames)
        return [append.done for append in (*withheld, *appends)], +lost


def _records(payloads: Mapping[str, Sequence[bytes]]) -> dict[str, int]:
    return {destination: len(run) for destination, run in payloads.items()}


class PendingRemovals:
    """Removals by destination, each put together from many acknowledgements."""

    def __init__(self) -> None:
        self._removals: dict[str, Removal] = {}

    def __bool__(self) -> bool:
        return bool(self._removals)

    def of(self, destination: str, upto: int = 0) -> Removal:
        """What is removed from `destination`, the records before `upto` included."""
        removal = self._removals.setdefault(destination, Removal(upto))
        removal.upto = max(removal.upto, upto)
        return removal

    def take(self) -> dict[str, Removal]:
        """All of it, for a transaction."""
        removals, self._removals = self._removals, {}
        return removals

    def take_back(self, removals: Mapping[str, Removal]) -> None:
        """The transaction failed: what has come meanwhile comes after `removals`."""
        newer, self._removals = self._removals, dict(removals)
        for destination, removal in newer.items():
            earlier = self.of(destination, removal.upto)
            earlier.set_aside += removal.set_aside
            earlier.late += removal.late

    def evicted(self, destination: str, start: int, stop: int, reason: str) -> None:
        """The records from `start` to `stop` were dropped while their answers came."""
        removal = self._removals.get(destination)
        if removal is not None and removal.upto > start:
            gone = [aside for aside in removal.set_aside if aside.seqs.stop <= stop]
            removal.set_aside = [aside for aside in removal.set_aside if aside not in gone]
            late = min(removal.upto, stop) - start - sum(len(aside.seqs) for aside in gone)
            removal.late[reason] += late
