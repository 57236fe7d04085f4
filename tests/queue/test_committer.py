from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from relay.model.debug import COMMITS
from relay.model.errors import QueueError, QueueFull, QueueMisplaced, StorageFailed
from relay.model.seq import SeqRange
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, CommitPauses, Committer
from relay.queue.ledger import Ledger
from relay.queue.pending import COMMIT_BYTES_ENOUGH
from relay.queue.transaction import RECORD_BYTES, Eviction, Refusal, SetAside, Transaction
from tests.details import details
from tests.queue_listeners import OfAllQueues

FULL = QueueFull("the queue's map is full")


class SlowDisk:
    """A store and its thread.  A transaction ends when told."""

    def __init__(self) -> None:
        self.ledgers = {"a": Ledger(), "b": Ledger(queued_bytes=7)}
        self.tried: list[Any] = []
        self.received_at: list[float] = []
        self.transactions: list[Transaction] = []
        self.stored: dict[str, list[bytes]] = {"a": [], "b": []}
        self.destination_bytes: dict[str, int] = {}
        self.misplaced = ""
        self.leave: dict[str, int] = {}
        """Where a queue begins after an eviction."""
        self._error: Exception | None = None
        self._underway: list[Deferred[None]] = []

    @property
    def used_bytes(self) -> int:
        return sum(ledger.queued_bytes for ledger in self.ledgers.values())

    @property
    def busy(self) -> bool:
        return bool(self._underway)

    def run_in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        assert not self._underway, "two transactions at a time"
        begun: Deferred[None] = Deferred()
        self._underway.append(begun)
        return begun.addCallback(lambda _: call())

    def commit(self, transaction: Transaction) -> dict[str, Ledger]:
        self.received_at.append(transaction.received_at)
        self.transactions.append(transaction)
        removals = {
            destination: (removal.upto, removal.set_aside) if removal.set_aside else removal.upto
            for destination, removal in transaction.removals.items()
        }
        self.tried.append((dict(transaction.appends), removals))
        if self._error is not None:
            raise self._error
        changed = {
            destination: self._append(destination, payloads)
            for destination, payloads in transaction.appends.items()
            if payloads
        }
        for id in transaction.evictions:
            ledger = changed.get(id, self.ledgers[id])
            head = self.leave.get(id, ledger.acknowledged_seq)
            changed[id] = msgspec.structs.replace(ledger, acknowledged_seq=head)
        self.ledgers.update(changed)
        return changed

    def operate(self, operation: Any, *, at: float) -> tuple[dict[str, Ledger], Any]:
        self.received_at.append(at)
        self.tried.append(operation)
        if self._error is not None:
            raise self._error
        changed = {"b": self._append("b", [b"x"])}
        self.ledgers.update(changed)
        return changed, f"{operation} done"

    def probe(self) -> None:
        self.tried.append("probe")
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        self._error = None
        self._underway.pop().callback(None)

    def fail(self, error: Exception = FULL) -> None:
        self._error = error
        self._underway.pop().callback(None)

    def _append(self, destination: str, payloads: Sequence[bytes]) -> Ledger:
        self.stored[destination] += payloads
        ledger = self.ledgers[destination]
        return msgspec.structs.replace(
            ledger,
            next_seq=ledger.next_seq + len(payloads),
            queued_bytes=ledger.queued_bytes + sum(map(len, payloads)),
        )


class Relay:
    """A committer with everything it talks to."""

    def __init__(self, removal_seconds: float = 0.0, commit_seconds_min: float = 0.0) -> None:
        self.disk = SlowDisk()
        self.clock = Clock()
        self.admission = Admission(pending_bytes_max=10 + 3 * RECORD_BYTES, queue_bytes_max=1000)
        self.heard: list[Any] = []
        """What appends came to, what was said to be stored, and errors, as they came."""
        self.stored: list[Any] = []
        """What was said to be stored: destination, the number after it, payloads."""
        self.given_up: list[Any] = []
        self.committer = Committer(
            run_in_thread=self.disk.run_in_thread,
            now=self.clock.seconds,
            clock=self.clock,
            admission=self.admission,
            callbacks=CommitCallbacks(
                on_stored=OfAllQueues(self._stored),
                on_failure=self.heard.append,
                on_given_up=self.given_up.append,
            ),
            pauses=CommitPauses(removal=removal_seconds, commit=commit_seconds_min),
        )
        self.committer.start(self.disk)

    def _stored(self, destination: str, seq: int, payloads: Sequence[bytes]) -> None:
        self.heard.append((destination, seq))
        self.stored.append((destination, seq, payloads))

    def append(self, name: str, **payloads: list[bytes]) -> None:
        done = self.committer.append(payloads)
        done.addCallbacks(
            lambda _: self.heard.append(name),
            lambda failure: self.heard.append((name, type(failure.value))),
        )

    def operate(self, operation: Any) -> None:
        done = self.committer.operate(operation)
        done.addCallbacks(
            self.heard.append,
            lambda failure: self.heard.append((operation, str(failure.value))),
        )

    def close(self) -> None:
        closing = ensureDeferred(self.committer.close())
        closing.addCallback(lambda _: self.heard.append("closed"))

    def news(self) -> list[Any]:
        heard, self.heard[:] = list(self.heard), []
        return heard


@pytest.fixture
def relay() -> Relay:
    return Relay()


# Batching.


def test_a_lone_append_waits_for_its_commit_and_nothing_else(relay: Relay) -> None:
    relay.append("one", a=[b"1", b"2"])
    assert (relay.disk.busy, relay.news()) == (True, [])
    relay.disk.finish()
    assert relay.news() == ["one", ("a", 3)]
    assert not relay.disk.busy


def test_a_commit_is_told_to_those_who_ask(relay: Relay) -> None:
    with details(COMMITS) as lines:
        relay.append("one", a=[b"1", b"22"])
        relay.disk.finish()
    relay.append("two", a=[b"3"])
    relay.disk.finish()
    (line,) = lines
    assert line.startswith("commit: 2 records of ")
    assert line.endswith("in 1 appends, answers of 0 queues, limits of 0 queues")


def test_what_was_left_to_the_next_commit_waits_for_no_delay() -> None:
    relay = Relay(commit_seconds_min=1.0)
    relay.append("one", a=[b"1", b"2"])
    relay.append("two", a=[b"3" * COMMIT_BYTES_ENOUGH])
    relay.append("three", a=[b"4"])
    relay.disk.finish()
    relay.clock.advance(1.0)
    relay.disk.finish()
    assert relay.news() == ["one", ("a", 3), "two", ("a", 4)]
    assert relay.disk.busy
    relay.disk.finish()
    assert relay.news() == ["three", ("a", 5)]


def test_what_arrives_during_a_commit_becomes_the_next_one(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.append("two", a=[b"2", b"3"], b=[b"4"])
    relay.append("three", b=[b"5"])
    relay.committer.acknowledge("a", 2)
    relay.committer.acknowledge("b", 4)
    relay.committer.acknowledge("b", 3)
    relay.disk.finish()
    assert relay.news() == ["one", ("a", 2)]
    relay.disk.finish()
    news = relay.news()
    assert news[:2] == ["two", "three"]
    assert set(news[2:]) == {("a", 4), ("b", 3)}
    assert relay.disk.tried == [
        ({"a": [b"1"]}, {}),
        ({"a": [b"2", b"3"], "b": [b"4", b"5"]}, {"a": 2, "b": 4}),
    ]
    assert not relay.disk.busy


def test_what_was_stored_is_told_whole_with_the_number_after_it(relay: Relay) -> None:
    relay.append("one", b=[b"1"])
    relay.append("two", a=[b"2"])
    relay.append("three", a=[b"3", b"4"])
    relay.disk.finish()
    relay.disk.fail()
    assert relay.stored == [("b", 2, [b"1"])]  # nothing that is not on disk
    relay.disk.finish()
    relay.disk.finish()
    assert relay.stored[1:] == [("a", 2, [b"2"]), ("a", 4, [b"3", b"4"])]
    relay.operate("operation")
    relay.disk.finish()
    assert relay.stored[3:] == [("b", 3, ())]


def test_nobody_waits_longer_than_the_next_commit_however_many_others_come(relay: Relay) -> None:
    relay.append("first", a=[b"1"])
    for turn in range(5):
        names = [f"peer {turn}.{number}" for number in range(200)]
        for name in names:
            relay.append(name, a=[b"2"])
        relay.disk.finish()  # what came before these
        assert not set(names) & set(map(str, relay.news()))
        relay.append("later", a=[b"3"] * 1000)
        relay.disk.finish()  # these, all of them
        assert relay.news() == [*names, ("a", relay.disk.ledgers["a"].next_seq)]


def test_an_append_of_nothing_is_stored_with_the_next_commit(relay: Relay) -> None:
    relay.append("nothing", a=[])
    relay.disk.finish()
    assert relay.news() == ["nothing"]


def test_blocks_get_the_time_at_which_their_commit_began(relay: Relay) -> None:
    relay.clock.advance(5.0)
    relay.append("one", a=[b"1"])
    relay.append("two", a=[b"2"])
    relay.clock.advance(1.0)
    relay.disk.finish()
    relay.clock.advance(1.0)
    relay.disk.finish()
    assert relay.disk.received_at == [5.0, 6.0]


def test_removals_alone_are_committed_too(relay: Relay) -> None:
    relay.committer.acknowledge("a", 1)
    relay.disk.finish()
    assert relay.disk.tried == [({}, {"a": 1})]
    assert relay.news() == []


def test_what_is_set_aside_while_nothing_else_goes_on_is_set_aside(relay: Relay) -> None:
    relay.committer.set_aside("a", SeqRange(1, 3), "damaged")
    relay.disk.finish()
    assert relay.disk.tried == [({}, {"a": (3, [SetAside(SeqRange(1, 3), "damaged")])})]


def test_what_is_set_aside_joins_what_is_acknowledged(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.committer.acknowledge("a", 2)
    relay.committer.set_aside("a", SeqRange(2, 3), "no")
    relay.committer.acknowledge("a", 5)
    relay.committer.set_aside("a", SeqRange(5, 6), "no")
    relay.disk.finish()
    relay.disk.finish()
    asides = [SetAside(SeqRange(2, 3), "no"), SetAside(SeqRange(5, 6), "no")]
    assert relay.disk.tried[1] == ({}, {"a": (6, asides)})


# Failures.


def test_a_failed_append_waits_and_is_tried_again(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.disk.fail()
    relay.append("two", a=[b"2"])
    assert relay.news() == [FULL]
    assert not relay.disk.busy
    relay.clock.advance(0.9)
    assert not relay.disk.busy
    relay.clock.advance(0.2)
    relay.disk.finish()
    relay.disk.finish()
    assert relay.news() == ["one", ("a", 2), "two", ("a", 3)]
    assert relay.disk.stored["a"] == [b"1", b"2"]
    assert relay.clock.getDelayedCalls() == []


def test_it_is_tried_again_as_often_as_it_fails(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.disk.fail()
    for _ in range(3):
        relay.clock.advance(1.0)
        relay.disk.fail()
    assert relay.news() == [FULL] * 4
    assert len(relay.clock.getDelayedCalls()) == 1


def test_after_a_failure_removals_are_tried_alone_and_then_the_appends(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.append("two", a=[b"2"])
    relay.committer.acknowledge("b", 1)
    relay.disk.finish()
    relay.disk.fail()
    relay.disk.finish()
    relay.disk.finish()
    assert relay.news() == ["one", ("a", 2), FULL, "two", ("a", 3)]
    assert relay.disk.tried[1:] == [
        ({"a": [b"2"]}, {"b": 1}),
        ({}, {"b": 1}),
        ({"a": [b"2"]}, {}),
    ]


def test_removals_that_come_during_a_failing_commit_are_tried_alone_too(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.committer.acknowledge("b", 1)
    relay.disk.fail()
    assert relay.disk.busy
    relay.disk.finish()
    assert relay.disk.tried[1] == ({}, {"b": 1})


def test_while_appends_are_held_removals_go_on_and_let_them_go(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.disk.fail()
    assert not relay.disk.busy
    relay.committer.acknowledge("b", 1)
    relay.disk.finish()
    relay.disk.finish()
    assert relay.disk.tried == [({"a": [b"1"]}, {}), ({}, {"b": 1}), ({"a": [b"1"]}, {})]
    assert relay.news() == [FULL, "one", ("a", 2)]
    relay.clock.advance(2.0)
    assert not relay.disk.busy


def test_failed_removals_join_the_newer_ones(relay: Relay) -> None:
    relay.committer.acknowledge("a", 2)
    relay.committer.set_aside("a", SeqRange(2, 3), "no")
    relay.committer.set_aside("b", SeqRange(1, 2), "no")
    relay.disk.fail()
    relay.clock.advance(1.0)
    relay.committer.set_aside("a", SeqRange(3, 4), "no")
    relay.disk.fail()
    relay.clock.advance(1.0)
    relay.disk.finish()
    aside_of_a = [SetAside(SeqRange(2, 3), "no"), SetAside(SeqRange(3, 4), "no")]
    assert relay.disk.tried[-1] == (
        {},
        {"a": (4, aside_of_a), "b": (2, [SetAside(SeqRange(1, 2), "no")])},
    )


def test_admission_closes_with_the_first_failure_until_everything_is_stored(relay: Relay) -> None:
    relay.append("one", a=[b"x"])
    relay.disk.fail()
    assert (relay.admission.closed, relay.admission.reason) == (True, str(FULL))
    assert relay.admission.failure == (str(FULL), 0.0)
    relay.append("two", a=[b"x"], b=[b"xx"])
    relay.clock.advance(1.0)
    relay.disk.fail()
    assert relay.admission.failure == (str(FULL), 0.0)
    relay.clock.advance(1.0)
    relay.disk.finish()
    assert relay.admission.closed, "something still waits"
    relay.disk.finish()
    assert (relay.admission.closed, relay.admission.pending_bytes) == (False, 0)
    assert relay.admission.failure is None


def test_what_does_not_fit_at_once_is_stored_in_ever_smaller_batches(relay: Relay) -> None:
    relay.append("first", a=[b"0"])
    relay.append("some", a=[b"1", b"2"], b=[b"3"])
    relay.append("others", a=[b"4", b"5", b"6"])
    relay.disk.finish()
    assert relay.news() == ["first", ("a", 2)]
    relay.disk.fail()  # all of it
    relay.disk.fail()  # the first half
    relay.disk.finish()
    assert relay.news() == [FULL, FULL, ("a", 3)], "nobody is answered for a part"
    relay.disk.finish()  # twice as much
    while relay.disk.busy:
        relay.disk.finish()
    assert relay.news() == ["some", ("a", 4), ("b", 2), "others", ("a", 7)]
    assert relay.disk.stored == {"a": [b"0", b"1", b"2", b"4", b"5", b"6"], "b": [b"3"]}
    assert not relay.admission.closed
    tried = [sum(map(len, appends.values())) for appends, _ in relay.disk.tried]
    assert tried == [1, 6, 3, 1, 2, 3]


def test_one_message_that_does_not_fit_waits(relay: Relay) -> None:
    relay.append("one", a=[b"1", b"2"])
    relay.disk.fail()
    relay.disk.fail()
    assert not relay.disk.busy, "there is nothing smaller to try"
    relay.clock.advance(1.0)
    assert relay.disk.busy


def test_a_failing_disk_gets_a_pause_also_if_less_could_be_tried(relay: Relay) -> None:
    relay.append("one", a=[b"1", b"2"])
    relay.disk.fail(StorageFailed("Input/output error"))
    assert not relay.disk.busy


def test_how_far_a_source_was_read_is_stored_with_all_of_it(relay: Relay) -> None:
    relay.committer.append({"a": [b"1", b"2"]}, positions={"in/f": b"2"})
    relay.disk.fail()
    relay.clock.advance(1.0)
    relay.disk.finish()
    assert [sum(map(len, appends.values())) for appends, _ in relay.disk.tried] == [2, 2]


def test_where_only_removals_failed_the_disk_is_tried_until_it_is_well(relay: Relay) -> None:
    relay.committer.acknowledge("a", 1)
    relay.disk.fail()
    assert relay.admission.closed
    relay.clock.advance(1.0)
    relay.disk.finish()
    assert not relay.admission.closed
    relay.operate("operation")
    relay.disk.fail()
    assert relay.admission.closed
    relay.clock.advance(1.0)
    relay.disk.fail()
    assert relay.disk.tried[-1] == "probe" and relay.admission.closed
    relay.clock.advance(1.0)
    relay.disk.finish()
    assert not relay.admission.closed
    assert relay.clock.getDelayedCalls() == []


def test_what_is_given_up_at_the_end_is_counted_unless_it_comes_again(relay: Relay) -> None:
    relay.append("lost", a=[b"1", b"2", b"3"], b=[b"4"])
    relay.disk.fail()
    relay.disk.fail()
    relay.disk.finish()  # one message of them fits
    relay.disk.fail()
    for keywords in ({"senders": {"peer"}}, {"positions": {"in/f": b"1"}}):
        relay.committer.append({"a": [b"5"]}, **keywords).addErrback(lambda failure: None)
    groups = {"/groups/b/1/0/0": b"member"}  # the relay's own: no sender has it
    relay.committer.append({"b": [b"6"]}, positions=groups).addErrback(lambda failure: None)
    refusal = Refusal("in", "too-long", "peer", [b"x"], 100)
    relay.committer.append({}, [refusal]).addErrback(lambda failure: None)
    relay.news()
    relay.close()
    while relay.disk.busy:
        relay.disk.fail()
    assert ("lost", QueueError) in relay.news()
    stored = len(relay.disk.stored["a"]) + len(relay.disk.stored["b"])
    assert stored == 1
    assert relay.given_up == [{"a": 2, "b": 2, "source/in": 1}]


def test_admission_knows_what_the_queues_hold(relay: Relay) -> None:
    assert relay.admission.queue_bytes == 7
    relay.append("one", a=[b"x" * 8])
    assert (relay.admission.pending_bytes, relay.admission.queue_bytes) == (8 + RECORD_BYTES, 7)
    relay.disk.finish()
    assert (relay.admission.pending_bytes, relay.admission.queue_bytes) == (0, 15)


def test_what_comes_while_the_queue_is_at_its_limit_is_stored_all_the_same(relay: Relay) -> None:
    """Admission stops reading; it refuses nothing that was read."""
    relay.append("one", a=[b"x" * 1000])
    relay.append("two", a=[b"2"])
    relay.disk.finish()
    assert relay.admission.closed and "queue_bytes_max" in relay.admission.reason
    relay.append("three", a=[b"3"])
    relay.disk.finish()
    relay.disk.finish()
    assert relay.news() == ["one", ("a", 2), "two", ("a", 3), "three", ("a", 4)]
    assert relay.disk.stored["a"][1:] == [b"2", b"3"]
    assert relay.admission.closed


def test_admission_does_not_open_for_what_fills_the_queue(relay: Relay) -> None:
    class Producer:
        calls: tuple[str, ...] = ()

        def pause_reading(self) -> None:
            self.calls += ("pause",)

        def resume_reading(self) -> None:
            self.calls += ("resume",)

    producer = Producer()
    relay.admission.register(producer)
    relay.append("one", a=[b"x" * 1000])
    relay.disk.finish()
    assert producer.calls == ("pause",)


def test_what_was_committed_to_a_file_that_is_gone_is_answered_when_it_is_there_again(
    relay: Relay,
) -> None:
    relay.append("one", a=[b"1"])
    relay.disk.misplaced = "nothing can be stored: data.mdb was removed"
    relay.disk.finish()
    news = relay.news()
    assert [str(error) for error in news[:1]] == [relay.disk.misplaced] and "one" not in news
    assert relay.admission.reason == relay.disk.misplaced
    relay.clock.advance(1.0)
    relay.disk.fail(QueueMisplaced(relay.disk.misplaced))
    assert "one" not in relay.news()
    relay.clock.advance(1.0)
    relay.disk.misplaced = ""
    relay.disk.finish()
    assert relay.news() == ["one"]
    assert not relay.admission.closed
    assert relay.disk.stored["a"] == [b"1"], "it is stored once"


def test_whether_something_can_be_stored_can_be_asked(relay: Relay) -> None:
    relay.committer.probe()
    relay.disk.fail()
    assert relay.admission.closed
    relay.committer.probe()
    relay.disk.finish()
    assert not relay.admission.closed


# The end.


def test_closing_commits_what_is_left(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.append("two", a=[b"2"])
    relay.committer.acknowledge("b", 1)
    relay.close()
    relay.disk.finish()
    assert relay.news() == ["one", ("a", 2)]
    relay.disk.finish()
    assert relay.news() == ["two", ("a", 3), "closed"]


def test_closing_with_nothing_to_do_is_done_at_once(relay: Relay) -> None:
    relay.close()
    assert relay.news() == ["closed"]


def test_closing_tries_held_appends_once_more_and_then_fails_them(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.disk.fail()
    relay.append("two", a=[b"2"])
    relay.news()
    relay.close()
    assert relay.news() == []
    relay.disk.fail()
    assert relay.news() == [FULL, ("one", QueueError), ("two", QueueError), "closed"]
    assert relay.clock.getDelayedCalls() == []


def test_closing_tries_removals_even_if_appends_fail(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.committer.acknowledge("b", 1)
    relay.close()
    relay.disk.fail()
    relay.disk.finish()
    assert relay.disk.tried[1] == ({}, {"b": 1})
    relay.disk.fail()
    assert relay.news() == [FULL, FULL, ("one", QueueError), "closed"]


def test_after_closing_nothing_is_taken(relay: Relay) -> None:
    relay.close()
    relay.append("late", a=[b"1"])
    relay.committer.acknowledge("a", 1)
    assert relay.news() == ["closed", ("late", QueueError)]
    assert not relay.disk.busy


def test_a_defect_ends_all_commits_and_leaves_nobody_waiting(relay: Relay) -> None:
    defect = ZeroDivisionError("a defect")
    relay.append("one", a=[b"1"])
    relay.append("two", a=[b"2"])
    relay.disk.fail(defect)
    assert relay.news() == [defect, ("one", QueueError), ("two", QueueError)]
    relay.append("three", a=[b"3"])
    relay.committer.acknowledge("a", 1)
    assert relay.news() == [("three", QueueError)]
    assert not relay.disk.busy
    relay.close()
    assert relay.news() == ["closed"]


def test_after_a_defect_nothing_is_tried_again(relay: Relay) -> None:
    relay.append("one", a=[b"1"])
    relay.disk.fail()
    relay.committer.acknowledge("a", 1)
    relay.disk.fail(ZeroDivisionError("a defect"))
    assert relay.clock.getDelayedCalls() == []
    assert ("one", QueueError) in relay.heard


def test_a_defect_while_closing_does_not_keep_it_from_ending(relay: Relay) -> None:
    defect = ZeroDivisionError("a defect")
    relay.append("one", a=[b"1"])
    relay.close()
    relay.disk.fail(defect)
    assert relay.news() == [defect, ("one", QueueError), "closed"]


# Anything.

steps = st.sampled_from(["append", "append to both", "acknowledge", "finish", "fail", "wait"])


@given(st.lists(steps, max_size=40), st.sampled_from([0.0, 0.5, 1.5]))
def test_every_append_is_stored_once_in_order_whatever_the_disk_does(
    script: list[str], commit_seconds_min: float
) -> None:
    relay, names = Relay(commit_seconds_min=commit_seconds_min), []
    for number, step in enumerate(script):
        payload = b"%d" % number
        if step.startswith("append"):
            both = {"a": [payload], "b": [payload]} if "both" in step else {"a": [payload]}
            names.append((step, number))
            relay.append((step, number), **both)
        elif step == "acknowledge":
            relay.committer.acknowledge("a", 1)
        elif step == "wait":
            relay.clock.advance(1.0)
        elif relay.disk.busy:
            relay.disk.finish() if step == "finish" else relay.disk.fail()
    relay.close()
    while relay.disk.busy:
        relay.disk.finish()
    assert [said for said in relay.heard if said in names] == names
    assert relay.disk.stored["a"] == [b"%d" % number for _, number in names]
    assert relay.disk.stored["b"] == [b"%d" % number for step, number in names if "both" in step]
    assert relay.admission.pending_bytes == 0
    assert relay.clock.getDelayedCalls() == []


def test_positions_refusals_and_drops_ride_with_their_append(
    relay: Relay,
) -> None:
    refusal = Refusal("in", "too-long", "peer", [b"x"], 100)
    relay.append("first")
    relay.committer.append({"a": [b"1"]}, [refusal], {"in/f": b"1", "in/g": b"1"}, {"a": {"x": 1}})
    relay.committer.append({}, [refusal], {"in/f": b"2"}, {"a": {"x": 2, "y": 1}})
    relay.disk.finish()
    relay.disk.fail()
    assert relay.news()[-1] is FULL
    relay.disk.finish()
    relay.disk.finish()
    _, both, one, other = relay.disk.transactions
    assert both.refusals == [refusal, refusal]
    assert both.positions == {"in/f": b"2", "in/g": b"1"}
    assert both.drops == {"a": {"x": 3, "y": 1}}
    assert one.refusals == other.refusals == [refusal]
    assert (one.positions, other.positions) == ({"in/f": b"1", "in/g": b"1"}, {"in/f": b"2"})
    assert (one.drops, other.drops) == ({"a": {"x": 1}}, {"a": {"x": 2, "y": 1}})


# What people ask for.


def test_an_operation_has_a_transaction_of_its_own_and_says_what_it_stored(relay: Relay) -> None:
    relay.clock.advance(3.0)
    relay.operate("purge")
    assert (relay.disk.busy, relay.news()) == (True, [])
    relay.disk.finish()
    assert (relay.disk.tried, relay.disk.received_at) == (["purge"], [3.0])
    assert relay.news() == [("b", 2), "purge done"]
    assert relay.admission.queue_bytes == relay.disk.used_bytes
    assert not relay.disk.busy


def test_operations_take_turns_with_what_comes_in(relay: Relay) -> None:
    relay.operate("one")
    relay.operate("two")
    relay.append("append", a=[b"1"])
    for _ in range(3):
        relay.disk.finish()
    assert relay.disk.tried == ["one", ({"a": [b"1"]}, {}), "two"]
    assert relay.news() == [("b", 2), "one done", "append", ("a", 2), ("b", 3), "two done"]
    assert not relay.disk.busy


def test_an_operation_that_fails_is_not_tried_again_and_harms_nobody(relay: Relay) -> None:
    relay.operate("one")
    relay.append("append", a=[b"1"])
    relay.disk.fail()
    assert relay.news() == [("one", "the queue's map is full")]
    relay.disk.finish()
    assert relay.news() == ["append", ("a", 2)]
    assert not relay.disk.busy


def test_an_operation_goes_on_while_appends_are_held(relay: Relay) -> None:
    relay.append("append", a=[b"1"])
    relay.disk.fail()
    assert relay.news() == [FULL]
    relay.operate("makes room")
    relay.disk.finish()
    assert relay.news() == [("b", 2), "makes room done"]
    assert not relay.disk.busy  # the append waits for its second to pass
    relay.clock.advance(1.0)
    relay.disk.finish()
    assert relay.news() == ["append", ("a", 2)]


def test_closing_does_what_was_asked_for_and_then_nothing_more(relay: Relay) -> None:
    relay.operate("one")
    relay.close()
    relay.operate("two")
    assert relay.news() == [("two", "the queue is closed")]
    relay.disk.finish()
    assert relay.news() == [("b", 2), "one done", "closed"]


def test_a_defect_leaves_no_operation_waiting(relay: Relay) -> None:
    relay.operate("one")
    relay.operate("two")
    relay.disk.fail(ZeroDivisionError())
    defect, *answers = relay.news()
    assert isinstance(defect, ZeroDivisionError)
    why = "the relay stopped while nothing could be stored"
    assert answers == [("one", why), ("two", why)]


# Limits.


class Limited(Relay):
    """A committer of which destination a has a limit of 100 bytes."""

    def __init__(self, when_full: str) -> None:
        super().__init__()
        self.disk.destination_bytes = {"a": 0}
        self.limit = QueueLimit(destination="a", bytes_max=100, when_full=when_full)
        self.committer = Committer(
            run_in_thread=self.disk.run_in_thread,
            now=self.clock.seconds,
            clock=self.clock,
            admission=self.admission,
            limits=[self.limit],
            callbacks=CommitCallbacks(
                on_stored=OfAllQueues(lambda queue, seq, _: self.heard.append((queue, seq))),
                on_failure=self.heard.append,
                on_evicted=lambda *evicted: self.heard.append(evicted),
            ),
        )
        self.committer.start(self.disk)


def test_what_waits_for_its_commit_counts_until_it_is_on_disk() -> None:
    relay = Limited("block")
    relay.append("one", a=[b"x" * 46], b=[b"y"])
    relay.append("two", a=[b"x" * 46])
    watermark = relay.limit.watermark
    assert watermark is not None
    assert (relay.limit.size, watermark.full) == (100, True)
    relay.disk.destination_bytes = {"a": 30}
    relay.disk.finish()
    assert (relay.limit.size, watermark.full) == (80, False)
    relay.disk.finish()
    assert (relay.limit.pending_bytes, relay.limit.used_bytes) == (0, 30)


def test_what_could_not_be_stored_still_waits() -> None:
    relay = Limited("block")
    relay.append("one", a=[b"x" * 46])
    relay.disk.fail()
    assert relay.limit.size == 50


def test_records_leave_in_the_transaction_that_would_exceed_the_limit() -> None:
    relay = Limited("drop-oldest")
    relay.append("one", a=[b"x" * 90])
    relay.disk.destination_bytes = {"a": 90}
    relay.disk.finish()
    relay.append("two", a=[b"x" * 5])
    relay.append("three", a=[b"x" * 5])
    relay.disk.destination_bytes = {"a": 95}
    relay.disk.finish()
    relay.disk.finish()
    evictions = [transaction.evictions for transaction in relay.disk.transactions]
    assert evictions == [{}, {}, {"a": Eviction("queue-full", bytes_max=100)}]


def test_what_has_left_is_told_first_and_late_answers_are_put_right() -> None:
    relay = Limited("drop-oldest")
    relay.append("one", a=[b"1", b"2", b"3", b"4", b"5"])
    relay.disk.finish()
    relay.news()
    relay.committer.expire("a", 7.0)
    relay.committer.acknowledge("a", 3)  # answered while they leave
    relay.committer.set_aside("a", SeqRange(3, 4), "no")
    relay.disk.leave = {"a": 5}
    relay.append("two", a=[b"6"])
    relay.disk.finish()
    assert relay.disk.transactions[1].evictions == {"a": Eviction("too-old", received_before=7.0)}
    assert relay.news() == [("a", 5, 4, "too-old")]
    relay.disk.finish()
    (removal,) = relay.disk.transactions[2].removals.values()
    assert (removal.set_aside, removal.late) == ([], {"too-old": 2})


def test_after_an_operation_the_limits_know_what_is_there() -> None:
    relay = Limited("block")
    relay.disk.destination_bytes = {"a": 100}
    relay.operate("adopt")
    relay.disk.finish()
    watermark = relay.limit.watermark
    assert watermark is not None
    assert (relay.limit.used_bytes, watermark.full) == (100, True)


def test_what_an_operation_puts_above_the_limit_lets_the_oldest_leave() -> None:
    relay = Limited("drop-oldest")
    relay.append("one", a=[b"1", b"2", b"3", b"4", b"5"])
    relay.disk.finish()
    relay.disk.destination_bytes = {"a": 150}
    relay.operate("adopt")
    relay.disk.finish()
    relay.news()
    relay.disk.leave = {"a": 3}
    relay.disk.finish()  # nobody has appended anything, and it is not enough yet
    assert relay.news() == [("a", 3, 2, "queue-full")]
    relay.disk.leave, relay.disk.destination_bytes = {"a": 4}, {"a": 100}
    relay.disk.finish()
    assert relay.news() == [("a", 4, 1, "queue-full")]
    assert not relay.disk.busy
    evictions = [transaction.evictions for transaction in relay.disk.transactions[1:]]
    assert evictions == [{"a": Eviction("queue-full", bytes_max=100)}] * 2


def test_where_nothing_can_leave_it_is_not_tried_again_and_again() -> None:
    relay = Limited("drop-oldest")
    relay.disk.destination_bytes = {"a": 150}
    relay.operate("adopt")
    relay.disk.finish()
    relay.disk.finish()
    assert not relay.disk.busy


def test_late_answers_are_kept_when_a_transaction_fails() -> None:
    relay = Limited("drop-oldest")
    relay.committer.acknowledge_late("a", 2, "queue-full")
    relay.committer.acknowledge_late("a", 1, "queue-full")
    relay.disk.fail()
    relay.clock.advance(1)
    (removal,) = relay.disk.transactions[-1].removals.values()
    assert (removal.upto, removal.late) == (0, {"queue-full": 3})


# Reading before a commit.


# Removals that wait for an append.


@pytest.fixture
def patient() -> Relay:
    relay = Relay(removal_seconds=0.02)
    relay.append("one", a=[b"1", b"2", b"3"])
    relay.disk.finish()
    relay.disk.tried.clear()
    relay.news()
    return relay


def test_an_acknowledgement_goes_with_the_next_append(patient: Relay) -> None:
    patient.committer.acknowledge("a", 2)
    assert not patient.disk.busy
    patient.append("two", a=[b"4"])
    patient.disk.finish()
    assert patient.disk.tried == [({"a": [b"4"]}, {"a": 2})]
    assert patient.clock.getDelayedCalls() == []


def test_without_an_append_it_goes_alone_after_a_while(patient: Relay) -> None:
    patient.committer.acknowledge("a", 2)
    patient.clock.advance(0.015)
    patient.committer.acknowledge("a", 3)
    assert not patient.disk.busy
    patient.clock.advance(0.005)  # counted from the first
    patient.disk.finish()
    assert patient.disk.tried == [({}, {"a": 3})]
    patient.committer.acknowledge("a", 4)
    assert not patient.disk.busy
    patient.clock.advance(0.02)
    patient.disk.finish()
    assert patient.disk.tried[1:] == [({}, {"a": 4})]


def test_what_comes_while_a_transaction_runs_waits_too(patient: Relay) -> None:
    patient.append("two", a=[b"4"])
    patient.committer.acknowledge("a", 2)
    patient.disk.finish()
    assert not patient.disk.busy
    patient.clock.advance(0.02)
    patient.disk.finish()
    assert patient.disk.tried[1:] == [({}, {"a": 2})]


def test_many_are_not_kept_waiting(patient: Relay) -> None:
    patient.append("many", a=[b"x"] * 1000)
    patient.disk.finish()
    patient.committer.acknowledge("a", 1000)
    assert not patient.disk.busy
    patient.committer.acknowledge("a", 1001)
    assert patient.disk.busy
    patient.disk.finish()
    assert patient.clock.getDelayedCalls() == []


def test_where_appends_are_held_removals_go_at_once(patient: Relay) -> None:
    patient.append("two", a=[b"4"])
    patient.disk.fail()
    patient.committer.acknowledge("a", 2)
    assert patient.disk.busy
    patient.disk.finish()
    assert patient.disk.tried[1:] == [({}, {"a": 2})]


def test_a_removal_that_failed_is_tried_again(patient: Relay) -> None:
    patient.committer.acknowledge("a", 2)
    patient.clock.advance(0.02)
    patient.disk.fail()
    patient.clock.advance(1.0)
    patient.disk.finish()
    assert patient.disk.tried == [({}, {"a": 2})] * 2


def test_closing_commits_what_waits(patient: Relay) -> None:
    patient.committer.acknowledge("a", 2)
    patient.close()
    patient.disk.finish()
    assert patient.disk.tried == [({}, {"a": 2})]
    assert patient.news() == ["closed"]
    assert patient.clock.getDelayedCalls() == []


def test_setting_aside_does_not_wait(patient: Relay) -> None:
    patient.committer.acknowledge("a", 2)
    patient.committer.set_aside("a", SeqRange(2, 3), "refused")
    assert patient.disk.busy
    patient.disk.finish()
    assert patient.clock.getDelayedCalls() == []
