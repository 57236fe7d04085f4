"""Bookkeeping of sent frames and their answers.

Use: `add` when frames are written, `answer` for each answer, then
`take_acknowledged` for how many of the oldest frames are done.  Answers may come
in any order (RELP clients must accept that); what is *acknowledged* is always a
prefix, because only a prefix can be forgotten by a queue.

Three states of a frame: waiting, answered early (a frame before it is not), gone.
A refused frame stays at the head of what is in flight, in the way of everything
behind it, until `skip_refused` removes it.
"""

from __future__ import annotations

__all__ = ["Inflight"]


class Inflight:
    """The frames of one session that have no answer, oldest first.

    Args:
        first_txnr: Number of the first frame that will be added.
        frames_max: The window: most frames in flight.

    Attributes:
        oldest_txnr: Number of the oldest frame that is not acknowledged.
        next_txnr: Number of the next frame.
    """

    def __init__(self, *, first_txnr: int, frames_max: int) -> None:
        self._frames_max = frames_max
        self.oldest_txnr = first_txnr
        self.next_txnr = first_txnr
        self._reported = first_txnr  # everything before it was taken as acknowledged
        self._early: set[int] = set()
        self._refused: dict[int, str] = {}

    def __len__(self) -> int:
        """Frames sent and not acknowledged."""
        return self.next_txnr - self.oldest_txnr

    @property
    def room(self) -> int:
        """How many more frames may be sent now."""
        return self._frames_max - (self.next_txnr - self.oldest_txnr)

    @property
    def refusal(self) -> str | None:
        """Why the peer refused the oldest frame, or None if it did not."""
        return self._refused.get(self.oldest_txnr)

    @property
    def refused_in_row(self) -> int:
        """How many of the oldest frames the peer refused, up to the first that it did not."""
        txnr = self.oldest_txnr
        while txnr in self._refused:
            txnr += 1
        return txnr - self.oldest_txnr

    @property
    def took_others(self) -> bool:
        """Whether the peer has taken a frame behind one that it refused or did not answer."""
        return bool(self._early)

    @property
    def unanswered(self) -> int:
        """Frames sent that have no answer at all."""
        return len(self) - len(self._early) - len(self._refused)

    def add(self, count: int) -> int:
        """Note `count` more frames as sent; return the number of the first."""
        first = self.next_txnr
        self.next_txnr += count
        assert first < self.next_txnr <= self.oldest_txnr + self._frames_max, (count, self.room)
        return first

    def answer(self, txnr: int, *, refusal: str | None = None) -> bool:
        """Note an answer; False if no frame with this number waits for one.

        Args:
            refusal: The peer's text if it refused the frame.
        """
        if not self.oldest_txnr <= txnr < self.next_txnr:
            return False
        if txnr in self._early or txnr in self._refused:
            return False
        if refusal is not None:
            self._refused[txnr] = refusal
        elif txnr == self.oldest_txnr:
            self.oldest_txnr += 1
            self._advance()
        else:
            self._early.add(txnr)
        return True

    def answer_oldest(self, count: int) -> bool:
        """Note that the `count` oldest frames were taken; False if that has to go one by one.

        Changes nothing if it returns False.
        """
        if self._early or self._refused or self.oldest_txnr + count > self.next_txnr:
            return False
        self.oldest_txnr += count
        return True

    def skip_refused(self) -> None:
        """Take the refused oldest frame out of the way, without acknowledging it.

        It counts with neither this nor later calls of `take_acknowledged`.
        """
        del self._refused[self.oldest_txnr]
        assert self._reported == self.oldest_txnr, "take what is acknowledged first"
        self.oldest_txnr += 1
        self._reported += 1
        self._advance()

    def take_acknowledged(self) -> int:
        """How many frames were acknowledged since the last call."""
        count = self.oldest_txnr - self._reported
        self._reported = self.oldest_txnr
        return count

    def _advance(self) -> None:
        while self._early and self.oldest_txnr in self._early:
            self._early.remove(self.oldest_txnr)
            self.oldest_txnr += 1
