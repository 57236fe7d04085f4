from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.codec import encode_syslog
from relay.model.errors import QueueError
from relay.transport.relp.outbound import RelpClientProtocol
from relay.transport.upstream import Timeouts, UpstreamState
from relay.wire.relp.blocks import COMPRESS_OFFER, Packer
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.fleet import FleetReport
from relay.wire.relp.frame import encode_answers, encode_frame
from relay.wire.relp.lineage import PASSED, LineageOffer, format_lineage
from tests.connections import RecordingDrain, Wire, lose

WELCOME = encode_frame(1, b"rsp", b"200 OK\nrelp_version=0\ncommands=syslog")


def new_session(window_records: int, offer: bytes) -> RelpClientSession:
    return RelpClientSession(
        window_records=window_records, software=b"test", offer=offer, packer=Packer(3)
    )


class Connection:
    """A protocol under test with everything it talks to."""

    def __init__(
        self,
        *,
        window_records: int = 10,
        numbering: Any = None,
        secure: bool = False,
        packs_from: float = 0.0,
    ) -> None:
        self.clock = Clock()
        self.drain: Any = RecordingDrain()
        self.wire = Wire()
        self.failures: list[str] = []
        self.state = UpstreamState(
            target="up",
            clock=self.clock,
            on_ready=lambda text: None,
            on_failure=self.failures.append,
            retry_seconds_min=1,
            retry_seconds_max=60,
        )
        self.protocol = RelpClientProtocol(
            drain=self.drain,
            state=self.state,
            clock=self.clock,
            secure=secure,
            timeouts=Timeouts(30, 60),
            new_session=partial(new_session, window_records),
            packs_from=packs_from,
            numbering=numbering,
        )
        self.protocol.makeConnection(self.wire)

    def opened(self) -> Connection:
        self.protocol.dataReceived(WELCOME)
        self.wire.clear()
        return self


@pytest.fixture
def connection() -> Connection:
    return Connection().opened()


def test_it_speaks_first_and_is_ready_when_it_was_answered() -> None:
    connection = Connection()
    assert connection.wire.value().startswith(b"1 open ")
    assert (connection.protocol.room, connection.drain.events) == (0, [])
    connection.protocol.dataReceived(WELCOME)
    assert connection.drain.events == ["attach"]
    assert connection.protocol.room == 10
    assert connection.state.text == "connected to up, every message acknowledged"
    assert connection.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("secure", "shaken", "text"),
    [
        (
            False,
            False,
            " before the session was open: is this a port for TLS (relp+tls://), or for plain "
            "syslog (tcp://)?",
        ),
        (
            True,
            False,
            " during the TLS handshake: is this a plain-text port, for tcp:// or relp://?",
        ),
        (True, True, " before the session was open: is this a port for plain syslog (tls://)?"),
    ],
)
def test_an_upstream_that_hangs_up_before_the_session_is_open(
    secure: bool, shaken: bool, text: str
) -> None:
    connection = Connection(secure=secure)
    if shaken:
        connection.protocol.handshakeCompleted()
    connection.protocol.ready.addErrback(lambda _: None)
    connection.protocol.lost_unprepared(_closed())
    assert connection.failures == [f"up: the connection ended (closed){text}"]


def test_an_upstream_that_answers_with_an_alert_of_tls() -> None:
    connection = Connection()
    connection.protocol.dataReceived(bytes.fromhex("15030100020246"))
    connection.protocol.ready.addErrback(lambda _: None)
    connection.protocol.lost_unprepared(_closed())
    assert connection.failures == ["up: this port is for TLS: use relp+tls://"]


def test_a_refused_opening() -> None:
    connection = Connection()
    connection.protocol.dataReceived(encode_frame(1, b"rsp", b"500 not you"))
    assert connection.wire.disconnected
    connection.protocol.ready.addErrback(lambda _: None)
    connection.protocol.lost_unprepared(_closed())
    assert connection.failures == ["up: the server refused the session: 500 not you"]


def test_records_and_their_answers(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two", b"three"])
    assert connection.wire.value() == encode_syslog(2, [b"one", b"two", b"three"])
    assert connection.protocol.room == 7
    connection.protocol.dataReceived(encode_answers(3, 1))
    assert connection.drain.acknowledged_records == 0
    connection.protocol.dataReceived(encode_answers(2, 1))
    assert connection.drain.acknowledged_records == 2
    assert connection.protocol.room == 9


def test_no_answer_for_too_long(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two"])
    connection.clock.advance(59)
    connection.protocol.dataReceived(encode_answers(2, 1))
    connection.clock.advance(59)
    assert not connection.wire.disconnected
    connection.clock.advance(1)
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.failures == ["up: no answer for 60 s"]
    assert connection.drain.events == ["attach", "detach"]


def test_silence_is_fine_when_nothing_is_in_flight(connection: Connection) -> None:
    connection.protocol.send([b"one"])
    connection.protocol.dataReceived(encode_answers(2, 1))
    assert connection.clock.getDelayedCalls() == []


def test_a_full_write_buffer_ends_the_room(connection: Connection) -> None:
    producer = connection.wire.producer
    assert producer is connection.protocol
    producer.pauseProducing()
    assert connection.protocol.room == 0
    producer.resumeProducing()
    assert connection.protocol.room == 10
    assert connection.drain.events == ["attach", "pump"]


def test_a_refused_message_ends_the_session(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two"])
    connection.protocol.dataReceived(encode_frame(2, b"rsp", b"500 no") + encode_answers(3, 1))
    assert connection.wire.disconnected
    assert connection.drain.events == ["attach", "500 no"]
    assert connection.drain.acknowledged_records == 0
    assert connection.protocol.room == 0
    connection.protocol.dataReceived(encode_answers(2, 1))
    lose(connection.protocol)
    assert connection.drain.acknowledged_records == 0
    assert connection.failures == ["up: it refused a message: 500 no"]
    assert connection.clock.getDelayedCalls() == []


def refusal(txnr: int, text: bytes = b"500 no") -> bytes:
    return encode_frame(txnr, b"rsp", text)


def test_a_refusal_waits_for_the_answers_to_what_was_sent_behind_it(
    connection: Connection,
) -> None:
    connection.protocol.send([b"one", b"two", b"three"])
    connection.protocol.dataReceived(refusal(2))
    assert (connection.drain.judged, connection.protocol.room) == ([], 0)
    connection.protocol.dataReceived(refusal(3))
    assert not connection.wire.disconnected
    connection.protocol.dataReceived(refusal(4))
    assert connection.drain.judged == [(3, False)]
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.drain.judged == [(3, False)]
    assert connection.clock.getDelayedCalls() == []


def test_a_refusal_is_judged_when_something_behind_it_is_taken(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two", b"three"])
    connection.protocol.dataReceived(refusal(2))
    connection.protocol.dataReceived(encode_answers(3, 1))
    assert connection.drain.judged == [(1, True)]
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []


def test_what_does_not_count_yet_ends_the_session(connection: Connection) -> None:
    connection.drain.counts = False
    connection.protocol.send([b"one", b"two"])
    connection.protocol.dataReceived(encode_answers(2, 1))
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.failures == [
        "up: it takes messages: what it refused before is tried once more"
    ]


def test_twenty_refusals_are_enough() -> None:
    connection = Connection(window_records=128).opened()
    connection.protocol.send([b"x"] * 128)
    for txnr in range(2, 21):
        connection.protocol.dataReceived(refusal(txnr))
    assert connection.drain.judged == []
    connection.protocol.dataReceived(refusal(21))
    assert connection.drain.judged == [(20, False)]


def test_a_refusal_waits_for_a_second_at_most(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two", b"three"])
    connection.protocol.dataReceived(refusal(2) + refusal(3))
    connection.clock.advance(1)
    assert connection.drain.judged == [(2, False)]
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []


@pytest.mark.parametrize("sets_aside", [False, True])
@pytest.mark.parametrize("end", [b"", b"0 serverclose 0\n", b"HTTP/1.1 400\r\n"])
def test_a_refusal_counts_also_if_the_session_ends_with_it(
    connection: Connection, end: bytes, sets_aside: bool
) -> None:
    connection.drain.sets_aside = sets_aside
    connection.protocol.send([b"one", b"two", b"three"])
    connection.protocol.dataReceived(refusal(2) + end)
    lose(connection.protocol)
    assert connection.drain.judged == [(1, False)]
    if not sets_aside:
        assert connection.failures == ["up: it refused a message: 500 no"]
    assert connection.wire.value() == encode_syslog(2, [b"one", b"two", b"three"])
    assert connection.clock.getDelayedCalls() == []


def test_after_one_that_was_set_aside_the_session_goes_on(connection: Connection) -> None:
    connection.drain.sets_aside = True
    connection.protocol.send([b"one", b"two", b"three"])
    connection.protocol.dataReceived(
        encode_answers(3, 1) + encode_frame(2, b"rsp", b"500 no") + encode_answers(4, 1)
    )
    assert not connection.wire.disconnected
    assert connection.drain.events == ["attach", "500 no", "pump"]
    assert connection.drain.acknowledged_records == 2
    assert connection.protocol.room == 10
    assert connection.clock.getDelayedCalls() == []


def test_after_the_last_one_was_set_aside_it_asks_for_more(connection: Connection) -> None:
    connection.drain.sets_aside = True
    connection.protocol.send([b"one"])
    connection.protocol.dataReceived(encode_frame(2, b"rsp", b"500 no"))
    assert connection.drain.events == ["attach", "500 no", "pump"]
    assert connection.protocol.room == 10
    assert connection.clock.getDelayedCalls() == []  # no answer is expected any more


def test_a_server_that_closes(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two"])
    connection.protocol.dataReceived(encode_answers(2, 1) + b"0 serverclose 0\n")
    assert connection.drain.acknowledged_records == 1
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.failures == ["up: the server closed the session"]


def test_nonsense_from_the_server(connection: Connection) -> None:
    connection.protocol.send([b"one"])
    connection.protocol.dataReceived(encode_answers(2, 1) + b"HTTP/1.1 400\r\n")
    assert connection.drain.acknowledged_records == 1
    assert connection.wire.disconnected


def test_a_connection_lost_with_records_in_flight(connection: Connection) -> None:
    connection.protocol.send([b"one"])
    lose(connection.protocol)
    assert connection.drain.events == ["attach", "detach"]
    assert connection.clock.getDelayedCalls() == []
    assert connection.protocol.room == 0


def used_up(connection: Connection) -> None:
    """Let the session have numbers for two more records only."""
    session = RelpClientSession(window_records=10, software=b"test", txnr_limit=4)
    connection.protocol._session = session
    session.data_to_send()
    session.receive(WELCOME)


def test_a_session_without_numbers_is_closed_when_all_is_answered(connection: Connection) -> None:
    used_up(connection)
    assert connection.protocol.room == 2
    connection.protocol.send([b"one", b"two"])
    connection.wire.clear()
    connection.protocol.dataReceived(encode_answers(2, 1))
    assert connection.wire.value() == b""
    connection.protocol.dataReceived(encode_answers(3, 1))
    assert connection.wire.value() == b"4 close 0\n"
    connection.protocol.dataReceived(b"4 rsp 0\n0 serverclose 0\n")
    lose(connection.protocol)
    assert connection.failures == ["up: closed as agreed"]


def test_a_server_that_ends_the_session_is_tried_again_at_once(connection: Connection) -> None:
    connection.protocol.send([b"one", b"two"])
    connection.clock.advance(1)
    connection.protocol.dataReceived(encode_answers(2, 1) + b"0 serverclose 0\n")
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.drain.events == ["attach", "detach"]
    assert (connection.drain.acknowledged_records, connection.protocol.room) == (1, 0)
    assert (connection.failures, connection.state.failures) == ([], 0)
    assert connection.state.text == "connecting anew: the server closed the session"
    assert connection.state.retry_policy() == 0


def test_a_server_that_ends_each_session_at_once_is_backed_off(connection: Connection) -> None:
    connection.clock.advance(0.9)
    connection.protocol.dataReceived(b"0 serverclose 0\n")
    lose(connection.protocol)
    assert connection.failures == ["up: the server closed the session"]
    assert connection.state.retry_policy() >= 1


def test_a_server_that_does_not_answer_the_close(connection: Connection) -> None:
    used_up(connection)
    connection.protocol.send([b"one", b"two"])
    connection.protocol.dataReceived(encode_answers(2, 2))
    connection.clock.advance(60)
    assert connection.wire.disconnected


def test_a_stop_says_goodbye_and_closes(connection: Connection) -> None:
    connection.protocol.send([b"one"])
    connection.wire.clear()
    connection.state.stopped()
    connection.protocol.shut_down()
    assert connection.wire.value() == b"3 close 0\n"
    assert connection.wire.disconnecting
    assert connection.protocol.room == 0
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []
    assert connection.failures == []


def test_a_stop_before_the_opening_was_answered() -> None:
    connection = Connection()
    connection.wire.clear()
    connection.protocol.shut_down()
    connection.protocol.dataReceived(WELCOME)
    assert (connection.wire.value(), connection.drain.events) == (b"", [])
    assert connection.wire.disconnecting


# Exactly once.

OFFER = LineageOffer("0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3b", "00000000deadbeef", 5, 9)


class Numbered:
    """Offers a lineage and does with the answer what the test wants."""

    def __init__(self, begins: int | Deferred[None] | None) -> None:
        self.begins = begins
        self.answers: list[Any] = []

    def offer(self) -> LineageOffer | None:
        return OFFER

    def begin(self, offer: LineageOffer, answer: Any) -> int | Deferred[None] | None:
        assert offer is OFFER
        self.answers.append(answer)
        return self.begins


def test_a_lineage_is_offered_and_the_answer_decides() -> None:
    connection = Connection(numbering=Numbered(7))
    assert b"\n" + format_lineage(OFFER) + b"\n" in connection.wire.value()
    connection.opened()
    assert connection.protocol._numbering.answers == [  # type: ignore[union-attr]
        {b"relp_version": [b"0"], b"commands": [b"syslog"]}
    ]
    assert connection.state.exactly_once
    assert connection.state.text == "connected to up, every message acknowledged, exactly once"
    lose(connection.protocol)
    assert not connection.state.exactly_once


def test_an_upstream_that_passes_the_numbers_on_says_so() -> None:
    connection = Connection(numbering=Numbered(5))
    answer = b"200 OK\nrelp_version=0\ncommands=syslog\n" + PASSED
    connection.protocol.dataReceived(encode_frame(1, b"rsp", answer))
    assert connection.state.exactly_once
    assert connection.state.text.endswith(
        ", exactly once (readers of its log drop what comes twice)"
    )


def test_an_upstream_that_cannot_do_it() -> None:
    connection = Connection(numbering=Numbered(None)).opened()
    assert not connection.state.exactly_once
    assert connection.drain.events == ["attach"]
    connection.protocol.send([b"one"])
    assert connection.wire.value() == encode_syslog(2, [b"one"])


def test_without_a_lineage_nothing_is_offered() -> None:
    numbered: Any = Numbered(None)
    numbered.offer = lambda: None
    connection = Connection(numbering=numbered)
    assert connection.wire.value() == Connection().wire.value()
    connection.opened()
    assert numbered.answers == []


def test_records_follow_one_another_from_where_it_began() -> None:
    connection = Connection(numbering=Numbered(7)).opened()
    for sent_seq, payloads in ((9, [b"7", b"8"]), (10, [b"9"])):
        connection.drain.sent_seq = sent_seq
        connection.protocol.send(payloads)
    assert connection.wire.value() == encode_syslog(2, [b"7", b"8"]) + encode_syslog(4, [b"9"])


def test_a_gap_in_the_numbers_needs_another_session() -> None:
    connection = Connection(numbering=Numbered(7)).opened()
    connection.drain.sent_seq = 11  # 7 and 8 were set aside
    connection.protocol.send([b"9", b"10"])
    assert connection.wire.value() == b""
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.failures == ["up: records left the queue unsent: the numbers begin again"]


def test_before_the_numbers_begin_again_the_answers_are_waited_for() -> None:
    connection = Connection(numbering=Numbered(7)).opened()
    connection.drain.sent_seq = 7
    window = connection.protocol.room
    connection.drain.sent_seq = 9
    connection.protocol.send([b"7", b"8"])
    connection.drain.sent_seq = 20  # those up to 19 left the queue, 7 and 8 among them
    connection.protocol.dataReceived(b"2 rsp 6 200 OK\n")
    assert (connection.protocol.room, connection.drain.acknowledged_records) == (0, 1)
    connection.protocol.dataReceived(b"3 rsp 6 200 OK\n")
    assert (connection.protocol.room, connection.drain.acknowledged_records) == (window, 2)
    assert not connection.wire.disconnected
    connection.protocol.send([b"20"])
    assert connection.wire.disconnected


@pytest.mark.parametrize("result", [None, QueueError("the queue is closed")])
def test_a_sender_that_becomes_somebody_new_connects_again(result: Any) -> None:
    renewed: Deferred[None] = Deferred()
    connection = Connection(numbering=Numbered(renewed)).opened()
    assert (connection.drain.events, connection.wire.disconnected) == ([], False)
    connection.protocol.dataReceived(b"0 hint 0\n")  # nothing to do with that
    renewed.callback(Failure(result) if result else None)
    assert connection.wire.disconnected
    connection.protocol.ready.addErrback(lambda _: None)
    connection.protocol.lost_unprepared(_closed())
    assert connection.failures == ["up: introduced anew" if result is None else f"up: {result}"]


def _closed() -> Failure:
    return Failure(ConnectionDone())


# Compression.

PACKING = encode_frame(1, b"rsp", b"200 OK\nrelp_version=0\ncommands=syslog\n" + COMPRESS_OFFER)
TEXT = b"a message that is long enough to be worth compressing " * 8


@pytest.mark.parametrize(
    ("packs_from", "seconds", "host", "answer", "packs"),
    [
        (0.0, 0.0, "127.0.0.1", PACKING, True),
        (0.005, 0.006, "192.0.2.7", PACKING, True),
        (0.005, 0.004, "192.0.2.7", PACKING, False),
        (0.005, 0.006, "127.0.0.1", PACKING, False),
        (0.005, 0.006, "::ffff:127.0.0.1", PACKING, False),
        (0.0, 1.0, "192.0.2.7", WELCOME, False),
    ],
)
def test_messages_are_compressed_over_long_lines(
    packs_from: float, seconds: float, host: str, answer: bytes, packs: bool
) -> None:
    connection = Connection(packs_from=packs_from)
    connection.wire.peerAddr = IPv4Address("TCP", host, 20514)
    connection.clock.advance(seconds)
    connection.protocol.dataReceived(answer)
    connection.wire.clear()
    connection.protocol.send([TEXT])
    assert connection.wire.value().startswith(b"2 syslogrelayz ") is packs
    assert connection.state.text.endswith(", compressed") is packs


def reporting(welcome: bytes) -> Connection:
    """A connection that would report, to a server that has answered with `welcome`."""
    connection = Connection()
    connection.protocol._session = RelpClientSession(
        window_records=10, software=b"test", report=lambda: FleetReport(57, None)
    )
    connection.protocol.dataReceived(welcome)
    return connection


def reports_of(connection: Connection) -> int:
    count = connection.wire.value().count(b"0 syslogrelayfleet 18 queued_records=57\n\n")
    connection.wire.clear()
    return count


def test_it_reports_at_once_and_each_minute_to_who_takes_that() -> None:
    takes = encode_frame(1, b"rsp", b"200 OK\ncommands=syslog\nsyslogrelay_fleet=1")
    connection = reporting(takes)
    assert reports_of(connection) == 1
    connection.clock.advance(59)
    assert reports_of(connection) == 0
    connection.clock.advance(1)
    assert reports_of(connection) == 1
    connection.protocol.pauseProducing()  # TCP does not take what is written
    connection.clock.advance(60)
    assert reports_of(connection) == 0
    connection.protocol.resumeProducing()
    connection.clock.advance(60)
    assert reports_of(connection) == 1
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []


def test_it_reports_to_nobody_else() -> None:
    connection = reporting(WELCOME)
    connection.clock.advance(300)
    assert reports_of(connection) == 0
