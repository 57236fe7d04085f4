from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from relay.model.counters.source import SourceCounters
from relay.queue.admission.backpressure import Admission
from relay.transport.datagram.dtls_inbound import DtlsReceiver, SessionLimits
from relay.transport.peers import PermittedPeers
from relay.transport.reception import Reception
from relay.wire.framing.dtls_records import NO_SESSION
from tests.connections import RecordingIntake, RecordingNotices
from tests.dtls import Client, Datagrams, material, new_listener, new_upstream

LIMITS: dict[str, Any] = {
    "sessions_max": 10,
    "sessions_per_peer_max": 0,
    "handshake_seconds_max": 30,
    "idle_seconds_max": 100,
}


class Source:
    """A receiver with everything it talks to.

    Attributes:
        messages: What came, with the host, port and subject of the certificate.
    """

    def __init__(
        self,
        *,
        peer_verify: str = "required",
        permitted: PermittedPeers | None = None,
        frame_bytes_max: int = 1000,
        **limits: Any,
    ) -> None:
        self.clock = Clock()
        self.socket = Datagrams()
        self.counters = SourceCounters()
        self.notices: Any = RecordingNotices()
        self.listener = new_listener(self.clock, peer_verify=peer_verify)
        bound: Any = self.socket
        intake: Any = RecordingIntake()
        admission = Admission(pending_bytes_max=100, queue_bytes_max=1000)
        self.receiver = DtlsReceiver(
            bound,
            listener=self.listener,
            reception=Reception("in", intake, admission, self.counters, self.notices),
            limits=SessionLimits(**{**LIMITS, **limits}),
            permitted=permitted or PermittedPeers(),
            clock=self.clock,
            frame_bytes_max=frame_bytes_max,
            kept_bytes_max=frame_bytes_max,
        )
        self.messages: list[tuple[bytes, str, int, str]] = []
        self.long: list[dict[int, int]] = []
        self.errors: list[OSError] = []

    def receive(self) -> None:
        received = self.receiver.receive()
        for sender, frames in received.batches.items():
            subject = getattr(sender[2], "subject", "")
            self.messages += [(frame, sender[0], sender[1], subject) for frame in frames]
        self.long += received.long.values()
        self.errors += [received.error] if received.error else []

    def client(self, **keywords: Any) -> Client:
        return Client(self.socket, self.receive, self.clock, **keywords)

    def inject(self, datagram: bytes, host: str = "192.0.2.1", port: int = 1000) -> None:
        self.socket.received.append((datagram, (host, port)))
        self.receive()


def test_messages_come_with_the_address_and_the_certificate_of_their_sender() -> None:
    source = Source()
    first, second = source.client().connect(), source.client(port=1001).connect()
    first.say(b"7 <13>one7 <13>two")
    second.say(b"9 <13>three")
    assert source.messages == [
        (b"<13>one", "192.0.2.1", 1000, "web-1.example.com"),
        (b"<13>two", "192.0.2.1", 1000, "web-1.example.com"),
        (b"<13>three", "192.0.2.1", 1001, "web-1.example.com"),
    ]
    assert (source.counters.connections_open, source.counters.connections_accepted) == (2, 2)
    assert source.notices.kinds == []


def test_nothing_is_kept_of_a_client_without_a_cookie() -> None:
    source = Source()
    for port in range(50):
        client = source.client(port=port)
        client.session.start()
        client.flush()
    assert len(source.socket.sent) == 50
    assert source.counters.connections_open == 0
    assert len(source.receiver._clients) == 0


def test_a_long_message_is_cut_and_told() -> None:
    source = Source(frame_bytes_max=480)
    message = b"<13>" + b"x" * 500
    source.client().connect().say(b"7 <13>one%d %s" % (len(message), message))
    assert [len(frame) for frame, *_ in source.messages] == [7, 480]
    assert source.long == [{1: 504}]


def test_a_frame_that_spans_records_is_kept_and_counted() -> None:
    source = Source()
    source.client().connect().say(b"70 <13>one")
    assert [frame for frame, *_ in source.messages] == [b"<13>one"]
    assert source.counters.framing_errors == 1
    assert source.notices.kinds == ["framing"]


def test_a_session_ends_with_its_client() -> None:
    source = Source()
    client = source.client().connect()
    client.session.close()
    client.exchange()
    assert source.counters.connections_open == 0
    assert source.counters.connections_closed == {}
    assert source.clock.getDelayedCalls() == []


def test_a_client_without_the_certificate_is_refused_and_counted() -> None:
    source = Source()
    client = source.client(upstream=new_upstream(certificate=False)).connect()
    assert client.session.is_over
    assert source.counters.connections_closed == {"tls-did-not-return-a-certificate": 1}
    assert (source.counters.protocol_errors, source.counters.connections_open) == (1, 0)
    assert source.notices.kinds == ["dtls"]
    assert source.clock.getDelayedCalls() == []


def test_a_certificate_need_not_be_shown_where_nobody_asks() -> None:
    source = Source(peer_verify="none")
    source.client(upstream=new_upstream(certificate=False)).connect().say(b"7 <13>one")
    assert source.messages == [(b"<13>one", "192.0.2.1", 1000, "")]


def test_peers_that_are_not_allowed_get_no_answer() -> None:
    class Nobody(PermittedPeers):
        def permits(self, host: str) -> bool:
            return False

    source = Source(permitted=Nobody())
    source.client().connect()
    assert source.socket.sent == []
    assert source.counters.datagrams_rejected == {"not-allowed": 1}
    assert source.notices.kinds == ["not-allowed"]


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"<13>plain text", "malformed"),
        (b"\x17\xfe\xfd\0\x01" + bytes(6) + b"\0\x03abc", "no-session"),
        (b"\x16\xfe\xfd\0\0" + bytes(6) + b"\0\x40\x01" + bytes(63), "malformed"),
    ],
    ids=["text", "data", "hello"],
)
def test_datagrams_of_nobody_are_counted(datagram: bytes, reason: str) -> None:
    source = Source()
    source.inject(datagram)
    assert source.counters.datagrams_rejected == {reason: 1}
    assert source.notices.kinds == [reason]
    source.client(port=1001).connect().say(b"7 <13>one")
    assert len(source.messages) == 1


def test_records_without_a_session_are_answered_by_an_alert_that_is_shorter() -> None:
    source = Source()
    header = b"\x17\xfe\xfd\0\x01" + bytes(6)
    source.inject(header + b"\0\x01a")
    source.inject(NO_SESSION)
    assert source.socket.sent == []
    source.inject(header + b"\0\x03abc")
    assert source.socket.sent == [(NO_SESSION, ("192.0.2.1", 1000))]
    source.socket.error = BlockingIOError(errno.EAGAIN, "busy")
    source.inject(header + b"\0\x03abc")
    assert source.counters.datagrams_rejected == {"no-session": 4}


def test_duplicates_and_forgeries_are_counted_and_end_nothing() -> None:
    source = Source()
    client = source.client().connect()
    client.session.write(b"7 <13>one")
    (record,) = client.sent
    client.flush()
    source.inject(record)
    source.inject(record[:-1] + bytes([record[-1] ^ 1]))
    assert source.counters.datagrams_rejected == {"not-authentic": 2}
    assert len(source.messages) == 1
    client.say(b"7 <13>two")
    assert len(source.messages) == 2


def test_a_client_that_begins_anew_replaces_its_session() -> None:
    source = Source()
    before = source.client().connect()
    before.say(b"7 <13>one")
    source.client().connect().say(b"7 <13>two")
    assert [frame for frame, *_ in source.messages] == [b"<13>one", b"<13>two"]
    assert source.counters.connections_open == 1
    assert source.counters.connections_closed == {"replaced": 1}


def test_a_forged_hello_does_not_end_the_session_of_its_address() -> None:
    source = Source()
    client = source.client().connect()
    forger = source.client()
    forger.session.start()
    forger.flush()
    source.socket.sent.clear()  # the answer goes to the client, not to the forger
    client.say(b"7 <13>one")
    assert len(source.messages) == 1
    assert source.counters.connections_closed == {}


def test_a_copy_of_the_hello_belongs_to_the_session() -> None:
    source = Source()
    client = source.client()
    client.session.start()
    client.flush()
    client.take()
    (hello,) = client.sent
    client.flush()
    source.inject(hello)
    client.exchange()
    client.say(b"7 <13>one")
    assert len(source.messages) == 1
    assert source.counters.connections_accepted == 1


def test_above_the_limit_of_all_a_session_is_refused() -> None:
    source = Source(sessions_max=2)
    for port in (1, 2, 3):
        source.client(port=port).connect()
    assert source.counters.connections_open == 2
    assert source.counters.connections_refused == 1
    assert source.notices.kinds[0] == "refused"


def test_above_the_limit_of_a_peer_its_quietest_session_ends() -> None:
    source = Source(sessions_per_peer_max=2)
    other = source.client(host="192.0.2.2").connect()
    first = source.client(port=1).connect()
    source.clock.advance(1)
    second = source.client(port=2).connect()
    source.clock.advance(1)
    first.say(b"7 <13>one")
    source.client(port=3).connect()
    second.exchange()
    assert second.session.is_over
    assert not first.session.is_over
    assert not other.session.is_over
    assert source.counters.connections_closed == {"peer-limit": 1}
    assert source.counters.connections_open == 3
    assert source.notices.kinds == ["peer-limit"]


def test_a_handshake_that_nobody_completes_ends_no_session_of_its_address() -> None:
    source = Source(sessions_per_peer_max=2)
    good = source.client(port=1).connect()
    for port in (2, 3, 4):
        source.clock.advance(1)
        halves = source.client(port=port)
        halves.session.start()
        halves.flush()
        halves.take()
        halves.flush()  # with the cookie
        halves.session.drop()
    assert source.counters.connections_closed == {"peer-limit": 2}
    good.say(b"7 <13>one")
    assert len(source.messages) == 1


def test_a_handshake_that_takes_too_long_is_given_up() -> None:
    source = Source(handshake_seconds_max=5)
    client = source.client()
    client.session.start()
    client.flush()
    client.take()
    client.flush()
    assert source.counters.connections_open == 1
    client.session.close()
    source.clock.advance(5)
    assert source.counters.connections_open == 0
    assert source.counters.connections_closed == {"handshake-timeout": 1}
    assert source.clock.getDelayedCalls() == []


def test_a_session_ends_after_silence_only() -> None:
    source = Source(idle_seconds_max=100)
    client = source.client().connect()
    source.clock.advance(60)
    client.say(b"7 <13>one")
    source.clock.advance(60)
    assert source.counters.connections_open == 1
    source.clock.advance(40)
    client.exchange()
    assert client.session.is_over
    assert (source.counters.connections_open, source.counters.connections_idle_closed) == (0, 1)
    assert source.counters.datagrams_rejected == {}  # the client's farewell
    assert source.clock.getDelayedCalls() == []


def test_all_clients_are_told_that_the_source_stops() -> None:
    source = Source()
    clients = [source.client(port=port).connect() for port in (1, 2)]
    source.receiver.close()
    for client in clients:
        client.take()
    assert all(client.session.is_over for client in clients)
    assert source.clock.getDelayedCalls() == []


def test_new_certificates_are_for_new_sessions() -> None:
    source = Source()
    before = source.client().connect()
    waiting = source.client(port=1001)
    waiting.session.start()
    waiting.flush()
    source.listener.renew(material("server"))
    waiting.exchange()
    before.say(b"7 <13>one")
    waiting.say(b"7 <13>two")
    assert len(source.messages) == 2


def test_errors_of_the_socket_are_handed_on() -> None:
    source = Source()
    source.socket.received.append(OSError(errno.ENOMEM, "Out of memory"))
    source.receive()
    assert [error.errno for error in source.errors] == [errno.ENOMEM]
    source.socket.error = BlockingIOError(errno.EAGAIN, "busy")
    client = source.client()
    client.session.start()
    client.flush()  # an answer that the kernel does not take is as good as lost


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=100), st.integers(0, 3))))
def test_no_datagram_harms_the_others(datagrams: list[tuple[bytes, int]]) -> None:
    source = Source()
    client = source.client(port=0).connect()
    for datagram, port in datagrams:
        source.inject(datagram, port=port)
        source.inject(b"\x16\xfe\xfd\0\0" + datagram, port=port)
        source.inject(b"\x17\xfe\xfd\0\x01" + datagram, port=port)
    client.say(b"7 <13>one")
    assert [frame for frame, *_ in source.messages] == [b"<13>one"]
