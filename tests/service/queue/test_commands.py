from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock

from relay.flow.drain import Drain
from relay.model.errors import QueueError, QueueFull, RelayError
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.cursor import Cursor
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, Transaction
from relay.service.queue.commands import QueueTools
from tests.connections import fired
from tests.flow_fakes import new_drain, new_refusals
from tests.queue_files import append, opened, set_aside
from tests.queue_roles import AllRoles


class Queue(AllRoles):
    """A store whose changes are done at once."""

    def __init__(self, store: QueueStore) -> None:
        self.store = store
        self.error: Exception | None = None
        self.subscribers: dict[str, Callable[[int], None]] = {}

    @property
    def ledgers(self) -> dict[str, Ledger]:
        return self.store.ledgers

    def look(self, reading: Any) -> Deferred[Any]:
        return execute(self.store.look, reading)

    def operate(self, operation: Any) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        try:
            changed, result = self.store.operate(operation, at=100.0)
        except QueueError as error:
            return fail(error)
        self._tell(changed)
        return succeed(result)

    def append(self, payloads: Mapping[str, Sequence[bytes]]) -> Deferred[None]:
        self._tell(self.store.commit(Transaction(100.0, payloads)))
        return succeed(None)

    def acknowledge(self, destination: str, upto: int) -> None:
        self.store.commit(Transaction(100.0, removals={destination: Removal(upto)}))

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        raise NotImplementedError

    def set_aside(self, *_: object) -> None:
        raise AssertionError

    def _tell(self, changed: Mapping[str, Ledger]) -> None:
        for id, ledger in changed.items():
            if id in self.subscribers:
                self.subscribers[id](ledger.next_seq)


class Session:
    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []

    def send(self, payloads: Sequence[bytes]) -> None:
        self.room -= len(payloads)
        self.sent += payloads


class Destination:
    """A drain, and a link that can be broken or not."""

    def __init__(self, id: str, queue: Queue, clock: Clock) -> None:
        self.id = id
        self.broken: list[str] = []
        self.session: Session | None = None
        self.can_be_broken = True
        self.clock = clock
        self.drain = self.new_drain(id, queue)
        self.second: Drain | None = None

    def new_drain(self, id: str, queue: Queue) -> Drain:
        ledger = queue.ledgers[id]
        drain = new_drain(
            id,
            cursor=Cursor(queue.store, id, position=ledger.acknowledged_seq, run_in_thread=execute),
            queue=queue,
            begins=ledger.acknowledged_seq,
            ends=ledger.next_seq,
            refusals=new_refusals(3),
            clock=self.clock,
        )
        queue.subscribers[id] = drain.stored
        return drain

    def attach(self, room: int = 100) -> Session:
        self.session = Session(room)
        self.drain.attach(self.session)
        return self.session

    def drain_of(self, queue: str) -> Drain | None:
        return self.drain if queue == self.id else self.second

    def break_link(self, why: str) -> None:
        self.broken.append(why)
        if self.can_be_broken and self.session is not None:
            self.drain.detach(self.session)


class Setup:
    """Destinations a and b with three records each, and an orphan with four."""

    def __init__(self, store: QueueStore) -> None:
        self.clock = Clock()
        self.limits: dict[str, QueueLimit] = {}
        append(store, a=[b"1", b"2", b"3"], b=[b"x", b"y", b"z"], old=[b"o"] * 4)
        self.queue = Queue(store)
        self.admission = Admission(pending_bytes_max=100, queue_bytes_max=100)
        self.a, self.b = (Destination(id, self.queue, self.clock) for id in "ab")
        self.tools = QueueTools(
            queue=self.queue,
            destinations=[self.a, self.b],
            admission=self.admission,
            clock=self.clock,
            limits=self.limits,
        )

    def limit(self, id: str, when_full: str, *, room: int) -> QueueLimit:
        """Give `id` a limit of 100,000 bytes with `room` left, as the committer would."""
        limit = QueueLimit(destination=id, bytes_max=100_000, when_full=when_full)
        limit.settle(0, 100_000 - room)
        self.limits[id] = limit
        return limit

    def ask(self, command: str, **arguments: Any) -> list[Any]:
        """What the answer is so far, fit for JSON: nothing, a result or an error."""
        asked = self.tools.commands()[command]
        try:
            answer = asked.answer(msgspec.convert(arguments, type=asked.arguments))
        except RelayError as error:
            return [error]
        return fired(answer) if isinstance(answer, Deferred) else [answer]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    with opened(tmp_path, "a", "b", "old") as store:
        yield Setup(store)


def said(answer: list[Any]) -> str:
    assert isinstance(answer[0], RelayError), answer
    return str(answer[0])


def waiting(setup: Setup, id: str) -> list[bytes]:
    start = setup.queue.ledgers[id].acknowledged_seq
    return setup.queue.store.read(id, start=start, records_max=99, bytes_max=9999)


def test_reading_is_offered(setup: Setup) -> None:
    (accounts,) = setup.ask("queue-accounts")
    assert [account.id for account in accounts] == ["a", "b", "old"]
    (page,) = setup.ask("queue-read", queue="a", start=2)
    assert [record.payload for record in page.records] == [b"2", b"3"]
    assert "there is no queue 'c'" in said(setup.ask("queue-read", queue="c"))


def test_messages_are_appended(setup: Setup) -> None:
    session = setup.a.attach()
    (appended,) = setup.ask("queue-append", destination="a", payloads=["NA==", "", "NQ=="])
    assert (appended, session.sent[3:]) == (2, [b"4", b"5"])
    assert "no destination 'old'" in said(setup.ask("queue-append", destination="old", payloads=[]))


def test_nothing_is_appended_while_the_queue_is_full(setup: Setup) -> None:
    setup.admission.set_queue_bytes(100)
    answer = setup.ask("queue-append", destination="a", payloads=["NA=="])
    assert said(answer).startswith("the queue takes nothing now: the queue holds 100 B")


# Purging.


def test_a_backlog_is_purged_and_the_drain_goes_on_behind_it(setup: Setup) -> None:
    (done,) = setup.ask("queue-purge", queue="a")
    assert (done.records, done.upto, done.left) == (3, 4, 0)
    assert setup.queue.ledgers["a"].dropped == {"operator": 3}
    session = setup.a.attach()
    setup.ask("queue-append", destination="a", payloads=["NA=="])
    assert session.sent == [b"4"]
    setup.a.drain.acknowledged(session, 1)
    ledger = setup.queue.ledgers["a"]
    assert (ledger.delivered, ledger.queued, ledger.gap) == (1, 0, 0)


def test_a_purge_waits_for_answers_that_are_on_their_way(setup: Setup) -> None:
    session = setup.a.attach(room=2)
    answer = setup.ask("queue-purge", queue="a", reason="asked")
    session.room = 9
    assert (answer, session.sent) == ([], [b"1", b"2"])
    setup.a.drain.acknowledged(session, 2)
    setup.clock.advance(0.05)
    assert answer[0].records == 1
    ledger = setup.queue.ledgers["a"]
    assert (ledger.delivered, ledger.dropped, setup.a.broken) == (2, {"asked": 1}, [])
    assert session.sent == [b"1", b"2"]


def settle(setup: Setup, seconds: float) -> None:
    for _ in range(round(seconds / 0.05)):
        setup.clock.advance(0.05)


def test_an_upstream_that_does_not_answer_is_cut_off(setup: Setup) -> None:
    session = setup.a.attach()
    answer = setup.ask("queue-purge", queue="a")
    settle(setup, 2.2)
    assert setup.a.broken == ["its queue is being purged, and it does not answer"]
    assert answer[0].records == 3
    setup.a.drain.acknowledged(session, 3)  # too late: the session is gone
    ledger = setup.queue.ledgers["a"]
    assert (ledger.delivered, ledger.dropped, ledger.gap) == (0, {"operator": 3}, 0)
    assert setup.a.attach().sent == []


def test_what_cannot_be_called_back_is_not_purged(setup: Setup) -> None:
    setup.a.can_be_broken = False
    session = setup.a.attach(room=2)
    answer = setup.ask("queue-purge", queue="a")
    settle(setup, 4)
    assert said(answer).startswith("a does not answer for 2 records on the way to it")
    session.room = 9
    setup.a.drain.acknowledged(session, 2)
    assert session.sent == [b"1", b"2", b"3"]
    assert setup.queue.ledgers["a"].dropped == {}


def test_a_purge_that_fails_lets_the_drain_go_on(setup: Setup) -> None:
    setup.queue.error = QueueFull("no space")
    assert said(setup.ask("queue-purge", queue="a")) == "no space"
    assert setup.a.attach().sent == [b"1", b"2", b"3"]
    setup.queue.error = None
    assert setup.ask("queue-purge", queue="b")[0].records == 3


def test_a_pause_by_hand_outlives_a_purge(setup: Setup) -> None:
    setup.a.drain.hold("hand")
    setup.ask("queue-purge", queue="a")
    session = setup.a.attach()
    setup.ask("queue-append", destination="a", payloads=["NA=="])
    assert session.sent == []
    setup.a.drain.release("hand")
    assert session.sent == [b"4"]


def test_one_purge_at_a_time(setup: Setup) -> None:
    session = setup.a.attach()
    first = setup.ask("queue-purge", queue="a")
    assert "another command is at work on it" in said(setup.ask("queue-purge", queue="a"))
    assert setup.ask("queue-purge", queue="b")[0].records == 3
    setup.a.drain.acknowledged(session, 3)
    setup.clock.advance(0.05)
    assert first[0].records == 0
    assert setup.ask("queue-purge", queue="a")[0].records == 0


def test_only_what_was_there_at_first_is_purged(setup: Setup) -> None:
    setup.ask("queue-append", destination="a", payloads=["NA=="])
    (done,) = setup.ask("queue-purge", queue="a", upto=3)
    assert (done.records, waiting(setup, "a")) == (2, [b"3", b"4"])


def test_a_long_backlog_takes_several_questions(setup: Setup) -> None:
    for _ in range(3):
        append(setup.queue.store, old=[b"-"] * 10_000)

    class Slow(Queue):
        def operate(self, operation: Any) -> Deferred[Any]:
            setup.clock.advance(1.5)
            return super().operate(operation)

    setup.tools.queue = Slow(setup.queue.store)
    (done,) = setup.ask("queue-purge", queue="old")
    assert (done.records, done.left, done.upto) == (20_000, 10_004, 30_005)
    append(setup.queue.store, old=[b"new"])
    (done,) = setup.ask("queue-purge", queue="old", upto=done.upto)
    assert (done.records, done.left) == (10_004, 0)
    assert waiting(setup, "old") == [b"new"]


@pytest.mark.parametrize("queue", ["none", "source/in"])
def test_only_queues_are_purged(setup: Setup, queue: str) -> None:
    assert "there is no queue" in said(setup.ask("queue-purge", queue=queue))


# Adopting.


def test_an_orphan_is_adopted_and_sent(setup: Setup) -> None:
    session = setup.a.attach()
    (done,) = setup.ask("queue-adopt", orphan="old", to="a")
    assert (done.records, done.left) == (4, 0)
    assert session.sent[3:] == [b"o"] * 4
    assert setup.queue.ledgers["old"].received == 0


@pytest.mark.parametrize(
    ("orphan", "to", "text"),
    [
        ("a", "b", "a is no orphan"),
        ("old", "old", "no destination 'old'"),
        ("none", "a", "there is no queue 'none'"),
    ],
)
def test_what_cannot_be_adopted(setup: Setup, orphan: str, to: str, text: str) -> None:
    assert text in said(setup.ask("queue-adopt", orphan=orphan, to=to))


def test_a_lane_is_purged_as_a_queue_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path, "a", "b", "old", "lane/a", "lane/b") as store:
        setup = Setup(store)
        store.commit(Transaction(0.0, {"lane/a": [b"4", b"5"], "lane/b": [b"6"]}))
        second = setup.a.second = setup.a.new_drain("lane/a", setup.queue)
        assert "is no orphan" in said(setup.ask("queue-adopt", orphan="lane/a", to="a"))
        session = Session(1)
        second.attach(session)
        purged = setup.ask("queue-purge", queue="lane/a")
        setup.clock.advance(0.05)
        assert purged == []  # one of its records is on its way
        second.acknowledged(session, 1)
        setup.clock.advance(0.05)
        assert purged[0].records == 1
        assert not second.is_held("purge")
        assert [store.ledgers[id].queued for id in ("a", "lane/a")] == [3, 0]
        # b has one lane by now: what is left in its second queue is an orphan.
        assert setup.ask("queue-adopt", orphan="lane/b", to="b")[0].records == 1
        assert setup.ask("queue-purge", queue="lane/b")[0].records == 0


# Quarantines.


def test_what_was_set_aside_is_purged_or_sent_again(setup: Setup) -> None:
    set_aside(setup.queue.store, "old", 3)
    assert setup.ask("quarantine-purge", account="old", seqs=[1])[0].records == 1
    session = setup.a.attach()
    (done,) = setup.ask("quarantine-replay", account="old", to="a")
    assert (done.records, session.sent[3:]) == (2, [b"o"] * 2)
    assert setup.queue.ledgers["old"].dropped == {"operator": 1}
    for command, arguments in (("purge", {}), ("replay", {"to": "a"})):
        answer = setup.ask(f"quarantine-{command}", account="none", **arguments)
        assert "there is no quarantine 'none'; there is: a, b, old" in said(answer)
    answer = setup.ask("quarantine-replay", account="old", to="old")
    assert "there is no destination 'old'" in said(answer)


def test_what_is_refused_again_is_not_replayed_again_at_once(setup: Setup) -> None:
    set_aside(setup.queue.store, "a", 1)
    (done,) = setup.ask("quarantine-replay", account="a", to="a", upto=2**60)
    assert (done.records, done.next_seq) == (1, 0)
    assert waiting(setup, "a") == [b"2", b"3", b"1"]


# Limits.


@pytest.mark.parametrize("when_full", ["block", "drop-newest", "drop-by-severity"])
def test_nothing_is_put_into_a_queue_that_is_full(setup: Setup, when_full: str) -> None:
    set_aside(setup.queue.store, "b", 1)
    setup.limit("a", when_full, room=0)
    text = (
        "the queue of a has room for 0 B (queue_bytes_max of destinations.a is 97.7 KiB, "
        f"when_full '{when_full}'): no more is put there, and what is left stays where it is"
    )
    for command, arguments in (
        ("queue-append", {"destination": "a", "payloads": ["NA=="]}),
        ("queue-adopt", {"orphan": "old", "to": "a"}),
        ("quarantine-replay", {"account": "b", "to": "a"}),
        ("quarantine-replay", {"account": "b", "to": "a", "seqs": [1]}),
    ):
        assert said(setup.ask(command, **arguments)).startswith(text)
    assert waiting(setup, "a") == [b"1", b"2", b"3"]
    assert waiting(setup, "old") == [b"o"] * 4
    assert setup.queue.ledgers["b"].quarantined == 1
    assert setup.queue.ledgers["a"].dropped == {}


def test_what_does_not_fit_is_not_put_there_in_part(setup: Setup) -> None:
    limit = setup.limit("a", "block", room=9)
    two = ["NA==", "NA=="]  # five bytes each, with their length
    assert "has room for 9 B" in said(setup.ask("queue-append", destination="a", payloads=two))
    limit.settle(0, 99_990)
    assert setup.ask("queue-append", destination="a", payloads=two)[0] == 2


def test_an_adoption_ends_at_the_limit_and_says_so_when_it_is_asked_again(setup: Setup) -> None:
    for number in range(20):
        append(setup.queue.store, old=[b"%d" % number * 500])
    limit = setup.limit("a", "drop-newest", room=3000)
    operate = setup.queue.operate

    def settling(operation: Any) -> Deferred[Any]:
        done = operate(operation)
        limit.settle(0, 97_000 + setup.queue.ledgers["a"].queued_bytes)
        return done

    setup.queue.operate = settling  # type: ignore[method-assign]
    (done,) = setup.ask("queue-adopt", orphan="old", to="a")
    assert done.records > 4 and done.left == 24 - done.records
    assert limit.size < limit.bytes_max + 1000  # one block more than the limit at most
    assert "has room for 0 B" in said(setup.ask("queue-adopt", orphan="old", to="a"))
    assert setup.queue.ledgers["old"].queued == done.left
    limit.settle(0, 0)
    assert setup.ask("queue-adopt", orphan="old", to="a")[0].left == 0
    limit.settle(0, 100_000)  # there is nothing that would need room
    assert setup.ask("queue-adopt", orphan="old", to="a")[0].left == 0


def test_a_replay_goes_as_far_as_there_is_room(setup: Setup) -> None:
    append(setup.queue.store, b=[b"%d" % number * 500 for number in range(5)])
    set_aside(setup.queue.store, "b", 8)
    limit = setup.limit("a", "block", room=2700)
    (done,) = setup.ask("quarantine-replay", account="b", to="a")
    assert (done.records, done.next_seq) == (6, 7)
    limit.settle(0, 99_100)
    (text,) = setup.ask("quarantine-replay", account="b", to="a", seqs=[7, 8])
    assert "may be moved to the queue of a at a time now; name fewer" in str(text)
    assert setup.queue.ledgers["b"].quarantined == 2


def test_where_the_oldest_leave_they_leave_for_this_too(setup: Setup) -> None:
    for _ in range(20):
        append(setup.queue.store, old=[b"x" * 1000])
    setup.limit("a", "drop-oldest", room=0)
    steps: list[Any] = []
    operate = setup.queue.operate

    def counting(operation: Any) -> Deferred[Any]:
        steps.append(operation.bytes_max)
        return operate(operation)

    setup.queue.operate = counting  # type: ignore[method-assign]
    (done,) = setup.ask("queue-adopt", orphan="old", to="a")
    assert (done.records, done.left) == (24, 0)
    # In steps: after each, the committer lets the oldest leave.
    assert steps == [12_500, 12_500]
