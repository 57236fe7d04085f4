from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import execute
from twisted.internet.task import Clock

from relay.model.errors import QueueError, QueueFull
from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, Committer
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from relay.service.queue.watches import QueueWatch
from tests.clocks import wall_of
from tests.connections import RecordingNotices
from tests.queue_roles import AllRoles


class Queue(AllRoles):
    def __init__(self) -> None:
        self.free_bytes: Any = 10**9
        self.oldest: Any = None
        self.ledgers: dict[str, Ledger] = {}
        self.queued = 1
        self.delivered = 0
        self.purged = 0
        self.expired: list[tuple[str, float]] = []

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if isinstance(value, Exception):
            raise value
        return value

    def ledger(self, destination: str) -> Ledger:
        head = 1 + self.delivered + self.purged
        return Ledger(next_seq=head + self.queued, acknowledged_seq=head, delivered=self.delivered)

    def oldest_received_at(self, destination: str) -> float | None:
        return self.oldest

    def expire(self, destination: str, received_before: float) -> None:
        self.expired.append((destination, received_before))


class Setup:
    def __init__(self, **limit: Any) -> None:
        self.queue: Any = Queue()
        self.clock = Clock()
        self.clock.advance(1000)
        self.notices: Any = RecordingNotices()
        self.admission = Admission(
            pending_bytes_max=100, queue_bytes_max=10_000, free_bytes_min=1000
        )
        self.limit = QueueLimit(destination="central", **limit)
        self.watch = QueueWatch(
            queue=self.queue,
            admission=self.admission,
            limits={"central": self.limit},
            notices=self.notices,
            wall=wall_of(self.clock),
            clock=self.clock,
        )
        self.watch.startService()

    def look(self, used: int | None = None) -> None:
        if used is not None:
            self.limit.settle(0, used)
        self.clock.advance(2)

    def said(self) -> list[tuple[str, str, str]]:
        said, self.notices.said = self.notices.said, []
        return said


def test_a_disk_that_fills_up_closes_admission_and_opens_it_again() -> None:
    setup = Setup()
    setup.queue.free_bytes = 999
    setup.look()
    assert setup.admission.closed
    assert setup.said() == [
        (
            *("queue", "admission"),
            "not accepting messages: the disk has room for 999 B (min_free_bytes is 1,000 B)",
        )
    ]
    setup.queue.free_bytes = 2000
    setup.look()
    assert not setup.admission.closed
    assert setup.said() == []


def test_the_end_of_a_stop_is_logged_once_with_its_length(logged: list[str]) -> None:
    setup = Setup()

    def ended() -> list[str]:
        logged.clear()
        setup.look()
        return [line for line in logged if "accepting messages again" in line]

    setup.admission.set_pending_bytes(200)  # a burst is no stop
    assert ended() == []
    setup.admission.set_pending_bytes(0)
    assert ended() == ended() == []
    setup.admission.set_failure("nothing can be stored: No space left on device", at=5.0)
    setup.clock.advance(60)
    setup.admission.clear_failure()
    setup.clock.advance(1)
    setup.admission.set_failure("nothing can be stored: Input/output error", at=66.0)
    assert ended() == []  # it came back at once, and goes on
    setup.clock.advance(7)
    setup.admission.clear_failure()
    assert [*ended(), *ended(), *ended()] == [
        "queue: accepting messages again after 1 m 10 s; the reason was: nothing can be stored: "
        "Input/output error"
    ]


def test_a_disk_that_cannot_be_asked_is_said() -> None:
    setup = Setup()
    setup.queue.free_bytes = OSError(5, "Input/output error")
    setup.look()
    ((subject, kind, text),) = setup.said()
    assert (subject, kind) == ("queue", "room")
    assert "Input/output error" in text


def test_old_records_leave_at_the_start_and_later() -> None:
    setup = Setup(seconds_max=60.0)
    assert setup.queue.expired == []
    setup.queue.oldest = 945.0
    setup.look()
    assert setup.queue.expired == []
    setup.clock.advance(2)
    setup.clock.advance(2)
    assert setup.queue.expired == [("central", 946.0)]


def test_old_records_leave_both_lanes() -> None:
    setup = Setup(seconds_max=60.0)
    setup.limit.queues = ("lane/central", "central")
    setup.queue.oldest = 900.0
    setup.clock.advance(2)
    assert setup.queue.expired == [("lane/central", 942.0), ("central", 942.0)]


@pytest.mark.parametrize("seconds_max", [0.0, 60.0])
def test_where_there_is_nothing_old_nothing_leaves(seconds_max: float) -> None:
    setup = Setup(seconds_max=seconds_max)
    setup.queue.oldest, setup.queue.queued = 1.0, int(not seconds_max)
    setup.look()
    assert setup.queue.expired == []


def test_a_queue_that_cannot_be_read_is_said() -> None:
    setup = Setup(seconds_max=60.0)
    setup.queue.oldest = QueueError("input/output error")
    setup.look()
    assert setup.said() == [("destination central", "too-old", "input/output error")]


def test_every_mark_is_news_once_until_it_is_left() -> None:
    setup = Setup(bytes_max=1000, when_full="drop-oldest")
    percents = []
    for used in (0, 490, 510, 530, 790, 850, 960, 990, 870, 510, 600, 820, 400, 520):
        setup.look(used)
        percents += [text.split(" full")[0] for _, _, text in setup.said()]
    assert percents == ["51 %", "85 %", "96 %", "82 %", "52 %"]


def test_the_warning_says_when_it_will_be_full_and_what_happens_then() -> None:
    setup = Setup(bytes_max=1000, when_full="drop-newest")
    setup.look(500)
    assert setup.said() == [
        (
            *("destination central", "fill"),
            "50 % full, and full in 2 seconds if that goes on: its queue_bytes_max is 1,000 bytes, "
            "what comes is dropped then",
        )
    ]


def test_the_queue_of_the_relay_is_watched_too() -> None:
    setup = Setup()
    setup.admission.set_queue_bytes(9600)
    setup.look()
    ((subject, kind, text),) = setup.said()
    assert (subject, kind) == ("queue", "fill")
    assert text.startswith("96 % full")
    assert text.endswith("all sources are paused then")


def test_the_rates_of_queues_come_from_the_same_samples() -> None:
    setup = Setup()
    setup.limit.queues = ("lane/central", "central")
    for delivered in (0, 0, 500, 2500, 4500):
        setup.queue.queued, setup.queue.delivered = 9000 - delivered, delivered
        setup.look()
    flows = [setup.limit.forecast.delivered[queue] for queue in setup.limit.queues]
    assert [flow.per_second for flow in flows] == [1000.0, 1000.0]
    assert setup.limit.report(backlog_records=9000, drains=True)["seconds_to_empty"] == 4.5


def test_what_people_purge_is_not_taken_for_a_backlog_that_drains() -> None:
    setup = Setup()
    for queued in (1000, 1000, 300, 300):
        setup.queue.queued, setup.queue.purged = queued, 1000 - queued
        setup.look()
        assert setup.limit.report(backlog_records=queued, drains=True)["seconds_to_empty"] is None


def test_nothing_goes_on_after_the_stop() -> None:
    setup = Setup()
    setup.watch.stopService()
    assert setup.clock.getDelayedCalls() == []


class FullOnce(QueueStore):
    """The disk is full when something is to leave for the first time."""

    fails = 1

    def commit(self, transaction: Transaction) -> dict[str, Ledger]:
        if transaction.evictions and self.fails:
            self.fails -= 1
            raise QueueFull("no space")
        return super().commit(transaction)


def test_what_could_not_leave_because_a_commit_failed_leaves_with_the_next_look(
    tmp_path: Path,
) -> None:
    store = FullOnce.open(str(tmp_path), destinations=["central"], map_bytes=2**24)
    store.commit(Transaction(900.0, {"central": [b"old"]}))
    store.commit(Transaction(999.0, {"central": [b"new"]}))
    clock, failures = Clock(), list[BaseException]()
    clock.advance(1000)
    admission = Admission(pending_bytes_max=10**6, queue_bytes_max=10**6)
    committer = Committer(
        run_in_thread=execute,
        now=clock.seconds,
        clock=clock,
        admission=admission,
        callbacks=CommitCallbacks(on_stored={}, on_failure=failures.append),
    )
    committer.start(store)
    queue: Any = Queue()
    queue.ledger, queue.expire = store.ledgers.__getitem__, committer.expire
    queue.oldest_received_at = store.oldest_received_at
    limits = {"central": QueueLimit(destination="central", seconds_max=60.0)}
    notices: Any = RecordingNotices()
    QueueWatch(
        queue=queue,
        admission=admission,
        limits=limits,
        notices=notices,
        wall=wall_of(clock),
        clock=clock,
    ).startService()
    assert [type(error) for error in failures] == [QueueFull]
    assert store.ledgers["central"].dropped == {}
    clock.advance(2)
    assert len(failures) == 1
    assert store.ledgers["central"].dropped == {"too-old": 1}
    assert store.ledgers["central"].queued == 1
    store.close()


def test_a_full_quarantine_is_said_once_for_what_it_dropped() -> None:
    setup = Setup()
    full = {"quarantine-full": 3}
    setup.queue.ledgers = {"source/in": Ledger(dropped=full), "central": Ledger(dropped=full)}
    setup.watch.startService()  # what was dropped before the start was said then
    setup.clock.advance(2)
    assert setup.notices.said == []
    setup.queue.ledgers = {"source/in": Ledger(dropped={"quarantine-full": 5})}
    setup.clock.advance(4)
    message = "2 dropped: its quarantine is full (quarantine_bytes_max)"
    assert setup.notices.said == [("source in", "quarantine-full", message)]
    setup.queue.ledgers = {"source/in": Ledger(dropped={"quarantine-full": 6})}
    setup.watch.stopService()
    assert setup.notices.said[1:] == [
        ("source in", "quarantine-full", message.replace("2", "1", 1))
    ]
