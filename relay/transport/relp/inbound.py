"""RELP from clients: an answer means that the message is on disk.

A relay of our kind says which records it sends (`relay/wire/relp/lineage.py`).  Its
``open`` is then answered when everything is stored that came by its earlier
connection, which is cut, and each chunk is stored with how far it goes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.flow.exactly_once.lineages import Lease, Leases
from relay.flow.marks import Marks
from relay.model.counters.source import BELIEVED_RECORDS_MAX
from relay.model.fleet import FleetTable
from relay.model.hops import NO_HOP, OwnHop
from relay.model.text import printable
from relay.transport.stream.connection import InboundProtocol
from relay.wire.hops import without_hops
from relay.wire.relp.blocks import Contexts
from relay.wire.relp.lineage import (
    NOT_BELIEVED,
    HighWaterMark,
    LineageOffer,
    format_high_water_mark,
)
from relay.wire.relp.server import RelpServerSession

if TYPE_CHECKING:
    from relay.flow.direct.sessions import DirectSession

_PAUSE_SECONDS = 0.05  # until compressed blocks that wait in memory are tried again


@dataclass(slots=True)
class Batch:
    """The messages of one chunk."""

    answers: int
    """How many are to be answered: of one that was split, only the last piece is."""
    stored: bool = False
    upto: int = 0
    """Seq after the last of them, if they have any."""


@implementer(IHalfCloseableProtocol)
class RelpServerProtocol(InboundProtocol):
    """Moves bytes between a connection and a `RelpServerSession`.

    A client that closes its sending side after its last message still gets its
    answers, hence the half-closing.

    Args:
        software: Value of our ``relp_software`` offer.
        lineages: Makes it exactly once for those who offer theirs; None = for nobody.
        hop: This relay, in the hops of messages.
        contexts: How many connections may send compressed blocks.
        fleet: Knows the relays that report; None = no reports are taken.
    """

    _session: RelpServerSession  # exists from begin on
    direct: DirectSession | None = None  # where a log answers, from the opening on

    def __init__(
        self,
        *,
        software: bytes,
        contexts: Contexts,
        lineages: Leases | None = None,
        hop: OwnHop = NO_HOP,
        fleet: FleetTable | None = None,
    ) -> None:
        super().__init__()
        self._contexts = contexts
        self._has_context = False
        self._hop = hop
        self._fleet = fleet
        self._software = software
        self._lineages, self.takes_lineages = lineages, lineages is not None
        self._lease: Lease | None = None  # on the lineage that the client offered
        # Those that wait for their answers, oldest first.  One that needs no commit
        # (all of it dropped) is done before those that came earlier.
        self._batches: deque[Batch] = deque()

    def begin(self) -> None:
        self._session = RelpServerSession(
            data_bytes_max=self.factory.limits.frame_bytes_max,
            software=self._software,
            split=self.factory.oversize.splits,
            takes_lineages=self.takes_lineages,
            hop=self._hop.text,
            unpacks=self._take_context,
            takes_reports=self._fleet is not None,
        )
        # Otherwise an answer waits until the client's TCP has acknowledged the one before.
        self.transport.setTcpNoDelay(True)
        if not self.factory.secure:
            self.expect_within_handshake_time("RELP open")

    def handshakeCompleted(self) -> None:
        super().handshakeCompleted()
        self.expect_within_handshake_time("RELP open")

    @property
    def unfinished_bytes(self) -> int:
        return self._session.unfinished_bytes

    def take(self, chunk: bytes) -> None:
        session = self._session
        was_opened, was_ending = session.opened, session.ending
        unanswered = session.unanswered
        messages = session.receive(chunk)
        if session.opened and not was_opened:
            self.handshake_done()
            self._opened()
        if session.error is not None and not was_ending:
            self.violated(session.error)
        if session.report is not None:
            self._reported()
        if messages:
            if unanswered and self.factory.reads is not None:
                self.factory.reads.stream()
            self._accept(messages, session.unanswered - unanswered)
        self._write()
        if session.has_more and not self.closing:
            self._pause("blocks")
            self.timers.set("blocks", 0.0, self._take_more)
        elif "blocks" in self._pauses:
            self._resume("blocks")
            if "end of input" in self._pauses:
                self._end_input()

    def _seen(self) -> None:
        """The client has said who it is, if it is a relay that reports."""
        if self._fleet is not None and (said := self._session.fleet) is not None:
            self._fleet.seen(said.name, self._identity, said.version, self.factory.clock.seconds())

    def _reported(self) -> None:
        said, report = self._session.fleet, self._session.report
        self._session.report = None
        if self._fleet is not None and said is not None and report is not None:
            now = self.factory.clock.seconds()
            self._fleet.reported(said.name, self._identity, *report, now)

    @property
    def _identity(self) -> str:
        """What is known of the client for certain."""
        return printable(self.origin.tls_identity or self.origin.peer_host)

    def _take_context(self) -> bool:
        """Whether the client may send compressed blocks."""
        if self._pace is not None:  # which counts bytes of the wire
            return False
        self._has_context = self._contexts.take()
        if not self._has_context:
            self.warn(
                "contexts",
                f"{self._contexts.most} connections may send compressed messages already, so it "
                "sends them as they are",
            )
        return self._has_context

    def _take_more(self) -> None:
        """Take more of the compressed blocks that have come, unless the relay has paused."""
        if self._pauses - {"blocks", "end of input"}:
            self.timers.set("blocks", _PAUSE_SECONDS, self._take_more)
        else:
            self._take(b"")

    def end(self) -> None:
        """What was not answered will come again."""
        if self._has_context:
            self._has_context = False
            self._contexts.give_back()
        if self._lease is not None:
            self._lease.release()

    def shut_down(self) -> None:
        self.lingers = "end of input" not in self._pauses
        self._session.shut_down()
        self._write()

    def give_up(self) -> None:
        """It takes too long, or the client has connected again: nobody listens here any more."""
        self._session.abandon()
        self._write()

    def close_idle(self) -> None:
        self.shut_down()

    def readConnectionLost(self) -> None:
        """The client has said everything; answer what is not answered yet."""
        self.input_ended()
        if "blocks" not in self._pauses:
            self._end_input()

    def _end_input(self) -> None:
        was_ending = self._session.ending
        self._session.end_of_input()
        if self._session.error is not None and not was_ending:
            self.violated(self._session.error)
        self._write()

    def writeConnectionLost(self) -> None:
        pass  # connectionLost follows

    def _accept(self, messages: list[bytes], answers: int) -> None:
        session, joining = self._session, self.factory.reception.joining
        marks = Marks(session.cut, session.pieces)
        begin = 0 if joining is None else joining.last_begin(without_hops(messages))
        if begin:  # only the last one may go on; the answers to the others need not wait for it
            self._store(messages[:begin], marks.picked(range(begin)), begin)
            marks = marks.picked(range(begin, len(messages)))
        self._store(messages[begin:] if begin else messages, marks, answers - begin)

    def _store(self, messages: list[bytes], marks: Marks, answers: int) -> None:
        batch = Batch(answers)
        self._batches.append(batch)
        # What is dropped here is answered like the rest: it must not come again.
        positions = None
        if self._lease is not None:
            positions = self._lease.take(answers)
            batch.upto = self._lease.next_seq
            self._lease.underway()
        self.store(
            *(messages, *marks, positions),
            are_records=bool(self._session.client_hop),
            numbered=self.direct.numbered(answers) if self.direct is not None else None,
            stored=partial(self._stored, batch),
            failed=partial(self._not_stored, batch),
        )

    def _opened(self) -> None:
        """The client has opened the session, perhaps with a lineage."""
        session = self._session
        self._seen()
        if session.client_hop:
            self.origin = self.origin._replace(hops=session.client_hop)
        if session.lineage_malformed:
            self.factory.counters.refused_lineages += 1
            self.warn("lineage", "its offer to send exactly once is malformed: not taken")
        if not session.ending:
            self._begun(session.lineage)

    def _begun(self, offer: LineageOffer | None) -> None:
        """The session begins; say what is known of the lineage, if the client offers one."""
        if offer is None or self._lineages is None:
            return
        identity = self.origin.tls_identity
        lease = self._lineages.lease(offer, identity, granted=self._granted, lost=self.give_up)
        if lease is not None:
            self._lease = lease
            return
        self.factory.counters.refused_lineages += 1
        self.warn(
            "lineage",
            f"the lineage {offer.id} is another sender's, not one of "
            f"{printable(identity or '')!r}: its messages are taken at least once",
        )
        self._session.answer_open(NOT_BELIEVED)

    def _granted(self, lease: Lease, have: HighWaterMark) -> None:
        """Nothing of an earlier connection is underway: the client may begin."""
        offer, counters = lease.offer, self.factory.counters
        if lease.leaps:
            self.warn(
                "missing",
                f"it goes on more than {BELIEVED_RECORDS_MAX:,} records after the last one that "
                "came: that many are not believed to be missing, and none is counted",
            )
        if lease.missing:
            counters.missing_records += lease.missing
            self.warn(
                "missing",
                f"it goes on with record {offer.first}, the last one that came is {have.seq}: "
                f"{lease.missing} were set aside there, went elsewhere or are lost here",
            )
        if have.seq >= offer.end:
            # Within an epoch, this is an opening that was on its way for longer than others.
            if have.epoch != offer.epoch:
                self.warn(
                    "restored",
                    f"its queue ends before record {offer.end}, and record {have.seq} has come "
                    "from it: it was restored from an older copy and may send some messages twice",
                )
        elif have.seq >= offer.first:
            again = have.seq + 1 - offer.first
            counters.duplicate_records += again if again <= BELIEVED_RECORDS_MAX else 0
        self._session.answer_open(format_high_water_mark(have))
        self._write()

    def _stored(self, batch: Batch) -> None:
        if self._lease is not None:
            self._lease.done(batch.upto, stored=True)
        batch.stored = True
        count = 0
        while self._batches and self._batches[0].stored:
            count += self._batches.popleft().answers
        if count and not self._session.finished:
            self._session.answer(count)
            self._write()

    def _not_stored(self, batch: Batch, failure: Failure) -> None:
        # Without an answer the client keeps the messages and sends them again.
        self.warn("not-stored", f"messages were not answered: {failure.getErrorMessage()}")
        self._session.abandon()
        if self._lease is not None:
            self._lease.done(batch.upto, stored=False)
        self._write()

    def _write(self) -> None:
        if not self.gone and (data := self._session.data_to_send()):
            self.transport.write(data)
        if self._session.finished:
            self.close()
