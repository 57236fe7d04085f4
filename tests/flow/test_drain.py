from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from relay.flow.drain import BY_PURGE
from relay.flow.pacing import Pace, Window
from relay.flow.refusals import Refusals
from relay.model.errors import DamagedRange, QueueError
from relay.model.policy import DrainRate
from relay.model.seq import SeqRange
from relay.queue.cursor import Cursor
from tests.connections import fired
from tests.flow_fakes import new_drain


class Disk:
    """Records 1, 2, 3…, some of them damaged; reads end when told, or at once."""

    def __init__(self) -> None:
        self.stop = 11
        self.damaged = range(0)
        self.error: Exception | None = None
        self.missing = False
        self.slow = False
        self._waiting: list[Callable[[], None]] = []

    def read(
        self, destination: str, *, start: int, records_max: int, bytes_max: int
    ) -> list[bytes]:
        if self.error is not None:
            raise self.error
        if self.missing:
            return []
        if start in self.damaged:
            raise DamagedRange(destination, SeqRange(start, self.damaged.stop), "checksum")
        stop = self.damaged.start if start < self.damaged.start else self.stop
        return [b"%d" % seq for seq in range(start, min(start + 4, stop))]

    def run_in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        if not self.slow:
            return execute(call)
        done: Deferred[Any] = Deferred()
        self._waiting.append(lambda: execute(call).chainDeferred(done))
        return done

    def finish(self) -> None:
        waiting, self._waiting = self._waiting, []
        for end in waiting:
            end()


class Queue:
    """The changes that the drain asks for."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def acknowledge(self, destination: str, upto: int) -> None:
        self.events.append((destination, upto))

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        self.events.append((destination, f"{count} late", reason))

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        self.events.append((destination, seqs, reason))


class Session:
    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.sent: list[bytes] = []

    def send(self, payloads: Sequence[bytes]) -> None:
        assert 0 < len(payloads) <= self.room
        self.room -= len(payloads)
        self.sent += payloads


class Setup:
    """A drain with everything it talks to; ten records are stored."""

    def __init__(self, *, window: int = 0, rate: DrainRate | None = None) -> None:
        self.disk = Disk()
        self.queue = Queue()
        self.clock = Clock()
        self.trouble: list[str] = []
        self.progress = 0
        self.changes: list[str] = []
        self.upstream = Refusals(
            3, now=lambda: 0.0, on_held=self.changes.append, on_taken=self.changes.append
        )
        self.drain = new_drain(
            "d",
            cursor=Cursor(self.disk, "d", position=1, run_in_thread=self.disk.run_in_thread),
            queue=self.queue,
            begins=1,
            ends=11,
            refusals=self.upstream,
            clock=self.clock,
            on_progress=self._note_progress,
            on_trouble=self.trouble.append,
            window=Window(records_max=window, clock=self.clock) if window else None,
            pace=Pace(rate, clock=self.clock) if rate is not None else None,
        )

    def _note_progress(self) -> None:
        self.progress += 1

    def attached(self, room: int = 100) -> Session:
        session = Session(room)
        self.drain.attach(session)
        return session


@pytest.fixture
def setup() -> Setup:
    return Setup()


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last + 1)]


def test_a_session_gets_what_is_stored_in_order(setup: Setup) -> None:
    session = setup.attached()
    assert session.sent == numbers(1, 10)
    assert (setup.drain.in_flight, setup.drain.sent_records) == (10, 10)


def test_no_more_than_it_has_room_for(setup: Setup) -> None:
    session = setup.attached(room=3)
    assert session.sent == numbers(1, 3)
    session.room = 2
    setup.drain.acknowledged(session, 2)
    assert session.sent == numbers(1, 5)
    assert setup.queue.events == [("d", 3)]


def test_what_is_stored_later_is_sent(setup: Setup) -> None:
    session = setup.attached()
    setup.disk.stop = 13
    setup.drain.stored(13)
    assert session.sent == numbers(1, 12)


def test_how_long_records_wait_is_counted(setup: Setup) -> None:
    latencies = setup.drain.latencies
    setup.disk.stop = 15
    setup.drain.stored(15)
    setup.clock.advance(2)
    session = setup.attached()
    setup.clock.advance(1)
    setup.drain.acknowledged(session, 11)
    setup.drain.evicted(13, "queue-full")
    setup.clock.advance(1)
    setup.drain.acknowledged(session, 3)
    stages = (
        latencies.stored_to_sent,
        latencies.sent_to_acknowledged,
        latencies.stored_to_acknowledged,
    )
    # Ten were on disk before; of four new ones one waits 3 s, one leaves, two wait 4 s.
    assert [(each.total, each.sum) for each in stages] == [(4, 8.0), (13, 15.0), (3, 11.0)]


def test_only_what_was_acknowledged_is_forgotten(setup: Setup) -> None:
    session = setup.attached()
    setup.drain.acknowledged(session, 0)
    assert (setup.queue.events, setup.progress) == ([], 0)
    setup.drain.acknowledged(session, 4)
    assert (setup.queue.events, setup.progress) == ([("d", 5)], 1)
    assert setup.drain.in_flight == 6


def test_a_new_session_starts_after_the_last_acknowledgement(setup: Setup) -> None:
    first = setup.attached()
    setup.drain.acknowledged(first, 4)
    setup.drain.detach(first)
    assert setup.drain.in_flight == 0
    second = setup.attached()
    assert second.sent == numbers(5, 10)
    assert (setup.drain.sent_records, setup.drain.resent_records) == (16, 6)


def test_a_session_that_was_replaced_acknowledges_nothing(setup: Setup) -> None:
    first, second = setup.attached(), setup.attached()
    setup.drain.acknowledged(first, 10)
    setup.drain.detach(first)
    assert not setup.drain.refused(first, "no")
    assert setup.queue.events == []
    setup.drain.acknowledged(second, 10)
    assert setup.queue.events == [("d", 11)]


def test_a_session_lost_during_a_read(setup: Setup) -> None:
    setup.disk.slow = True
    first = setup.attached()
    setup.drain.detach(first)
    setup.disk.finish()
    assert first.sent == []
    setup.disk.slow = False
    assert setup.attached().sent == numbers(1, 10)


def test_a_session_replaced_during_a_read(setup: Setup) -> None:
    setup.disk.slow = True
    first = setup.attached()
    second = setup.attached()
    setup.disk.slow = False
    setup.disk.finish()
    assert (first.sent, second.sent) == ([], numbers(1, 10))


def test_a_record_refused_too_often_is_set_aside(setup: Setup) -> None:
    for _ in range(2):
        session = setup.attached()
        assert not setup.drain.refused(session, "500 no")
    session = setup.attached()
    assert setup.drain.refused(session, "500 no")
    assert not setup.drain.acknowledged(session, 1)
    assert setup.queue.events == []  # nobody knows whether it is its fault
    session = setup.attached()
    assert setup.drain.refused(session, "500 no")
    assert setup.drain.acknowledged(session, 1)
    assert setup.queue.events == [
        *(("d", SeqRange(1, 2), "refused 3 times: 500 no"), ("d", 3)),
    ]
    assert setup.trouble == ["record 1 set aside in the quarantine: refused 3 times: 500 no"]
    assert session.sent == numbers(1, 10)
    assert not setup.drain.refused(session, "500 no")  # the next one has three tries of its own
    assert setup.drain.in_flight == 8


def test_refusals_are_those_of_one_record(setup: Setup) -> None:
    for _ in range(2):
        session = setup.attached()
        assert not setup.drain.refused(session, "no", others_taken=True)
    session = setup.attached()
    setup.drain.acknowledged(session, 1)
    assert not setup.drain.refused(session, "no", others_taken=True)
    assert not setup.drain.refused(session, "no", others_taken=True)
    assert setup.drain.refused(session, "no", others_taken=True)
    assert setup.queue.events[-1][1] == SeqRange(2, 3)


def test_refusals_of_an_outage_do_not_count_against_a_message(setup: Setup) -> None:
    for _ in range(2):
        session = setup.attached()
        assert not setup.drain.refused(session, "no")
    for _ in range(2):
        session = setup.attached()
        assert not setup.drain.refused(session, "no", others_taken=True)
    session = setup.attached()
    assert setup.drain.refused(session, "no", others_taken=True)
    assert setup.queue.events[-1][1] == SeqRange(1, 2)


# One message, or everything.


class Upstream:
    """Refuses some records, or all while it is down; answers one after another.

    Args:
        closes: Each refusal ends the session.
    """

    def __init__(
        self,
        setup: Setup,
        *poison: int,
        down: bool = False,
        window: int = 100,
        closes: bool = False,
    ) -> None:
        self.setup = setup
        self.poison = {b"%d" % number for number in poison}
        self.down = down
        self.window = window
        self.closes = closes
        self.taken: list[int] = []

    def refuses(self, payload: bytes) -> bool:
        return self.down or payload in self.poison

    def session(self) -> None:
        """Take a session until it is ended, or everything is answered."""
        drain = self.setup.drain
        session = Session(self.window)
        drain.attach(session)
        answered = 0
        while answered < len(session.sent):
            behind = [self.refuses(payload) for payload in session.sent[answered:]]
            if not behind[0]:
                self.taken.append(int(session.sent[answered]))
                if not drain.acknowledged(session, 1):
                    break
            else:
                known = behind[:1] if self.closes else behind
                in_row = (*known, False).index(False)
                goes_on = drain.refused(
                    session, "500 no", in_row=in_row, others_taken=not all(known)
                )
                if self.closes or not goes_on:
                    break
            answered += 1
            session.room += 1
            drain.pump()
        drain.detach(session)

    def sessions(self, count: int) -> None:
        for _ in range(count):
            self.session()

    @property
    def set_aside(self) -> list[int]:
        return [event[1].start for event in self.setup.queue.events if len(event) == 3]


WAYS = [
    pytest.param({}, id="window"),
    pytest.param({"window": 1}, id="one at a time"),
    pytest.param({"window": 1, "closes": True}, id="each refusal ends the session"),
]


@pytest.mark.parametrize("way", WAYS)
def test_one_message_that_is_refused_is_put_aside_and_the_others_arrive(
    setup: Setup, way: dict[str, Any]
) -> None:
    upstream = Upstream(setup, 4, **way)
    upstream.sessions(6)
    assert upstream.set_aside == [4]
    assert sorted(set(upstream.taken)) == [1, 2, 3, *range(5, 11)]
    assert setup.queue.events[-1] == ("d", 11)


@pytest.mark.parametrize("way", WAYS)
def test_several_in_a_row_that_are_refused_are_put_aside(setup: Setup, way: dict[str, Any]) -> None:
    upstream = Upstream(setup, 4, 5, 6, **way)
    upstream.sessions(20)
    assert upstream.set_aside == [4, 5, 6]
    assert setup.queue.events[-1] == ("d", 11)


@pytest.mark.parametrize("poison", [10, 1])
@pytest.mark.parametrize("way", WAYS)
def test_the_first_and_the_last_message_may_be_the_one(
    setup: Setup, way: dict[str, Any], poison: int
) -> None:
    upstream = Upstream(setup, poison, **way)
    upstream.sessions(6)
    assert upstream.set_aside == [poison]
    assert setup.drain.acknowledged_seq == 11


@pytest.mark.parametrize("way", WAYS)
def test_a_few_at_the_end_are_put_aside_though_nothing_waits_behind_them(
    setup: Setup, way: dict[str, Any]
) -> None:
    upstream = Upstream(setup, 9, 10, **way)
    upstream.sessions(20)
    assert upstream.set_aside == [9, 10]
    assert setup.drain.acknowledged_seq == 11


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outage", [1, 2, 3, 5, 8, 30, 200])
def test_an_upstream_that_refuses_everything_for_a_while_gets_everything_in_order(
    setup: Setup, way: dict[str, Any], outage: int
) -> None:
    setup.disk.stop = 61
    setup.drain.stored(61)
    upstream = Upstream(setup, down=True, **way)
    upstream.sessions(outage)
    assert upstream.set_aside == []
    assert setup.drain.acknowledged_seq == 1
    upstream.down = False
    upstream.sessions(6)
    assert upstream.set_aside == []
    taken = upstream.taken
    if "closes" in way and taken[0] != 1:
        taken = taken[1:]  # told that it is up again, and comes again in its place
    assert taken == list(range(1, 61))
    assert setup.drain.acknowledged_seq == 61


@given(st.data())
def test_only_what_is_always_refused_is_put_aside(data: st.DataObject) -> None:
    """However an upstream refuses things, before an outage and in it, all the rest arrives."""
    setup = Setup()
    setup.disk.stop = 41
    setup.drain.stored(41)
    poison = data.draw(st.sets(st.integers(1, 30), max_size=4))
    upstream = Upstream(setup, *poison)
    downs = data.draw(st.lists(st.booleans(), max_size=12))
    for upstream.down in sorted(downs):  # it goes down, and comes back at the end
        upstream.window = data.draw(st.sampled_from([1, 2, 5, 100]))
        upstream.closes = data.draw(st.booleans())
        upstream.sessions(data.draw(st.integers(1, 8)))
        assert {*upstream.set_aside} <= poison
    upstream.down = False
    upstream.sessions(400)
    assert {*upstream.set_aside} == poison
    assert {*upstream.taken} == {*range(1, 41)} - poison
    assert setup.drain.acknowledged_seq == 41


def test_twenty_refused_in_one_session_are_everything(setup: Setup) -> None:
    setup.disk.stop = 61
    setup.drain.stored(61)
    upstream = Upstream(setup, down=True)
    upstream.session()
    assert setup.upstream.is_held
    assert setup.changes == [
        "refuses everything since 1970-01-01 00:00:00 UTC: 500 no; the queue is kept and "
        "nothing more is set aside"
    ]
    session = setup.attached()
    assert session.sent == [b"1"]  # one at a time, until it takes something
    setup.drain.acknowledged(session, 1)
    assert session.sent == numbers(1, 60)
    assert setup.changes[1:] == ["takes messages again"]


def test_fewer_that_are_all_that_wait_are_kept_until_one_is_taken(setup: Setup) -> None:
    upstream = Upstream(setup, down=True, window=1)
    upstream.sessions(200)
    assert upstream.set_aside == []
    assert setup.upstream.state.startswith("refuses all that it was sent (10 messages) since 1970")


def test_a_message_that_is_refused_when_the_upstream_is_up_again_is_put_aside(
    setup: Setup,
) -> None:
    setup.disk.stop = 61
    setup.drain.stored(61)
    upstream = Upstream(setup, 1, down=True)
    upstream.sessions(5)
    assert setup.upstream.is_held
    upstream.down = False
    upstream.sessions(30)
    assert upstream.set_aside == [1]
    assert upstream.taken == [2, *range(2, 61)]  # the one that told is sent once more


def test_one_message_after_another_that_comes_alone(setup: Setup) -> None:
    """Only the first are put aside: then it is less and less likely that it is the message."""
    upstream = Upstream(setup, *range(10, 100))
    upstream.sessions(5)
    for stored in range(12, 40):
        setup.disk.stop = stored
        setup.drain.stored(stored)
        upstream.sessions(5)
    assert upstream.set_aside == [10, 11, 12]
    assert setup.upstream.is_held
    assert setup.upstream.state.startswith("refuses all that it was sent (")


def test_suspects_that_leave_the_queue_are_forgotten(setup: Setup) -> None:
    upstream = Upstream(setup, 1, 2, 3, window=1)
    upstream.sessions(6)  # 1 and 2 were refused often enough
    assert upstream.set_aside == []
    setup.drain.evicted(3, "queue-full")
    upstream.sessions(3)
    assert upstream.set_aside == [3]
    assert upstream.taken == [4, *range(4, 11)]


def test_a_purge_of_suspects_leaves_the_rest(setup: Setup) -> None:
    upstream = Upstream(setup, 1, 2, 3, window=1)
    upstream.sessions(6)
    setup.drain.hold("purge")
    setup.drain.skip(2)
    setup.drain.release("purge")
    upstream.sessions(6)
    assert upstream.set_aside == [2, 3]
    assert upstream.taken == [4, *range(4, 11)]


def test_a_damaged_block_behind_suspects_is_set_aside_after_them(setup: Setup) -> None:
    setup.disk.damaged = range(3, 5)
    upstream = Upstream(setup, 1, 2, window=1)
    upstream.sessions(7)
    assert upstream.set_aside == [1, 2, 3]
    assert upstream.taken == list(range(5, 11))


def test_a_damaged_block_is_set_aside_after_what_lies_before_it(setup: Setup) -> None:
    setup.disk.damaged = range(5, 8)
    session = setup.attached()
    assert (session.sent, setup.trouble) == (numbers(1, 4), [])
    setup.drain.acknowledged(session, 4)
    assert setup.queue.events == [("d", 5), ("d", SeqRange(5, 8), "checksum")]
    assert session.sent == [*numbers(1, 4), *numbers(8, 10)]
    setup.drain.acknowledged(session, 3)
    assert setup.queue.events[-1] == ("d", 11)
    assert setup.drain.in_flight == 0


def test_a_damaged_block_at_the_head(setup: Setup) -> None:
    setup.disk.damaged = range(1, 11)
    session = setup.attached()
    assert session.sent == []
    assert setup.queue.events == [("d", SeqRange(1, 11), "checksum")]
    setup.disk.stop = 12
    setup.drain.stored(12)
    assert session.sent == [b"11"]


def test_a_failing_queue_is_read_again(setup: Setup) -> None:
    setup.disk.error = QueueError("input/output error")
    session = setup.attached()
    assert setup.trouble == ["input/output error"]
    setup.disk.error = None
    setup.clock.advance(1)
    assert session.sent == numbers(1, 10)


def test_a_hole_in_the_queue_does_not_make_it_run_in_circles(setup: Setup) -> None:
    setup.disk.missing = True
    setup.attached()
    assert setup.trouble == []  # it may have left: we would hear of that
    setup.clock.advance(1)
    setup.clock.advance(1)
    assert setup.trouble == 2 * ["record 1 is missing, reading again"]


def test_no_read_after_the_end(setup: Setup) -> None:
    setup.disk.error = QueueError("input/output error")
    setup.attached()
    assert fired(setup.drain.finish()) == [None]
    assert setup.clock.getDelayedCalls() == []


def test_finishing_sends_no_more_and_waits_for_answers(setup: Setup) -> None:
    session = setup.attached(room=3)
    results = fired(setup.drain.finish())
    session.room = 100
    setup.drain.pump()
    setup.drain.acknowledged(session, 2)
    assert (session.sent, results) == (numbers(1, 3), [])
    setup.drain.acknowledged(session, 1)
    assert results == [None]


def test_finishing_needs_no_session(setup: Setup) -> None:
    assert fired(setup.drain.finish()) == [None]
    session = setup.attached()
    assert session.sent == []


def test_finishing_ends_with_the_session(setup: Setup) -> None:
    session = setup.attached()
    results = fired(setup.drain.finish())
    setup.drain.detach(session)
    assert results == [None]


def test_finishing_ends_when_the_last_record_is_set_aside(setup: Setup) -> None:
    session = setup.attached(room=1)
    results = fired(setup.drain.finish())
    for _ in range(3):
        setup.drain.refused(session, "no")
    assert results == [None]


def test_finishing_during_a_read_sends_nothing(setup: Setup) -> None:
    setup.disk.slow = True
    session = setup.attached()
    assert fired(setup.drain.finish()) == [None]
    setup.disk.finish()
    assert session.sent == []


def test_a_finish_that_was_given_up_may_still_be_answered(setup: Setup) -> None:
    session = setup.attached()
    finished = setup.drain.finish()
    finished.addErrback(lambda _: None)
    finished.cancel()
    setup.drain.acknowledged(session, 10)
    assert setup.queue.events == [("d", 11)]


# Held by somebody.


def test_nothing_is_sent_while_it_is_held_and_answers_count(setup: Setup) -> None:
    session = setup.attached(room=4)
    setup.drain.hold("hand")
    session.room = 100
    setup.drain.acknowledged(session, 2)
    setup.drain.stored(11)
    assert (session.sent, setup.queue.events) == (numbers(1, 4), [("d", 3)])
    setup.drain.release("hand")
    assert session.sent == numbers(1, 10)


def test_a_session_that_comes_while_it_is_held_begins_at_the_release(setup: Setup) -> None:
    setup.drain.hold("hand")
    session = setup.attached()
    assert session.sent == []
    setup.drain.release("hand")
    assert session.sent == numbers(1, 10)


def test_all_who_hold_it_have_to_release_it(setup: Setup) -> None:
    setup.drain.hold("hand")
    setup.drain.hold("purge")
    session = setup.attached()
    setup.drain.release("purge")
    assert (session.sent, setup.drain.is_held("hand")) == ([], True)
    setup.drain.release("hand")
    assert (session.sent, setup.drain.is_held("hand")) == (numbers(1, 10), False)


def test_a_release_without_a_session_waits_for_one(setup: Setup) -> None:
    setup.drain.hold("hand")
    setup.drain.release("hand")
    assert setup.attached().sent == numbers(1, 10)


@pytest.mark.parametrize("released_first", [True, False])
def test_held_during_a_read(setup: Setup, released_first: bool) -> None:
    setup.disk.slow = True
    session = setup.attached()
    setup.drain.hold("hand")
    if released_first:
        setup.drain.release("hand")
        setup.disk.slow = False
        setup.disk.finish()
    else:
        setup.disk.slow = False
        setup.disk.finish()
        assert session.sent == []
        setup.drain.release("hand")
    assert (session.sent, setup.trouble) == (numbers(1, 10), [])


def test_a_release_of_what_is_not_held_does_not_disturb_a_read(setup: Setup) -> None:
    setup.disk.slow = True
    session = setup.attached()
    setup.drain.release("hand")
    setup.disk.slow = False
    setup.disk.finish()
    assert session.sent == numbers(1, 10)


def test_what_left_by_other_ways_is_skipped(setup: Setup) -> None:
    session = setup.attached(room=2)
    setup.drain.acknowledged(session, 2)
    setup.drain.hold("purge")
    setup.drain.skip(8)
    assert (setup.drain.acknowledged_seq, setup.queue.events) == (8, [("d", 3)])
    session.room = 100
    setup.drain.release("purge")
    assert session.sent == [*numbers(1, 2), *numbers(8, 10)]
    setup.drain.acknowledged(session, 1)
    assert setup.queue.events == [("d", 3), ("d", 9)]
    assert setup.drain.resent_records == 0


def test_what_left_while_there_was_no_session_is_skipped(setup: Setup) -> None:
    setup.drain.detach(setup.attached())
    setup.drain.hold("purge")
    setup.drain.skip(11)
    setup.drain.release("purge")
    assert setup.attached().sent == []
    setup.disk.stop = 12
    setup.drain.stored(12)
    assert setup.attached().sent == [b"11"]


def test_what_the_upstream_says_it_has_waits_while_records_are_taken_out(setup: Setup) -> None:
    setup.drain.hold("purge")
    setup.drain.skip_to(6)
    session = setup.attached()
    setup.drain.skip(3)
    assert (setup.queue.events, setup.drain.acknowledged_seq) == ([], 3)
    setup.drain.release("purge")
    assert (setup.queue.events, session.sent) == ([("d", 6)], numbers(6, 10))
    setup.drain.acknowledged(session, 5)
    assert setup.queue.events == [("d", 6), ("d", 11)]


def test_what_was_taken_out_is_not_acknowledged_as_well(setup: Setup) -> None:
    setup.drain.hold("purge")
    setup.drain.skip_to(6)
    setup.drain.skip(8)
    setup.drain.release("purge")
    assert (setup.queue.events, setup.attached().sent) == ([], numbers(8, 10))


def test_what_is_in_flight_cannot_be_skipped(setup: Setup) -> None:
    setup.attached()
    setup.drain.hold("purge")
    with pytest.raises(AssertionError):
        setup.drain.skip(8)


def test_damage_that_is_found_while_it_is_held_is_left_for_later(setup: Setup) -> None:
    setup.disk.damaged = range(1, 4)
    setup.disk.slow = True
    session = setup.attached()
    setup.drain.hold("purge")
    setup.disk.slow = False
    setup.disk.finish()
    assert setup.queue.events == []
    setup.drain.skip(3)
    setup.drain.release("purge")
    assert setup.queue.events == [("d", SeqRange(3, 4), "checksum")]
    assert session.sent == numbers(4, 10)


def test_the_three_positions_can_be_asked_for(setup: Setup) -> None:
    drain = setup.drain
    assert (drain.acknowledged_seq, drain.sent_seq, drain.stored_seq) == (1, 1, 11)
    session = setup.attached(room=4)
    drain.acknowledged(session, 3)
    assert (drain.acknowledged_seq, drain.sent_seq, drain.stored_seq) == (4, 5, 11)


def test_what_the_upstream_has_already_is_not_sent(setup: Setup) -> None:
    first = setup.attached(room=4)
    setup.drain.detach(first)
    setup.drain.skip_to(4)
    assert (setup.queue.events, setup.progress) == ([("d", 4)], 1)
    assert setup.attached().sent == numbers(4, 10)


def test_no_more_is_in_flight_than_the_window_allows() -> None:
    setup = Setup(window=4)
    session = setup.attached()
    assert session.sent == numbers(1, 4)
    setup.drain.acknowledged(session, 3)
    assert session.sent == numbers(1, 7)
    setup.drain.detach(session)
    assert setup.attached().sent == numbers(4, 7)


def test_a_rate_is_kept_and_nothing_has_to_call_for_it_to_go_on() -> None:
    setup = Setup(rate=DrainRate(bytes_per_second=20))  # a record has one byte, a batch two
    session = setup.attached()
    for _ in range(100):
        setup.clock.advance(0.01)
    assert 5 <= len(session.sent) <= 10
    assert session.sent == numbers(1, len(session.sent))
    setup.clock.pump([0.1] * 20)
    assert session.sent == numbers(1, 10)


def test_a_rate_is_no_reason_to_go_on_after_the_end() -> None:
    setup = Setup(rate=DrainRate(bytes_per_second=20))
    session = setup.attached()
    finished = fired(setup.drain.finish())
    setup.drain.detach(session)
    assert finished == [None]
    setup.clock.pump([0.1] * 20)
    assert session.sent == []


# Records that leave undelivered, see test_eviction.py too.


def test_what_has_left_is_not_sent(setup: Setup) -> None:
    setup.drain.evicted(5, "too-old")
    session = setup.attached()
    assert session.sent == numbers(5, 10)
    setup.drain.acknowledged(session, 6)
    assert setup.queue.events == [("d", 11)]


def test_what_is_in_flight_may_leave_and_be_answered_late(setup: Setup) -> None:
    session = setup.attached(room=4)
    setup.drain.evicted(3, "queue-full")
    setup.drain.evicted(7, "too-old")
    assert setup.drain.in_flight == 4
    session.room = 100
    setup.drain.pump()
    assert session.sent == numbers(1, 4) + numbers(7, 10)
    setup.drain.acknowledged(session, 3)
    setup.drain.acknowledged(session, 3)
    assert setup.queue.events == [
        *(("d", "2 late", "queue-full"), ("d", "1 late", "too-old")),
        *(("d", "1 late", "too-old"), ("d", 9)),
    ]
    assert setup.drain.in_flight == 2


def test_what_was_answered_before_it_left_is_not_answered_late(setup: Setup) -> None:
    session = setup.attached(room=4)
    setup.drain.acknowledged(session, 4)
    setup.drain.evicted(4, "queue-full")
    assert setup.drain.in_flight == 0
    assert setup.queue.events == [("d", 5)]


def test_what_had_left_before_it_was_refused_is_not_set_aside(setup: Setup) -> None:
    session = setup.attached(room=1)
    setup.drain.evicted(2, "queue-full")
    assert setup.drain.refused(session, "no")
    assert (setup.queue.events, setup.drain.in_flight) == ([], 0)


def test_a_new_session_knows_nothing_of_what_had_left(setup: Setup) -> None:
    session = setup.attached(room=4)
    setup.drain.evicted(3, "queue-full")
    setup.drain.detach(session)
    assert setup.drain.in_flight == 0
    again = setup.attached()
    assert again.sent == numbers(3, 10)
    setup.drain.acknowledged(again, 8)
    assert setup.queue.events == [("d", 11)]


def test_what_leaves_during_a_read_is_not_missed(setup: Setup) -> None:
    setup.disk.slow = True
    session = setup.attached()
    setup.drain.evicted(9, "queue-full")
    setup.disk.finish()
    setup.disk.finish()
    assert session.sent == numbers(9, 10)
    assert setup.trouble == []


# Records that leave while others hold the drain.


def test_what_the_upstream_had_when_it_left_counts_as_late(setup: Setup) -> None:
    setup.drain.hold(BY_PURGE)
    setup.drain.skip_to(4)
    setup.drain.evicted(7, "queue-full")
    setup.drain.release(BY_PURGE)
    assert setup.queue.events == [("d", "3 late", "queue-full")]
    assert setup.attached().sent == numbers(7, 10)


def test_what_leaves_and_what_the_upstream_had_go_together(setup: Setup) -> None:
    setup.drain.hold(BY_PURGE)
    setup.drain.skip_to(6)
    setup.drain.evicted(3, "queue-full")
    setup.drain.release(BY_PURGE)
    assert setup.queue.events == [("d", "2 late", "queue-full"), ("d", 6)]
    assert setup.attached().sent == numbers(6, 10)


def test_what_is_taken_out_by_hand_waits_for_answers_to_what_had_left(setup: Setup) -> None:
    session = setup.attached(room=2)
    setup.drain.hold(BY_PURGE)
    setup.drain.evicted(5, "queue-full")
    assert (setup.drain.in_flight, session.sent) == (2, numbers(1, 2))
    setup.drain.acknowledged(session, 2)
    setup.drain.skip(8)
    session.room = 100
    setup.drain.release(BY_PURGE)
    assert session.sent == numbers(1, 2) + numbers(8, 10)
    assert setup.queue.events == [("d", "2 late", "queue-full")]


class Watch:
    """What a drain tells the one that follows its records."""

    def __init__(self, drain: Any) -> None:
        self.events: list[Any] = []
        drain.watch = self

    def stored(self, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        self.events.append(("stored", seqs.start, seqs.stop, len(payloads)))

    def sent(self, seqs: SeqRange, payloads: Sequence[bytes]) -> None:
        self.events.append(("sent", seqs.start, seqs.stop, len(payloads)))

    def acknowledged(self, start: int, upto: int) -> None:
        self.events.append(("acknowledged", start, upto))


class AtOnce(Session):
    """Answers while it is sent to."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.setup = setup

    def send(self, payloads: Sequence[bytes]) -> None:
        super().send(payloads)
        self.setup.drain.acknowledged(self, len(payloads))


def test_a_watch_is_told_of_every_record_on_its_way(setup: Setup) -> None:
    watch = Watch(setup.drain)
    session = setup.attached(room=3)
    setup.drain.acknowledged(session, 2)
    setup.drain.detach(session)
    again = setup.attached(room=4)
    setup.drain.acknowledged(again, 4)
    setup.drain.stored(13, [b"11", b"12"])
    setup.drain.stored(14)
    assert watch.events == [
        ("sent", 1, 4, 3),
        ("acknowledged", 1, 3),
        ("sent", 3, 7, 4),
        ("acknowledged", 3, 7),
        ("stored", 11, 13, 2),
        ("stored", 13, 14, 0),
    ]


def test_a_watch_knows_a_record_before_it_is_acknowledged(setup: Setup) -> None:
    watch = Watch(setup.drain)
    setup.drain.attach(AtOnce(setup))
    kinds = [event[0] for event in watch.events]
    assert kinds[:2] == ["sent", "acknowledged"]
    assert watch.events[-1][-1] == 11


def test_a_watch_is_told_of_what_the_upstream_says_that_it_has(setup: Setup) -> None:
    watch = Watch(setup.drain)
    setup.drain.skip_to(6)
    assert watch.events == [("acknowledged", 1, 6)]


def test_a_watch_is_not_told_that_evicted_records_were_acknowledged(setup: Setup) -> None:
    watch = Watch(setup.drain)
    session = setup.attached(room=10)
    setup.drain.evicted(5, "queue-full")
    setup.drain.acknowledged(session, 10)
    assert ("acknowledged", 5, 11) in watch.events
    assert not any(event[0] == "acknowledged" and event[1] < 5 for event in watch.events)
