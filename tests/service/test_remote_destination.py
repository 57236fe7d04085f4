from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.flow.drain import BY_PURGE
from relay.model.errors import QueueError
from relay.model.seq import SeqRange
from relay.queue.ledger import Ledger
from relay.queue.lineage import Lineage
from relay.service.certificate_watch import CertificateWatch
from relay.service.configuration import DestinationConfiguration, TlsConfiguration, Url
from relay.service.drain_messages import (
    Acknowledged,
    AcknowledgedLate,
    BreakLink,
    Evicted,
    Heard,
    Hold,
    KeepLineage,
    LineageKept,
    Release,
    Renew,
    Reopen,
    Report,
    SetAside,
    Skip,
    State,
    Stored,
    configuration_of,
)
from relay.service.remote_destination import MirroredState, RemoteDestination, RemoteDrain
from relay.service.remote_queue import RemoteQueue
from tests.certificate_files import make_certificate_files
from tests.connections import RecordingNotices
from tests.flow.test_eviction import EvictionMachine


class Queue:
    """An account, and what is done to it."""

    def __init__(self) -> None:
        self.account = Ledger(next_seq=20, acknowledged_seq=5)
        self.events: list[Any] = []
        self.history = Lineage.new(1)
        self.keeping: Deferred[None] = Deferred()

    def ledger(self, destination: str) -> Ledger:
        return self.account

    def lineage(self, destination: str) -> Lineage:
        return self.history

    def keep_lineage(self, destination: str, lineage: Lineage) -> Deferred[None]:
        self.events.append(lineage)
        return self.keeping

    def subscribe(self, destination: str, stored: Any, evicted: Any) -> None:
        self.stored, self.evicted = stored, evicted

    def acknowledge(self, destination: str, upto: int) -> None:
        self.events.append(upto)

    def acknowledge_late(self, destination: str, count: int, reason: str) -> None:
        self.events.append((count, reason))

    def set_aside(self, destination: str, seqs: SeqRange, reason: str) -> None:
        self.events.append((seqs, reason))

    def oldest_received_at(self, destination: str) -> float | None:
        return 90.0

    def limit(self, destination: str) -> None:
        return None


class Setup:
    def __init__(self, url: Url | None = None, tls: TlsConfiguration | None = None) -> None:
        self.clock: Any = Clock()
        self.clock.advance(100)
        self.queue = Queue()
        self.orders: list[Any] = []
        self.notices: Any = RecordingNotices()
        self.watch = CertificateWatch(notices=self.notices, reactor=self.clock)
        self.configuration = DestinationConfiguration(
            id="out",
            connect=url or Url("relp", "far", 20514),
            sources=("in",),
            tls=tls or TlsConfiguration(),
        )
        queue: Any = self.queue
        self.destination = RemoteDestination(
            self.configuration,
            queue=queue,
            certificates=self.watch,
            notices=self.notices,
            clock=self.clock,
            tell=self.orders.append,
        )
        self.destination.startService()
        self.drain = self.destination.drain

    def said(self) -> list[Any]:
        orders, self.orders[:] = list(self.orders), []
        return orders


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_what_a_drain_process_is_told_when_it_begins(setup: Setup) -> None:
    setup.queue.stored(25)
    setup.destination.pause()
    setup.said()
    task = setup.destination.begin()
    assert configuration_of(task) == setup.configuration
    assert (task.acknowledged, task.stored, task.held) == (5, 25, ["hand"])
    assert Lineage.decode(task.lineage) == setup.queue.history
    assert task.material is None


def test_what_it_is_told_and_what_it_says(setup: Setup) -> None:
    setup.destination.begin()
    setup.queue.stored(30)
    setup.destination.reopen()
    setup.destination.break_link("because")
    assert setup.said() == [Stored("out", 30), Reopen("out"), BreakLink("out", "because")]
    setup.drain.acknowledged(Acknowledged("out", 9))
    setup.drain.set_aside(SetAside("out", 9, 10, "refused"))
    setup.drain.acknowledged_late(AcknowledgedLate("out", 2, "too-old"))
    assert setup.queue.events == [9, (SeqRange(9, 10), "refused"), (2, "too-old")]
    assert setup.destination.begin().acknowledged == 10


def test_what_left_before_it_knew(setup: Setup) -> None:
    setup.destination.begin()
    setup.queue.evicted(15, "too-old")
    assert setup.said() == [Evicted("out", 15, "too-old")]
    setup.drain.acknowledged(Acknowledged("out", 8))
    setup.drain.set_aside(SetAside("out", 8, 9, "refused"))
    assert setup.queue.events == [(3, "too-old")]
    setup.drain.heard(Heard("out", 15))
    setup.drain.acknowledged(Acknowledged("out", 16))
    assert setup.queue.events[1:] == [16]
    setup.queue.evicted(18, "too-old")
    setup.destination.ended("gone")
    setup.queue.evicted(19, "too-old")
    assert setup.destination.begin().acknowledged == 19
    setup.drain.acknowledged(Acknowledged("out", 20))
    assert setup.queue.events[2:] == [20]


def test_a_purge_waits_until_the_hold_was_heard(setup: Setup) -> None:
    assert setup.drain.in_flight == 0  # nobody runs
    setup.destination.begin()
    setup.destination.state.heard(State("out", in_flight=3))
    assert setup.drain.in_flight == 3
    setup.destination.state.heard(State("out"))
    setup.drain.hold(BY_PURGE)
    assert setup.drain.in_flight == 1
    setup.destination.state.heard(State("out", in_flight=2, holds=1))
    assert setup.drain.in_flight == 2
    setup.destination.state.heard(State("out", holds=1))
    assert setup.drain.in_flight == 0
    setup.drain.skip(12)
    assert setup.drain.acknowledged_seq == 12
    setup.drain.release(BY_PURGE)
    setup.drain.hold(BY_PURGE)
    assert setup.drain.in_flight == 1  # the hold before is not this one
    assert setup.said() == [
        Hold("out", "purge"),
        Skip("out", 12),
        Release("out", "purge"),
        Hold("out", "purge"),
    ]
    setup.destination.ended("gone")
    assert setup.drain.in_flight == 0
    assert setup.destination.begin().held == ["purge"]


def test_status(setup: Setup) -> None:
    report = setup.destination.report()
    assert (report["state"], report["ready"]) == ("its process is starting", False)
    setup.destination.begin()
    setup.destination.state.heard(
        State("out", "connected", True, True, 1, 2, 3, in_flight=4, sent_records=10)
    )
    setup.queue.account = Ledger(next_seq=20, acknowledged_seq=9, delivered=8)
    report = setup.destination.report()
    assert (report["state"], report["ready"], report["exactly_once"]) == ("connected", True, True)
    assert (report["connects"], report["failures"], report["truncated_records"]) == (1, 2, 3)
    assert (report["in_flight_records"], report["sent_records"]) == (4, 10)
    assert (report["delivered_records"], report["queued_records"]) == (8, 11)
    setup.destination.ended("its process ended by SIGKILL")
    report = setup.destination.report()
    assert (report["state"], report["ready"]) == ("its process ended by SIGKILL", False)
    assert (report["exactly_once"], report["sent_records"]) == (False, 10)
    setup.destination.begin()
    setup.destination.state.heard(State("out", "connected", True, connects=1, resent_records=2))
    setup.destination.pause()
    report = setup.destination.report()
    assert (report["state"], report["paused"]) == ("paused by hand; connected", True)
    assert (report["connects"], report["sent_records"], report["resent_records"]) == (2, 10, 2)
    setup.destination.resume()
    assert not setup.destination.report()["paused"]
    setup.destination.stopService()
    assert setup.destination.report()["state"] == "stopped"


def test_a_new_lineage(setup: Setup) -> None:
    answers: list[Any] = []
    setup.destination.begin()
    renewed = Lineage.new(7)
    setup.destination.keep_lineage(KeepLineage("out", renewed.encode()), answers.append)
    assert setup.queue.events == [renewed]
    assert answers == []
    assert Lineage.decode(setup.destination.begin().lineage) == setup.queue.history
    setup.queue.keeping.callback(None)
    assert answers == [LineageKept("out", "")]
    assert Lineage.decode(setup.destination.begin().lineage) == renewed


def test_a_lineage_that_could_not_be_stored(setup: Setup) -> None:
    answers: list[Any] = []
    setup.destination.begin()
    setup.destination.keep_lineage(KeepLineage("out", Lineage.new(7).encode()), answers.append)
    setup.queue.keeping.errback(QueueError("the queue is closed"))
    assert answers == [LineageKept("out", "the queue is closed")]
    assert Lineage.decode(setup.destination.begin().lineage) == setup.queue.history


def test_tls_files_are_handed_over(tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path / "first")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Path(files.ca).read_bytes())
    setup = Setup(Url("relp+tls", "far", 20515), TlsConfiguration(trusted_ca=str(ca)))
    material = setup.destination.begin().material
    assert material is not None
    assert material.trusted_ca_pem == ca.read_bytes()
    second = Path(make_certificate_files(tmp_path / "second").ca).read_bytes()
    ca.write_bytes(second + b"\n")
    setup.watch.check()
    (renewed,) = setup.said()
    assert isinstance(renewed, Renew)
    assert renewed.material.trusted_ca_pem == second + b"\n"
    assert setup.destination.begin().material == renewed.material
    ca.write_bytes(b"no certificate")
    setup.watch.check()
    assert setup.said() == []
    assert setup.notices.kinds == ["certificates"]


# The two sides together, however what they say crosses what happens.


class Pipe:
    """What one side has said and the other has not heard."""

    def __init__(self, take: Any) -> None:
        self.waiting: deque[Any] = deque()
        self.ended = ()  # as a thread of the machine has it
        self._take = take

    def run(self) -> None:
        if self.waiting:
            self._take(self.waiting.popleft())

    def tell(self) -> None:
        pass


class RemoteMachine(EvictionMachine):
    """`EvictionMachine` with the drain on the far side of two pipes."""

    crashes = False

    def forgets(self) -> Any:
        self.orders = Pipe(self.obey)
        self.reports = Pipe(self.hear)
        ledger = self.store.ledgers["d"]
        committer: Any = self.committer
        self.near = RemoteDrain(
            "d",
            head=ledger.acknowledged_seq,
            stored=ledger.next_seq,
            queue=committer,
            state=MirroredState("d"),
            tell=self.orders.waiting.append,
        )
        return self.begin()

    def begin(self) -> RemoteQueue:
        self.head, self.end, _ = self.near.begin()
        self.orders.waiting.clear()
        self.far = RemoteQueue(
            open_store=lambda map_bytes: self.store,
            tell=self.reports.waiting.append,
            run_in_thread=self.reader,
        )
        return self.far

    def new_drain(self, head: int, stored: int) -> None:
        super().new_drain(head, stored)
        self.far.subscribe("d", self.drain.stored, self.drain.evicted)

    def stored(self, _: str, seq: int, payloads: Sequence[bytes]) -> None:
        self.near.stored(seq)

    def tell_evicted(self, upto: int, reason: str) -> None:
        self.near.evicted(upto, reason)

    def threads(self) -> list[Any]:
        return [*super().threads(), self.orders, self.reports]

    def obey(self, order: Any) -> None:
        if isinstance(order, Stored):
            self.far.stored("d", order.upto)
        else:
            assert isinstance(order, Evicted)
            self.far.evicted("d", order.upto, order.reason)

    def hear(self, report: Report) -> None:
        names = {
            Acknowledged: "acknowledged",
            AcknowledgedLate: "acknowledged_late",
            SetAside: "set_aside",
            Heard: "heard",
        }
        getattr(self.near, names[type(report)])(report)

    @rule(pipe=st.sampled_from(["orders", "reports"]))
    def pass_on(self, pipe: str) -> None:
        getattr(self, pipe).run()

    def teardown(self) -> None:
        # Read again because an order took its time.
        self.trouble = [words for words in self.trouble if "reading again" not in words]
        super().teardown()


class KilledMachine(RemoteMachine):
    """The same, and both processes are killed."""

    crashes = True

    @rule(heard=st.integers(0, 5))
    def kill(self, heard: int) -> None:
        """The drain process ends; only some of what it wanted to say was sent."""
        for _ in range(heard):
            self.reports.run()
        self.reports.waiting.clear()
        self.near.ended()
        self.crashed = True  # what it did not say is sent again
        self.forgets_again = self.begin()
        self.forgets, before = (lambda: self.forgets_again), self.forgets  # type: ignore[method-assign]
        self.reader.waiting.clear()
        self.reader.ended.clear()
        self.new_drain(self.head, self.end)
        self.forgets = before  # type: ignore[method-assign]


TestRemoteMachine = RemoteMachine.TestCase
TestRemoteMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

TestKilledMachine = KilledMachine.TestCase
TestKilledMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
