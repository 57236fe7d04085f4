from __future__ import annotations

import random
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.codec import encode_syslog
from relay.flow.exactly_once.lineages import RECEIVED, Lineages
from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Transport
from relay.transport.relp.inbound import RelpServerProtocol
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.wire.relp.blocks import COMPRESS_OFFER, Contexts, Packer
from relay.wire.relp.frame import encode_frame
from relay.wire.relp.lineage import SEQ_MAX, LineageOffer, format_lineage
from tests.connections import (
    EachChunkATurn,
    RecordingIntake,
    RecordingNotices,
    Wire,
    fired,
    lose,
    open_reception,
)

OPEN = encode_frame(1, b"open", b"relp_version=0\ncommands=syslog")
SERVERCLOSE = b"0 serverclose 0\n"


class Connection:
    """A protocol under test with everything it talks to."""

    def __init__(
        self,
        *,
        secure: bool = False,
        oversize: str = "truncate",
        rate_per_peer_max: int = 0,
        lineages: Lineages | None = None,
        frame_bytes_max: int = 64,
        contexts_max: int = 1,
        connection_seconds_max: float = 0.0,
    ) -> None:
        self.clock = Clock()
        self.intake: Any = RecordingIntake()
        self.notices: Any = RecordingNotices()
        self.counters = SourceCounters()
        self.wire = Wire()
        self.contexts = Contexts(contexts_max)
        self.factory = InboundFactory(
            open_reception(self.intake, self.counters, self.notices),
            transport=Transport.TCP,
            new_protocol=partial(
                RelpServerProtocol,
                software=b"test",
                contexts=self.contexts,
                lineages=lineages,
            ),
            limits=InboundLimits(
                frame_bytes_max=frame_bytes_max,
                connections_max=1,
                idle_seconds_max=30,
                handshake_seconds_max=5,
                oversize=oversize,
                rate_per_peer_max=rate_per_peer_max,
                connection_seconds_max=connection_seconds_max,
            ),
            clock=self.clock,
            secure=secure,
        )
        self.factory.turn_batch = EachChunkATurn(self.intake, clock=self.clock)
        self.protocol = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.wire)

    def opened(self) -> Connection:
        self.protocol.dataReceived(OPEN)
        self.wire.clear()
        return self

    def send(self, first: int, *payloads: bytes) -> None:
        self.protocol.dataReceived(encode_syslog(first, payloads))

    def stored(self, batch: int) -> None:
        self.intake.stored[batch].callback(None)

    def answers(self) -> bytes:
        data = self.wire.value()
        self.wire.clear()
        return data


@pytest.fixture
def connection() -> Connection:
    return Connection().opened()


def test_the_opening_is_answered() -> None:
    connection = Connection()
    connection.protocol.dataReceived(OPEN)
    assert connection.answers().startswith(b"1 rsp ")
    connection.clock.advance(6)
    assert not connection.wire.disconnecting


def test_the_opening_has_to_come_in_time() -> None:
    connection = Connection()
    connection.clock.advance(6)
    assert connection.wire.disconnected
    assert connection.notices.said[0][2] == "no RELP open within 5 s"
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []


def test_an_answer_means_stored(connection: Connection) -> None:
    connection.send(2, b"one", b"two")
    assert connection.intake.batches == [[b"one", b"two"]]
    assert connection.answers() == b""
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"


def test_answers_come_in_order_and_each_for_its_own_batch(connection: Connection) -> None:
    connection.send(2, b"one")
    connection.send(3, b"two", b"three")
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n"
    connection.stored(1)
    assert connection.answers() == b"3 rsp 6 200 OK\n4 rsp 6 200 OK\n"


def test_a_batch_that_needs_no_commit_does_not_answer_for_an_earlier_one(
    connection: Connection,
) -> None:
    """An empty message is dropped at once, and its answer would be that of the one before."""
    connection.send(2, b"one")
    connection.protocol.dataReceived(b"3 syslog 0\n")
    connection.stored(1)
    assert connection.answers() == b""
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"


def test_a_close_is_answered_after_the_messages_before_it(connection: Connection) -> None:
    connection.protocol.dataReceived(encode_syslog(2, [b"one"]) + b"3 close 0\n")
    assert connection.answers() == b""
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n3 rsp 0\n" + SERVERCLOSE
    assert connection.wire.disconnecting


def test_good_frames_before_a_bad_one_are_stored_and_answered(connection: Connection) -> None:
    connection.protocol.dataReceived(encode_syslog(2, [b"one"]) + b"GET / HTTP/1.1\r\n")
    assert connection.intake.batches == [[b"one"]]
    assert (connection.counters.protocol_errors, connection.notices.kinds) == (1, ["protocol"])
    assert not connection.wire.disconnecting
    connection.protocol.dataReceived(b"more garbage")
    assert connection.counters.protocol_errors == 1
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n" + SERVERCLOSE
    assert connection.wire.disconnecting


def test_a_refused_opening_is_counted(connection: Connection) -> None:
    connection = Connection()
    connection.protocol.dataReceived(encode_frame(1, b"open", b"relp_version=0"))
    assert b"500" in connection.answers()
    assert connection.wire.disconnecting
    assert connection.counters.protocol_errors == 1


def test_what_is_not_stored_is_not_answered(connection: Connection) -> None:
    connection.send(2, b"one")
    connection.send(3, b"two")
    connection.intake.stored[0].errback(Failure(QueueError("stopped")))
    assert connection.answers() == SERVERCLOSE
    assert connection.wire.disconnecting
    connection.stored(1)
    assert connection.answers() == b""
    assert connection.notices.kinds == ["not-stored"]


def test_a_connection_lost_while_messages_wait(connection: Connection) -> None:
    connection.send(2, b"one")
    lose(connection.protocol)
    connection.stored(0)
    assert connection.answers() == b""
    assert connection.clock.getDelayedCalls() == []
    assert connection.notices.said == []


def test_a_connection_lost_while_messages_wait_that_cannot_be_stored(
    connection: Connection,
) -> None:
    connection.send(2, b"one")
    lose(connection.protocol)
    connection.intake.stored[0].errback(Failure(QueueError("stopped")))
    assert connection.answers() == b""
    assert not connection.wire.disconnecting


def test_a_client_that_has_said_everything_gets_its_answers(connection: Connection) -> None:
    assert IHalfCloseableProtocol.providedBy(connection.protocol)
    connection.send(2, b"one")
    connection.protocol.readConnectionLost()
    assert not connection.wire.disconnecting
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n"
    assert connection.wire.disconnecting
    assert connection.counters.protocol_errors == 0


def test_input_that_ends_inside_a_frame(connection: Connection) -> None:
    connection.protocol.dataReceived(b"2 syslog 9 on")
    connection.protocol.readConnectionLost()
    assert connection.wire.disconnecting
    assert (connection.counters.protocol_errors, connection.notices.kinds) == (1, ["protocol"])


def test_a_message_that_is_dropped_for_its_length_is_answered() -> None:
    connection = Connection(oversize="drop").opened()
    connection.send(2, b"one", b"x" * 65, b"y" * 1000, b"two")
    assert connection.intake.batches == [[b"one", b"two"]]
    assert connection.counters.dropped == {"too-long": 2}
    connection.stored(0)
    assert connection.answers().count(b"200 OK") == 4
    connection.send(6, b"x" * 65)
    assert connection.intake.batches[1:] == []
    assert connection.answers() == b"6 rsp 6 200 OK\n"


def test_a_long_message_is_cut_and_counted(connection: Connection) -> None:
    connection.send(2, b"x" * 70)
    assert connection.intake.batches == [[b"x" * 64]]
    assert connection.intake.cut == [{0: 70}]
    assert connection.counters.truncated_records == 1


def test_a_split_message_is_answered_once_when_all_of_it_is_stored() -> None:
    connection = Connection(oversize="split").opened()
    stream = encode_syslog(2, [b"one", b"<13>" + b"x" * 200, b"two"])
    connection.protocol.dataReceived(stream[:120])
    connection.protocol.dataReceived(stream[120:])
    first, second = connection.intake.batches
    assert first == [b"one", b"<13>" + b"x" * 60]
    assert second == [b"<13>" + b"x" * 60, b"<13>" + b"x" * 60, b"<13>" + b"x" * 20, b"two"]
    assert connection.intake.pieces == [{1: 1}, {0: 2, 1: 3, 2: 4}]
    connection.stored(1)
    assert connection.answers() == b""
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 rsp 6 200 OK\n"
    assert connection.counters.split_records == 1


def test_the_first_pieces_alone_are_no_message_to_answer() -> None:
    connection = Connection(oversize="split").opened()
    connection.protocol.dataReceived(b"2 syslog 200 " + b"x" * 150)
    connection.stored(0)
    assert connection.answers() == b""
    connection.protocol.readConnectionLost()
    assert connection.wire.disconnecting
    assert connection.answers() == b""


def test_silence_ends_with_a_farewell(connection: Connection) -> None:
    connection.clock.advance(31)
    assert connection.answers() == SERVERCLOSE
    assert connection.wire.writing_ended


def test_a_stop_answers_what_was_taken_first(connection: Connection) -> None:
    connection.send(2, b"one")
    stopped = fired(connection.factory.shut_down(seconds_max=1.5))
    connection.send(3, b"too late")
    assert not connection.wire.disconnecting
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n" + SERVERCLOSE
    assert connection.wire.writing_ended
    lose(connection.protocol)
    assert stopped == [None]
    assert connection.intake.batches == [[b"one"]]


def aged(seconds: float = 10.0) -> Connection:
    """A connection that has got as old as it may be, with a message that is not stored yet."""
    connection = Connection(connection_seconds_max=seconds).opened()
    connection.clock.advance(0.79 * seconds)
    connection.send(2, b"one")
    connection.clock.advance(0.22 * seconds)
    return connection


def test_an_old_connection_ends_when_all_that_came_is_answered() -> None:
    connection = aged()
    connection.send(3, b"too late: it comes again")
    assert (connection.answers(), connection.wire.writing_ended) == (b"", False)
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n" + SERVERCLOSE
    assert connection.wire.writing_ended
    assert connection.counters.connections_closed == {"age": 1}
    assert connection.intake.batches == [[b"one"]]


def test_the_client_closes_first_or_it_might_lose_the_last_answers() -> None:
    connection = aged()
    connection.stored(0)
    connection.protocol.dataReceived(b"what was on its way")
    assert not connection.wire.disconnecting
    connection.protocol.readConnectionLost()
    assert connection.wire.disconnecting


def test_a_client_that_does_not_close_is_cut_off() -> None:
    connection = aged()
    connection.stored(0)
    connection.clock.advance(5)
    assert connection.wire.disconnected
    lose(connection.protocol)
    assert connection.clock.getDelayedCalls() == []


def test_an_old_connection_whose_client_has_said_everything_is_closed() -> None:
    connection = aged()
    connection.protocol.readConnectionLost()
    connection.stored(0)
    assert connection.wire.disconnecting


def test_connections_that_came_together_do_not_end_together() -> None:
    connections = [Connection(connection_seconds_max=20).opened() for _ in range(40)]
    for seconds, ended in ((15.9, {0}), (2.1, {0, 1}), (2, {1})):
        for connection in connections:
            connection.clock.advance(seconds)
        assert {each.counters.connections_closed["age"] for each in connections} == ended


class BrokenIntake:
    def accept_all(self, batches: object, positions: object = None) -> Deferred[None]:
        raise ZeroDivisionError


def test_a_defect_answers_nothing(connection: Connection) -> None:
    connection.factory.turn_batch.intake = BrokenIntake()
    connection.send(2, b"one")
    assert connection.answers() == b"0 serverclose 0\n"
    assert connection.notices.kinds == ["not-stored"]
    assert connection.wire.asked_to_close


def test_over_tls_the_opening_is_due_after_the_handshake() -> None:
    connection = Connection(secure=True)
    connection.clock.advance(4)
    connection.protocol.handshakeCompleted()
    connection.clock.advance(4)
    assert not connection.wire.disconnected
    connection.clock.advance(2)
    assert connection.wire.disconnected


# librelp gives up a session whose window is full and in which nothing was answered for 90 s.


def test_under_a_rate_limit_something_is_answered_every_30_seconds() -> None:
    """A client with a window of 128 that always has more, at a rate of 1 message per second."""
    connection = Connection(rate_per_peer_max=1).opened()
    answered_at, sent, answered = 0.0, 0, 0
    for _ in range(600):
        now = connection.clock.seconds()
        if connection.wire.producerState == "producing" and sent - answered < 128:
            count = 128 - (sent - answered)
            connection.send(2 + sent, *[b"message"] * count)
            sent += count
        for stored in connection.intake.stored:
            if not stored.called:
                stored.callback(None)
        count = connection.answers().count(b" rsp 6 200 OK\n")
        if count:
            answered, answered_at = answered + count, now
        assert now - answered_at <= 30
        connection.clock.advance(1)
    assert 600 <= answered <= 1200  # a read of 1 KiB, 48 messages, is forgiven 18


def test_what_was_read_before_admission_closed_is_answered() -> None:
    connection = Connection().opened()
    admission = connection.factory.admission
    connection.send(2, b"one")
    admission.set_queue_bytes(1000)
    assert connection.wire.producerState == "paused"
    connection.send(3, b"two")  # was on its way through TLS, for example
    assert connection.intake.batches == [[b"one"], [b"two"]]
    connection.stored(0)
    connection.stored(1)
    assert connection.answers() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"
    assert not connection.wire.disconnecting


def test_while_admission_is_closed_nothing_is_said_and_nobody_is_sent_away() -> None:
    """A client that gives up after 90 s comes again, and sends again what was not answered."""
    connection = Connection().opened()
    connection.send(2, b"one")
    connection.factory.admission.set_pending_bytes(2000)
    for _ in range(60):
        connection.clock.advance(60)
    assert (connection.answers(), connection.wire.disconnecting) == (b"", False)
    lose(connection.protocol)
    connection.stored(0)  # so it may come twice
    again = connection.factory.buildProtocol(None)
    again.makeConnection(Wire())
    assert again.transport.producerState == "paused"
    connection.factory.admission.set_pending_bytes(0)
    again.dataReceived(OPEN + encode_syslog(2, [b"one"]))
    assert connection.intake.batches == [[b"one"], [b"one"]]


# Exactly once.

ID = "0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3b"
EPOCH = "00000000deadbeef"


class Relays:
    """Connections that may offer lineages, at a relay that has nothing yet."""

    def __init__(self) -> None:
        self.lineages = Lineages(load=dict, now=lambda: 0.0)

    def connection(
        self,
        *,
        first: int = 1,
        end: int = 9,
        epoch: str = EPOCH,
        identity: str | None = None,
        oversize: str = "truncate",
    ) -> Connection:
        connection = Connection(lineages=self.lineages, frame_bytes_max=480, oversize=oversize)
        connection.protocol.origin = connection.protocol.origin._replace(tls_identity=identity)
        offer = format_lineage(LineageOffer(ID, epoch, first, end))
        opening = encode_frame(1, b"open", b"commands=syslog\n" + offer)
        connection.protocol.dataReceived(opening)
        return connection

    def after(self, *payloads: bytes, identity: str | None = None) -> Relays:
        """With `payloads` stored by a connection that is gone."""
        connection = self.connection(identity=identity)
        connection.send(2, *payloads)
        connection.stored(0)
        lose(connection.protocol)
        return self


def test_the_answer_says_what_is_stored() -> None:
    relays = Relays()
    assert b"\nsyslogrelay_have=0,0000000000000000\n" in relays.connection().answers()
    relays.after(b"one", b"two")
    connection = relays.connection(epoch="00000000deadbee0")
    assert b"\nsyslogrelay_have=2,00000000deadbeef\n" in connection.answers()
    assert connection.counters.duplicate_records == 2
    assert connection.notices.said == []
    connection.send(2, b"three")
    assert connection.intake.batches == [[b"three"]]
    (position,) = connection.intake.positions[0].items()
    assert position[0] == f"{RECEIVED}/{ID}" and b'"have":3,' in position[1]
    assert connection.answers() == b""
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n"


def test_who_offers_nothing_is_served_as_ever() -> None:
    connection = Connection(lineages=Relays().lineages)
    connection.protocol.dataReceived(OPEN)
    plain = Connection()
    plain.protocol.dataReceived(OPEN)
    assert connection.answers() == plain.answers() != b""
    connection.send(2, b"one")
    assert connection.intake.positions == [None]


def test_a_malformed_lineage_is_counted_and_not_taken() -> None:
    connection = Connection(lineages=Relays().lineages, frame_bytes_max=480)
    connection.protocol.dataReceived(
        encode_frame(1, b"open", b"commands=syslog\nsyslogrelay_lineage=1,2,3")
    )
    assert connection.answers().endswith(b"\ncommands=syslog\n")
    assert (connection.counters.refused_lineages, connection.notices.kinds) == (1, ["lineage"])
    connection.send(2, b"one")
    assert connection.intake.positions == [None]


def test_a_new_connection_ends_the_old_one_and_waits_for_its_commits() -> None:
    relays = Relays()
    old = relays.connection()
    old.send(2, b"one", b"two")
    old.send(4, b"three")
    old.answers()
    new = relays.connection()
    assert (old.answers(), new.answers()) == (SERVERCLOSE, b"")
    old.send(5, b"late")
    assert old.intake.batches == [[b"one", b"two"], [b"three"]]
    old.stored(0)
    assert new.answers() == b""
    old.stored(1)
    assert b"\nsyslogrelay_have=3," in new.answers()
    assert old.answers() == b""  # it was told nothing more
    lose(old.protocol)
    new.send(2, b"four")
    new.stored(0)
    assert new.answers() == b"2 rsp 6 200 OK\n"


def test_what_could_not_be_stored_is_not_known() -> None:
    relays = Relays()
    old = relays.connection()
    old.send(2, b"one", b"two")
    new = relays.connection()
    old.intake.stored[0].errback(QueueError("closed"))
    assert b"\nsyslogrelay_have=0," in new.answers()


def test_an_opening_with_messages_behind_it_takes_nothing_from_anybody() -> None:
    relays = Relays()
    held = relays.connection()
    held.answers()
    rude = Connection(lineages=relays.lineages, frame_bytes_max=480)
    offer = format_lineage(LineageOffer(ID, EPOCH, 1, 9))
    opening = encode_frame(1, b"open", b"commands=syslog\n" + offer)
    rude.protocol.dataReceived(opening + encode_syslog(2, [b"one"]))
    assert (rude.answers(), held.answers()) == (SERVERCLOSE, b"")
    assert rude.counters.protocol_errors == 1


def test_messages_that_are_dropped_have_numbers_too() -> None:
    connection = Relays().connection(oversize="drop")
    connection.send(2, b"x" * 481, b"two")
    assert connection.intake.batches == [[b"two"]]
    ((_, position),) = connection.intake.positions[0].items()
    assert b'"have":2,' in position


def test_a_message_that_is_split_has_its_number_when_it_is_whole() -> None:
    connection = Relays().connection(oversize="split")
    data = encode_syslog(2, [b"x" * 1000, b"two"])
    connection.protocol.dataReceived(data[:600])
    connection.protocol.dataReceived(data[600:])
    sizes = [len(frame) for batch in connection.intake.batches for frame in batch]
    assert sizes == [480, 480, 40, 3]
    stored = [position for one in connection.intake.positions for position in one.values()]
    assert [b'"have":0,' in stored[0], b'"have":2,' in stored[1]] == [True, True]
    connection.answers()
    connection.stored(0)
    assert connection.answers() == b""
    connection.stored(1)
    assert connection.answers() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"


def test_missing_records_are_said_and_counted() -> None:
    connection = Relays().after(b"one", b"two").connection(first=6)
    assert connection.counters.missing_records == 3
    ((_, kind, text),) = connection.notices.said
    assert kind == "missing"
    assert text.startswith("it goes on with record 6, the last one that came is 2: 3 were set")
    assert b"\nsyslogrelay_have=2," in connection.answers()


def test_numbers_that_cannot_be_true_are_neither_shown_nor_counted() -> None:
    relays = Relays().after(b"one", b"two")
    connection = relays.connection(first=SEQ_MAX, end=SEQ_MAX)
    assert connection.counters.missing_records == 0
    ((_, kind, text),) = connection.notices.said
    assert kind == "missing"
    assert text.startswith("it goes on more than 100,000,000 records after the last one that came")
    assert str(SEQ_MAX) not in text
    connection.send(2, b"three")
    connection.stored(0)
    again = relays.connection(first=1, end=SEQ_MAX)
    assert again.counters.duplicate_records == 0


def test_a_restored_client_is_reported() -> None:
    relays = Relays().after(b"one", b"two")
    connection = relays.connection(first=1, end=2, epoch="00000000deadbee0")
    ((_, kind, text),) = connection.notices.said
    assert kind == "restored"
    assert text.startswith("its queue ends before record 2, and record 2 has come from it")
    assert connection.counters.duplicate_records == 0


def test_an_opening_that_comes_late_is_no_restored_client() -> None:
    connection = Relays().after(b"one", b"two").connection(first=1, end=2)
    assert (connection.notices.said, connection.counters.duplicate_records) == ([], 0)
    assert b"\nsyslogrelay_have=2," in connection.answers()


def test_another_identity_is_not_believed() -> None:
    relays = Relays().after(b"one", identity="web-1")
    connection = relays.connection(identity="web-2")
    assert connection.answers().endswith(b"\ncommands=syslog\nsyslogrelay_have=no\n")
    assert (connection.counters.refused_lineages, connection.notices.kinds) == (1, ["lineage"])
    connection.send(2, b"one")
    assert connection.intake.positions == [None]
    connection.stored(0)
    assert connection.answers() == b"2 rsp 6 200 OK\n"


def test_a_stop_does_not_wait_for_a_lineage() -> None:
    relays = Relays()
    old = relays.connection()
    old.send(2, b"one")
    new = relays.connection()
    new.protocol.shut_down()
    assert new.answers() == SERVERCLOSE
    assert new.wire.writing_ended
    lose(new.protocol)
    old.stored(0)
    assert new.answers() == b""


def test_it_is_said_that_a_client_sends_on_without_answers(connection: Connection) -> None:
    streams: list[int] = []
    reads: Any = SimpleNamespace(stream=lambda: streams.append(len(connection.intake.batches)))
    connection.factory.reads = reads
    connection.send(2, b"one", b"two")
    connection.stored(0)
    connection.send(4, b"three")  # after its answers
    assert streams == []
    connection.send(5, b"four")
    assert streams == [2]


# Compressed blocks.

OPEN_COMPRESSED = encode_frame(1, b"open", b"commands=syslog\n" + COMPRESS_OFFER)
MUCH = [random.Random(n).randbytes(100).hex().encode() * 300 for n in range(60)]


def test_blocks_are_taken_in_steps_and_reading_pauses() -> None:
    connection = Connection(frame_bytes_max=100_000)
    connection.protocol.dataReceived(OPEN_COMPRESSED)
    assert COMPRESS_OFFER in connection.wire.value()
    connection.protocol.dataReceived(Packer(3).encode_syslog(2, MUCH))
    taken = [frame for frames in connection.intake.batches for frame in frames]
    assert MUCH[: len(taken)] == taken
    assert 0 < len(taken) < len(MUCH)
    assert connection.wire.producerState == "paused"
    while connection.wire.producerState == "paused":
        connection.clock.advance(0)
    assert [frame for frames in connection.intake.batches for frame in frames] == MUCH


def test_blocks_that_came_before_the_end_of_the_input_are_taken() -> None:
    connection = Connection(frame_bytes_max=100_000)
    connection.protocol.dataReceived(OPEN_COMPRESSED)
    connection.protocol.dataReceived(Packer(3).encode_syslog(2, MUCH))
    connection.protocol.readConnectionLost()
    for _ in MUCH:
        connection.clock.advance(0)
    assert [frame for frames in connection.intake.batches for frame in frames] == MUCH


def test_a_source_with_a_rate_takes_no_blocks() -> None:
    connection = Connection(rate_per_peer_max=10)
    connection.protocol.dataReceived(OPEN_COMPRESSED)
    assert COMPRESS_OFFER not in connection.wire.value()


def test_only_so_many_connections_send_blocks() -> None:
    connection = Connection(contexts_max=0)
    connection.protocol.dataReceived(OPEN_COMPRESSED)
    assert COMPRESS_OFFER not in connection.wire.value()
    assert "0 connections may send compressed messages already" in connection.notices.said[0][2]
    connection.send(2, b"plain")
    assert connection.intake.batches == [[b"plain"]]


def test_a_connection_that_ends_makes_room_for_another_one() -> None:
    connection = Connection()
    connection.protocol.dataReceived(OPEN_COMPRESSED)
    assert not connection.contexts.take()
    lose(connection.protocol)
    assert connection.contexts.take()
    assert not connection.contexts.take()


def test_an_answer_does_not_wait_for_the_acknowledgement_of_another_one() -> None:
    assert Connection().wire.no_delay
