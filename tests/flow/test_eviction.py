"""Records that leave undelivered while others are in flight: store, committer, cursor and
drain together, step by step, against what an upstream has seen."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from relay.queue.admission.backpressure import Admission
from relay.queue.admission.limits import QueueLimit
from relay.queue.committer import CommitCallbacks, Committer
from relay.queue.cursor import Cursor
from relay.queue.store import QueueStore
from tests.flow_fakes import new_drain, new_refusals
from tests.queue_listeners import OfAllQueues
from tests.threads import LateThread

PAGES_MAX = 6
RECORD_BYTES = 1500


class Session:
    def __init__(self, room: int) -> None:
        self.room = room
        self.in_flight: list[int] = []
        self.seen: list[int] = []

    def send(self, payloads: Sequence[bytes]) -> None:
        assert 0 < len(payloads) <= self.room
        self.room -= len(payloads)
        numbers = [int(payload.split()[0]) for payload in payloads]
        self.in_flight += numbers
        self.seen += numbers


class EvictionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.clock.advance(1000)
        self.trouble: list[str] = []
        self.count = 0  # records appended so far
        self.answered: set[int] = set()
        self.refused: set[int] = set()
        self.crashed = self.damaged = False
        self.hot = True  # the cursor is told what commits have stored
        self.open()

    def open(self) -> None:
        self.writer, self.reader = LateThread(), LateThread()
        self.store = QueueStore.open(
            str(self.directory), destinations=["d"], map_bytes=2**24, strict=False
        )
        self.limit = QueueLimit(
            destination="d", bytes_max=PAGES_MAX * 4096, when_full="drop-oldest"
        )
        ledger = self.store.ledgers["d"]
        self.committer = Committer(
            run_in_thread=self.writer,
            now=self.clock.seconds,
            clock=self.clock,
            admission=Admission(pending_bytes_max=2**30, queue_bytes_max=2**30),
            limits=[self.limit],
            callbacks=CommitCallbacks(
                on_stored=OfAllQueues(self.stored),
                on_failure=self.fail,
                on_evicted=lambda _, upto, count, reason: self.drain.evicted(upto, reason),
            ),
        )
        self.committer.start(self.store)
        self.new_drain(ledger.acknowledged_seq, ledger.next_seq)

    def new_drain(self, head: int, stored: int) -> None:
        self.cursor = Cursor(self.store, "d", position=head, run_in_thread=self.reader)
        self.drain = new_drain(
            "d",
            cursor=self.cursor,
            queue=self.committer,
            begins=head,
            ends=stored,
            refusals=new_refusals(1),
            clock=self.clock,
            on_trouble=self.trouble.append,
        )
        self.session: Session | None = None

    def stored(self, _: str, seq: int, payloads: Sequence[bytes]) -> None:
        self.drain.stored(seq, payloads if self.hot else ())

    def threads(self) -> list[Any]:
        return [self.writer, self.reader]

    def fail(self, error: BaseException) -> None:
        raise AssertionError(repr(error))

    @rule(hot=st.booleans())
    def heat(self, hot: bool) -> None:
        self.hot = hot

    @rule(count=st.integers(1, 6))
    def append(self, count: int) -> None:
        numbers = range(self.count + 1, self.count + count + 1)
        self.count += count
        payloads = [b"%d ".ljust(RECORD_BYTES, b"x") % number for number in numbers]
        self.committer.append({"d": payloads}).addErrback(lambda _: None)

    @rule(thread=st.sampled_from(["writer", "reader"]), what=st.sampled_from(["run", "tell"]))
    def step(self, thread: str, what: str) -> None:
        getattr(getattr(self, thread), what)()

    @rule()
    def step_all(self) -> None:
        for thread in self.threads():
            thread.run()
            thread.tell()

    @precondition(lambda self: self.session is None)
    @rule(room=st.integers(1, 8))
    def attach(self, room: int) -> None:
        self.session = Session(room)
        self.drain.attach(self.session)

    @precondition(lambda self: self.session is not None)
    @rule()
    def detach(self) -> None:
        assert self.session is not None
        self.drain.detach(self.session)
        self.session = None

    @precondition(lambda self: self.session is not None and self.session.in_flight)
    @rule(count=st.integers(1, 5))
    def answer(self, count: int) -> None:
        assert self.session is not None
        taken = self.session.in_flight[:count]
        del self.session.in_flight[:count]
        self.session.room += len(taken)
        self.answered.update(taken)
        self.drain.acknowledged(self.session, len(taken))

    @precondition(lambda self: self.session is not None and self.session.in_flight)
    @rule()
    def refuse(self) -> None:
        assert self.session is not None
        self.refused.add(self.session.in_flight.pop(0))
        assert self.drain.refused(self.session, "no", others_taken=True)
        self.session.room += 1
        self.drain.pump()

    @rule(seconds=st.integers(0, 10))
    def expire(self, seconds: int) -> None:
        self.clock.advance(5)
        self.committer.expire("d", self.clock.seconds() - seconds)

    @rule(ran=st.booleans())
    def crash(self, ran: bool) -> None:
        if ran:
            self.writer.run()
        self.store.close()
        self.crashed = True
        self.open()
        self.count = self.store.ledgers["d"].next_seq - 1  # what was not stored is no more

    @rule(meta=st.integers(0, 1), field=st.sampled_from([16, 40, 88, 128, 136]))
    def crash_and_damage(self, meta: int, field: int) -> None:
        """Of the newest transaction or the one before nothing leads to its pages any more."""
        self.store.close()
        data = self.directory / "data.mdb"
        image = bytearray(data.read_bytes())
        image[4096 * meta + field] ^= 0x40
        data.write_bytes(image)
        self.crashed = self.damaged = True
        self.open()
        # What the transaction before the newest led to is not needed by anybody.
        assert self.store.recovery is not None or field in (128, 136)
        for kept in self.directory.glob("data.mdb.damaged-*"):
            kept.unlink()
        self.count = self.store.ledgers["d"].next_seq - 1

    @invariant()
    def it_adds_up(self) -> None:
        ledger = self.store.ledgers["d"]
        assert ledger.gap == 0
        assert ledger.queued >= 0
        assert self.damaged or ledger.quarantined <= len(self.refused)
        if self.session is not None:
            assert self.session.seen == sorted(set(self.session.seen))  # in order, none twice
            assert len(self.session.in_flight) == self.drain.in_flight

    def teardown(self) -> None:
        if self.session is None:
            self.attach(5)
        assert self.session is not None
        for _ in range(1000):
            if not self.session.in_flight and not any(
                one.waiting or one.ended for one in self.threads()
            ):
                break
            self.step_all()
            self.clock.advance(1)
            if self.session.in_flight:
                self.answer(5)
        ledger = self.store.ledgers["d"]
        assert (ledger.queued, ledger.received, ledger.gap) == (0, self.count, 0)
        # Each record is on exactly one account; with a crash what was answered and not yet
        # forgotten may be dropped afterwards.
        assert ledger.delivered <= len(self.answered)
        if not self.crashed:
            assert ledger.delivered == len(self.answered)
            unseen = set(range(1, self.count + 1)) - self.answered - self.refused
            assert sum(ledger.dropped.values()) >= len(unseen)
        assert self.trouble == [text for text in self.trouble if "set aside" in text]
        self.store.close()
        shutil.rmtree(self.directory)


TestEvictionMachine = pytest.mark.slow(EvictionMachine.TestCase)
TestEvictionMachine.settings = settings(max_examples=60, stateful_step_count=40)
