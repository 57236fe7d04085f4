from __future__ import annotations

import ipaddress
import os
import socket
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from OpenSSL.crypto import X509
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.model.counters.source import SourceCounters
from relay.model.debug import CONNECTIONS
from relay.model.origin import Origin, Received, Transport
from relay.queue.admission.backpressure import Admission
from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.transport import connections
from relay.transport.connections import READ_BYTES_MAX
from relay.transport.peers import PermittedPeers
from relay.transport.reception import Reception
from relay.transport.stream.connection import (
    InboundFactory,
    InboundLimits,
    InboundProtocol,
    UnfinishedFrames,
)
from relay.transport.tls.endpoints import TlsListener, TlsMaterial, TlsUpstream
from relay.transport.tls.peer_check import (
    PeerPolicy,
    fingerprints_of,
    parse_fingerprint,
)
from relay.transport.turn_batch import TurnBatch
from tests.connections import (
    EachChunkATurn,
    Pair,
    RecordingIntake,
    RecordingNotices,
    Wire,
    fired,
    lose,
    open_reception,
)
from tests.details import details
from tests.odd_certificates import make_certificate


class Echo(InboundProtocol):
    """The smallest subclass; "bad" breaks its protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[object] = []

    def begin(self) -> None:
        self.events.append("begin")

    def take(self, chunk: bytes) -> None:
        self.events.append(chunk)
        if chunk == b"bad":
            self.violated("no good")
            self.close()

    def end(self) -> None:
        self.events.append(("end", len(self.factory.connections)))


class Listener:
    """A factory with everything that it and its connections talk to."""

    def __init__(
        self,
        *,
        secure: bool = False,
        connections_max: int = 2,
        connections_per_peer_max: int = 0,
        oversize: str = "truncate",
        block_seconds_max: float = 0.0,
        rate_per_peer_max: int = 0,
        permitted: PermittedPeers | None = None,
    ) -> None:
        self.clock = Clock()
        self.intake = RecordingIntake()
        self.notices: Any = RecordingNotices()
        self.counters = SourceCounters()
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=1000)
        self.factory = InboundFactory(
            Reception("in", self.intake, self.admission, self.counters, self.notices),
            transport=Transport.TCP,
            new_protocol=Echo,
            limits=InboundLimits(
                frame_bytes_max=64,
                connections_max=connections_max,
                idle_seconds_max=30,
                handshake_seconds_max=10,
                connections_per_peer_max=connections_per_peer_max,
                oversize=oversize,
                block_seconds_max=block_seconds_max,
                rate_per_peer_max=rate_per_peer_max,
            ),
            clock=self.clock,
            secure=secure,
            permitted=permitted,
        )

        self.factory.turn_batch = EachChunkATurn(self.intake, clock=self.clock)

    def connect(self, wire: Wire | None = None) -> tuple[Any, Wire]:
        wire = wire or Wire()
        protocol = self.factory.buildProtocol(None)
        protocol.makeConnection(wire)
        return protocol, wire

    def stop(self) -> Deferred[None]:
        return self.factory.shut_down(seconds_max=1.5)


def unexpected(failure: Failure) -> None:
    raise AssertionError(failure)


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_a_connection_is_counted_while_it_lasts(listener: Listener) -> None:
    protocol, wire = listener.connect()
    assert (listener.counters.connections_accepted, listener.counters.connections_open) == (1, 1)
    assert wire.keep_alive
    assert wire.bufferSize == READ_BYTES_MAX
    lose(protocol)
    assert (listener.counters.connections_accepted, listener.counters.connections_open) == (1, 0)


def test_a_connection_is_told_to_those_who_ask(listener: Listener) -> None:
    with details(CONNECTIONS) as lines:
        protocol, _ = listener.connect()
        lose(protocol)
        protocol, _ = listener.connect()
        protocol.close()
        lose(protocol)
    listener.connect()
    assert [line.rpartition(": ")[2] for line in lines] == [
        *("connected", "closed by the peer", "connected", "closed by the relay"),
    ]
    assert lines[0].startswith("source in: 192.168.1.1:")


def test_those_who_waited_when_the_relay_was_stopped_are_all_read(listener: Listener) -> None:
    listener.factory.stopping = True
    for _ in range(3 * listener.factory.limits.connections_max):
        listener.connect()
    assert listener.counters.connections_refused == 0


def test_no_timer_outlives_the_connection(listener: Listener) -> None:
    protocol, _ = listener.connect()
    protocol.close()
    lose(protocol)
    assert listener.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (IPv4Address("TCP", "192.0.2.1", 40000), "192.0.2.1:40000"),
        (IPv6Address("TCP", "2001:db8::1", 40000), "[2001:db8::1]:40000"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 40000), "192.0.2.1:40000"),
    ],
)
def test_the_origin_names_the_peer(listener: Listener, address: Any, peer: str) -> None:
    protocol, _ = listener.connect(Wire(peerAddress=address))
    assert (protocol.origin.source, protocol.origin.peer) == ("in", peer)


def test_the_kernel_vouches_for_local_peers(listener: Listener) -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    wire = Wire(peerAddress=UNIXAddress(None))
    wire.getHandle = lambda: here  # type: ignore[method-assign,assignment,return-value]
    with here, there:
        protocol, _ = listener.connect(wire)
    assert protocol.origin == Origin(
        "in", Transport.TCP, pid=os.getpid(), uid=os.getuid(), gid=os.getgid()
    )
    assert not hasattr(wire, "keep_alive")


# Too many connections.


def test_one_connection_too_many_is_refused_counted_and_said(listener: Listener) -> None:
    for _ in range(2):
        listener.connect()
    protocol, wire = listener.connect()
    assert wire.disconnected
    assert protocol.events == []
    assert listener.counters.connections_refused == 1
    assert listener.counters.connections_open == 2
    ((subject, kind, text),) = listener.notices.said
    assert (subject, kind) == ("source in, 192.168.1.1:54321", "refused")
    assert "connections_max" in text


def test_a_refused_connection_leaves_no_trace(listener: Listener) -> None:
    others = [listener.connect()[0] for _ in range(2)]
    protocol, wire = listener.connect()
    protocol.dataReceived(b"data")
    calls = len(listener.clock.getDelayedCalls())
    lose(protocol)
    assert protocol.events == []
    assert listener.counters.connections_open == 2
    assert len(listener.clock.getDelayedCalls()) == calls
    listener.admission.set_pending_bytes(1000)
    assert wire.producerState == "producing"
    lose(others[0])
    assert not listener.connect()[1].disconnected


def from_host(host: str) -> Wire:
    return Wire(peerAddress=IPv4Address("TCP", host, 40000))


def test_one_connection_too_many_of_a_peer() -> None:
    listener = Listener(connections_max=10, connections_per_peer_max=2)
    first, _ = listener.connect(from_host("10.0.0.1"))
    listener.connect(from_host("10.0.0.1"))
    _, third = listener.connect(from_host("10.0.0.1"))
    _, other = listener.connect(from_host("10.0.0.2"))
    assert (third.disconnected, other.disconnected) == (True, False)
    assert listener.counters.connections_refused == 1
    ((subject, kind, text),) = listener.notices.said
    assert (subject, kind) == ("source in, 10.0.0.1:40000", "refused")
    assert text == "refused: it has as many open as connections_per_peer_max allows (2)"
    lose(first)
    _, fourth = listener.connect(from_host("10.0.0.1"))
    assert not fourth.disconnected


def test_peers_that_are_gone_are_forgotten() -> None:
    listener = Listener(connections_per_peer_max=1)
    protocol, _ = listener.connect()
    lose(protocol)
    assert not listener.factory._of_peer


def test_nobody_is_admitted_while_few_descriptors_are_left(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local programs neither: what is left is for the relay itself."""
    admits = listener.factory.admits
    for left in (16, 15, 0):
        monkeypatch.setattr(connections, "descriptors_left", lambda left=left: left)
        assert admits(IPv4Address("TCP", "10.0.0.1", 40000)) is (left == 16)
        assert admits(UNIXAddress(None)) is (left == 16)
    assert listener.counters.connections_refused == 4
    assert listener.notices.kinds == ["descriptors"] * 4
    assert listener.notices.said[0][2].startswith("refused: 15 of ")


def test_strangers_are_not_admitted() -> None:
    listener = Listener(permitted=PermittedPeers(deny=[ipaddress.ip_network("10.0.0.0/8")]))
    admits = listener.factory.admits
    assert admits(IPv4Address("TCP", "192.0.2.1", 40000))
    assert admits(UNIXAddress(None))
    assert listener.counters.connections_refused == 0
    assert not admits(IPv4Address("TCP", "10.0.0.1", 40000))
    assert not admits(IPv6Address("TCP", "::ffff:10.0.0.1", 40000))
    assert listener.counters.connections_refused == 2
    assert listener.notices.said[0] == (
        "source in, 10.0.0.1:40000",
        "not-allowed",
        "refused: not allowed by allow and deny",
    )


# Too much.


def test_who_sends_too_fast_is_not_read_for_a_while() -> None:
    listener = Listener(rate_per_peer_max=10)
    protocol, wire = listener.connect()
    protocol.store([b"a"] * 10, {}, {}, failed=unexpected)
    assert wire.producerState == "producing"
    protocol.store([b"a"] * 20, {}, {}, failed=unexpected)
    assert wire.producerState == "paused"
    protocol.store([b"a"] * 10, {}, {}, failed=unexpected)  # was on its way
    listener.clock.advance(2)
    assert wire.producerState == "paused"
    listener.clock.advance(1)
    assert wire.producerState == "producing"
    assert listener.counters.pauses == 0
    assert [len(batch) for batch in listener.intake.batches] == [10, 20, 10]
    protocol.close()
    lose(protocol)
    assert listener.clock.getDelayedCalls() == []


def test_all_connections_of_a_peer_share_a_rate() -> None:
    listener = Listener(rate_per_peer_max=10)
    (one, first), (other, second) = listener.connect(), listener.connect()
    one.store([b"a"] * 20, {}, {}, failed=unexpected)
    assert (first.producerState, second.producerState) == ("paused", "producing")
    other.store([b"a"], {}, {}, failed=unexpected)
    assert second.producerState == "paused"
    listener.clock.advance(1.05)
    assert first.producerState == "paused"
    listener.clock.advance(0.1)
    assert (first.producerState, second.producerState) == ("producing", "producing")


def test_a_connection_of_a_fast_peer_is_read_every_30_seconds() -> None:
    """Its answers follow what is read, and after 90 s without one a RELP client gives up."""
    listener = Listener(rate_per_peer_max=10)
    lasting, wire = listener.connect()
    read_at = [0.0]
    for second in range(600):
        if wire.producerState == "producing":
            read_at.append(listener.clock.seconds())
            lasting.store([b"a"] * 100, {}, {}, failed=unexpected)
        if second % 10 == 0:  # others of the same address, which have not been told to wait
            brief, _ = listener.connect()
            brief.store([b"a"] * 1000, {}, {}, failed=unexpected)
            lose(brief)
        listener.clock.advance(1)
    gaps = [after - before for before, after in pairwise(read_at)]
    assert len(gaps) >= 20
    assert max(gaps) <= 31  # we look once a second


def test_frames_at_the_end_of_a_connection_pause_nothing() -> None:
    listener = Listener(rate_per_peer_max=1)
    protocol, _ = listener.connect()
    lose(protocol)
    protocol.store([b"a"] * 20, {}, {}, failed=unexpected)
    assert listener.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("oversize", "taken", "cut", "kind"),
    [
        ("truncate", [b"a", b"bb", b"c"], {1: 65}, "truncated"),
        ("drop", [b"a", b"c"], None, "too-long"),
        ("quarantine", [b"a", b"bb", b"c"], {1: 65}, "too-long"),
    ],
)
def test_what_was_cut_is_settled_and_handed_on(
    oversize: str, taken: list[bytes], cut: dict[int, int] | None, kind: str
) -> None:
    listener = Listener(oversize=oversize)
    protocol, _ = listener.connect()
    protocol.store([b"a", b"bb", b"c"], {1: 65}, {}, failed=unexpected)
    assert (listener.intake.batches, listener.intake.cut) == ([taken], [cut])
    assert listener.notices.kinds == [kind]


def test_pieces_are_handed_on() -> None:
    listener = Listener(oversize="split")
    protocol, _ = listener.connect()
    protocol.store([b"a", b"b", b"b"], {}, {1: 1, 2: 2}, failed=unexpected)
    protocol.store([b"b"], {}, {0: 3}, failed=unexpected)
    assert listener.intake.pieces == [{1: 1, 2: 2}, {0: 3}]
    assert (listener.counters.split_records, listener.notices.kinds) == (1, ["too-long"])


def test_nothing_is_handed_on_if_all_was_dropped() -> None:
    listener = Listener(oversize="drop", rate_per_peer_max=1)
    protocol, wire = listener.connect()
    stored: list[bool] = []
    keywords: Any = {"stored": lambda: stored.append(True), "failed": unexpected}
    protocol.store([b"a"] * 9, dict.fromkeys(range(9), 65), {}, **keywords)
    assert stored == [True]
    assert (listener.intake.batches, wire.producerState) == ([], "producing")


# Silence and slowness.


def test_silence_closes_a_connection(listener: Listener) -> None:
    protocol, wire = listener.connect()
    listener.clock.advance(29)
    protocol.dataReceived(b"data")
    listener.clock.advance(29)
    assert not wire.disconnecting
    listener.clock.advance(2)
    assert wire.disconnecting
    assert listener.counters.connections_idle_closed == 1
    assert listener.notices.kinds == ["idle"]


def test_silence_is_ours_while_reading_is_paused(listener: Listener) -> None:
    _, wire = listener.connect()
    listener.admission.set_pending_bytes(1000)
    listener.clock.advance(31)
    assert not wire.disconnecting
    listener.admission.set_pending_bytes(0)
    listener.clock.advance(31)
    assert wire.disconnecting


def test_a_tls_handshake_that_takes_too_long(listener: Listener) -> None:
    listener = Listener(secure=True)
    protocol, wire = listener.connect()
    listener.clock.advance(11)
    assert wire.disconnected
    assert listener.counters.protocol_errors == 1
    assert listener.notices.said[0][2] == "no TLS handshake within 10 s"
    lose(protocol)
    assert listener.clock.getDelayedCalls() == []


def test_a_handshake_is_not_late_while_we_do_not_listen() -> None:
    listener = Listener(secure=True)
    listener.admission.set_pending_bytes(1000)
    _, wire = listener.connect()
    listener.clock.advance(11)
    assert not wire.disconnected
    listener.admission.set_pending_bytes(0)
    listener.clock.advance(11)
    assert wire.disconnected


def test_a_handshake_in_time() -> None:
    listener = Listener(secure=True)
    protocol, wire = listener.connect()
    protocol.handshake_done()
    listener.clock.advance(11)
    assert not wire.disconnected


@pytest.mark.parametrize(("refusal", "identity"), [("", "web-1.example.com"), (None, None)])
def test_who_a_peer_is_comes_from_a_verified_certificate(
    refusal: str | None, identity: str | None
) -> None:
    class Tls(Wire):
        certificate_refusal = refusal

        def getPeerCertificate(self) -> X509:
            return X509.from_cryptography(make_certificate("web-1.example.com").certificate)

    protocol, _ = Listener(secure=True).connect(Tls())
    assert protocol.origin.tls_identity is None
    protocol.handshakeCompleted()
    assert protocol.origin.tls_identity == identity


# Violations and closing.


def test_a_violation_is_counted_said_and_ends_the_connection(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.dataReceived(b"bad")
    assert wire.disconnecting
    assert listener.counters.protocol_errors == 1
    assert listener.notices.said == [("source in, 192.168.1.1:54321", "protocol", "no good")]
    protocol.dataReceived(b"more")
    assert protocol.events == ["begin", b"bad"]


def test_a_peer_that_does_not_let_go_is_cut(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.close()
    protocol.close()
    assert not wire.disconnected
    listener.clock.advance(5)
    assert wire.disconnected


def test_closing_while_paused_reads_again(listener: Listener) -> None:
    """TLS closes when it has read that the peer agrees."""
    listener.admission.set_pending_bytes(1000)
    protocol, wire = listener.connect()
    assert wire.producerState == "paused"
    protocol.close()
    assert (wire.producerState, wire.disconnecting) == ("producing", True)
    listener.admission.set_pending_bytes(0)


# Pauses.


def test_admission_pauses_all_connections_and_new_ones(listener: Listener) -> None:
    _, first = listener.connect()
    listener.admission.set_pending_bytes(1000)
    _, second = listener.connect()
    assert (first.producerState, second.producerState) == ("paused", "paused")
    assert listener.counters.pauses == 2
    listener.admission.set_pending_bytes(0)
    assert (first.producerState, second.producerState) == ("producing", "producing")


def test_a_peer_that_does_not_take_its_answers_is_not_read(listener: Listener) -> None:
    _, wire = listener.connect()
    assert wire.producer is not None
    wire.producer.pauseProducing()
    assert wire.producerState == "paused"
    wire.producer.resumeProducing()
    assert wire.producerState == "producing"
    assert listener.counters.pauses == 0


def test_a_peer_that_never_takes_its_answers_counts_as_silent(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.pauseProducing()
    listener.clock.advance(31)
    assert wire.disconnecting
    assert listener.counters.connections_idle_closed == 1


def test_reading_waits_for_both_reasons_to_end(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.pauseProducing()
    listener.admission.set_pending_bytes(1000)
    protocol.resumeProducing()
    assert wire.producerState == "paused"
    listener.admission.set_pending_bytes(0)
    assert wire.producerState == "producing"


def test_a_connection_that_is_gone_is_not_resumed(listener: Listener) -> None:
    protocol, wire = listener.connect()
    listener.admission.set_pending_bytes(1000)
    wire.stopProducing()
    lose(protocol)
    listener.admission.set_pending_bytes(0)
    protocol.resumeProducing()
    assert wire.producerState == "stopped"


def test_after_the_end_of_input_there_is_nothing_to_resume(listener: Listener) -> None:
    protocol, wire = listener.connect()
    protocol.input_ended()
    protocol.pauseProducing()
    wire.pauseProducing()
    protocol.resumeProducing()
    assert wire.producerState == "paused"


# The end of the relay.


def test_a_stop_without_connections(listener: Listener) -> None:
    assert fired(listener.stop()) == [None]
    assert listener.clock.getDelayedCalls() == []


def test_a_stop_waits_for_all_connections(listener: Listener) -> None:
    connections = [listener.connect() for _ in range(2)]
    results = fired(listener.stop())
    assert all(wire.disconnecting for _, wire in connections)
    lose(connections[0][0])
    assert results == []
    lose(connections[1][0])
    assert results == [None]
    assert listener.clock.getDelayedCalls() == []


def test_a_stop_cuts_those_that_do_not_end(listener: Listener) -> None:
    _, wire = listener.connect()
    listener.stop()
    listener.clock.advance(1.5)
    assert wire.disconnected


def test_the_last_frames_are_taken_before_the_stop_goes_on(listener: Listener) -> None:
    protocol, _ = listener.connect()
    listener.stop().addCallback(lambda _: protocol.events.append("stopped"))
    lose(protocol)
    assert protocol.events == ["begin", ("end", 1), "stopped"]


class OneProtocol(ClientFactory):
    def buildProtocol(self, addr: object) -> Protocol:
        return Protocol()


def origin_after_handshake(shown: Issued | None, *, trusts_authority: bool) -> Origin:
    """What is known of a peer that shows `shown`, whose fingerprint is accepted."""
    authority = make_authority("Test authority", days=2)
    server = make_leaf(authority, ["central.example.com"], purpose="server", days=1)
    if trusts_authority:
        shown = make_leaf(authority, ["a.example.com", "10.0.0.5"], purpose="client", days=1)
    fingerprints = fingerprints_of(shown.certificate) if shown and not trusts_authority else ()
    material = TlsMaterial(
        certificate_pem=server.certificate_pem(),
        private_key_pem=server.private_key_pem(),
        trusted_ca_pem=authority.certificate_pem(),
    )
    listening = TlsListener(
        material,
        peer_verify="optional",
        policy=PeerPolicy(fingerprints=tuple(map(parse_fingerprint, fingerprints))),
    )
    upstream = TlsUpstream(
        TlsMaterial(
            certificate_pem=shown.certificate_pem() if shown else b"",
            private_key_pem=shown.private_key_pem() if shown else b"",
            trusted_ca_pem=authority.certificate_pem(),
        ),
        server_name="central.example.com",
    )
    listener = Listener(secure=True)
    Pair(listener.factory, OneProtocol(), listener=listening, upstream=upstream)
    (connection,) = listener.factory.connections
    return connection.origin


def test_names_that_an_authority_vouches_for_are_known() -> None:
    origin = origin_after_handshake(None, trusts_authority=True)
    assert origin.tls_names == ("a.example.com", "10.0.0.5")
    assert origin.tls_identity == "a.example.com"


def test_of_a_certificate_accepted_by_its_fingerprint_only_that_counts() -> None:
    shown = make_certificate("b.example.com", [x509.DNSName("a.example.com")])
    origin = origin_after_handshake(shown, trusts_authority=False)
    assert origin.tls_names == ()
    assert origin.tls_fingerprints == fingerprints_of(shown.certificate)


def test_without_a_certificate_nothing_is_known() -> None:
    origin = origin_after_handshake(None, trusts_authority=False)
    assert (origin.tls_identity, origin.tls_names, origin.tls_fingerprints) == (None, (), ())


# Who may not be blocked for long.


def kept(
    listener: Listener, protocol: Any, frames: list[bytes], cut: dict[int, int] | None = None
) -> list[bytes]:
    """Those of `frames` that reach the intake."""
    before = len(listener.intake.batches)
    protocol.store(frames, cut or {}, {}, failed=unexpected)
    return [frame for batch in listener.intake.batches[before:] for frame in batch]


def test_a_program_is_paused_for_a_while_and_then_read_and_dropped() -> None:
    listener = Listener(block_seconds_max=1.0)
    protocol, wire = listener.connect()
    listener.admission.set_pending_bytes(1000)
    assert wire.producerState == "paused"
    listener.clock.advance(0.9)
    assert wire.producerState == "paused"
    listener.clock.advance(0.1)
    assert wire.producerState == "producing"
    assert kept(listener, protocol, [b"<13>a", b"<13>bc"]) == []
    assert listener.counters.dropped == {"admission-closed": 2}
    assert (listener.counters.received_records, listener.counters.received_bytes) == (2, 11)
    assert listener.notices.said[-1][2] == (
        "2 messages dropped, it waited for local_block_seconds_max: 1,000 B wait for the disk"
    )
    listener.admission.set_pending_bytes(0)
    assert kept(listener, protocol, [b"<13>a"]) == [b"<13>a"]
    listener.admission.set_pending_bytes(1000)
    assert wire.producerState == "paused"
    lose(protocol)
    assert listener.clock.getDelayedCalls() == []


def test_urgent_messages_use_the_reserve_while_others_are_dropped() -> None:
    listener = Listener(block_seconds_max=1.0)
    listener.factory.admission = Admission(
        pending_bytes_max=100, queue_bytes_max=1000, reserve_bytes=100
    )
    protocol, _ = listener.connect()
    listener.factory.admission.set_queue_bytes(950)
    listener.clock.advance(1)
    assert kept(listener, protocol, [b"<15>debug", b"<10>crit"], {1: 99}) == [b"<10>crit"]
    assert listener.intake.cut == [{0: 99}]
    assert listener.counters.dropped == {"admission-closed": 1}


def test_a_pause_that_ends_in_time_drops_nothing() -> None:
    listener = Listener(block_seconds_max=1.0)
    protocol, wire = listener.connect()
    listener.admission.set_pending_bytes(1000)
    listener.clock.advance(0.5)
    listener.admission.set_pending_bytes(0)
    listener.clock.advance(5)
    assert wire.producerState == "producing"
    assert kept(listener, protocol, [b"<13>a"]) == [b"<13>a"]


def test_the_network_waits_for_as_long_as_it_takes() -> None:
    listener = Listener()
    _, wire = listener.connect()
    listener.admission.set_pending_bytes(1000)
    listener.clock.advance(20)
    assert wire.producerState == "paused"


def test_connections_share_a_batch_in_each_turn_of_the_reactor() -> None:
    listener = Listener()
    listener.factory.turn_batch = TurnBatch(listener.intake, clock=listener.clock)
    (one, _), (other, _) = listener.connect(), listener.connect()
    for protocol, frame in ((one, b"a"), (other, b"b"), (one, b"c")):
        protocol.store([frame], {}, {}, failed=unexpected)
    assert listener.intake.handed_over == []
    listener.clock.advance(0)
    assert (listener.intake.handed_over, listener.intake.batches) == ([3], [[b"a"], [b"b"], [b"c"]])


def test_marks_of_a_later_chunk_are_not_those_of_an_earlier_one() -> None:
    """Decoders fill the empty mappings that they handed out before."""
    listener = Listener()
    listener.factory.turn_batch = TurnBatch(listener.intake, clock=listener.clock)
    protocol, _ = listener.connect()
    cut: dict[int, int] = {}
    protocol.store([b"a"], cut, {}, failed=unexpected)
    cut[0] = 99
    protocol.store([b"b"], cut, {}, failed=unexpected)
    listener.clock.advance(0)
    assert listener.intake.cut == [None, {0: 99}]


def test_before_a_stop_is_over_everything_is_handed_over() -> None:
    listener = Listener()
    listener.factory.turn_batch = TurnBatch(listener.intake, clock=listener.clock)
    protocol, _ = listener.connect()
    stopped = listener.stop()
    protocol.store([b"a"], {}, {}, failed=unexpected)
    at_the_end: list[int] = []
    stopped.addCallback(lambda _: at_the_end.extend(listener.intake.handed_over))
    lose(protocol)
    assert at_the_end == [1]
    listener.factory.turn_batch.add(Received([b"b"], protocol.origin), failed=unexpected)
    assert fired(listener.stop()) == [None]  # nobody is connected
    assert listener.intake.handed_over == [1, 1]
    assert listener.clock.getDelayedCalls() == []


class Heap(InboundProtocol):
    """Keeps whatever it gets."""

    kept = 0

    def take(self, chunk: bytes) -> None:
        self.kept += len(chunk)

    @property
    def unfinished_bytes(self) -> int:
        return self.kept


def new_factory(**keywords: Any) -> InboundFactory:
    notices: Any = RecordingNotices()
    return InboundFactory(
        open_reception(RecordingIntake(), SourceCounters(), notices),
        transport=Transport.TCP,
        new_protocol=Heap,
        limits=InboundLimits(
            frame_bytes_max=64,
            connections_max=2,
            idle_seconds_max=30,
            handshake_seconds_max=10,
            unfinished_bytes_max=10,
        ),
        clock=Clock(),
        secure=False,
        **keywords,
    )


def connect(factory: InboundFactory) -> tuple[Any, Wire]:
    protocol, wire = factory.buildProtocol(None), Wire()
    protocol.makeConnection(wire)
    return protocol, wire


def test_what_is_kept_is_counted_while_the_connection_lasts() -> None:
    factory = new_factory()
    protocol, _ = connect(factory)
    protocol.dataReceived(b"1234")
    assert factory.unfinished.bytes == 4
    lose(protocol)
    assert factory.unfinished.bytes == 0


def test_a_connection_that_keeps_too_much_is_cut_off_and_counted() -> None:
    factory = new_factory()
    protocol, wire = connect(factory)
    protocol.dataReceived(b"12345678901")
    assert wire.disconnected
    assert factory.counters.connections_closed == {"unfinished-frames": 1}
    protocol.dataReceived(b"late")
    assert factory.unfinished.bytes == 0


class Reads:
    """Stands for `SharedReads`."""

    batch: Any = None

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.hurried = 0

    def hurry(self) -> None:
        self.hurried += 1


class Socket(Wire):
    reactor: Any = None

    def stopReading(self) -> None:
        assert self.reactor is None

    def startReading(self) -> None:
        self.reactor.readers.append(self)


def test_connections_are_read_together_and_large_chunks_hurry() -> None:
    reads: Any = Reads()
    factory = new_factory(reads=reads)
    protocol, wire = factory.buildProtocol(None), Socket()
    protocol.makeConnection(wire)
    assert (wire.reactor, reads.readers, reads.batch) == (reads, [wire], factory.turn_batch)
    protocol.dataReceived(b"x")
    assert reads.hurried == 0
    protocol.dataReceived(b"x" * 16_385)
    assert reads.hurried == 1


def test_a_connection_that_is_paused_as_it_is_made_stays_so() -> None:
    calls: list[str] = []

    class Paused(Socket):
        def pauseProducing(self) -> None:
            calls.append("pause")

        def startReading(self) -> None:
            calls.append("read")

    factory = new_factory(reads=Reads())
    factory.admission.set_failure("the disk is full", 0.0)
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(Paused())
    assert calls == ["pause", "read", "pause"]


def test_nothing_is_limited_or_dropped_without_being_asked_for() -> None:
    limits = InboundLimits(
        frame_bytes_max=64, connections_max=1, idle_seconds_max=1.0, handshake_seconds_max=1.0
    )
    assert (limits.connections_per_peer_max, limits.block_seconds_max) == (0, 0.0)
    assert limits.oversize == "truncate"


class Connection:
    def __init__(self) -> None:
        self.unfinished_bytes = 0
        self.closed: list[tuple[str, str]] = []

    def cut_off(self, reason: str, why: str) -> None:
        self.closed.append((reason, why))


class Source:
    """Some connections and what they keep."""

    def __init__(self, count: int, *, bytes_max: int) -> None:
        self.unfinished = UnfinishedFrames(bytes_max=bytes_max)
        self.connections = [Connection() for _ in range(count)]

    def receive(self, number: int, size: int, *, completes: bool = False) -> None:
        connection = self.connections[number]
        connection.unfinished_bytes = size + (0 if completes else connection.unfinished_bytes)
        self.unfinished.note(connection, size + completes)

    @property
    def closed(self) -> list[int]:
        return [number for number, each in enumerate(self.connections) if each.closed]


def test_who_has_kept_the_rest_of_a_frame_back_for_longest_goes_first() -> None:
    source = Source(3, bytes_max=250)
    for number in (1, 0, 2):
        source.receive(number, 60)
    source.receive(1, 60)
    assert (source.closed, source.unfinished.bytes) == ([], 240)
    source.receive(2, 20)
    assert (source.closed, source.unfinished.bytes) == ([1], 140)
    ((reason, why),) = source.connections[1].closed
    assert reason == "unfinished-frames"
    assert why == (
        "frames that are not complete take 260 bytes on this source, which is more than "
        "unfinished_bytes_max, and it has sent 120 of them"
    )


def test_who_completes_frames_is_not_the_slowest() -> None:
    source = Source(2, bytes_max=110)
    source.receive(0, 40)
    source.receive(1, 60)
    source.receive(0, 40, completes=True)
    source.receive(0, 20)
    assert source.closed == [1]


def test_who_keeps_little_stays() -> None:
    source = Source(4, bytes_max=100)
    source.receive(0, 1)
    source.receive(1, 2)
    source.receive(2, 60)
    source.receive(3, 60)
    assert (source.closed, source.unfinished.bytes) == ([2], 63)


def test_one_that_keeps_more_than_all_may_goes_itself() -> None:
    source = Source(1, bytes_max=100)
    source.receive(0, 101)
    assert (source.closed, source.unfinished.bytes) == ([0], 0)


def test_what_is_complete_or_gone_keeps_nothing() -> None:
    source = Source(2, bytes_max=100)
    source.receive(0, 50)
    source.receive(0, 0, completes=True)
    source.receive(1, 50)
    source.unfinished.forget(source.connections[1])
    source.unfinished.forget(source.connections[1])
    assert source.unfinished.bytes == 0
    assert source.closed == []


def test_without_a_limit_nobody_is_closed() -> None:
    source = Source(2, bytes_max=0)
    source.receive(0, 10**9)
    assert source.closed == []
