from __future__ import annotations

import socket
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Transport
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.transport.stream.inbound import SyslogStreamProtocol
from tests.connections import (
    EachChunkATurn,
    RecordingIntake,
    RecordingNotices,
    Wire,
    lose,
    open_reception,
)


class Connection:
    """A protocol under test with everything it talks to."""

    def __init__(
        self,
        *,
        oversize: str = "truncate",
        frame_bytes_max: int = 64,
        connections_max: int = 1,
        unfinished_bytes_max: int = 0,
        rate_per_peer_max: int = 0,
        connection_seconds_max: float = 0.0,
        secure: bool = False,
    ) -> None:
        self.intake = RecordingIntake()
        self.notices: Any = RecordingNotices()
        self.counters = SourceCounters()
        self.wire: Any = Wire()
        self.clock = Clock()
        self.factory = factory = InboundFactory(
            open_reception(self.intake, self.counters, self.notices),
            transport=Transport.TCP,
            new_protocol=SyslogStreamProtocol,
            limits=InboundLimits(
                frame_bytes_max=frame_bytes_max,
                connections_max=connections_max,
                idle_seconds_max=30,
                handshake_seconds_max=5,
                oversize=oversize,
                unfinished_bytes_max=unfinished_bytes_max,
                rate_per_peer_max=rate_per_peer_max,
                connection_seconds_max=connection_seconds_max,
            ),
            clock=self.clock,
            secure=secure,
        )
        factory.turn_batch = EachChunkATurn(self.intake, clock=self.clock)
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.wire)


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_one_chunk_is_one_batch(connection: Connection) -> None:
    connection.protocol.dataReceived(b"6 <1>one6 <2>two8 <3>th")
    connection.protocol.dataReceived(b"ree")
    assert connection.intake.batches == [[b"<1>one", b"<2>two"], [b"<3>three"]]
    assert connection.intake.origins[0].peer == "192.168.1.1:54321"


LONG = b"<13>" + b"x" * 76
each_framing = pytest.mark.parametrize(
    "stream", [b"6 <1>one80 %b6 <2>two", b"<1>one\n%b\n<2>two\n"]
)


@each_framing
def test_long_messages_are_dropped_whole(stream: bytes) -> None:
    connection = Connection(oversize="drop")
    for byte in stream % LONG:
        connection.protocol.dataReceived(bytes([byte]))
    assert connection.intake.batches == [[b"<1>one"], [b"<2>two"]]
    assert connection.counters.dropped == {"too-long": 1}


@given(
    sizes=st.lists(st.sampled_from([1, 2, 63, 64, 65, 66, 67, 130, 300]), max_size=12),
    counted=st.booleans(),
    end=st.sampled_from([b"\n", b"\r\n", b"\0"]),
    chunk=st.integers(1, 100),
)
def test_each_message_is_taken_or_dropped_whole(
    sizes: list[int], counted: bool, end: bytes, chunk: int
) -> None:
    connection = Connection(oversize="drop")
    sent = [
        b"<13>x"[:size] + b"abc"[number % 3 :][:1] * (size - 5) for number, size in enumerate(sizes)
    ]
    stream = b"".join(b"%d %s" % (len(one), one) if counted else one + end for one in sent)
    for start in range(0, len(stream), chunk):
        connection.protocol.dataReceived(stream[start : start + chunk])
    lose(connection.protocol)
    taken = [one for batch in connection.intake.batches for one in batch]
    assert taken == [one for one in sent if len(one) <= 64]
    dropped = len(sent) - len(taken)
    assert connection.counters.dropped["too-long"] == dropped
    assert connection.counters.received_records == dropped  # the intake counts its own


def test_lines_and_a_last_one_without_end(connection: Connection) -> None:
    connection.protocol.dataReceived(b"one\ntwo\nthr")
    assert connection.intake.batches == [[b"one", b"two"]]
    lose(connection.protocol)
    assert connection.intake.batches == [[b"one", b"two"], [b"thr"]]
    assert connection.counters.protocol_errors == 0


def test_a_wrong_count_is_counted_and_said_and_the_connection_goes_on(
    connection: Connection,
) -> None:
    connection.protocol.dataReceived(b"6 <1>one\xff tail\n6 <2>two")
    assert connection.intake.batches == [[b"<1>one", b"\xff tail", b"<2>two"]]
    assert not connection.wire.disconnecting
    assert (connection.counters.framing_errors, connection.counters.protocol_errors) == (1, 0)
    ((subject, kind, text),) = connection.notices.said
    assert (subject, kind) == ("source in, 192.168.1.1:54321", "framing")
    assert text.startswith("wrong framing, bytes kept as they are: ") and r"\xff tail" in text
    connection.protocol.dataReceived(b"6 <3>six")
    assert connection.intake.batches[1:] == [[b"<3>six"]]
    assert connection.counters.framing_errors == 1


@pytest.mark.parametrize(
    ("opening", "reason", "text"),
    [
        (
            b"\x16\x03\x01\x00\x05\n<13>x\n",
            "tls",
            "the peer speaks TLS; use a tls:// source for it",
        ),
        (
            b"1 open 85 relp_version=0\nrelp_software=x\n",
            "relp",
            "this is RELP; use a relp:// source for it",
        ),
    ],
)
def test_another_protocol_is_refused_in_words_and_nothing_of_it_is_stored(
    connection: Connection, opening: bytes, reason: str, text: str
) -> None:
    for byte in opening:
        connection.protocol.dataReceived(bytes([byte]))
    connection.protocol.dataReceived(b"2 syslog 7 <13>one\n")
    assert connection.wire.disconnecting
    lose(connection.protocol)
    assert connection.intake.batches == []
    assert connection.counters.protocol_errors == 1
    assert connection.counters.connections_closed == {f"{reason}-protocol": 1}
    assert connection.notices.said == [("source in, 192.168.1.1:54321", reason, f"refused: {text}")]


def test_of_a_stream_that_ends_inside_a_frame_the_frame_is_kept_as_far_as_it_came(
    connection: Connection,
) -> None:
    connection.protocol.dataReceived(b"6 <1>one9 <1>tw")
    lose(connection.protocol)
    assert connection.intake.batches == [[b"<1>one"], [b"<1>tw"]]
    assert (connection.counters.framing_errors, connection.notices.kinds) == (1, ["framing"])


def test_a_frame_that_we_cut_off_ourselves_is_no_mistake_of_the_peer(
    connection: Connection,
) -> None:
    connection.protocol.dataReceived(b"6 <1>one9 <1>tw")
    connection.protocol.shut_down()
    lose(connection.protocol)
    assert connection.intake.batches == [[b"<1>one"], [b"<1>tw"]]
    assert (connection.counters.framing_errors, connection.notices.kinds) == (0, [])


def test_a_complete_line_waits_two_seconds_at_most_for_what_shows_that_it_is_one(
    connection: Connection,
) -> None:
    connection.protocol.dataReceived(b"6 <1>one\n25 files copied\n")
    assert connection.intake.batches == [[b"<1>one"]]
    connection.clock.advance(1)
    connection.protocol.dataReceived(b"26")
    connection.clock.advance(1)
    assert connection.intake.batches[1:] == [[b"25 files copied"]]
    connection.protocol.dataReceived(b" files\n<13>x\n" + b"<13>y\n" * 4)
    later = [frame for batch in connection.intake.batches[2:] for frame in batch]
    assert later == [b"26 files", b"<13>x", *[b"<13>y"] * 4]


def test_each_frame_has_its_own_two_seconds(connection: Connection) -> None:
    connection.protocol.dataReceived(b"6 <1>one\n25 a\n")
    connection.clock.advance(1.5)
    connection.protocol.dataReceived(b"x" * 30 + b"\n26 b\n")
    assert connection.intake.batches[1:] == [[b"25 a", b"x" * 30]]
    connection.clock.advance(0.5)
    assert connection.intake.batches[2:] == []
    connection.clock.advance(2)
    assert connection.intake.batches[2:] == [[b"26 b"]]


def test_nothing_is_settled_while_we_do_not_listen(connection: Connection) -> None:
    connection.protocol.dataReceived(b"6 <1>one\n25 a\n")
    connection.protocol.pause_reading()
    connection.clock.advance(2)
    assert connection.intake.batches == [[b"<1>one"]]
    connection.protocol.resume_reading()
    connection.clock.advance(2)
    assert connection.intake.batches == [[b"<1>one"], [b"25 a"]]


def test_no_timer_outlives_the_connection(connection: Connection) -> None:
    connection.protocol.dataReceived(b"6 <1>one\n25 a\n")
    lose(connection.protocol)
    assert connection.intake.batches == [[b"<1>one"], [b"25 a"]]
    assert connection.clock.getDelayedCalls() == []


def test_a_stop_takes_what_the_kernel_holds(connection: Connection) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"one\ntwo\n")
        connection.wire.handle = ours
        connection.wire.doRead = lambda: connection.protocol.dataReceived(ours.recv(100))
        connection.protocol.shut_down()
    assert connection.intake.batches == [[b"one", b"two"]]
    assert connection.wire.disconnecting


def test_a_stop_while_nothing_is_taken_counts_what_the_kernel_holds(
    connection: Connection,
) -> None:
    connection.factory.admission.set_pending_bytes(10_000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"one\ntwo\n")
        connection.wire.handle = ours
        connection.wire.doRead = lambda: connection.protocol.dataReceived(ours.recv(100))
        connection.protocol.shut_down()
    assert connection.intake.batches == []
    assert connection.counters.dropped == {"admission-closed": 2}
    assert "dropped, the relay stops: 9.8 KiB wait" in connection.notices.said[-1][2]


def test_a_long_frame_is_cut_counted_and_said(connection: Connection) -> None:
    connection.protocol.dataReceived(b"80 " + LONG + b"6 <1>one")
    connection.protocol.dataReceived(b"6 <2>two")
    assert connection.intake.batches == [[LONG[:64], b"<1>one"], [b"<2>two"]]
    assert connection.intake.cut == [{0: 80}, None]
    assert connection.counters.truncated_records == 1
    assert connection.notices.said[0][1:] == (
        "truncated",
        "1 longer than frame_bytes_max (64 B): cut there",
    )
    assert connection.notices.kinds == ["truncated"]


@each_framing
@pytest.mark.parametrize("oversize", ["truncate", "quarantine"])
def test_how_long_it_was_is_known_however_it_comes(stream: bytes, oversize: str) -> None:
    connection = Connection(oversize=oversize)
    for byte in stream % LONG:
        connection.protocol.dataReceived(bytes([byte]))
    assert connection.intake.batches == [[b"<1>one"], [LONG[:64]], [b"<2>two"]]
    assert connection.intake.cut == [None, {0: 80}, None]


@pytest.mark.parametrize("stream", [b"6 <1>one125 %b6 <2>two", b"<1>one\n%b\n<2>two\n"])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1000])
def test_long_messages_are_split(stream: bytes, chunk_bytes: int) -> None:
    connection = Connection(oversize="split")
    message = b"<13>Oct 11 22:14:15 h a: " + b"0123456789" * 10
    data = stream % message
    for start in range(0, len(data), chunk_bytes):
        connection.protocol.dataReceived(data[start : start + chunk_bytes])
    frames = [frame for batch in connection.intake.batches for frame in batch]
    assert frames == [
        b"<1>one",
        message[:64],
        message[:25] + message[64:103],
        message[:25] + message[103:],
        b"<2>two",
    ]
    assert connection.counters.split_records == 1
    assert connection.notices.said[0][2] == "1 longer than frame_bytes_max (64 B): split"
    numbers = [number for pieces in connection.intake.pieces for number in (pieces or {}).values()]
    assert numbers == [1, 2, 3]


def test_what_is_not_stored_is_not_taken(connection: Connection) -> None:
    connection.protocol.dataReceived(b"6 <1>one")
    connection.intake.stored[0].errback(Failure(QueueError("stopped")))
    assert connection.wire.disconnecting
    assert connection.notices.said == [
        ("source in, 192.168.1.1:54321", "not-stored", "messages were lost: stopped")
    ]


def test_a_commit_that_outlives_the_connection(connection: Connection) -> None:
    connection.protocol.dataReceived(b"6 <1>one6 <2>two4 <3>")
    lose(connection.protocol)
    connection.intake.stored[0].errback(Failure(QueueError("stopped")))
    assert not connection.wire.disconnecting
    assert connection.notices.kinds == ["framing", "not-stored"]


@pytest.mark.slow
def test_many_senders_of_messages_that_never_end_take_no_more_memory_than_all_may() -> None:
    source = Connection(frame_bytes_max=65536, unfinished_bytes_max=2**20, connections_max=1000)
    others = [source.factory.buildProtocol(None) for _ in range(100)]
    for protocol in others:
        protocol.makeConnection(Wire())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    source.protocol.dataReceived(b"<13>kept")
    # In small segments, as somebody would who wants each byte to cost as much as it can.
    for number, protocol in enumerate(others):
        protocol.dataReceived([b"", b"60000 <13>"][number % 2] + b"x" * 20_000)
        for _ in range(200):
            protocol.dataReceived(b"xx")
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    closed = source.counters.connections_closed["unfinished-frames"]
    assert closed == 100 - 2**20 // 20_410
    assert [protocol.transport.disconnected for protocol in others[:closed]] == [True] * closed
    assert not any(protocol.transport.disconnected for protocol in others[closed:])
    for protocol in others[:closed]:
        lose(protocol)
    assert source.factory.unfinished.bytes <= 2**20
    assert held < 2.5 * 2**20
    source.protocol.dataReceived(b" to its end\n")
    assert source.intake.batches[-1] == [b"<13>kept to its end"]
    assert "unfinished-frames" in source.notices.kinds


MANY = [b"<13>%06d" % number for number in range(50_000)]


class Fast:
    """A peer that sends 550 KB at once where 100 messages a second are allowed."""

    def __init__(self) -> None:
        self.connection = Connection(rate_per_peer_max=100)
        self.connection.protocol.dataReceived(b"\n".join([*MANY, b""]))

    @property
    def taken(self) -> list[bytes]:
        return [frame for batch in self.connection.intake.batches for frame in batch]


def test_a_large_chunk_is_taken_no_faster_than_its_peer_may_send() -> None:
    fast = Fast()
    piece = 1600 // len(MANY[0] + b"\n") + 1
    for second in range(490):
        assert 100 * second <= len(fast.taken) <= 100 * (second + 1) + piece
        assert fast.connection.wire.producerState == "paused"
        fast.connection.clock.advance(1)
    for _ in range(20):
        fast.connection.clock.advance(1)
    assert fast.taken == MANY
    assert fast.connection.wire.producerState == "producing"


def test_a_slow_peer_is_not_told_to_wait() -> None:
    connection = Connection(rate_per_peer_max=100)
    for number in range(300):
        connection.protocol.dataReceived(b"%b\n" % MANY[number])
        assert connection.wire.producerState == "producing"
        connection.clock.advance(0.01)


def test_what_waits_for_the_rate_is_taken_when_the_connection_ends() -> None:
    fast = Fast()
    lose(fast.connection.protocol)
    assert fast.taken == MANY
    assert fast.connection.clock.getDelayedCalls() == []
    assert fast.connection.factory.unfinished.bytes == 0


def test_what_waits_for_the_rate_is_taken_when_the_relay_stops() -> None:
    fast = Fast()
    fast.connection.protocol.shut_down()
    assert fast.taken == MANY


def test_what_waits_for_the_rate_of_a_connection_that_is_cut_is_dropped() -> None:
    fast = Fast()
    taken = len(fast.taken)
    fast.connection.protocol.cut_off("unfinished-frames", "too much")
    lose(fast.connection.protocol)
    fast.connection.clock.advance(100)
    assert len(fast.taken) <= taken + 1  # the incomplete one


@pytest.mark.parametrize("secure", [False, True])
def test_an_old_connection_is_read_until_the_peer_closes_it(secure: bool) -> None:
    connection = Connection(connection_seconds_max=10, secure=secure)
    if secure:
        connection.protocol.handshakeCompleted()
    connection.clock.advance(10)
    assert (connection.wire.writing_ended, connection.wire.disconnecting) == (not secure, secure)
    connection.protocol.dataReceived(b"6 <1>one")
    connection.clock.advance(29)
    connection.protocol.dataReceived(b"6 <2>two")
    lose(connection.protocol)
    assert connection.intake.batches == [[b"<1>one"], [b"<2>two"]]
    assert connection.counters.connections_closed == {"age": 1}
    assert connection.counters.protocol_errors == 0
