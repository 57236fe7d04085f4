from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.model.origin import Transport
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.stream.connection import InboundFactory, InboundLimits, InboundProtocol
from relay.transport.stream.inbound import SyslogStreamProtocol
from relay.transport.stream.proxy import ProxyFactory
from relay.wire.relp.blocks import Contexts
from tests.connections import (
    EachChunkATurn,
    RecordingIntake,
    RecordingNotices,
    Wire,
    lose,
    open_reception,
)

HEADER = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 514\r\n"


class Listener:
    """A proxied listener; its connections come from 10.0.0.9."""

    def __init__(self, new_protocol: Any = SyslogStreamProtocol) -> None:
        self.clock = Clock()
        self.notices: Any = RecordingNotices()
        self.intake: Any = RecordingIntake()
        self.counters = SourceCounters()
        self.inbound = InboundFactory(
            open_reception(self.intake, self.counters, self.notices),
            transport=Transport.TCP,
            new_protocol=new_protocol,
            limits=InboundLimits(
                frame_bytes_max=1000,
                connections_max=2,
                idle_seconds_max=100,
                handshake_seconds_max=10,
            ),
            clock=self.clock,
            secure=False,
        )
        self.inbound.turn_batch = EachChunkATurn(self.intake, clock=self.clock)
        self.factory = ProxyFactory(self.inbound, inbound=self.inbound, clock=self.clock)

    def connect(self) -> tuple[Any, Wire]:
        wire = Wire(peerAddress=IPv4Address("TCP", "10.0.0.9", 50000))
        protocol = self.factory.buildProtocol(wire.getPeer())
        protocol.makeConnection(wire)
        return protocol, wire


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_the_peer_is_whom_the_header_names(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.dataReceived(HEADER + b"<13>app: one\n")
    protocol.dataReceived(b"<13>app: two\n")
    assert listener.intake.batches == [[b"<13>app: one"], [b"<13>app: two"]]
    assert {origin.peer for origin in listener.intake.origins} == {"192.0.2.7:40000"}
    assert wire.keep_alive
    lose(protocol)
    assert listener.counters.connections_open == 0
    assert listener.clock.getDelayedCalls() == []


def test_a_header_may_come_in_pieces(listener: Listener) -> None:
    stream = HEADER + b"<13>app: one\n"
    for cut in range(1, len(stream)):
        protocol, _ = listener.connect()
        protocol.dataReceived(stream[:cut])
        protocol.dataReceived(stream[cut:])
        assert listener.intake.batches.pop() == [b"<13>app: one"], cut
        lose(protocol)
    assert listener.notices.said == []


def test_a_proxy_may_speak_for_itself(listener: Listener) -> None:
    protocol, _ = listener.connect()
    protocol.dataReceived(b"PROXY UNKNOWN\r\n<13>app: one\n")
    assert listener.intake.origins[0].peer == "10.0.0.9:50000"


def test_no_connection_is_counted_before_its_header(listener: Listener) -> None:
    protocol, _ = listener.connect()
    protocol.dataReceived(HEADER[:-1])
    assert listener.counters.connections_accepted == 0
    protocol.dataReceived(HEADER[-1:])
    assert listener.counters.connections_accepted == 1


def test_what_is_no_header_ends_the_connection(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.dataReceived(b"<13>app: one\n")
    assert wire.disconnected
    protocol.dataReceived(HEADER)
    lose(protocol)
    assert listener.intake.batches == []
    assert listener.counters.protocol_errors == 1
    ((subject, kind, text),) = listener.notices.said
    assert (subject, kind) == ("source in, 10.0.0.9:50000", "protocol")
    assert text.startswith("expected a PROXY header")
    assert listener.clock.getDelayedCalls() == []


def test_a_header_has_to_come_in_time(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.dataReceived(HEADER[:5])
    listener.clock.advance(11)
    assert wire.disconnected
    assert listener.notices.said[0][2] == "no PROXY header within 10 s"
    lose(protocol)
    assert listener.clock.getDelayedCalls() == []


def test_so_many_may_wait_for_their_header(listener: Listener) -> None:
    waiting = [listener.connect() for _ in range(3)]
    assert [wire.disconnected for _, wire in waiting] == [False, False, True]
    assert listener.counters.connections_refused == 1
    lose(waiting[0][0])
    assert not listener.connect()[1].disconnected


def test_limits_hold_for_those_behind_the_proxy(listener: Listener) -> None:
    connections = []
    for _ in range(3):
        connections.append(listener.connect())
        connections[-1][0].dataReceived(HEADER + b"<13>app: one\n")
    assert [wire.disconnected for _, wire in connections] == [False, False, True]
    assert listener.notices.said[0][:2] == ("source in, 192.0.2.7:40000", "refused")
    assert len(listener.intake.batches) == 2


def test_a_probe_that_says_nothing_is_no_violation(listener: Listener) -> None:
    protocol, _ = listener.connect()
    lose(protocol)
    assert (listener.notices.said, listener.counters.protocol_errors) == ([], 0)
    assert listener.clock.getDelayedCalls() == []


def test_those_that_wait_are_cut_when_the_listener_stops(listener: Listener) -> None:
    listener.factory.doStart()
    _, wire = listener.connect()
    listener.factory.doStop()
    assert wire.disconnected


def test_relp_behind_a_proxy_is_answered_after_half_a_close() -> None:
    listener = Listener(lambda: RelpServerProtocol(software=b"test,1", contexts=Contexts(1)))
    protocol, wire = listener.connect()
    protocol.dataReceived(HEADER)
    offers = b"relp_version=0\ncommands=syslog"
    protocol.dataReceived(b"1 open %d %s\n2 syslog 3 one\n" % (len(offers), offers))
    assert IHalfCloseableProtocol.providedBy(protocol)
    protocol.readConnectionLost()
    listener.intake.stored[0].callback(None)
    assert b"2 rsp 6 200 OK\n" in wire.value()
    protocol.writeConnectionLost()


def test_plain_syslog_has_no_half_close(listener: Listener) -> None:
    protocol, _ = listener.connect()
    protocol.dataReceived(HEADER)
    assert not IHalfCloseableProtocol.providedBy(protocol)


class NoProtocols(InboundFactory):
    def buildProtocol(self, addr: Any) -> InboundProtocol | None:
        return None


def test_whom_the_factory_above_does_not_want(listener: Listener) -> None:
    listener.inbound.__class__ = NoProtocols
    protocol, wire = listener.connect()
    protocol.dataReceived(HEADER)
    assert wire.disconnected
    lose(protocol)
