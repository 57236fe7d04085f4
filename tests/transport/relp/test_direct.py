from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.codec import encode_syslog
from relay.flow.direct.sessions import DirectSession, DirectSessions, GivenUp
from relay.model.counters.source import SourceCounters
from relay.model.origin import Transport
from relay.transport.relp.direct import DirectRelpProtocol
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.wire.relp.blocks import Contexts
from relay.wire.relp.frame import encode_frame
from relay.wire.relp.lineage import LineageOffer, format_lineage
from tests.connections import (
    EachChunkATurn,
    RecordingIntake,
    RecordingNotices,
    Wire,
    lose,
    open_reception,
)

OPEN = b"relp_version=0\ncommands=syslog"
OFFER = LineageOffer("00000000-0000-0000-0000-00000000000a", "0" * 16, 7, 30, knows_pass=True)


class KeepsNumbers(RecordingIntake):
    def __init__(self) -> None:
        super().__init__()
        self.seqs: list[list[int]] = []

    def accept_all(self, batches: Any, positions: Any = None) -> Any:
        assert not positions
        self.seqs += [[*batch.numbered.seqs] for batch in batches]
        return super().accept_all(batches, positions)


class Source:
    """A source in direct mode; each connection has a wire of its own."""

    def __init__(self, oversize: str = "truncate") -> None:
        self.clock = Clock()
        self.intake: Any = KeepsNumbers()
        self.notices: Any = RecordingNotices()
        self.ended: list[DirectSession] = []
        self.factory = InboundFactory(
            open_reception(self.intake, SourceCounters(), self.notices),
            transport=Transport.TCP,
            new_protocol=partial(
                DirectRelpProtocol,
                software=b"test",
                contexts=Contexts(1),
                sessions=DirectSessions(self.ended.append),
            ),
            limits=InboundLimits(
                frame_bytes_max=256,
                connections_max=9,
                idle_seconds_max=30,
                handshake_seconds_max=5,
                oversize=oversize,
            ),
            clock=self.clock,
            secure=False,
        )
        self.factory.turn_batch = EachChunkATurn(self.intake, clock=self.clock)

    def connection(self, offer: LineageOffer | None = OFFER) -> tuple[Any, Wire]:
        protocol: Any = self.factory.buildProtocol(None)
        protocol.makeConnection(wire := Wire())
        lineage = b"\n" + format_lineage(offer) if offer else b""
        protocol.dataReceived(encode_frame(1, b"open", OPEN + lineage))
        return protocol, wire


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_lineage_is_passed_on(source: Source) -> None:
    protocol, wire = source.connection()
    assert b"\nsyslogrelay_have=pass" in wire.value()
    protocol.dataReceived(encode_syslog(2, [b"a", b"b"]))
    protocol.dataReceived(encode_syslog(4, [b"c"]))
    assert source.intake.seqs == [[7, 8], [9]]


def test_a_sender_without_lineage_has_no_numbers(source: Source) -> None:
    protocol, wire = source.connection(None)
    assert b"syslogrelay_have" not in wire.value()
    protocol.dataReceived(encode_syslog(2, [b"a"]))
    assert source.intake.seqs == [[]]


def test_an_older_relay_has_no_numbers_either(source: Source) -> None:
    protocol, wire = source.connection(OFFER._replace(knows_pass=False))
    assert wire.value().startswith(b"1 rsp ") and b"syslogrelay_have" not in wire.value()
    protocol.dataReceived(encode_syslog(2, [b"a"]))
    assert source.intake.seqs == [[]]


def test_messages_are_answered_in_order(source: Source) -> None:
    protocol, wire = source.connection()
    wire.clear()
    protocol.dataReceived(encode_syslog(2, [b"a"]))
    protocol.dataReceived(encode_syslog(3, [b"b"]))
    source.intake.stored[1].callback(None)
    assert wire.value() == b""
    source.intake.stored[0].callback(None)
    assert wire.value() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"


def test_a_dropped_message_keeps_its_number() -> None:
    source = Source(oversize="drop")
    protocol, _ = source.connection()
    protocol.dataReceived(encode_syslog(2, [b"a", b"x" * 999, b"c"]))
    assert source.intake.seqs == [[7, 9]]


def test_a_newer_connection_of_a_lineage_cuts_the_older(source: Source) -> None:
    _, older = source.connection()
    source.connection()
    assert older.value().endswith(b"0 serverclose 0\n")


def test_the_end_of_a_connection_ends_its_session(source: Source) -> None:
    protocol, _ = source.connection()
    lose(protocol)
    (session,) = source.ended
    assert session.is_over and session.lineage == OFFER.id


def test_nobody_is_warned_of_what_nobody_waits_for(source: Source) -> None:
    protocol, _ = source.connection()
    protocol.dataReceived(encode_syslog(2, [b"a"]))
    lose(protocol)
    source.intake.stored[0].errback(GivenUp())
    assert source.notices.said == []


def test_a_message_before_the_opening_is_refused(source: Source) -> None:
    protocol: Any = source.factory.buildProtocol(None)
    protocol.makeConnection(Wire())
    protocol.dataReceived(encode_syslog(1, [b"a"]))
    assert source.intake.batches == []
