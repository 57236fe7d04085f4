"""RELP from clients: an answer means that the message is on disk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.transport.inbound import InboundProtocol
from relay.wire.relp_server import RelpServerSession

__all__ = ["RelpServerProtocol"]


@dataclass(slots=True)
class _Batch:
    """The messages of one chunk."""

    answers: int
    """How many are to be answered: of one that was split, only the last piece is."""
    stored: bool = False


@implementer(IHalfCloseableProtocol)
class RelpServerProtocol(InboundProtocol):
    """Moves octets between a connection and a `RelpServerSession`.

    A client that closes its sending side after its last message still gets its
    answers, hence the half-closing.

    Args:
        software: Value of our ``relp_software`` offer.
    """

    _session: RelpServerSession  # exists from begin on

    def __init__(self, *, software: bytes) -> None:
        super().__init__()
        self._software = software
        # Those that wait for their answers, oldest first.  One that needs no commit
        # (all of it dropped) is done before those that came earlier.
        self._batches: deque[_Batch] = deque()

    def begin(self) -> None:
        self._session = RelpServerSession(
            data_bytes_max=self.factory.limits.frame_bytes_max,
            software=self._software,
            split=self.factory.oversize.splits,
        )
        if not self.factory.secure:
            self.expect_within_handshake_time("RELP open")

    def handshakeCompleted(self) -> None:
        super().handshakeCompleted()
        self.expect_within_handshake_time("RELP open")

    def take(self, chunk: bytes) -> None:
        session = self._session
        was_opened, was_ending = session.opened, session.ending
        unanswered = session.unanswered
        messages = session.receive(chunk)
        if session.opened and not was_opened:
            self.handshake_done()
        if session.error is not None and not was_ending:
            self.violated(session.error)
        if messages:
            batch = _Batch(session.unanswered - unanswered)
            self._batches.append(batch)
            # What is dropped here is answered like the rest: it must not come again.
            stored = self.store(messages, session.cut, session.pieces)
            stored.addCallbacks(lambda _: self._stored(batch), self._not_stored)
        self._write()

    def end(self) -> None:
        pass  # what was not answered will come again

    def shut_down(self) -> None:
        self._session.shut_down()
        self._write()

    def give_up(self) -> None:
        self._session.abandon()
        self._write()

    def close_idle(self) -> None:
        self.shut_down()

    def readConnectionLost(self) -> None:
        """The client has said everything; answer what is not answered yet."""
        self.input_ended()
        was_ending = self._session.ending
        self._session.end_of_input()
        if self._session.error is not None and not was_ending:
            self.violated(self._session.error)
        self._write()

    def writeConnectionLost(self) -> None:
        pass  # connectionLost follows

    def _stored(self, batch: _Batch) -> None:
        batch.stored = True
        count = 0
        while self._batches and self._batches[0].stored:
            count += self._batches.popleft().answers
        if count and not self._session.finished:
            self._session.answer(count)
            self._write()

    def _not_stored(self, failure: Failure) -> None:
        # Without an answer the client keeps the messages and sends them again.
        self.warn("not-stored", f"messages were not answered: {failure.getErrorMessage()}")
        self._session.abandon()
        self._write()

    def _write(self) -> None:
        if not self.gone and (octets := self._session.data_to_send()):
            self.transport.write(octets)
        if self._session.finished:
            self.close()
