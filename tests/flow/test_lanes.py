"""Two lanes through one session: alone with a queue in memory, and with the real queue,
committer and cursors, step by step, against what an upstream has seen."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from relay.flow.drain import BATCH_BYTES_MAX, BY_PURGE, Drain
from relay.flow.lanes import Lanes, Outbox
from relay.flow.pacing import START_RECORDS, Pace, Window
from relay.flow.turns import RUN_RECORDS
from relay.model.errors import DamagedRange, QueueError
from relay.model.policy import DrainRate
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, Committer
from relay.queue.cursor import Cursor
from relay.queue.inspect.queries import Read, read
from relay.queue.lane_queues import LaneQueues
from relay.queue.ledger import Ledger, added_up
from relay.queue.store import QueueStore
from tests.connections import fired
from tests.flow_fakes import new_refusals
from tests.threads import LateThread

SMALL = 4  # what is less does not become a lane, in most of these tests


class Session:
    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.seen: list[str] = []
        self.in_flight = 0

    def send(self, payloads: Sequence[bytes]) -> None:
        assert 0 < len(payloads) <= self.room
        self.room -= len(payloads)
        self.in_flight += len(payloads)
        self.seen += [payload.decode().strip() for payload in payloads]


class Setup:
    """Two queues in memory, "a" and "b"; records are called a1, a2, … and b1, b2, …."""

    def __init__(
        self,
        *,
        a: int = 0,
        b: int = 0,
        older: str = "b",
        percent: int = 25,
        rate: DrainRate | None = None,
        window: int = 0,
        size: int = 0,
        slow: Sequence[str] = (),
        smallest: int = SMALL,
    ) -> None:
        self.clock = Clock()
        self.begins = {"a": 1, "b": 1}
        self.ends = {"a": a + 1, "b": b + 1}
        self.size = size
        self.slow = slow
        self.refusals = new_refusals(2)
        self.damaged: dict[str, range] = {}
        self.reads: list[Callable[[], None]] = []
        self.events: list[Any] = []
        self.moves: list[tuple[str, str, int, Deferred[int]]] = []
        self.said: list[str] = []
        self.trouble: list[str] = []
        self.lanes = Lanes(
            destination="a",
            older=older,
            newer="a" if older == "b" else "b",
            new_drain=self.new_drain,
            queue=self,
            backlog_percent=percent,
            clock=self.clock,
            on_trouble=self.trouble.append,
            on_change=self.said.append,
            window=Window(records_max=window, clock=self.clock) if window else None,
            pace=None if rate is None else Pace(rate, clock=self.clock),
            backlog_records_min=smallest,
        )

    def new_drain(self, queue: str) -> Drain:
        return Drain(
            destination=queue,
            cursor=Cursor(
                self, queue, position=1, run_in_thread=self.later if queue in self.slow else execute
            ),
            queue=self,
            acknowledged=1,
            stored=self.ends[queue],
            refusals=self.refusals,
            clock=self.clock,
            on_progress=lambda: None,
            on_trouble=self.trouble.append,
        )

    def later(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.reads.append(lambda: execute(call).chainDeferred(done))
        return done

    def read_all(self) -> None:
        reads, self.reads = self.reads, []
        for each in reads:
            each()

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        damaged = self.damaged.get(destination, range(0))
        if start in damaged:
            raise DamagedRange(destination, SeqRange(start, damaged.stop), "checksum")
        stop = damaged.start if start < damaged.start else self.ends[destination]
        seqs = range(start, min(start + records_max, stop))
        return [f"{destination}{seq}".ljust(self.size).encode() for seq in seqs]

    def acknowledge(self, destination: str, upto: int) -> None:
        self.events.append((destination, upto))

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        self.events.append((destination, count, reason))

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        self.events.append((destination, seqs, reason))

    def direct(self, destination: str, *, older: str, newer: str) -> None:
        self.events.append(f"into {newer}")

    def move(self, queue: str, *, to: str, start: int, upto: int) -> Deferred[int]:
        assert start == self.lanes.drain_of(queue).acknowledged_seq
        self.moves.append((queue, to, upto, Deferred()))
        return self.moves[-1][3]

    def comes(self, queue: str, count: int) -> None:
        self.ends[queue] += count
        self.lanes.stored(queue, self.ends[queue])

    def attached(self, room: int = 1000) -> Session:
        session = Session(room)
        self.lanes.attach(session)
        return session

    def answer(self, session: Session, count: int) -> None:
        session.room += count
        session.in_flight -= count
        self.lanes.acknowledged(session, count)

    def answer_all(self, session: Session) -> None:
        while session.in_flight:
            self.answer(session, session.in_flight)


def named(queue: str, first: int, last: int) -> list[str]:
    return [f"{queue}{seq}" for seq in range(first, last + 1)]


def of(queue: str, session: Session) -> list[str]:
    return [name for name in session.seen if name[0] == queue]


# One lane.


def test_as_long_as_there_is_no_backlog_there_is_one_lane() -> None:
    setup = Setup(a=SMALL - 1)
    session = setup.attached()
    setup.comes("a", 3)
    assert session.seen == named("a", 1, SMALL + 2)
    assert setup.lanes.in_flight == session.in_flight
    setup.answer(session, 4)
    assert setup.events == [("a", 5)]
    assert setup.said == []


def test_a_new_session_sends_again_what_was_not_acknowledged() -> None:
    setup = Setup(a=3)
    session = setup.attached()
    setup.answer(session, 1)
    setup.lanes.detach(session)
    assert setup.lanes.in_flight == 0
    assert setup.attached().seen == named("a", 2, 3)
    assert (setup.lanes.sent_records, setup.lanes.resent_records) == (5, 2)


def test_what_fits_into_the_first_window_is_no_backlog() -> None:
    for waiting, becomes_a_lane in ((START_RECORDS, False), (START_RECORDS + 1, True)):
        setup = Setup(a=waiting, smallest=START_RECORDS + 1)
        setup.attached()
        assert bool(setup.said) == becomes_a_lane


# Two lanes.


def test_a_backlog_becomes_a_lane_and_what_comes_goes_beside_it() -> None:
    setup = Setup(a=1000)
    session = setup.attached(room=100)
    assert setup.events == ["into b"]
    assert session.seen == named("a", 1, 100)
    setup.comes("b", 50)
    setup.answer(session, 60)
    assert session.seen[100:132] == named("b", 1, 32)
    assert session.seen[132:160] == named("a", 101, 128)
    setup.answer_all(session)
    assert of("a", session) == named("a", 1, 1000)
    assert of("b", session) == named("b", 1, 50)
    assert setup.said == [
        "a backlog of 1,000 messages: new ones go first",
        "the backlog is over: one lane again",
    ]
    setup.comes("b", 10)
    assert session.seen[1050:] == named("b", 51, 60)


@pytest.mark.parametrize("percent", [1, 25, 50, 99])
def test_both_lanes_get_their_share_as_long_as_both_have_something(percent: int) -> None:
    setup = Setup(a=20_000, percent=percent)
    session = setup.attached(room=10)
    setup.comes("b", 20_000)
    setup.answer(session, 10)
    start = len(session.seen)
    for _ in range(1900):
        setup.answer(session, 10)
    backlog = 0
    for sent, name in enumerate(session.seen[start:], 1):
        backlog += name[0] == "a"
        assert abs(backlog - sent * percent / 100) <= RUN_RECORDS


def test_a_slow_disk_does_not_change_the_shares() -> None:
    setup = Setup(a=20_000, slow=("a", "b"))
    session = setup.attached(room=500)
    setup.comes("b", 20_000)
    for _ in range(40):
        setup.read_all()
        setup.answer(session, session.in_flight)
    sent = len(session.seen)
    assert abs(len(of("a", session)) - sent * 25 / 100) <= 1000


def test_a_lane_whose_disk_hangs_is_not_waited_for_for_ever() -> None:
    setup = Setup(a=2000, slow=("b",))
    session = setup.attached(room=100)
    setup.comes("b", 1)  # and is never read
    setup.answer_all(session)
    assert 500 <= len(of("a", session)) < 1000
    setup.read_all()
    setup.answer_all(session)
    assert len(session.seen) == 2001


def test_answers_are_those_of_the_lanes_in_the_order_in_which_they_were_sent() -> None:
    setup = Setup(a=100)
    session = setup.attached(room=40)
    setup.comes("b", 100)
    setup.answer(session, 40)
    setup.events.clear()
    assert [name[0] for name in session.seen[40:]] == ["b"] * 32 + ["a"] * 8
    setup.answer(session, 33)
    assert setup.events == [("b", 33), ("a", 42)]


def test_a_lost_session_sends_neither_lane_from_its_beginning() -> None:
    setup = Setup(a=100)
    session = setup.attached(room=40)
    setup.comes("b", SMALL - 1)
    setup.answer(session, 40)
    setup.answer(session, 10)
    setup.lanes.detach(session)
    again = setup.attached()
    assert of("b", again) == []
    assert of("a", again) == named("a", 48, 100)
    assert setup.moves == []


def test_a_session_that_was_replaced_changes_nothing() -> None:
    setup = Setup(a=10)
    first, second = setup.attached(), setup.attached()
    setup.lanes.detach(first)
    setup.lanes.acknowledged(first, 5)
    assert not setup.lanes.refused(first, "no")
    assert ("a", 6) not in setup.events
    setup.answer(second, 10)
    assert ("a", 11) in setup.events


def test_an_upstream_that_refuses_everything_gets_little_of_both_lanes() -> None:
    setup = Setup(a=100, smallest=20)
    session = setup.attached(room=40)
    setup.comes("b", 10)
    assert not setup.lanes.refused(session, "500 no", in_row=20)
    setup.lanes.detach(session)
    session = setup.attached(room=40)
    assert sorted(session.seen) == ["a1", "b1"]
    assert setup.lanes.acknowledged(session, 1)
    assert len(session.seen) == 40
    assert not [event for event in setup.events if len(event) == 3]


def test_a_refusal_is_that_of_the_lane_whose_record_it_is() -> None:
    setup = Setup(a=100, smallest=20)  # so that b's do not move
    session = setup.attached(room=40)
    setup.comes("b", 10)
    setup.answer(session, 40)
    assert session.seen[40] == "b1"
    assert not setup.lanes.refused(session, "500 no", others_taken=True)
    setup.lanes.detach(session)
    session = setup.attached(room=1)
    assert session.seen == ["b1"]
    assert setup.lanes.refused(session, "500 no", others_taken=True)
    assert setup.events[-1] == ("b", SeqRange(1, 2), "refused 2 times: 500 no")
    session.room, session.in_flight = 2, 0
    setup.lanes.pump()
    assert session.seen == ["b1", "a41", "a42"]
    setup.answer(session, 2)
    assert setup.events[-1] == ("a", 43)


def test_a_damaged_block_in_one_lane_does_not_hold_up_the_other() -> None:
    setup = Setup(a=1000)
    setup.damaged["b"] = range(3, 6)
    session = setup.attached(room=100)
    setup.comes("b", 10)
    setup.answer_all(session)
    assert of("b", session) == ["b1", "b2", *named("b", 6, 10)]
    assert len(of("a", session)) == 1000
    assert setup.lanes.in_flight == 0


# Links that break while there are two lanes.


def broken(setup: Setup, *, live: int) -> None:
    """A session that ends with two lanes; `live` records are in the live one."""
    session = setup.attached(room=10)
    setup.comes("b", live)
    setup.lanes.detach(session)
    setup.said.clear()


def test_what_waits_in_the_live_lane_joins_the_backlog_first() -> None:
    setup = Setup(a=20)
    broken(setup, live=8)
    session = setup.attached()
    assert session.seen == named("a", 1, 20)
    assert setup.said == ["these join the backlog: 8 messages"]
    setup.comes("b", 1)
    (move,) = setup.moves
    assert move[:3] == ("b", "a", 9)
    setup.comes("a", 5)  # the first step moves five
    move[3].callback(6)
    assert setup.moves[1][:3] == ("b", "a", 9)
    setup.comes("a", 3)
    assert of("b", session) == []
    setup.moves[1][3].callback(9)
    assert session.seen[20:] == [*named("a", 21, 28), "b9"]
    assert len(setup.moves) == 2
    assert setup.lanes.report()["live"]["queued_records"] == 1


def test_a_link_that_breaks_again_while_they_move() -> None:
    setup = Setup(a=20)
    broken(setup, live=8)
    session = setup.attached()
    setup.comes("b", 6)
    setup.lanes.detach(session)
    session = setup.attached()
    assert len(setup.moves) == 1
    setup.moves[0][3].callback(9)
    assert setup.moves[1][:3] == ("b", "a", 15)  # what came meanwhile is backlog by now too
    setup.moves[1][3].callback(15)
    setup.comes("b", 1)
    assert of("b", session) == ["b15"]


def test_a_move_that_fails_leaves_them_in_the_live_lane() -> None:
    setup = Setup(a=20)
    broken(setup, live=8)
    session = setup.attached()
    setup.moves[0][3].errback(QueueError("the disk is full"))
    assert of("b", session) == named("b", 1, 8)
    assert "8 messages cannot join the backlog" in setup.trouble[0]
    assert "the disk is full" in setup.trouble[0]


def test_a_move_of_what_somebody_else_has_taken_ends() -> None:
    setup = Setup(a=20)
    broken(setup, live=8)
    session = setup.attached()
    setup.moves[0][3].callback(1)
    assert len(setup.moves) == 1
    assert of("b", session) == named("b", 1, 8)


def test_a_stop_ends_the_move() -> None:
    setup = Setup(a=20)
    broken(setup, live=8)
    session = setup.attached()
    finished = fired(setup.lanes.finish())
    setup.answer_all(session)
    setup.moves[0][3].callback(6)
    assert len(setup.moves) == 1
    assert len(finished) == 1


def test_few_live_records_stay_where_they_are() -> None:
    setup = Setup(a=20)
    broken(setup, live=SMALL - 1)
    session = setup.attached()
    assert setup.moves == []
    assert len(of("b", session)) == SMALL - 1


def test_a_start_with_two_lanes() -> None:
    setup = Setup(a=5, b=6, older="a")
    session = setup.attached()
    assert setup.moves[0][:3] == ("b", "a", 7)
    assert session.seen == named("a", 1, 5)
    assert setup.lanes.queues == ("a", "b")


# Paused, and held for a purge.


def test_a_pause_is_like_an_outage() -> None:
    setup = Setup()
    session = setup.attached()
    setup.lanes.hold("hand")
    setup.comes("a", 10)
    assert (session.seen, setup.lanes.is_held("hand")) == ([], True)
    setup.lanes.release("hand")
    assert session.seen == named("a", 1, 10)
    assert setup.events == ["into b"]
    assert not setup.lanes.is_held("hand")


def test_after_a_pause_nothing_moves_that_is_in_flight() -> None:
    setup = Setup(a=20)
    session = setup.attached(room=10)
    setup.comes("b", 8)
    setup.answer(session, 10)
    assert of("b", session) == named("b", 1, 8)
    setup.lanes.hold("hand")
    setup.lanes.release("hand")
    assert setup.moves == []
    setup.answer_all(session)
    assert setup.lanes.in_flight == 0


def test_one_lane_can_be_purged() -> None:
    setup = Setup(a=1000)
    session = setup.attached(room=10)
    setup.comes("b", 5)
    drain = setup.lanes.drain_of("a")
    drain.hold(BY_PURGE)
    setup.answer_all(session)
    assert drain.in_flight == 0
    drain.skip(1001)
    drain.release(BY_PURGE)
    setup.comes("b", 5)
    assert of("b", session) == named("b", 1, 10)
    assert len(of("a", session)) < 700


def test_what_leaves_undelivered_is_told_to_its_lane() -> None:
    setup = Setup(a=1000)
    session = setup.attached(room=10)
    setup.lanes.drain_of("a").evicted(901, "queue-full")
    setup.answer(session, 10)
    assert ("a", 10, "queue-full") in setup.events
    setup.answer_all(session)
    assert session.seen[-1] == "a1000"


# How fast.


def test_the_window_is_that_of_both_lanes() -> None:
    setup = Setup(a=1000, window=64)
    session = setup.attached()
    setup.comes("b", 100)
    assert session.in_flight == 64
    setup.answer(session, 10)
    assert session.in_flight == 64


def test_a_rate_is_that_of_the_backlog_alone() -> None:
    setup = Setup(a=5000, rate=DrainRate(bytes_per_second=1000), size=100)
    session = setup.attached(room=10_000)
    setup.clock.advance(1)
    for _ in range(20):
        setup.comes("b", 100)
        setup.clock.pump([0.05] * 10)
    assert len(of("b", session)) == 2000
    assert 80 <= len(of("a", session)) <= 120


def test_a_multiple_of_what_comes_in_is_one_of_the_live_lane() -> None:
    setup = Setup(a=60_000, rate=DrainRate(live_multiple=2.0))
    session = setup.attached(room=100_000)
    for _ in range(600):
        setup.comes("b", 50)
        setup.clock.advance(0.1)
    backlog = len(of("a", session))
    for _ in range(50):
        setup.comes("b", 50)
        setup.clock.advance(0.1)
    assert 3500 <= len(of("a", session)) - backlog <= 6500


def test_a_slow_rate_sends_one_record_at_a_time() -> None:
    setup = Setup(a=100, rate=DrainRate(bytes_per_second=10), size=100)
    session = setup.attached()
    setup.clock.advance(1)
    assert (session.seen, setup.lanes.in_flight) == (["a1"], 1)
    setup.answer(session, 1)
    assert setup.lanes.in_flight == 0  # what was read ahead is nobody's fault
    setup.clock.advance(11)
    assert session.seen == ["a1", "a2"]


def test_a_backlog_that_waits_for_its_pace_ends_with_the_session() -> None:
    setup = Setup(a=5000, rate=DrainRate(bytes_per_second=1000), size=100)
    setup.lanes.detach(setup.attached())
    assert setup.clock.getDelayedCalls() == []


def test_what_is_read_ahead_is_bounded() -> None:
    room = [10]
    outbox = Outbox(lambda: room[0], lambda: None)
    outbox.send([b"1", b"22"])
    assert (outbox.room, len(outbox)) == (8, 2)
    assert [outbox.fitting(octets) for octets in (0, 1, 2, 3, 9)] == [1, 1, 1, 2, 2]
    assert outbox.take(1) == [b"1"]
    outbox.send([b"x" * BATCH_BYTES_MAX])
    assert outbox.room == 0
    outbox.take(2)
    assert outbox.room == 10


def test_the_report() -> None:
    setup = Setup(a=100)
    session = setup.attached(room=40)
    setup.comes("b", 10)
    setup.answer(session, 40)
    assert setup.lanes.report() == {
        "backlog": {
            "queue": "a",
            "queued_records": 60,
            "in_flight_records": 60,
            "delivered_per_second": 4.0,
        },
        "live": {
            "queue": "b",
            "queued_records": 10,
            "in_flight_records": 10,
            "delivered_per_second": 0.0,
        },
    }


def test_whether_something_could_be_sent() -> None:
    setup = Setup(a=1000, rate=DrainRate(bytes_per_second=10))
    assert setup.lanes.could_send
    session = setup.attached(room=1)
    assert not setup.lanes.could_send  # the backlog has to go slowly
    setup.comes("b", 1000)
    assert setup.lanes.could_send
    setup.lanes.detach(session)
    setup.lanes.hold("hand")
    assert not setup.lanes.could_send
    assert not Setup().lanes.could_send


def test_finishing_waits_for_both_lanes() -> None:
    setup = Setup(a=100)
    session = setup.attached(room=10)
    setup.comes("b", 5)
    finished = fired(setup.lanes.finish())
    setup.comes("b", 5)
    setup.answer_all(session)
    assert len(finished) == 1
    assert of("b", session) == named("b", 1, 5)
    assert fired(Setup().lanes.finish())


# The real queue.


class Upstream:
    """A session whose answers the test gives."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.in_flight: list[int] = []
        self.seen: list[int] = []

    def send(self, payloads: Sequence[bytes]) -> None:
        assert 0 < len(payloads) <= self.room
        self.room -= len(payloads)
        numbers = list(map(int, payloads))
        self.in_flight += numbers
        self.seen += numbers


class LanesMachine(RuleBasedStateMachine):
    """Nothing is lost and nothing that is known to have arrived comes again."""

    record_bytes = 0

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.clock.advance(1000)
        self.trouble: list[str] = []
        self.count = 0  # records made so far
        self.stored: set[int] = set()
        self.over: set[int] = set()  # answered or refused for good, as far as we know
        self.refused: set[int] = set()
        self.open()

    def open(self) -> None:
        self.writer, self.reader = LateThread(), LateThread()
        self.cursors: dict[str, Cursor] = {}
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
                on_stored=self.committed,
                on_failure=self.fail,
                on_evicted=lambda queue, upto, count, reason: self.lanes.drain_of(queue).evicted(
                    upto, reason
                ),
            ),
        )
        self.committer.start(self.store)
        self.queues = LaneQueues(
            self.store, self.committer, {limit.destination: limit for limit in self.limits()}
        )
        older, newer = self.queues.of("d")
        self.queues.direct("d", older=older, newer=newer)
        self.lanes = Lanes(
            destination="d",
            older=older,
            newer=newer,
            new_drain=self.new_drain,
            queue=self.queues,
            backlog_percent=30,
            clock=self.clock,
            on_trouble=self.trouble.append,
            on_change=lambda words: None,
            backlog_records_min=3,
        )
        self.session: Upstream | None = None

    def committed(self, queue: str, upto: int, payloads: Sequence[bytes]) -> None:
        self.cursors[queue].stored(upto, payloads)
        self.lanes.stored(queue, upto)

    def limits(self) -> list[QueueLimit]:
        return []

    def new_drain(self, queue: str) -> Drain:
        ledger = self.store.ledgers[queue]
        self.cursors[queue] = Cursor(
            self.store, queue, position=ledger.acknowledged_seq, run_in_thread=self.reader
        )
        return Drain(
            destination=queue,
            cursor=self.cursors[queue],
            queue=self.committer,
            acknowledged=ledger.acknowledged_seq,
            stored=ledger.next_seq,
            refusals=new_refusals(1),
            clock=self.clock,
            on_progress=lambda: None,
            on_trouble=self.trouble.append,
        )

    def fail(self, error: BaseException) -> None:
        raise AssertionError(repr(error))

    @rule(count=st.integers(1, 6))
    def append(self, count: int) -> None:
        numbers = range(self.count + 1, self.count + count + 1)
        self.count += count
        stored = self.committer.append(
            {"d": [(b"%d" % number).ljust(self.record_bytes) for number in numbers]}
        )
        stored.addCallbacks(lambda _: self.stored.update(numbers), lambda _: None)

    @rule(thread=st.sampled_from(["writer", "reader"]), what=st.sampled_from(["run", "tell"]))
    def step(self, thread: str, what: str) -> None:
        getattr(getattr(self, thread), what)()

    @rule()
    def step_all(self) -> None:
        for thread in (self.writer, self.reader):
            thread.run()
            thread.tell()

    @precondition(lambda self: self.session is None)
    @rule(room=st.integers(1, 8))
    def attach(self, room: int) -> None:
        self.session = Upstream(room)
        self.lanes.attach(self.session)

    @precondition(lambda self: self.session is not None)
    @rule()
    def detach(self) -> None:
        assert self.session is not None
        self.lanes.detach(self.session)
        self.session = None

    @rule(count=st.integers(3, 6), room=st.integers(1, 8))
    def outage(self, count: int, room: int) -> None:
        """What comes while there is no session becomes a backlog, or joins it."""
        if self.session is not None:
            self.detach()
        self.append(count)
        for _ in range(3):
            self.step_all()
        self.attach(room)

    @precondition(lambda self: self.session is not None and self.session.in_flight)
    @rule(count=st.integers(1, 5))
    def answer(self, count: int) -> None:
        assert self.session is not None
        taken = self.session.in_flight[:count]
        del self.session.in_flight[:count]
        self.session.room += len(taken)
        self.over.update(taken)
        self.lanes.acknowledged(self.session, len(taken))

    @precondition(lambda self: self.session is not None and self.session.in_flight)
    @rule()
    def refuse(self) -> None:
        assert self.session is not None
        number = self.session.in_flight.pop(0)
        self.over.add(number)
        self.refused.add(number)
        self.session.room += 1
        assert self.lanes.refused(self.session, "no", others_taken=True)
        self.lanes.pump()

    @rule()
    def pause(self) -> None:
        self.lanes.hold("hand")

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
        """Whatever was answered for is over or comes again."""
        assert missing == set()

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
        if self.session is not None:
            assert len(self.session.seen) == len(set(self.session.seen))
            assert not {*self.session.in_flight} & self.over
            assert lanes_of(self.session.seen) <= 2

    def teardown(self) -> None:
        self.lanes.release("hand")
        if self.session is None:
            self.attach(5)
        assert self.session is not None
        threads = (self.writer, self.reader)
        for _ in range(2000):
            if not self.session.in_flight and not any(one.waiting or one.ended for one in threads):
                break
            self.step_all()
            self.clock.advance(1)
            if self.session.in_flight:
                self.answer(5)
        assert self.queued() == {}
        self.check_end(added_up(list(self.store.ledgers.values())))
        assert self.trouble == [words for words in self.trouble if "set aside" in words]
        self.store.close()
        shutil.rmtree(self.directory)

    def check_end(self, account: Ledger) -> None:
        assert self.over >= self.stored
        assert account.received == len(self.stored)
        assert account.quarantined <= len(self.refused)
        assert account.delivered == len(self.stored) - account.quarantined


class EvictingMachine(LanesMachine):
    """The same, while records leave undelivered."""

    record_bytes = 1500

    def __init__(self) -> None:
        self.limit: QueueLimit | None = None
        self.dropped: set[int] = set()
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
        self.dropped |= missing

    def check_end(self, account: Ledger) -> None:
        dropped = sum(account.dropped.values())
        assert account.received == account.delivered + account.quarantined + dropped
        # What never came was dropped; what came may have been dropped before its answer.
        assert len(self.stored - self.over) <= dropped
        assert account.delivered <= len(self.over)


def lanes_of(numbers: Sequence[int]) -> int:
    """Into how many ascending sequences `numbers` can be put apart, at least."""
    ends: list[int] = []  # of the sequences so far, descending
    for number in numbers:
        for index, end in enumerate(ends):
            if end < number:
                ends[index] = number
                break
        else:
            ends.append(number)
    return len(ends)


TestLanesMachine = pytest.mark.slow(LanesMachine.TestCase)
TestEvictingMachine = pytest.mark.slow(EvictingMachine.TestCase)
TestLanesMachine.settings = settings(max_examples=60, stateful_step_count=50)
TestEvictingMachine.settings = TestLanesMachine.settings
