from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, execute
from twisted.internet.task import Clock

from relay.model.errors import QueueError, QueueFull
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, CommitPauses, Committer
from relay.queue.lane_queues import LANES, LaneQueues
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from tests.connections import fired

A, B = "d", "lane/d"


class Setup:
    """A queue whose writer waits for the test, or does not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.waiting: list[Callable[[], None]] = []
        self.slow = False
        self.open()

    def open(self) -> None:
        self.store = QueueStore.open(str(self.directory), destinations=[A, B], map_bytes=2**24)
        self.limit = QueueLimit(destination="d", bytes_max=2**20)
        self.committer = Committer(
            run_in_thread=self.run_in_thread,
            now=Clock().seconds,
            clock=Clock(),
            admission=Admission(pending_bytes_max=2**30, queue_bytes_max=2**30),
            limits=[self.limit],
            callbacks=CommitCallbacks(on_stored={}, on_failure=lambda error: None),
            pauses=CommitPauses(removal=0.02),
        )
        self.committer.start(self.store)
        self.queues = LaneQueues(self.store, self.committer, {"d": self.limit})

    def run_in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        if not self.slow:
            return execute(call)
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: execute(call).chainDeferred(done))
        return done

    def commit(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()

    def crash(self) -> None:
        self.store.close()
        self.waiting.clear()
        self.open()

    def append(self, *payloads: bytes) -> None:
        self.committer.append({"d": payloads}).addErrback(lambda _: None)

    def payloads(self, queue: str) -> list[bytes]:
        begins = self.store.ledgers[queue].acknowledged_seq
        return self.store.read(queue, start=begins, records_max=1000, bytes_max=2**20)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path / "queue")
    yield setup
    setup.store.close()


def test_at_first_everything_goes_into_the_queue_of_the_destination(setup: Setup) -> None:
    assert setup.queues.of("d") == (B, A)
    assert setup.committer.entrances == {}
    setup.queues.direct("d", older=B, newer=A)
    setup.append(b"1")
    assert (setup.payloads(A), setup.payloads(B)) == ([b"1"], [])


def test_what_comes_goes_where_it_is_directed(setup: Setup) -> None:
    setup.append(b"1")
    setup.queues.direct("d", older=A, newer=B)
    setup.append(b"2")
    assert (setup.payloads(A), setup.payloads(B)) == ([b"1"], [b"2"])
    assert setup.limit.queues == (A, B)
    used = setup.store.destination_bytes
    assert setup.limit.size == used[A] + used[B] > used[A] > 0


@pytest.mark.parametrize("newer", [A, B])
def test_which_is_the_newer_one_is_known_after_a_crash(setup: Setup, newer: str) -> None:
    older = B if newer == A else A
    setup.append(b"1")  # into A, whichever is the newer one
    setup.queues.direct("d", older=older, newer=newer)
    setup.append(b"2")
    setup.committer.acknowledge(newer, setup.store.ledgers[newer].next_seq)
    setup.crash()
    assert setup.queues.of("d") == (older, newer)


def test_it_is_stored_with_the_first_record_that_goes_there(setup: Setup) -> None:
    setup.slow = True
    setup.append(b"1")
    setup.queues.direct("d", older=A, newer=B)
    setup.append(b"2")
    setup.waiting.pop(0)()  # the first record alone
    setup.crash()
    assert setup.queues.of("d") == (B, A)
    setup.queues.direct("d", older=A, newer=B)
    setup.append(b"3")
    setup.commit()
    setup.crash()
    assert setup.queues.of("d") == (A, B)
    assert (setup.payloads(A), setup.payloads(B)) == ([b"1"], [b"3"])


def test_without_a_word_the_second_queue_is_the_newer_one_if_it_has_something(
    setup: Setup,
) -> None:
    setup.store.commit(Transaction(0.0, {A: [b"1"], B: [b"2"]}))
    assert setup.queues.of("d") == (A, B)
    setup.store.commit(Transaction(0.0, positions={f"{LANES}/d": b"\xff"}))
    assert setup.queues.of("d") == (A, B)


def test_records_move_up_to_the_boundary(setup: Setup) -> None:
    setup.append(b"1", b"2")
    setup.queues.direct("d", older=A, newer=B)
    setup.append(b"3", b"4")
    boundary = setup.store.ledgers[B].next_seq
    setup.append(b"5")
    assert fired(setup.queues.move(B, to=A, upto=boundary)) == [boundary]
    assert (setup.payloads(A), setup.payloads(B)) == ([b"1", b"2", b"3", b"4"], [b"5"])
    ledgers = [setup.store.ledgers[queue] for queue in (A, B)]
    assert [ledger.gap for ledger in ledgers] == [0, 0]
    assert sum(ledger.received for ledger in ledgers) == 5
    assert fired(setup.queues.move(B, to=A, upto=boundary)) == [boundary]
    assert setup.payloads(B) == [b"5"]


def test_what_is_acknowledged_does_not_move(setup: Setup) -> None:
    setup.queues.direct("d", older=A, newer=B)
    setup.append(b"1", b"2", b"3")
    setup.slow = True
    setup.append(b"4")  # a transaction is on its way
    setup.committer.acknowledge(B, 3)
    settled = fired(setup.queues.settle(B, start=3))
    setup.commit()
    assert settled == [None]
    moved = fired(setup.queues.move(B, to=A, upto=4))
    setup.commit()
    assert moved == [4]
    assert (setup.payloads(A), setup.payloads(B)) == ([b"3"], [b"4"])
    assert setup.store.ledgers[B].delivered == 2


@pytest.mark.parametrize("removals_fail", [False, True])
def test_a_full_disk_does_not_hold_up_a_move(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, removals_fail: bool
) -> None:
    setup.queues.direct("d", older=A, newer=B)
    setup.append(b"1", b"2", b"3")
    commit = setup.store.commit

    def full(transaction: Transaction) -> dict[str, Ledger]:
        if transaction.appends or removals_fail:
            raise QueueFull("no space")
        return commit(transaction)

    monkeypatch.setattr(setup.store, "commit", full)
    setup.append(b"4")
    setup.committer.acknowledge(B, 2)
    ended: list[Any] = []
    setup.queues.settle(B, start=2).addBoth(ended.append)
    if removals_fail:  # it may be sent again after a crash, but nothing moves that has arrived
        assert "the ones before 2 have been acknowledged" in ended[0].getErrorMessage()
        assert (setup.payloads(A), setup.payloads(B)) == ([], [b"1", b"2", b"3"])
    else:
        assert ended == [None]
        assert fired(setup.queues.move(B, to=A, upto=4)) == [4]
        assert (setup.payloads(A), setup.payloads(B)) == ([b"2", b"3"], [])


def test_a_queue_that_closes_directs_nothing_and_moves_nothing(setup: Setup) -> None:
    fired(ensureDeferred(setup.committer.close()))
    setup.queues.direct("d", older=A, newer=B)
    failed: list[Any] = []
    setup.queues.move(B, to=A, upto=9).addErrback(failed.append)
    assert failed[0].check(QueueError)
