"""The senders of a source in direct mode: a session for each connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.model.origin import Numbered
from relay.wire.relp.lineage import LineageOffer


class GivenUp(Exception):
    """The connection of the sender has ended, so nobody waits for the answer."""


class Flight:
    """Records of a session that the log has not acknowledged, or that wait for those before them.

    Args:
        done: Fires when all is acknowledged or set aside, with how many were set aside.

    Attributes:
        attempt: Grows whenever they are handed to a publisher; answers to earlier attempts count no
            more.
        refused: How many the log has refused for good.
        aside: How many of those are on their way to the quarantine.
        failure: Why one of them could not be set aside.
    """

    __slots__ = (
        *("acknowledged", "aside", "attempt", "done", "failure", "payloads", "refused", "seqs"),
        *("since", "size"),
    )

    def __init__(
        self,
        payloads: Sequence[bytes],
        seqs: Sequence[int],
        *,
        size: int,
        since: float,
        done: Deferred[int] | None = None,
    ) -> None:
        self.payloads, self.seqs = payloads, seqs
        self.size, self.since, self.done = size, since, done
        self.attempt = self.refused = self.aside = 0
        self.acknowledged = False
        self.failure: Failure | None = None

    @property
    def is_settled(self) -> bool:
        return self.acknowledged and not self.aside


class DirectSession:
    """One connection of a sender.

    Args:
        lineage: Of the numbers of its records; empty = they have none.
        first: The number of the first one.
        peer: The sender, as text.
        lost: Called when another connection takes the lineage.

    Attributes:
        flights: Records that are not answered, oldest first.
        put: Number of the last record that was answered and is in the log; 0 = there is none.
        sent: The same of the last one that was handed to the present publisher.
        holds: Some of the flights have to be handed to it once those before them are over.
        is_over: The connection has ended.
    """

    def __init__(
        self, lineage: str, first: int, peer: str, lost: Callable[[], object] = lambda: None
    ) -> None:
        self.lineage, self.peer = lineage, peer
        self.flights: deque[Flight] = deque()
        self.put = self.sent = 0
        self.is_over = self.holds = False
        self.supersede = lost
        self._next_seq = first

    def numbered(self, count: int) -> Numbered:
        """The numbers of the next `count` records."""
        if not self.lineage:
            return Numbered(self, ())
        first, self._next_seq = self._next_seq, self._next_seq + count
        return Numbered(self, range(first, self._next_seq))


class DirectSessions:
    """The sessions of one source.  One of them at a time has a lineage.

    Args:
        on_end: Called with a session whose connection has ended.
    """

    def __init__(self, on_end: Callable[[DirectSession], object]) -> None:
        self._on_end = on_end
        self._holders: dict[str, DirectSession] = {}

    def begin(
        self, offer: LineageOffer | None, peer: str, *, lost: Callable[[], object]
    ) -> DirectSession:
        """The session of a connection that has just been opened.

        Args:
            offer: The lineage that the sender has offered, if it did.
            lost: Called when a newer connection takes the lineage.
        """
        if offer is None:
            return DirectSession("", 0, peer)
        session = DirectSession(offer.id, offer.first, peer, lost)
        before = self._holders.get(offer.id)
        self._holders[offer.id] = session
        if before is not None:
            before.supersede()
        return session

    def end(self, session: DirectSession) -> None:
        """The connection has ended; what is on its way to the log may arrive there."""
        if session.is_over:
            return
        session.is_over = True
        if self._holders.get(session.lineage) is session:
            del self._holders[session.lineage]
        self._on_end(session)
