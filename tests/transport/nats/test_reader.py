"""Reading a stream: what is handed on, stored, acknowledged and asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.counters.source import SourceCounters
from relay.model.errors import QueueError
from relay.model.origin import Origin, Received, Transport
from relay.transport.log.sieve import Sieve
from relay.transport.nats.client import ServerInfo
from relay.transport.nats.consumer import ConsumerPlan
from relay.transport.nats.reader import PLACE, Arrived, StreamReader
from relay.transport.reception import OversizePolicy
from relay.wire.nats.answers import StreamError
from relay.wire.record_number import RecordNumber, format_record_number
from tests.connections import RecordingNotices, open_reception
from tests.transport.nats.test_fetched import message

LINEAGE = "11111111-2222-4333-8444-555555555555"
CREATED = "2026"


class FakeIntake:
    """Commits when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Sequence[bytes], Mapping[str, bytes], Deferred[None]]] = []
        self.frames: list[bytes] = []
        self.positions: dict[str, bytes] = {}

    def accept_all(
        self, batches: Sequence[Received], positions: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        stored: Deferred[None] = Deferred()
        frames = [frame for batch in batches for frame in batch.frames]
        self.waiting.append((frames, positions or {}, stored))
        return stored

    def commit(self) -> None:
        for frames, positions, stored in self._taken():
            self.frames += frames
            self.positions |= positions
            stored.callback(None)

    def fail(self) -> None:
        for *_, stored in self._taken():
            stored.errback(QueueError("disk full"))

    def _taken(self) -> list[tuple[Sequence[bytes], Mapping[str, bytes], Deferred[None]]]:
        taken, self.waiting = self.waiting, []
        return taken


class FakeClient:
    """A connection to a stream whose consumer stands at its beginning."""

    def __init__(self, bench: Bench, on_lost: Callable[[str], None]) -> None:
        self.lose = on_lost
        self.published: list[tuple[bytes, bytes]] = []
        self.take: Callable[[list[Arrived]], None] = lambda messages: None
        self.closed = 0
        self._bench = bench

    def open(self) -> Deferred[ServerInfo]:
        return succeed(ServerInfo("n1:4222", "2.15.1", 1024))

    def ask_api(
        self, subject: str, request: bytes = b"", *, is_checked: bool = True
    ) -> Deferred[bytes]:
        if subject.startswith("STREAM.INFO."):
            state = {"first_seq": 1, "last_seq": 1000}
            own = {"retention": self._bench.retention}
            return succeed(json.dumps({"config": own, "state": state, "created": CREATED}).encode())
        if subject.startswith("CONSUMER.INFO."):
            return fail(StreamError(10014, "none"))
        config = json.loads(request)["config"]
        self._bench.starts.append(config.get("opt_start_seq", 1))
        return succeed(json.dumps({"config": config, "num_pending": 7}).encode())

    def subscribe(self, inbox: str, take: Callable[[list[Arrived]], None]) -> Deferred[None]:
        self.take = take
        return succeed(None)

    def publish(self, subject: bytes, data: bytes = b"", reply: bytes = b"") -> None:
        self.published.append((subject, data))

    def new_inbox(self) -> str:
        return "inbox"

    def close(self) -> Deferred[None]:
        self.closed += 1
        return succeed(None)

    @property
    def asked(self) -> int:
        return sum(b"MSG.NEXT" in subject for subject, _ in self.published)

    @property
    def acknowledged(self) -> list[bytes]:
        return [subject for subject, data in self.published if data == b"+ACK"]


class Bench:
    def __init__(self, place: bytes | None = None, *, retention: str = "limits") -> None:
        self.retention = retention
        self.clock = Clock()
        self.intake = FakeIntake()
        if place is not None:
            self.intake.positions[f"in/{PLACE}"] = place
        self.counters = SourceCounters()
        self.notices = RecordingNotices()
        self.clients: list[FakeClient] = []
        self.starts: list[int] = []
        reception = open_reception(self.intake, self.counters, self.notices)
        self.reader = StreamReader(
            reception,
            ConsumerPlan("n1:4222/LOGS", "LOGS", "central"),
            sieve=Sieve(
                reception,
                origin=Origin("in", Transport.NONE),
                lineages=ReadLineages("in", load=self._positions, now=lambda: 0.0),
                oversize=OversizePolicy("truncate", frame_bytes_max=100, counters=self.counters),
            ),
            new_client=self._connect,
            retry_seconds=lambda failures: 1.0,
            reactor=self.clock,  # type: ignore[arg-type]
        )
        self.reader.start(self._positions)
        self.clock.advance(0)

    @property
    def client(self) -> FakeClient:
        return self.clients[-1]

    def come(self, *messages: Arrived) -> None:
        self.client.take([*messages])

    def _connect(self, on_lost: Callable[[str], None]) -> FakeClient:
        self.clients.append(FakeClient(self, on_lost))
        return self.clients[-1]

    def _positions(self) -> Mapping[str, bytes]:
        return {
            name.removeprefix("in/"): value
            for name, value in self.intake.positions.items()
            if value
        }


def numbered(seq: int, number: int, record: int, prev: int) -> Arrived:
    value = format_record_number(RecordNumber(LINEAGE, record, prev))
    return message(seq, number, b"r%d" % record, b"syslogrelay: %b\r\n" % value)


def test_messages_are_stored_with_their_place_and_then_acknowledged() -> None:
    bench = Bench()
    assert bench.reader.is_reading
    assert bench.reader.report()["lag_records"] == 7
    bench.come(message(1, 1, b"a"), message(3, 2, b"b"))
    assert not bench.client.acknowledged
    bench.intake.commit()
    assert bench.intake.frames == [b"a", b"b"]
    assert bench.intake.positions[f"in/{PLACE}"] == b"3,2026"
    (reply,) = bench.client.acknowledged  # of the last one, and so of all before it
    assert b".3.2." in reply
    assert bench.reader.report()["lag_records"] == 9


def test_what_senders_have_sent_twice_is_taken_once() -> None:
    bench = Bench()
    bench.come(numbered(1, 1, 1, 0), numbered(2, 2, 2, 1), numbered(3, 3, 1, 0))
    bench.come(numbered(4, 4, 2, 1), numbered(5, 5, 3, 2))
    bench.intake.commit()
    assert bench.intake.frames == [b"r1", b"r2", b"r3"]
    assert bench.counters.duplicate_records == 2


def test_a_record_whose_predecessor_is_missing_is_held_back_and_told() -> None:
    bench = Bench()
    bench.come(numbered(1, 1, 1, 0), numbered(2, 2, 5, 4))
    bench.intake.commit()
    assert bench.intake.frames == [b"r1"]
    assert bench.reader.report()["held_back_records"] == 1
    assert any("comes again with all of them" in str(each) for each in bench.notices.said)


def test_a_restart_goes_on_behind_the_stored_place() -> None:
    bench = Bench(b"41,2026")
    assert bench.starts == [42]


def test_a_work_queue_is_freed_of_what_was_on_disk_before_a_crash() -> None:
    bench = Bench(b"2,2026", retention="workqueue")
    bench.come(message(1, 1, count=2), message(2, 2, count=2))
    assert not bench.client.acknowledged  # it may be of this process, and on its way to disk
    bench.intake.commit()
    assert len(bench.client.acknowledged) == 2
    assert bench.intake.frames == []
    assert bench.counters.duplicate_records == 2
    bench.come(message(2, 3, count=3), message(3, 4))
    bench.intake.commit()
    assert len(bench.client.acknowledged) == 4


def test_a_lost_connection_is_made_anew_after_a_pause_behind_what_was_read() -> None:
    bench = Bench()
    bench.come(message(5, 1))
    bench.client.lose("the connection ended")
    assert not bench.reader.is_reading
    assert "the connection ended; next try in 1 s" in bench.reader.state
    assert bench.clients[0].closed == 1
    bench.clock.advance(1.0)
    assert len(bench.clients) == 1  # the batch has to be on disk first
    bench.intake.commit()
    bench.clock.advance(1.0)
    assert bench.starts == [1, 6]
    assert bench.reader.is_reading


def test_a_batch_that_was_not_stored_is_read_again() -> None:
    bench = Bench()
    bench.come(numbered(1, 1, 1, 0))
    bench.intake.commit()
    bench.come(numbered(2, 2, 2, 1))
    bench.intake.fail()
    bench.clock.advance(1.0)
    assert bench.starts == [1, 2]
    bench.come(numbered(2, 1, 2, 1))
    bench.intake.commit()
    assert bench.intake.frames == [b"r1", b"r2"]


def test_a_missing_delivery_begins_anew_behind_what_was_taken() -> None:
    bench = Bench()
    bench.come(message(1, 1, b"a"), message(3, 3, b"c"))
    bench.intake.commit()
    bench.clock.advance(1.0)
    assert bench.intake.frames == [b"a"]
    assert bench.starts == [1, 2]


def test_nothing_is_asked_for_while_admission_is_closed() -> None:
    bench = Bench()
    before = bench.client.asked
    bench.reader.pause_reading()
    bench.come(*[message(seq, seq) for seq in range(1, 801)])
    bench.intake.commit()
    assert bench.client.asked == before
    assert bench.reader.state.endswith(", paused")
    bench.reader.resume_reading()
    assert bench.client.asked == before + 1


def test_nothing_is_asked_for_while_too_much_waits_for_its_commit() -> None:
    bench = Bench()
    for seq in range(1, 801):
        bench.come(message(seq, seq))
    assert bench.client.asked == 1
    bench.intake.commit()
    assert bench.client.asked == 2


def test_a_consumer_without_a_sign_of_life_is_left() -> None:
    bench = Bench()
    bench.clock.advance(8.0)
    bench.come((b"inbox", b"", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n", b""))
    bench.clock.advance(8.0)
    assert bench.reader.is_reading
    bench.clock.advance(2.0)
    assert "no sign of life" in bench.reader.state


def test_a_record_that_is_too_long_is_cut() -> None:
    bench = Bench()
    bench.come(message(1, 1, b"x" * 200))
    bench.intake.commit()
    assert bench.intake.frames == [b"x" * 100]
    assert bench.counters.truncated_records == 1


def test_a_pack_that_cannot_be_read_is_dropped_and_counted() -> None:
    bench = Bench()
    bench.come(message(1, 1, b"junk", b"syslogrelay-pack: -\r\n"))
    bench.intake.commit()
    assert bench.counters.dropped["malformed-pack"] == 1
    assert "pack" in bench.notices.kinds
    assert bench.intake.positions[f"in/{PLACE}"] == b"1,2026"


def test_a_stop_closes_the_connection_and_nothing_is_taken_any_more() -> None:
    bench = Bench()
    stopped: list[object] = []
    bench.reader.stop().addCallback(stopped.append)
    assert stopped
    assert bench.client.closed == 1
    bench.come(message(1, 1))
    assert not bench.intake.waiting
    bench.clock.advance(100.0)
    assert len(bench.clients) == 1
