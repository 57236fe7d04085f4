"""Two lanes with a session each: with queues in memory, and with the real queue, committer,
cursors and numbers, step by step, against a receiver that says what it has stored."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock

from relay.flow.drain import BY_PURGE
from relay.flow.exactly_once.numbering import Numbering
from relay.flow.lanes import BACKLOG_RECORDS_MIN, Lanes
from relay.flow.pacing import START_RECORDS, Pacing, Window
from relay.flow.shares import Shares
from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, Committer
from relay.queue.cursor import Cursor
from relay.queue.inspect.queries import Read, read
from relay.queue.lane_queues import LaneQueues
from relay.queue.ledger import Ledger, added_up
from relay.queue.lineage import SENT, Lineage
from relay.queue.store import QueueStore
from relay.wire.relp.lineage import HAVE
from tests.end_to_end.central import ascending_sequences
from tests.flow_fakes import new_drain, new_refusals
from tests.queue_listeners import OfAllQueues
from tests.threads import LateThread

SMALL = 4  # what is less does not become a lane, in most of these tests


class Session:
    def __init__(self, room: int) -> None:
        self.room = room
        self.seen: list[str] = []
        self.in_flight = 0

    def send(self, payloads: Sequence[bytes]) -> None:
        assert 0 < len(payloads) <= self.room
        self.room -= len(payloads)
        self.in_flight += len(payloads)
        self.seen += [bytes(payload).decode() for payload in payloads]


class Lane:
    """A queue in memory with a drain, connected when the test says so."""

    def __init__(self, setup: Setup, queue: str, records: int, share: Pacing) -> None:
        self.setup = setup
        self.queue = queue
        self.failures = 0
        self.is_open = False
        self.session: Session | None = None
        self.end = records + 1
        self.drain = new_drain(
            queue,
            cursor=Cursor(setup, queue, position=1, run_in_thread=execute),
            queue=setup,
            begins=1,
            ends=self.end,
            refusals=new_refusals(2),
            clock=setup.clock,
            on_progress=lambda: setup.lanes.look(),
            on_session=lambda: setup.lanes.session_begins(self),
            on_trouble=setup.trouble.append,
            pace=share,
        )

    @property
    def queued(self) -> int:
        return self.drain.stored_seq - self.drain.acknowledged_seq

    def open(self) -> None:
        self.is_open = True

    def close(self) -> Deferred[None]:
        self.is_open = False
        if self.session is not None:
            session, self.session = self.session, None
            self.drain.detach(session)
        return succeed(None)

    async def renew(self) -> None:
        self.setup.events.append(f"{self.queue} renewed")

    def connect(self, room: int = 1000) -> Session:
        assert self.is_open and self.session is None
        self.session = session = Session(room)
        self.drain.attach(session)
        return session

    def lose(self) -> None:
        session, self.session = self.session, None
        assert session is not None
        self.failures += 1
        self.drain.detach(session)

    def comes(self, count: int) -> None:
        self.end += count
        self.drain.stored(self.end)
        self.setup.lanes.look()

    def answer(self, count: int = 0) -> None:
        """Answer `count` records, or whatever is in flight until nothing is."""
        while self.session is not None and self.session.in_flight:
            answered = count or self.session.in_flight
            self.session.room += answered
            self.session.in_flight -= answered
            self.drain.acknowledged(self.session, answered)
            if count:
                return


class Setup:
    """Two queues in memory, "a" and "b"; records are called a1, a2, … and b1, b2, …."""

    def __init__(self, *, a: int = 0, b: int = 0, older: str = "b", smallest: int = SMALL) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        self.settling: list[Deferred[None]] = []
        self.moves: list[tuple[str, str, int, Deferred[int]]] = []
        self.said: list[str] = []
        self.trouble: list[str] = []
        shares = Shares(backlog_percent=25, clock=self.clock)
        newer_first = [shares.live, shares.backlog]
        share_a, share_b = newer_first if older == "b" else reversed(newer_first)
        self.a, self.b = Lane(self, "a", a, share_a), Lane(self, "b", b, share_b)
        share_a.drain, share_b.drain = self.a.drain, self.b.drain
        self.lanes = Lanes(
            *((self.b, self.a) if older == "b" else (self.a, self.b)),
            destination="a",
            queue=self,
            shares=shares,
            on_trouble=self.trouble.append,
            on_change=self.said.append,
            backlog_records_min=smallest,
        )
        self.lanes.begin()

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        stop = (self.a if destination == "a" else self.b).end
        seqs = range(start, min(start + records_max, stop))
        return [f"{destination}{seq}".encode() for seq in seqs]

    def acknowledge(self, destination: str, upto: int) -> None:
        pass

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        pass

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        raise AssertionError(reason)

    def direct(self, destination: str, *, older: str, newer: str) -> None:
        self.events.append(f"into {newer}")

    def settle(self, queue: str, *, start: int) -> Deferred[None]:
        assert start == (self.a if queue == "a" else self.b).drain.acknowledged_seq
        self.settling.append(Deferred())
        return self.settling[-1]

    def move(self, queue: str, *, to: str, upto: int) -> Deferred[int]:
        self.moves.append((queue, to, upto, Deferred()))
        return self.moves[-1][3]

    def settle_all(self) -> None:
        self.settling[-1].callback(None)

    def moved(self, upto: int) -> None:
        self.moves[-1][3].callback(upto)


def named(queue: str, first: int, last: int) -> list[str]:
    return [f"{queue}{seq}" for seq in range(first, last + 1)]


# One lane.


def test_as_long_as_there_is_no_backlog_there_is_one_lane() -> None:
    setup = Setup(a=SMALL - 1)
    assert (setup.a.is_open, setup.b.is_open) == (True, False)
    session = setup.a.connect()
    setup.a.comes(3)
    assert session.seen == named("a", 1, SMALL + 2)
    setup.a.answer()
    assert (setup.events, setup.said, setup.b.is_open) == ([], [], False)


def test_what_fits_into_the_first_window_is_no_backlog() -> None:
    for waiting, becomes_a_lane in ((START_RECORDS, False), (START_RECORDS + 1, True)):
        setup = Setup(a=waiting, smallest=BACKLOG_RECORDS_MIN)
        setup.a.connect()
        assert bool(setup.said) == becomes_a_lane


# Two lanes.


def test_a_backlog_goes_on_and_what_comes_has_a_session_of_its_own() -> None:
    setup = Setup(a=1000)
    backlog = setup.a.connect(room=100)
    assert (setup.events, setup.b.is_open) == (["into b"], True)
    live = setup.b.connect()
    setup.b.comes(50)
    assert (backlog.seen, live.seen) == (named("a", 1, 100), named("b", 1, 50))
    setup.b.answer()
    setup.a.answer()
    assert backlog.seen == named("a", 1, 1000)
    assert setup.said == [
        "new messages go before a backlog of 1,000 messages",
        "the backlog is delivered: one lane again",
    ]
    assert (setup.a.is_open, setup.b.is_open) == (False, True)
    setup.b.comes(10)
    assert live.seen[50:] == named("b", 51, 60)


def test_both_get_their_share_while_both_have_something_to_send() -> None:
    setup = Setup(a=100_000)
    backlog = setup.a.connect(room=100)
    live = setup.b.connect(room=100)
    setup.b.comes(100_000)
    for _ in range(200):
        setup.a.answer(backlog.in_flight)
        setup.b.answer(live.in_flight)
    assert abs(len(backlog.seen) - (len(backlog.seen) + len(live.seen)) * 0.25) < 1024


def test_after_the_backlog_the_next_one_changes_places_again() -> None:
    setup = Setup(a=10)
    setup.a.connect()
    setup.b.connect()
    setup.a.answer()
    setup.b.lose()
    setup.b.comes(10)
    setup.b.connect()
    assert setup.events == ["into b", "into a"]
    assert setup.lanes.older is setup.b
    assert setup.a.is_open


def test_what_comes_while_the_live_lane_connects_is_no_backlog() -> None:
    setup = Setup(a=1000)
    setup.a.connect(room=10)
    setup.b.comes(500)
    assert setup.b.connect().seen == named("b", 1, 500)
    assert setup.settling == []


def test_a_session_of_the_backlog_arranges_nothing() -> None:
    setup = Setup(a=1000)
    setup.a.connect(room=10)
    setup.b.connect(room=1)
    setup.b.comes(500)
    setup.a.lose()
    assert setup.a.connect(room=10).seen == named("a", 1, 10)
    assert (len(setup.said), setup.settling) == (1, [])


def test_what_is_put_into_the_older_queue_is_sent() -> None:
    setup = Setup()
    setup.a.connect()
    setup.b.comes(3)  # a replay, for example
    assert setup.b.connect().seen == named("b", 1, 3)
    setup.b.answer()
    assert not setup.b.is_open
    assert setup.said == ["the backlog is delivered: one lane again"]


# An upstream that allows one connection only.


def one_connection() -> Setup:
    """The backlog has lost its connection; the live lane has one, and nothing to send."""
    setup = Setup(a=20)
    setup.a.connect(room=5)
    setup.b.connect()
    setup.a.lose()
    return setup


def test_an_idle_live_lane_gives_its_connection_to_the_backlog() -> None:
    setup = one_connection()
    setup.lanes.connection_failed("a")
    assert setup.b.session is None and not setup.b.is_open
    assert setup.a.session is not None
    assert len(setup.a.session.seen) == 20
    setup.b.comes(1)
    assert setup.b.is_open
    assert setup.b.connect().seen == ["b1"]
    assert setup.settling == []


def test_the_live_lane_connects_again_when_the_backlog_is_delivered() -> None:
    setup = one_connection()
    setup.lanes.connection_failed("a")
    setup.a.answer()
    assert (setup.a.is_open, setup.b.is_open) == (False, True)


def test_a_live_lane_with_records_keeps_its_connection() -> None:
    setup = one_connection()
    setup.b.comes(1)
    setup.lanes.connection_failed("a")
    assert setup.b.is_open and setup.b.session is not None
    setup.b.answer()
    setup.lanes.connection_failed("b")  # only the backlog needs it
    assert setup.b.is_open
    setup.lanes.finish()
    setup.lanes.connection_failed("a")
    assert setup.b.is_open


# Connections that break while there are two lanes.


def broken(*, live: int) -> Setup:
    """The live lane has lost its connection; `live` records are in it, one answered."""
    setup = Setup(a=20)
    setup.a.connect(room=10)
    setup.b.connect(room=2)
    setup.b.comes(live)
    setup.b.answer(1)
    setup.b.lose()
    setup.said.clear()
    setup.events.clear()
    return setup


def test_what_waits_in_the_live_lane_joins_the_backlog_first() -> None:
    setup = broken(live=9)
    assert not setup.lanes.is_to_reconnect("b")
    first = setup.b.connect()
    assert setup.said == ["8 messages of the live lane join the backlog; it reconnects for that"]
    assert [setup.lanes.is_to_reconnect(queue) for queue in "ab"] == [False, True]
    setup.b.comes(1)
    assert (setup.moves, setup.b.is_open) == ([], True)  # first what was answered has to leave
    setup.settle_all()
    assert (setup.events, setup.b.is_open) == (["b renewed"], False)
    assert setup.moves[-1][:3] == ("b", "a", 10)
    setup.a.comes(5)  # the first step moves five
    setup.moved(7)
    assert setup.moves[-1][:3] == ("b", "a", 10)
    setup.a.comes(3)
    setup.moved(10)
    assert (len(setup.moves), setup.b.is_open, first.seen) == (2, True, [])
    assert setup.b.connect().seen == ["b10"]
    setup.a.answer()
    assert not setup.a.is_open


def test_what_comes_while_they_move_is_fresh_unless_a_connection_fails() -> None:
    for failures in (0, 1):
        setup = broken(live=9)
        setup.b.connect()
        setup.settle_all()
        setup.b.comes(100)
        setup.moved(10)
        setup.b.failures += failures
        setup.b.connect()
        assert len(setup.settling) == 1 + failures


def test_a_connection_that_breaks_before_they_move() -> None:
    setup = broken(live=9)
    setup.b.connect()
    setup.b.lose()
    setup.b.comes(6)
    assert setup.b.connect().seen == []
    assert len(setup.settling) == 1
    setup.settle_all()
    assert setup.moves[-1][:3] == ("b", "a", 16)  # what came meanwhile is backlog by now too


def test_what_cannot_leave_stays_in_the_live_lane() -> None:
    setup = broken(live=9)
    session = setup.b.connect()
    setup.settling[0].errback(QueueError("the disk is full"))
    assert session.seen == named("b", 2, 9)
    assert setup.events == []
    assert setup.trouble[0].startswith(
        "the live lane goes on; until its next connection 8 messages"
    )
    assert "cannot join the backlog" in setup.trouble[0]
    assert "the disk is full" in setup.trouble[0]
    assert not setup.lanes.is_to_reconnect("b")


def test_a_move_that_fails_leaves_them_in_the_live_lane() -> None:
    setup = broken(live=9)
    setup.b.connect()
    setup.settle_all()
    setup.moves[0][3].errback(QueueError("the disk is full"))
    assert setup.b.connect().seen == named("b", 2, 9)


def test_a_move_of_what_somebody_else_has_taken_ends() -> None:
    setup = broken(live=9)
    setup.b.connect()
    setup.settle_all()
    setup.moved(2)
    assert len(setup.moves) == 1
    assert setup.b.connect().seen == named("b", 2, 9)


def test_a_stop_ends_the_move() -> None:
    setup = broken(live=9)
    setup.b.connect()
    setup.settle_all()
    setup.lanes.finish()
    setup.moved(6)
    assert (len(setup.moves), setup.b.is_open) == (1, False)


def test_few_live_records_stay_where_they_are() -> None:
    setup = broken(live=SMALL)
    assert setup.b.connect().seen == named("b", 2, SMALL)
    assert setup.settling == []


def test_a_start_with_two_lanes() -> None:
    setup = Setup(a=5, b=6, older="a")
    assert (setup.a.is_open, setup.b.is_open) == (True, True)
    setup.b.connect()
    setup.settle_all()
    assert setup.moves[0][:3] == ("b", "a", 7)
    assert setup.a.connect().seen == named("a", 1, 5)


# Paused, and held for a purge.


def test_a_pause_is_like_an_outage() -> None:
    setup = Setup()
    session = setup.a.connect()
    setup.a.drain.hold("hand")
    setup.b.drain.hold("hand")
    setup.a.comes(10)
    assert session.seen == []
    setup.lanes.release("hand")
    assert (session.seen, setup.events) == (named("a", 1, 10), ["into b"])
    setup.b.comes(1)
    assert setup.b.connect().seen == ["b1"]


def test_after_a_pause_nothing_moves_that_is_in_flight() -> None:
    setup = Setup(a=20)
    setup.a.connect(room=10)
    live = setup.b.connect()
    setup.b.comes(8)
    for lane in (setup.a, setup.b):
        lane.drain.hold("hand")
    setup.lanes.release("hand")
    assert (setup.settling, live.seen) == ([], named("b", 1, 8))


def test_nothing_moves_that_is_being_purged() -> None:
    setup = broken(live=9)
    setup.b.drain.hold(BY_PURGE)
    setup.b.connect()
    assert setup.settling == []


def test_one_lane_can_be_purged() -> None:
    setup = Setup(a=1000)
    setup.a.connect(room=10)
    live = setup.b.connect()
    setup.a.drain.hold(BY_PURGE)
    setup.a.answer()
    setup.a.drain.skip(1001)
    setup.a.drain.release(BY_PURGE)
    setup.b.comes(5)
    setup.b.answer()
    assert live.seen == named("b", 1, 5)
    assert not setup.a.is_open


# The real queue.


class Receiver:
    """A relay: it stores what comes, once, and remembers how far each lineage has come."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.have: dict[str, tuple[int, str]] = {}

    def answer_to(self, id: str) -> dict[bytes, list[bytes]]:
        seq, epoch = self.have.get(id, (0, "0" * 16))
        return {HAVE: [b"%d" % seq, epoch.encode()]}


class NumberedSession:
    """One session with the receiver; what it has sent is on its way, stored, or answered."""

    def __init__(self, lane: NumberedLane, room: int) -> None:
        self.room_max = room
        self.lane = lane
        self.offer = lane.numbering.offer()
        assert self.offer is not None
        answer = lane.machine.receiver.answer_to(self.offer.id)
        start = lane.numbering.begin(self.offer, answer)
        assert isinstance(start, int), "the numbers are not believed"
        self.next_seq = start
        self.on_its_way: list[tuple[int, int]] = []  # seq and number of the record
        self.unanswered: list[int] = []  # stored by the receiver
        self.has_gap = False

    @property
    def in_flight(self) -> int:
        return len(self.on_its_way) + len(self.unanswered)

    @property
    def room(self) -> int:
        gap = self.lane.drain.sent_seq != self.next_seq
        if self.has_gap or (gap and self.in_flight):
            return 0
        return self.room_max - self.in_flight

    def send(self, payloads: Sequence[bytes]) -> None:
        assert 0 < len(payloads) <= self.room_max - self.in_flight
        if self.lane.drain.sent_seq - len(payloads) != self.next_seq:
            self.has_gap = True  # and the session ends
            return
        for payload in payloads:
            self.on_its_way.append((self.next_seq, int(payload)))
            self.next_seq += 1

    def receive(self, count: int) -> None:
        """The receiver stores what came first."""
        assert self.offer is not None
        receiver = self.lane.machine.receiver
        for seq, number in self.on_its_way[:count]:
            receiver.stored.append(number)
            receiver.have[self.offer.id] = (seq, self.offer.epoch)
            self.unanswered.append(number)
        del self.on_its_way[:count]


class NumberedLane:
    """A queue on disk with its drain and its lineage."""

    def __init__(self, machine: LanesMachine, queue: str, share: Pacing) -> None:
        self.machine = machine
        self.queue = queue
        self.failures = 0
        self.is_open = False
        self.session: NumberedSession | None = None
        ledger = machine.store.ledgers[queue]
        self.cursor = Cursor(
            machine.store,
            queue,
            position=ledger.acknowledged_seq,
            run_in_thread=machine.reader,
        )
        self.drain = new_drain(
            queue,
            cursor=self.cursor,
            queue=machine.committer,
            begins=ledger.acknowledged_seq,
            ends=ledger.next_seq,
            refusals=new_refusals(1),
            clock=machine.clock,
            on_progress=lambda: machine.lanes.look(),
            on_session=lambda: machine.lanes.session_begins(self),
            on_trouble=machine.trouble.append,
            window=Window(records_max=100, clock=machine.clock),
            pace=share,
        )
        self.numbering = Numbering(
            machine.lineages[queue],
            drain=self.drain,
            save=partial(machine.save, queue),
            on_trouble=machine.trouble.append,
        )

    @property
    def queued(self) -> int:
        return self.drain.stored_seq - self.drain.acknowledged_seq

    def open(self) -> None:
        self.is_open = True

    def close(self) -> Deferred[None]:
        self.is_open = False
        self.lose()
        return succeed(None)

    async def renew(self) -> None:
        await self.numbering.renew()

    def connect(self, room: int) -> None:
        self.session = NumberedSession(self, room)
        self.drain.attach(self.session)

    def lose(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self.drain.detach(session)

    def answer(self, count: int) -> None:
        assert self.session is not None
        answered = self.session.unanswered[:count]
        del self.session.unanswered[:count]
        self.machine.over.update(answered)
        self.drain.acknowledged(self.session, len(answered))


class LanesMachine(RuleBasedStateMachine):
    """Whatever happens: the receiver gets every message, and each of them once."""

    record_bytes = 0

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.clock.advance(1000)
        self.receiver = Receiver()
        self.count = 0  # records made so far
        self.stored: set[int] = set()
        self.over: set[int] = set()  # answered, as far as we know
        self.open()

    def open(self) -> None:
        self.trouble: list[str] = []
        self.writer, self.reader = LateThread(), LateThread()
        self.store = QueueStore.open(
            str(self.directory), destinations=["d", "lane/d"], map_bytes=2**24
        )
        self.committer = Committer(
            run_in_thread=self.writer,
            now=self.clock.seconds,
            clock=self.clock,
            admission=Admission(pending_bytes_max=2**30, queue_bytes_max=2**30),
            limits=self.limits(),
            callbacks=CommitCallbacks(
                on_stored=OfAllQueues(self.committed),
                on_failure=self.fail,
                on_evicted=self.evicted,
            ),
        )
        self.committer.start(self.store)
        self.queues = LaneQueues(
            self.store, self.committer, {limit.destination: limit for limit in self.limits()}
        )
        self.begin_epochs()
        older, newer = self.queues.of("d")
        self.queues.direct("d", older=older, newer=newer)
        shares = Shares(backlog_percent=30, clock=self.clock)
        self.lane = {
            older: NumberedLane(self, older, shares.backlog),
            newer: NumberedLane(self, newer, shares.live),
        }
        shares.backlog.drain, shares.live.drain = self.lane[older].drain, self.lane[newer].drain
        self.lanes = Lanes(
            self.lane[older],
            self.lane[newer],
            destination="d",
            queue=self.queues,
            shares=shares,
            on_trouble=self.trouble.append,
            on_change=lambda text: None,
            backlog_records_min=3,
        )
        self.lanes.begin()

    def begin_epochs(self) -> None:
        kept = self.store.positions(SENT)
        self.lineages: dict[str, Lineage] = {}
        for queue in ("d", "lane/d"):
            ledger, lineage = self.store.ledgers[queue], Lineage.decode(kept.get(queue))
            begun = (lineage or Lineage.new(ledger.next_seq)).begun(
                acknowledged_seq=ledger.acknowledged_seq, next_seq=ledger.next_seq
            )
            self.lineages[queue] = begun
            self.save(queue, begun)
        while self.writer.waiting or self.writer.ended:
            self.writer.run()
            self.writer.tell()

    def save(self, queue: str, lineage: Lineage) -> Deferred[None]:
        return self.committer.append({}, positions={f"{SENT}/{queue}": lineage.encode()})

    def committed(self, queue: str, upto: int, payloads: Sequence[bytes]) -> None:
        self.lane[queue].drain.stored(upto, payloads)
        self.lanes.look()

    def evicted(self, queue: str, upto: int, count: int, reason: str) -> None:
        self.lane[queue].drain.evicted(upto, reason)
        self.lanes.look()

    def limits(self) -> list[QueueLimit]:
        return []

    def fail(self, error: BaseException) -> None:
        raise AssertionError(repr(error))

    @property
    def sessions(self) -> list[NumberedLane]:
        return [lane for lane in self.lane.values() if lane.session is not None]

    @rule(count=st.integers(1, 6))
    def append(self, count: int) -> None:
        numbers = range(self.count + 1, self.count + count + 1)
        self.count += count
        payloads = [(b"%d" % number).ljust(self.record_bytes) for number in numbers]
        stored = self.committer.append({"d": payloads})
        stored.addCallbacks(lambda _: self.stored.update(numbers), lambda _: None)

    @rule(thread=st.sampled_from(["writer", "reader"]), what=st.sampled_from(["run", "tell"]))
    def step(self, thread: str, what: str) -> None:
        getattr(getattr(self, thread), what)()

    @rule()
    def step_all(self) -> None:
        for thread in (self.writer, self.reader):
            thread.run()
            thread.tell()

    @rule(queue=st.sampled_from(["d", "lane/d"]), room=st.integers(1, 8))
    def connect(self, queue: str, room: int) -> None:
        lane = self.lane[queue]
        if lane.is_open and lane.session is None:
            lane.connect(room)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(self.sessions))
        lane.failures += 1
        lane.lose()

    @rule(count=st.integers(3, 6), room=st.integers(1, 8), steps=st.integers(0, 12))
    def outage(self, count: int, room: int, steps: int) -> None:
        """What comes while there is no session becomes a backlog, or joins it."""
        for lane in self.lane.values():
            lane.failures += 1
            lane.lose()
        self.append(count)
        for _ in range(3):
            self.step_all()
        for queue in self.lane:
            self.connect(queue, room)
        for _ in range(steps):
            self.step_all()

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), count=st.integers(1, 5), answered=st.booleans())
    def receive(self, data: st.DataObject, count: int, answered: bool) -> None:
        lane = data.draw(st.sampled_from(self.sessions))
        assert lane.session is not None
        lane.session.receive(count)
        if answered and lane.session.unanswered:
            lane.answer(count)

    @rule(count=st.integers(1, 5), room=st.integers(1, 8))
    def deliver(self, count: int, room: int) -> None:
        """Both lanes get on for a while."""
        self.append(count)
        for _ in range(count):
            for queue in self.lane:
                self.connect(queue, room)
            self.step_all()
            for lane in self.sessions:
                assert lane.session is not None
                lane.session.receive(count)
                if lane.session.unanswered:
                    lane.answer(count)

    @rule()
    def pause(self) -> None:
        for lane in self.lane.values():
            lane.drain.hold("hand")

    @rule()
    def resume(self) -> None:
        self.lanes.release("hand")

    @rule(ran=st.booleans())
    def crash(self, ran: bool) -> None:
        if ran:
            self.writer.run()
        self.store.close()
        self.open()
        queued = self.queued()
        assert all(count == 1 for count in queued.values())
        self.check_missing(self.stored - self.over - set(queued))
        self.stored |= set(queued)
        self.over -= set(queued)

    def check_missing(self, missing: set[int]) -> None:
        """Whatever was answered for is over, or known to have come, or comes again."""
        assert missing <= set(self.receiver.stored)

    def queued(self) -> Counter[int]:
        """How often each record is in the two queues."""
        found: Counter[int] = Counter()
        for queue in ("d", "lane/d"):
            page = self.store.look(lambda view: read(view, Read(queue)))  # noqa: B023
            assert page.next_seq == page.end_seq
            found.update(int(record.payload) for record in page.records)
        return found

    @invariant()
    def it_adds_up(self) -> None:
        for ledger in self.store.ledgers.values():
            assert ledger.gap == 0
            assert ledger.queued >= 0
        assert len(self.receiver.stored) == len(set(self.receiver.stored))
        assert ascending_sequences(self.receiver.stored) <= 2
        self.check_trouble()

    def check_trouble(self) -> None:
        assert self.trouble == []

    def teardown(self) -> None:
        self.lanes.release("hand")
        threads = (self.writer, self.reader)
        for _ in range(3000):
            busy = any(one.waiting or one.ended for one in threads)
            if not busy and not any(lane.queued for lane in self.lane.values()):
                break
            self.step_all()
            self.clock.advance(1)
            for lane in self.lane.values():
                if lane.session is not None and lane.session.has_gap:
                    lane.lose()
                if lane.is_open and lane.session is None:
                    lane.connect(5)
                if lane.session is not None:
                    lane.session.receive(5)
                    lane.answer(5)
        assert self.queued() == {}
        self.check_end(added_up(list(self.store.ledgers.values())))
        self.store.close()
        shutil.rmtree(self.directory)

    def check_end(self, account: Ledger) -> None:
        assert self.stored <= set(self.receiver.stored)
        assert account.received == account.delivered == len(self.receiver.stored)


class EvictingMachine(LanesMachine):
    """The same, while records leave undelivered."""

    record_bytes = 1500

    def __init__(self) -> None:
        self.limit: QueueLimit | None = None
        super().__init__()

    def open(self) -> None:
        self.limit = None
        super().open()

    def limits(self) -> list[QueueLimit]:
        if self.limit is None:
            self.limit = QueueLimit(destination="d", bytes_max=6 * 4096, when_full="drop-oldest")
        return [self.limit]

    @rule(seconds=st.integers(0, 10), queue=st.sampled_from(["d", "lane/d"]))
    def expire(self, seconds: int, queue: str) -> None:
        self.clock.advance(5)
        self.committer.expire(queue, self.clock.seconds() - seconds)

    def check_missing(self, missing: set[int]) -> None:
        pass  # it was dropped

    def check_end(self, account: Ledger) -> None:
        dropped = sum(account.dropped.values())
        assert account.received == account.delivered + dropped
        # What never came was dropped; what came may have been dropped before its answer.
        assert len(self.stored - set(self.receiver.stored)) <= dropped
        assert account.delivered <= len(self.receiver.stored)

    def check_trouble(self) -> None:
        assert all("may be missing there" in text for text in self.trouble)


TestLanesMachine = pytest.mark.slow(LanesMachine.TestCase)
TestEvictingMachine = pytest.mark.slow(EvictingMachine.TestCase)
TestLanesMachine.settings = settings(max_examples=60, stateful_step_count=50)
TestEvictingMachine.settings = settings(max_examples=60, stateful_step_count=50)
