"""The sending half of exactly once: what a queue's sessions tell a receiver of its numbers.

See `relay/wire/relp/lineage.py` for all cases.  A `Numbering` lives as long as its
drain; each session asks it for an offer and has it judge the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from twisted.internet.defer import Deferred

from relay.flow.drain import Drain
from relay.model.text import span
from relay.queue.lineage import Lineage
from relay.wire.relp.lineage import (
    HighWaterMark,
    LineageOffer,
    high_water_mark_in,
    is_passed,
    is_refused,
)

_OF_A_COPY = (
    "this queue was restored from a backup, and the receiver cannot say what has come from it "
    "since: its records get other numbers, and messages may come twice, this once"
)


class Numbering:
    """The lineage of one queue: the producer id and epoch of its records.

    Args:
        lineage: The stored one; None if it could not be stored: then every session is at
            least once.
        save: Stores another one; fires when it is on disk.
        on_trouble: Called with warnings.
        has_others: There are several receivers, and each gets a part of the records.
    """

    def __init__(
        self,
        lineage: Lineage | None,
        *,
        drain: Drain,
        save: Callable[[Lineage], Deferred[None]],
        on_trouble: Callable[[str], None],
        has_others: bool = False,
    ) -> None:
        self._lineage = lineage
        self._drain = drain
        self._save = save
        self._on_trouble = on_trouble
        self._has_others = has_others
        self._is_new = False  # made here, and no receiver has taken it yet

    def record_id(self, seq: int) -> str:
        """A name that no other record has, the same after a restart; empty = there is none."""
        return "" if self._lineage is None else self._lineage.record_id(seq)

    def offer(self) -> LineageOffer | None:
        """The offer of a session that is about to be opened; None = none."""
        if self._lineage is None:
            return None
        drain = self._drain
        return LineageOffer(
            self._lineage.id,
            self._lineage.epoch,
            drain.acknowledged_seq,
            drain.stored_seq,
            elsewhere=self._has_others,
            knows_pass=True,
        )

    def begin(
        self, offer: LineageOffer, answer: Mapping[bytes, Sequence[bytes]]
    ) -> int | Deferred[None] | None:
        """Decide how a session begins whose ``open`` was answered.

        Args:
            answer: What the server has offered.

        Returns:
            The seq of the first record that the session sends, exactly once; or None:
            at least once; or a Deferred: not at all, a new session has to be opened
            once it has fired.
        """
        if is_refused(answer):
            return self._refused()
        have = high_water_mark_in(answer)
        knows_nothing = is_passed(answer) or (have is not None and not have.seq)
        if knows_nothing and self._lineage is not None and self._lineage.is_copy:
            return self._renew(_OF_A_COPY)
        if is_passed(answer):
            self._is_new = False
            return offer.first
        if have is None:
            return None
        if have.seq < offer.first:
            if have.seq and have.seq + 1 < offer.first and not offer.elsewhere:
                self._on_trouble(_behind(have, offer))
        elif not self._is_ours(offer, have):
            waiting = span("record", offer.first, offer.end - 1)
            return self._renew(
                f"the receiver has records up to {have.seq}, which were not sent from here "
                f"({waiting} wait): this queue was restored from "
                "an older copy, or a copy of it is in use; messages may be sent twice, this once"
            )
        else:
            self._drain.skip_to(max(have.seq + 1, self._drain.acknowledged_seq))
        self._is_new = False
        return max(offer.first, have.seq + 1)

    async def renew(self) -> None:
        """Take a lineage that no receiver knows, between two sessions.

        Nothing that a session has sent may be in the queue any more: the next receiver
        cannot say what it has of it.  Fails with QueueError.
        """
        renewed = Lineage.new(self._drain.stored_seq)
        await self._save(renewed)
        self._renewed(renewed)

    async def keep_place(self, place: str) -> None:
        """Note where a log keeps the records, between two sessions; fails with QueueError.

        To be called before each session with a log that does not tell what it has.  Where the
        place has changed, what is there and what comes next are no longer in one order, so a reader
        could take the older records for duplicates: they get another lineage.  So do those of a
        queue that was restored, as readers may have later records of the same numbers.
        """
        lineage = self._lineage
        if lineage is None or (lineage.place == place and not lineage.is_copy):
            return
        if lineage.is_copy:
            self._on_trouble(_OF_A_COPY)
            lineage = Lineage.new(self._drain.stored_seq)
        elif lineage.place:
            self._on_trouble(
                f"records go to {place} now, and went to {lineage.place} before: they get other "
                "numbers, and messages that were in flight may come twice, this once"
            )
            lineage = Lineage.new(self._drain.stored_seq)
        lineage = msgspec.structs.replace(lineage, place=place)
        await self._save(lineage)
        self._lineage = lineage

    def _is_ours(self, offer: LineageOffer, have: HighWaterMark) -> bool:
        """Whether this queue has sent what the receiver has."""
        lineage = self._lineage
        return (
            lineage is not None
            and lineage.id == offer.id
            and lineage.contains(have.seq, epoch=have.epoch, next_seq=offer.end)
        )

    def _refused(self) -> Deferred[None] | None:
        if self._is_new:
            return None
        return self._renew(
            "the receiver knows this queue by another TLS identity; it is introduced anew, and "
            "messages may be sent twice, this once"
        )

    def _renew(self, text: str) -> Deferred[None]:
        """Take a lineage that no receiver knows."""
        self._on_trouble(text)
        renewed = Lineage.new(self._drain.stored_seq)
        self._lineage = None  # nothing may be offered that is not stored
        saved = self._save(renewed)
        return saved.addCallback(lambda _: self._renewed(renewed))

    def _renewed(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._is_new = True


def _behind(have: HighWaterMark, offer: LineageOffer) -> str:
    missing = offer.first - have.seq - 1
    return (
        f"the receiver has records up to {have.seq}, and {offer.first} is the next one here: "
        f"{missing} may be missing there; it was restored from an older copy, or they were set "
        "aside, dropped or purged here or went to another receiver"
    )
