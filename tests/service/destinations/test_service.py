from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from relay.flow.drain import Drain
from relay.flow.lanes import BACKLOG_RECORDS_MIN
from relay.model.counters.latencies import latencies_report
from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.admission.limits import QueueLimit
from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger
from relay.queue.lineage import Lineage
from relay.service.configuration.model import Url
from relay.service.destinations.kind import Delivery, DestinationParts
from relay.service.destinations.lane import Lane
from relay.service.destinations.link import Link, LocalLink, StreamLink
from relay.service.destinations.service import DestinationService
from relay.service.sampling import DESTINATION_RATES
from relay.transport.upstream import PreparedEndpoint, Timeouts, UpstreamProtocol, UpstreamState
from tests.clocks import wall_of
from tests.configurations import new_destination
from tests.connections import RecordingNotices, Wire, fired, lose
from tests.queue_roles import AllRoles


class Queue(AllRoles):
    """Three records, and what the drain did to them."""

    def __init__(self) -> None:
        self.account = Ledger(next_seq=4, queued_bytes=15)
        self.events: list[Any] = []
        self.oldest: float | None = 90.0
        self.limits: QueueLimit | None = None
        self.failing = False

    def ledger(self, destination: str) -> Ledger:
        return self.account

    def cursor(self, destination: str) -> Cursor:
        return Cursor(self, destination, position=1, run_in_thread=execute)  # type: ignore[arg-type]

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        return [b"%d" % seq for seq in range(start, self.account.next_seq)]

    def lineage(self, destination: str) -> None:
        return None

    def keep_lineage(self, destination: str, lineage: Lineage) -> Deferred[None]:
        raise NotImplementedError

    def subscribe(
        self,
        destination: str,
        stored: Callable[[int, Sequence[bytes]], None],
        evicted: Callable[[int, str], None],
    ) -> None:
        self.stored = stored
        self.evicted = evicted

    seconds_to_full: float | None = None

    def limit(self, destination: str) -> QueueLimit | None:
        return self.limits

    def acknowledge(self, destination: str, upto: int) -> None:
        self.events.append(upto)

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        raise NotImplementedError

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        self.events.append((seqs, reason))

    def oldest_received_at(self, destination: str) -> float | None:
        if self.failing:
            raise QueueError("closed")
        return self.oldest


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.queue: Any = Queue()
        self.notices: Any = RecordingNotices()
        self.keys: dict[str, Any] = {
            "refusals_max": 3,
            "retry_seconds_min": 1,
            "retry_seconds_max": 60,
        }

    def build(self, url: Url, new_link: Callable[[Lane], Link]) -> DestinationService:
        certificates: Any = None
        return DestinationService(
            new_destination("out", url, ("in",), **self.keys),
            self.queue,
            DestinationParts(certificates, self.notices, wall_of(self.clock), self.clock),
            Delivery(new_link=new_link),
        )


@pytest.fixture
def setup() -> Setup:
    return Setup()


# Files and UDP.


class Session:
    def __init__(self, drain: Drain) -> None:
        self.drain = drain
        self.room = 10
        self.sent: list[bytes] = []
        self.closed = False

    def send(self, payloads: list[bytes]) -> None:
        self.sent += payloads
        self.room -= len(payloads)

    def close(self) -> None:
        self.closed = True
        self.drain.detach(self)


class Local:
    """A destination whose sessions the test makes and ends."""

    def __init__(self, setup: Setup) -> None:
        self.opening: list[Deferred[Any]] = []
        self.fail: Callable[[str], None]
        self.clock = setup.clock
        self.service = setup.build(Url("file", path="/var/log/x"), self._new_link)

    @property
    def lane(self) -> Lane:
        return self.service.lanes[0]

    @property
    def state(self) -> UpstreamState:
        return self.lane.state

    @property
    def drain(self) -> Drain:
        return self.service.lanes[0].drain

    def _new_link(self, lane: Lane) -> Link:
        return LocalLink(
            lane,
            self._new_session,
            how="appending to /var/log/x",
            clock=self.clock,
        )

    def _new_session(self, lane: Lane, fail: Callable[[str], None]) -> Deferred[Any]:
        self.fail = fail
        self.opening.append(Deferred())
        return self.opening[-1]

    def open(self) -> Session:
        session = Session(self.drain)
        self.opening[-1].callback(session)
        return session


@pytest.fixture
def local(setup: Setup) -> Local:
    return Local(setup)


def test_a_session_gets_the_queue(local: Local, setup: Setup) -> None:
    local.service.startService()
    assert local.state.text == "connecting to /var/log/x"
    session = local.open()
    assert session.sent == [b"1", b"2", b"3"]
    assert local.state.text == "appending to /var/log/x"
    setup.queue.account = Ledger(next_seq=5)
    setup.queue.stored(5, ())
    assert session.sent[3:] == [b"4"]
    local.drain.acknowledged(session, 4)
    assert setup.queue.events == [5]


def test_a_session_that_cannot_be_made_is_tried_again(local: Local, setup: Setup) -> None:
    local.service.startService()
    local.opening[0].errback(Failure(PermissionError(13, "Permission denied")))
    assert "/var/log/x: Permission denied, next try in 2 s" in local.state.text
    assert setup.notices.said == [
        ("destination out", "connection", "/var/log/x: Permission denied")
    ]
    setup.clock.advance(1.25)
    assert len(local.opening) == 2
    local.opening[1].errback(Failure(OSError("something")))
    assert "/var/log/x: something, next try in" in local.state.text
    setup.clock.advance(1.25)
    assert len(local.opening) == 2  # the second pause is twice as long
    setup.clock.advance(1.25)
    assert local.open().sent == [b"1", b"2", b"3"]


def test_a_session_that_fails_is_replaced(local: Local, setup: Setup) -> None:
    local.service.startService()
    for pause in (1.25, 2.5):
        session = local.open()
        session.close()
        local.fail("/var/log/x: No space left on device")
        setup.clock.advance(pause)
    session = local.open()
    local.drain.acknowledged(session, 1)
    session.close()
    local.fail("/var/log/x: No space left on device")
    setup.clock.advance(1.25)
    assert local.open().sent == [b"2", b"3"]
    assert (local.state.connects, local.state.failures) == (4, 3)


def test_an_upstream_that_refuses_everything_is_not_ready_and_says_why(
    local: Local, setup: Setup
) -> None:
    setup.queue.account = Ledger(next_seq=100)
    local.service.startService()
    session = local.open()
    assert not local.drain.refused(session, "500 index is read-only", in_row=20)
    report = local.service.report()
    assert not report["ready"]
    assert report["state"] == (
        "refuses everything since 1970-01-01 00:01:40 UTC: 500 index is read-only; the queue is "
        "kept and nothing more is set aside; appending to /var/log/x"
    )
    assert report["refuses_everything"]["refused_records"] == 20
    assert setup.notices.said[-1][1] == "refusals"
    local.drain.acknowledged(session, 1)
    assert local.service.report()["ready"]


@pytest.mark.parametrize("by", ["connect", "resume"])
def test_what_would_be_tried_after_a_pause_is_tried_now(
    local: Local, setup: Setup, by: str
) -> None:
    local.service.startService()
    for _ in range(8):
        local.opening[-1].errback(Failure(OSError("something")))
        setup.clock.advance(60)
    local.opening[-1].errback(Failure(OSError("something")))
    attempts = len(local.opening)
    getattr(local.service, by)()
    assert local.state.text.startswith("connecting to /var/log/x")
    setup.clock.advance(0)
    assert len(local.opening) == attempts + 1
    local.service.connect()  # one attempt at a time
    setup.clock.advance(60)
    assert len(local.opening) == attempts + 1
    session = local.open()
    local.service.connect()
    assert (session.closed, len(local.opening)) == (False, attempts + 1)


def test_a_stop_waits_a_second_for_answers(local: Local, setup: Setup) -> None:
    local.service.startService()
    session = local.open()
    stopped = fired(local.service.stopService())
    assert (stopped, session.closed) == ([], False)
    setup.clock.advance(0.5)
    local.drain.acknowledged(session, 3)
    assert (stopped, session.closed) == ([None], True)
    assert setup.clock.getDelayedCalls() == []
    assert local.state.text == "stopped"


def test_a_stop_does_not_wait_longer(local: Local, setup: Setup) -> None:
    local.service.startService()
    session = local.open()
    stopped = fired(local.service.stopService())
    setup.clock.advance(1)
    assert (stopped, session.closed) == ([None], True)
    assert setup.queue.events == []


def test_a_stop_while_it_waits_to_try_again(local: Local, setup: Setup) -> None:
    local.service.startService()
    local.opening[0].errback(Failure(OSError(2, "missing")))
    assert fired(local.service.stopService()) == [None]
    assert setup.clock.getDelayedCalls() == []


def test_a_session_that_comes_after_the_stop(local: Local, setup: Setup) -> None:
    local.service.startService()
    assert fired(local.service.stopService()) == [None]
    session = local.open()
    assert (session.sent, session.closed) == ([], True)
    assert local.state.text == "stopped"


def test_a_session_that_fails_after_the_stop(local: Local, setup: Setup) -> None:
    local.service.startService()
    assert fired(local.service.stopService()) == [None]
    local.opening[0].errback(Failure(OSError(2, "missing")))
    assert setup.clock.getDelayedCalls() == []
    assert (local.state.text, setup.notices.said) == ("stopped", [])


def test_the_report(local: Local, setup: Setup) -> None:
    setup.queue.account = Ledger(
        next_seq=10,
        acknowledged_seq=7,
        delivered=5,
        quarantined=1,
        queued_bytes=15,
        quarantine_bytes=40,
    )
    local.service.startService()
    session = local.open()
    setup.clock.advance(20)
    report = local.service.report()
    assert report == {
        "id": "out",
        "connect": "file:///var/log/x",
        "state": "appending to /var/log/x",
        "ready": True,
        "paused": False,
        "paused_since": None,
        "details": [],
        "refuses_everything": None,
        "stalled_seconds": None,
        "exactly_once": False,
        "received_records": 9,
        "delivered_records": 5,
        "queued_records": 3,
        "queued_bytes": 15,
        "oldest_seconds": 30.0,
        "quarantined_records": 1,
        "quarantine_bytes": 40,
        "dropped_records": {},
        "in_flight_records": len(session.sent),
        "sent_records": len(session.sent),
        "resent_records": 0,
        "latencies": latencies_report([local.drain.latencies]),
        "connects": 1,
        "failures": 0,
        "failures_by_cause": {},
        "unexpected_bytes": 0,
        "truncated_records": 0,
        "split_records": 0,
        "rates": {span: dict.fromkeys(DESTINATION_RATES, 0.0) for span in ("10s", "60s")},
        "limit": None,
        "lanes": None,
    }


def test_the_report_says_when_a_backlog_will_have_drained(local: Local, setup: Setup) -> None:
    setup.queue.account = Ledger(next_seq=101, acknowledged_seq=61, delivered=60)
    setup.queue.limits = limit = QueueLimit(destination="out")
    limit.forecast.note(90.0, queued=100, delivered={"out": 40}, size=0)
    limit.forecast.note(100.0, queued=100, delivered={"out": 60}, size=0)

    def seconds() -> float | None:
        found: float | None = local.service.report()["limit"]["seconds_to_empty"]
        return found

    local.service.startService()
    assert seconds() is None  # not connected
    session = local.open()
    assert seconds() == 20.0
    setup.queue.oldest = setup.clock.seconds() - 1.9
    assert seconds() is None  # just on its way
    setup.queue.oldest = setup.clock.seconds() - 2
    assert seconds() == 20.0
    local.service.pause(0.0)
    assert seconds() is None
    local.service.resume()
    session.close()
    local.fail("disk full")
    assert seconds() is None


def test_a_pause_is_said_and_ends_with_resume(local: Local, setup: Setup) -> None:
    local.service.startService()
    local.service.pause(0.0)
    session = local.open()
    report = local.service.report()
    assert (session.sent, report["ready"], report["paused"]) == ([], False, True)
    assert (
        report["state"] == "paused by hand since 1970-01-01 00:00:00 UTC; appending to /var/log/x"
    )
    local.service.resume()
    report = local.service.report()
    assert (len(session.sent), report["ready"], report["paused"]) == (3, True, False)
    assert report["state"] == "appending to /var/log/x"
    local.service.break_link("why")  # there is none to break
    assert not session.closed


def test_the_standing_says_whether_it_could_get_on(local: Local, setup: Setup) -> None:
    local.service.startService()
    found = local.lane.standing()
    assert (found.connected, found.in_flight, found.could_send) == (False, 0, True)
    session = local.open()
    sent = local.lane.standing()
    assert (sent.connected, sent.in_flight, sent.could_send) == (True, 3, False)
    assert sent.answers == found.answers
    local.drain.acknowledged(session, 3)
    answered = local.lane.standing()
    assert (answered.in_flight, answered.could_send) == (0, False)
    assert answered.answers != sent.answers
    setup.queue.account = Ledger(next_seq=5)
    local.service.pause(0.0)
    setup.queue.stored(5, ())
    assert not local.lane.standing().could_send  # it was told not to
    local.service.resume()
    assert local.lane.standing().in_flight == 1


def test_a_stall_shows_in_the_report(local: Local, setup: Setup) -> None:
    local.service.startService()
    local.open()
    for _ in range(3):
        local.lane.progress.look(setup.clock.seconds(), local.lane.standing())
        setup.clock.advance(60)
    assert local.service.report()["stalled_seconds"] == 120.0


# Two lanes.


class LaneQueue(Queue):
    """Two queues, the older one with six records."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = {
            "out": Ledger(next_seq=7, queued_bytes=60, delivered=0),
            "lane/out": Ledger(next_seq=4, acknowledged_seq=3, delivered=2, queued_bytes=5),
        }
        self.subscribed: dict[str, Callable[[int], None]] = {}
        self.evicted: dict[str, Callable[[int, str], None]] = {}  # type: ignore[assignment]
        self.lane_queues = self

    def of(self, destination: str) -> tuple[str, str]:
        return destination, f"lane/{destination}"

    def direct(self, destination: str, *, older: str, newer: str) -> None:
        self.events.append(f"{older} before {newer}")

    def settle(self, queue: str, *, start: int) -> Deferred[None]:
        return Deferred()  # not before the test ends

    def ledger(self, destination: str) -> Ledger:
        return self.accounts[destination]

    def cursor(self, destination: str) -> Cursor:
        return Cursor(self, destination, position=1, run_in_thread=execute)  # type: ignore[arg-type]

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        stop = self.accounts[destination].next_seq
        return [f"{destination} {seq}".encode() for seq in range(start, stop)]

    def subscribe(
        self,
        destination: str,
        stored: Callable[[int, Sequence[bytes]], None],
        evicted: Callable[[int, str], None],
    ) -> None:
        self.subscribed[destination] = stored
        self.evicted[destination] = evicted

    def oldest_received_at(self, destination: str) -> float | None:
        return {"out": 70.0, "lane/out": 90.0}[destination]


class TwoLanes:
    """A destination with two queues, each of which has a session when it is open."""

    def __init__(self, setup: Setup) -> None:
        setup.queue = LaneQueue()
        setup.keys |= {"order": "live-first", "backlog_share": 25}
        self.clock = setup.clock
        self.sessions: dict[str, Session] = {}
        self.queue = setup.queue
        self.service = setup.build(Url("file", path="/var/log/x"), self._new_link)
        self.service.startService()

    def _new_link(self, lane: Lane) -> Link:
        return LocalLink(
            lane,
            self._new_session,
            how=f"appending {lane.queue}",
            clock=self.clock,
        )

    def _new_session(self, lane: Lane, fail: Callable[[str], None]) -> Deferred[Any]:
        self.sessions[lane.queue] = session = Session(lane.drain)
        return succeed(session)

    def stores(self, queue: str, next_seq: int) -> None:
        self.queue.accounts[queue] = replace(self.queue.accounts[queue], next_seq=next_seq)
        self.queue.subscribed[queue](next_seq, ())


def test_with_live_first_there_are_two_sessions_and_one_report(setup: Setup) -> None:
    two = TwoLanes(setup)
    service = two.service
    assert setup.queue.events == ["out before lane/out"]
    assert two.sessions["out"].sent == [b"out %d" % seq for seq in range(1, 7)]
    assert two.sessions["lane/out"].sent == [b"lane/out 3"]
    two.stores("lane/out", 5)
    assert two.sessions["lane/out"].sent[1:] == [b"lane/out 4"]
    report = service.report()
    assert report["state"] == "live: appending lane/out; backlog: appending out"
    assert (report["ready"], report["connects"]) == (True, 2)
    assert (report["received_records"], report["queued_records"]) == (10, 8)
    assert (report["delivered_records"], report["oldest_seconds"]) == (2, 30.0)
    assert (report["in_flight_records"], report["sent_records"]) == (8, 8)
    assert report["lanes"] == {
        "backlog": {
            "queue": "out",
            "state": "appending out",
            "queued_records": 6,
            "in_flight_records": 6,
            "delivered_per_second": 0.0,
        },
        "live": {
            "queue": "lane/out",
            "state": "appending lane/out",
            "queued_records": 2,
            "in_flight_records": 2,
            "delivered_per_second": 0.0,
        },
    }


def test_each_lane_has_a_drain_and_numbers_of_its_own(setup: Setup) -> None:
    service = TwoLanes(setup).service
    drains = [service.drain_of(queue) for queue in ("out", "lane/out")]
    assert drains == [lane.drain for lane in service.lanes]
    assert service.drain_of("other") is None
    assert service.lanes[0].numbering is not service.lanes[1].numbering


def test_when_the_backlog_is_delivered_there_is_one_session(setup: Setup) -> None:
    two = TwoLanes(setup)
    drain = two.service.drain_of("out")
    assert drain is not None
    two.queue.accounts["out"] = Ledger(next_seq=7, acknowledged_seq=7, delivered=6)
    drain.acknowledged(two.sessions["out"], 6)
    assert [session.closed for session in two.sessions.values()] == [True, False]
    report = two.service.report()
    assert report["state"] == "appending lane/out"
    assert report["ready"]
    assert report["lanes"]["backlog"]["state"] == "idle"
    assert report["lanes"]["backlog"]["delivered_per_second"] == 0.0


def test_what_leaves_the_backlog_undelivered_ends_its_session_too(setup: Setup) -> None:
    two = TwoLanes(setup)
    two.queue.evicted["out"](7, "queue-full")
    assert two.sessions["out"].closed


def test_a_pause_holds_both_lanes(setup: Setup) -> None:
    two = TwoLanes(setup)
    two.service.pause(0.0)
    report = two.service.report()
    assert report["paused"]
    assert report["lanes"]["live"]["state"].startswith("paused by hand since ")
    two.stores("lane/out", 6)
    two.stores("out", 8)
    assert [len(session.sent) for session in two.sessions.values()] == [6, 1]
    two.service.resume()
    assert [len(session.sent) for session in two.sessions.values()] == [7, 3]
    assert not two.service.report()["paused"]


def test_a_lane_that_is_not_connected_makes_it_not_ready(setup: Setup) -> None:
    two = TwoLanes(setup)
    two.service.lanes[0].state.failed("disk full")
    assert not two.service.report()["ready"]
    assert setup.notices.said[-1] == ("destination out", "connection", "backlog lane: disk full")


def test_a_stop_waits_for_the_answers_of_both_lanes(setup: Setup) -> None:
    two = TwoLanes(setup)
    stopped = fired(two.service.stopService())
    for queue, count in (("out", 6), ("lane/out", 1)):
        assert stopped == []
        drain = two.service.drain_of(queue)
        assert drain is not None
        drain.acknowledged(two.sessions[queue], count)
    assert stopped == [None]
    assert all(session.closed for session in two.sessions.values())
    assert setup.clock.getDelayedCalls() == []


def test_the_drain_of_a_destination_with_one_queue(local: Local) -> None:
    local.service.startService()
    assert local.service.drain_of("out") is local.drain
    assert local.service.drain_of("lane/out") is None


# Connections.


class Connection(UpstreamProtocol):
    """Ready when the upstream says so; answers one record for each octet."""

    def __init__(self, lane: Lane, clock: Clock) -> None:
        super().__init__(state=lane.state, clock=clock, secure=False, timeouts=Timeouts(30, 60))
        self._drain = lane.drain
        self.room = 10
        self.sent: list[bytes] = []

    def begin(self) -> None:
        self.transport.registerProducer(self, True)

    def started(self) -> str:
        self._drain.attach(self)
        return "connected"

    def ended(self) -> None:
        self._drain.detach(self)

    def send(self, payloads: list[bytes]) -> None:
        self.sent += payloads

    def dataReceived(self, data: bytes) -> None:
        if self.prepared:
            self._drain.acknowledged(self, len(data))
        else:
            self.become_ready()


class Endpoint:
    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts.append((factory, Deferred()))
        return self.attempts[-1][1]


class Stream:
    """A destination whose connections the test accepts."""

    def __init__(self, setup: Setup) -> None:
        self.endpoint = Endpoint()
        self.connections: list[Connection] = []
        self.clock = setup.clock
        self.service = setup.build(Url("relp", host="up", port=514), self._new_link)

    @property
    def state(self) -> UpstreamState:
        return self.service.lanes[0].state

    def _new_link(self, lane: Lane) -> Link:
        return StreamLink(
            lane.state,
            endpoint=PreparedEndpoint(
                wrapped=self.endpoint, state=lane.state, tls=None, clock=self.clock
            ),
            new_protocol=partial(self._new_protocol, lane),
            clock=self.clock,
        )

    def _new_protocol(self, lane: Lane) -> UpstreamProtocol:
        self.connections.append(Connection(lane, self.clock))
        return self.connections[-1]

    def accept(self) -> tuple[Any, Wire]:
        factory, connected = self.endpoint.attempts[-1]
        wire = Wire(lenient=True)
        lowest = factory.buildProtocol(None)
        lowest.makeConnection(wire)
        connected.callback(lowest)
        return lowest, wire


@pytest.fixture
def stream(setup: Setup) -> Stream:
    return Stream(setup)


@pytest.mark.parametrize("by", ["connect", "resume"])
def test_a_connection_that_waits_for_its_next_try_is_made_now(
    stream: Stream, setup: Setup, by: str
) -> None:
    stream.service.startService()
    for _ in range(8):
        stream.endpoint.attempts[-1][1].errback(Failure(OSError("something")))
        setup.clock.advance(60)
    stream.endpoint.attempts[-1][1].errback(Failure(OSError("something")))
    assert "next try in" in stream.state.text
    attempts = len(stream.endpoint.attempts)
    getattr(stream.service, by)()
    assert stream.state.text.startswith("connecting to up:514")
    setup.clock.advance(0)
    assert len(stream.endpoint.attempts) == attempts + 1
    stream.service.connect()  # one attempt at a time
    setup.clock.advance(60)
    assert len(stream.endpoint.attempts) == attempts + 1
    lowest, wire = stream.accept()
    lowest.dataReceived(b"hello")
    stream.service.connect()
    setup.clock.advance(60)
    assert (wire.disconnecting, len(stream.endpoint.attempts)) == (False, attempts + 1)


def test_a_connection_gets_the_queue_when_it_is_prepared(stream: Stream, setup: Setup) -> None:
    stream.service.startService()
    lowest, _ = stream.accept()
    assert stream.connections[0].sent == []
    lowest.dataReceived(b"hello")
    assert stream.connections[0].sent == [b"1", b"2", b"3"]
    lowest.dataReceived(b"!!")
    assert setup.queue.events == [3]
    assert stream.service.report()["in_flight_records"] == 1


def test_a_connection_can_be_cut(stream: Stream, setup: Setup) -> None:
    stream.service.startService()
    stream.service.break_link("too early")
    lowest, wire = stream.accept()
    lowest.dataReceived(b"hello")
    stream.service.break_link("its queue is being purged")
    assert wire.disconnected
    lose(lowest)
    assert "its queue is being purged" in stream.state.text


def test_a_lost_connection_is_made_again_and_the_rest_sent_again(
    stream: Stream, setup: Setup
) -> None:
    stream.service.startService()
    lowest, _ = stream.accept()
    lowest.dataReceived(b"hello")
    lowest.dataReceived(b"!")
    lose(lowest)
    setup.clock.advance(1.25)
    lowest, _ = stream.accept()
    lowest.dataReceived(b"hello")
    assert stream.connections[1].sent == [b"2", b"3"]
    assert setup.notices.kinds == ["connection"]


def test_a_stop_with_a_connection_that_answers(stream: Stream, setup: Setup) -> None:
    stream.service.startService()
    lowest, wire = stream.accept()
    lowest.dataReceived(b"hello")
    stopped = fired(stream.service.stopService())
    assert not wire.disconnecting
    lowest.dataReceived(b"!!!")
    assert wire.disconnecting
    lose(lowest)
    assert stopped == [None]
    assert (setup.queue.events, setup.notices.said) == ([4], [])
    assert setup.clock.getDelayedCalls() == []


def test_a_stop_with_a_connection_that_does_not_answer_or_close(
    stream: Stream, setup: Setup
) -> None:
    stream.service.startService()
    lowest, wire = stream.accept()
    lowest.dataReceived(b"hello")
    stopped = fired(stream.service.stopService())
    setup.clock.advance(1)
    assert (wire.disconnecting, wire.disconnected) == (True, False)
    setup.clock.advance(0.5)
    assert wire.disconnected
    lose(lowest)
    assert stopped == [None]
    assert stream.state.text == "stopped"
    assert setup.clock.getDelayedCalls() == []


def test_a_stop_while_a_connection_is_prepared(stream: Stream, setup: Setup) -> None:
    stream.service.startService()
    lowest, wire = stream.accept()
    assert fired(stream.service.stopService()) == [None]
    assert wire.disconnected
    lowest.dataReceived(b"hello")
    lose(lowest)
    assert stream.connections[0].sent == []
    assert setup.clock.getDelayedCalls() == []


def test_a_stop_during_an_attempt(stream: Stream, setup: Setup) -> None:
    stream.service.startService()
    assert fired(stream.service.stopService()) == [None]
    assert (setup.notices.said, stream.state.text) == ([], "stopped")


def test_a_stop_while_it_waits_to_connect_again(stream: Stream, setup: Setup) -> None:
    stream.service.startService()
    stream.endpoint.attempts[0][1].errback(Failure(ConnectionRefusedError()))
    assert fired(stream.service.stopService()) == [None]
    assert setup.clock.getDelayedCalls() == []


def test_there_is_nothing_to_reopen(stream: Stream, local: Local) -> None:
    for one in (stream, local):
        one.service.startService()
        before = (one.state.text, one.state.failures)
        one.service.reopen()
        assert (one.state.text, one.state.failures) == before


def test_a_live_lane_that_reconnects_for_a_move_is_not_called_connected(setup: Setup) -> None:
    setup.queue = queue = LaneQueue()
    setup.keys |= {"order": "live-first", "backlog_share": 25}
    queue.accounts["lane/out"] = Ledger(next_seq=4 + BACKLOG_RECORDS_MIN, acknowledged_seq=3)
    stream = Stream(setup)
    stream.service.startService()
    lowest, _ = stream.accept()
    with capturedLogs() as events:
        lowest.dataReceived(b"hello")
    said = [event["text"] for event in events if "text" in event]
    assert said == [
        f"{BACKLOG_RECORDS_MIN + 1} messages of the live lane join the backlog; "
        "it reconnects for that"
    ]
