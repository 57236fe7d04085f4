"""What waits for the next commit, while another one may be under way.

Usually a commit takes everything that waits, up to `COMMIT_BYTES_ENOUGH`: a larger one saves
nothing more, but what it holds waits for the disk together and then reaches the drains as one
lump.  On a full disk too much would never fit again once more waits than there is room for.
So the limit of a batch is halved with each failure, down to one message, and doubled with
each success until everything fits again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred

from relay.model.clock import Clock, DelayedCall
from relay.queue.transaction import Append, Removal, account_of_source, split

COMMIT_BYTES_ENOUGH = 4 * 1024 * 1024
"""Size of its appends from which a commit takes no more of them."""
NOT_STORED = "not-stored"
"""Why messages are given up that could not be stored before the relay stopped."""


class PendingAppends:
    """The appends that wait, oldest first.

    Attributes:
        waiting: For a commit that is not under way yet.
        size: Bytes of what waits and of what is on its way to disk, about.
        withheld: Committed to a file that is not in its place, and not answered.
        was_cut: The last batch left appends behind, which need not wait for others.
    """

    def __init__(self) -> None:
        self.size = 0
        self.was_cut = False
        self.waiting: list[Append] = []
        self._underway: list[Append] = []
        self._batch_bytes: int | None = None  # None = no limit
        self.withheld: list[Append] = []

    def add(self, append: Append) -> None:
        """`append` waits behind the others."""
        self.waiting.append(append)
        self.size += append.size

    def take(self) -> list[Append]:
        """The appends that the next commit stores."""
        if self._batch_bytes is None:
            size = count = 0
            for append in self.waiting:
                size, count = size + append.size, count + 1
                if size >= COMMIT_BYTES_ENOUGH:
                    break
        else:
            count = self._count_fitting(self._batch_bytes)
        self._underway, self.waiting = self.waiting[:count], self.waiting[count:]
        self.was_cut = bool(self.waiting)
        return self._underway

    def _count_fitting(self, bytes_max: int) -> int:
        """How many of the oldest appends fit, at least one; it is split if it is too large."""
        size = count = 0
        for append in self.waiting:
            if count and size + append.size > bytes_max:
                break
            size += append.size
            count += 1
        # An append that is too large alone is cut, or a small disk could never take it.
        if size > bytes_max and (parts := split(self.waiting[count - 1], bytes_max)):
            self.waiting[count - 1 : count] = parts
        return count

    def take_back(self) -> bool:
        """The commit failed: its appends wait again.  Returns whether fewer will be tried next."""
        batch, self._underway = self._underway, []
        self.waiting[:0] = batch
        if not batch:
            return False
        size = sum(append.size for append in batch)
        can_be_smaller = len(batch) > 1 or split(batch[0], size // 2) is not None
        self._batch_bytes = max(1, size // 2)
        return can_be_smaller

    def stored(self, batch: Sequence[Append]) -> bool:
        """`batch` is on disk.  Returns whether everything older, or as old, is on disk too."""
        stored = 0
        for append in batch:
            stored += append.size
        self.size -= stored
        # Without a limit nothing has failed, and what is left waits for its turn only.
        is_everything = self._batch_bytes is None or not self.waiting
        if is_everything:
            self._batch_bytes = None
        elif batch and self._batch_bytes is not None:
            self._batch_bytes = 2 * max(self._batch_bytes, stored)
        return is_everything

    def give_up(self) -> tuple[list[Deferred[None]], Counter[str]]:
        """Forget everything that is not on disk.

        Returns:
            What waits for it, and how many messages are lost because no sender sends them
            again: by account.
        """
        appends = [append for append in self._underway if not append.done.called]
        appends += self.waiting
        withheld, self.withheld = self.withheld, []
        self._underway, self.waiting, self.size = [], [], 0
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
    """Removals by destination, each put together from many acknowledgements.

    A removal alone is not worth a transaction: it waits a little for an append with which it
    can go, until it is due.

    Args:
        seconds: What a removal waits for an append, at most; 0 = it is due at once.
        on_due: Called when one has waited for so long.

    Attributes:
        are_due: They wait for no append any more.
    """

    def __init__(self, *, clock: Clock, seconds: float, on_due: Callable[[], None]) -> None:
        self._removals: dict[str, Removal] = {}
        self._clock = clock
        self._seconds = seconds
        self._on_due = on_due
        self.are_due = False
        self._timer: DelayedCall | None = None

    def __bool__(self) -> bool:
        return bool(self._removals)

    def of(self, destination: str, upto: int = 0) -> Removal:
        """What is removed from `destination`, the records before `upto` included."""
        removal = self._removals.setdefault(destination, Removal(upto))
        removal.upto = max(removal.upto, upto)
        return removal

    def wait(self) -> bool:
        """Have them due after a while.  Returns False if they need not wait."""
        if not self._seconds:
            return False
        if self._timer is None and not self.are_due:
            self._timer = self._clock.callLater(self._seconds, self._on_due)
        return True

    def set_due(self, is_due: bool = True) -> None:
        """Whether they are due; ends what `wait` began."""
        self.are_due = is_due
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def take(self) -> dict[str, Removal]:
        """All of them, for a transaction."""
        removals, self._removals = self._removals, {}
        self.set_due(False)
        return removals

    def take_back(self, removals: Mapping[str, Removal]) -> None:
        """The transaction failed: what has come meanwhile comes after `removals`."""
        newer, self._removals = self._removals, dict(removals)
        for destination, removal in newer.items():
            earlier = self.of(destination, removal.upto)
            earlier.set_aside += removal.set_aside
            earlier.late += removal.late
        self.set_due()

    def evicted(self, destination: str, start: int, stop: int, reason: str) -> None:
        """The records from `start` to `stop` were dropped while their answers came."""
        removal = self._removals.get(destination)
        if removal is not None and removal.upto > start:
            gone = [aside for aside in removal.set_aside if aside.seqs.stop <= stop]
            removal.set_aside = [aside for aside in removal.set_aside if aside not in gone]
            late = min(removal.upto, stop) - start - sum(len(aside.seqs) for aside in gone)
            removal.late[reason] += late
