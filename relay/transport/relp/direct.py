"""RELP from clients that a distributed log answers: see `relay/flow/direct/`.

A client that offers its lineage is told that its numbers are passed on.  Nothing is known of what
it has sent before, and nothing is kept: that is for the reader of the log.
"""

from __future__ import annotations

from twisted.python.failure import Failure

from relay.flow.direct.sessions import DirectSessions, GivenUp
from relay.model.fleet import FleetTable
from relay.model.hops import NO_HOP, OwnHop
from relay.transport.relp.inbound import Batch, RelpServerProtocol
from relay.wire.relp.blocks import Contexts
from relay.wire.relp.lineage import PASSED, LineageOffer


class DirectRelpProtocol(RelpServerProtocol):
    """One connection of a source in direct mode.

    Args:
        sessions: Those of the source.
    """

    def __init__(
        self,
        *,
        software: bytes,
        contexts: Contexts,
        sessions: DirectSessions,
        hop: OwnHop = NO_HOP,
        fleet: FleetTable | None = None,
    ) -> None:
        super().__init__(software=software, contexts=contexts, hop=hop, fleet=fleet)
        self._sessions, self.takes_lineages = sessions, True

    def end(self) -> None:
        super().end()
        if self.direct is not None:
            self._sessions.end(self.direct)

    def _begun(self, offer: LineageOffer | None) -> None:
        known = offer if offer is not None and offer.knows_pass else None
        self.direct = self._sessions.begin(known, self.origin.peer, lost=self.give_up)
        if offer is not None:
            self._session.answer_open(b"" if known is None else PASSED)

    def _not_stored(self, batch: Batch, failure: Failure) -> None:
        if failure.check(GivenUp) is None:  # else the connection is gone, and nobody is to be told
            super()._not_stored(batch, failure)
