"""Whatever is done to a queue, in any order, and wherever it is cut off: the accounts add up.

    received = delivered + queued + quarantined + sum(dropped)

The model is the list of records that wait in each queue, the entries of each quarantine, and
counts.  After each step the store has to agree with it, byte by byte, and no record may be in
two accounts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.model.errors import DamagedRange, QueueError
from relay.model.seq import SeqRange
from relay.queue.block import seq_of
from relay.queue.changes import Changes, Command
from relay.queue.compaction.offline import compact_queue
from relay.queue.inspect.commands import (
    Adopt,
    Purge,
    PurgeQuarantined,
    ReplayQuarantined,
    TrimQuarantine,
)
from relay.queue.inspect.queries import Check, check
from relay.queue.quarantine import read_entry
from relay.queue.store import QueueStore
from relay.queue.transaction import (
    Eviction,
    Refusal,
    Removal,
    SetAside,
    Transaction,
    account_of_source,
)
from relay.queue.view import TransactionView
from tests import queue_files

QUEUES = ("a", "b", "old")  # the last one stands for an orphan
SOURCE = account_of_source("in")
ACCOUNTS = (*QUEUES, SOURCE)
REASONS = ("queue-full", "too-old")


class Record(NamedTuple):
    payload: bytes | None
    """None: its block is damaged."""
    at: float


class Entry(NamedTuple):
    """Of a quarantine."""

    payload: bytes | None
    """None: a damaged block."""
    at: float
    records: int = 1


@dataclass
class Account:
    """What there has to be."""

    head: int = 1
    waiting: list[Record] = field(default_factory=list)
    aside: dict[int, Entry] = field(default_factory=dict)
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    came_in: int = 0
    """Records that had a number here or were dropped before they got one."""
    moved: int = 0

    def append(self, records: Sequence[Record]) -> None:
        self.waiting += records
        self.came_in += len(records)

    def take(self, count: int) -> list[Record]:
        """The `count` oldest leave."""
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        self.head += len(taken)
        return taken

    @property
    def readable(self) -> int:
        """Records before the first damaged block."""
        found = (n for n, record in enumerate(self.waiting) if record.payload is None)
        return next(found, len(self.waiting))


class Failing:
    """An operation that fails when it has done everything."""

    def __init__(self, operation: Command) -> None:
        self._operation = operation

    def apply(self, view: TransactionView) -> Any:
        self._operation.apply(view)
        raise QueueError("in the end")


class _CutOff(Exception):
    pass


payloads = st.lists(st.binary(min_size=1, max_size=9), max_size=5)
long_payloads = st.lists(st.integers(1, 5000).map(lambda size: b"x" * size), max_size=5)
runs = st.one_of(payloads, payloads, long_payloads)
some = st.sampled_from(QUEUES)
any_account = st.sampled_from(ACCOUNTS)
counts = st.integers(0, 9)


class AccountingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.lives = 0
        self.path = self.directory / "0"
        self.now = 1000.0
        self.model = {id: Account() for id in ACCOUNTS}
        self.arrived = 0
        self.named = 0
        self.positions: dict[str, bytes] = {}
        self.store = self.opened()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.directory)

    def opened(self) -> QueueStore:
        return QueueStore.open(
            str(self.path),
            destinations=QUEUES,
            sources=["in"],
            map_bytes=queue_files.MAP_BYTES,
        )

    # What the relay does.

    @initialize(blocks=st.integers(0, 4), answered=st.integers(0, 5))
    def begin(self, blocks: int, answered: int) -> None:
        """With something in each queue, up to the middle of a block, and aside."""
        for _ in range(blocks):
            run = [b"x"] * 3
            self.commit(run, run, run, None, 0, run, 10**6)
        for id in QUEUES:
            self.acknowledge(id, min(answered, 3 * blocks))
            if self.model[id].waiting:
                self.set_head_aside(id, 0)

    @rule(seconds=st.integers(1, 100))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        a=runs,
        b=runs,
        old=runs,
        answered=st.sampled_from([None, 0.0, 0.5, 1.0]),
        sampled=st.integers(0, 3),
        refused=payloads,
        room=st.sampled_from([0, 10**6]),
    )
    def commit(
        self,
        a: list[bytes],
        b: list[bytes],
        old: list[bytes],
        answered: float | None,
        sampled: int,
        refused: list[bytes],
        room: int,
    ) -> None:
        appends = {"a": self.distinct(a), "b": self.distinct(b), "old": self.distinct(old)}
        refused = self.distinct(refused)
        removals = {}
        if answered is not None:
            removals = {"a": self.answer("a", int(answered * self.model["a"].readable))}
        refusals = [Refusal("in", "no", "p", refused, room)] if refused else []
        self.positions["in/file"] = b"%d" % self.now
        self.store.commit(
            Transaction(
                self.now,
                appends,
                removals,
                drops={"b": {"sampled": sampled}} if sampled else {},
                refusals=refusals,
                positions=dict(self.positions),
            )
        )
        for id, run in appends.items():
            self.model[id].append([Record(payload, self.now) for payload in run])
        self.arrived += len(a) + len(b) + len(old) + sampled + len(refused)
        if sampled:
            self.model["b"].came_in += sampled
            self.model["b"].dropped["sampled"] += sampled
        source = self.model[SOURCE]
        for frame in refused:
            source.came_in += 1
            if room:
                source.aside[source.head] = Entry(frame, self.now)
            else:
                source.dropped["quarantine-full"] += 1
            source.head += 1

    def distinct(self, run: list[bytes]) -> list[bytes]:
        """So that one record cannot pass for another."""
        self.named += len(run)
        return [b"%d %s" % (self.named - n, payload) for n, payload in enumerate(run)]

    def answer(self, id: str, count: int) -> Removal:
        account = self.model[id]
        account.delivered += len(account.take(min(count, account.readable)))
        return Removal(account.head)

    @rule(id=some, count=counts)
    def acknowledge(self, id: str, count: int) -> None:
        self.store.commit(Transaction(self.now, removals={id: self.answer(id, count)}))

    @precondition(lambda self: any(self.model[id].waiting for id in QUEUES))
    @rule(number=counts, answered=counts, times=st.integers(1, 4))
    def set_aside(self, number: int, answered: int, times: int) -> None:
        """The head, after some that were answered: one record, or what is left of a block."""
        ids = [id for id in QUEUES if self.model[id].waiting]
        id = ids[number % len(ids)]
        for _ in range(min(times, len(self.model[id].waiting))):
            if self.model[id].waiting:
                self.set_head_aside(id, answered)
            answered = 0

    def set_head_aside(self, id: str, answered: int) -> None:
        account = self.model[id]
        removal = self.answer(id, min(answered, len(account.waiting) - 1))
        count, entry = 1, Entry(account.waiting[0].payload, self.now)
        if entry.payload is None:
            count = self.left_of_block(id)
            entry = entry._replace(records=count)
        seqs = SeqRange(account.head, account.head + count)
        account.aside[account.head] = entry
        account.take(count)
        self.store.commit(
            Transaction(
                self.now,
                removals={id: Removal(seqs.stop, [SetAside(seqs, "no"), *removal.set_aside])},
            )
        )

    def left_of_block(self, id: str) -> int:
        """Records of the block at the head of a queue."""
        with pytest.raises(DamagedRange) as found:
            self.read(id, self.model[id].head)
        return len(found.value.seqs)

    @rule(id=some, pages=st.integers(0, 6))
    def evict(self, id: str, pages: int) -> None:
        """Whole blocks leave until the rest fits; how many is for the store to say."""
        account, bytes_max = self.model[id], pages * 4096
        before = self.store.destination_bytes[id]
        eviction = Eviction("queue-full", bytes_max=bytes_max)
        self.store.commit(Transaction(self.now, evictions={id: eviction}))
        left = self.store.ledgers[id].acknowledged_seq - account.head
        account.dropped["queue-full"] += len(account.take(left))
        assert (left > 0) == (before > bytes_max and bool(left or account.waiting))
        assert self.store.destination_bytes[id] <= bytes_max or not account.waiting

    @rule(id=some, seconds=st.integers(0, 200))
    def expire(self, id: str, seconds: int) -> None:
        account, before = self.model[id], self.now - seconds
        eviction = Eviction("too-old", received_before=before)
        self.store.commit(Transaction(self.now, evictions={id: eviction}))
        ages = ((r.payload is not None and r.at < before) for r in account.waiting)
        due = next((n for n, is_due in enumerate(ages) if not is_due), len(account.waiting))
        account.dropped["too-old"] += len(account.take(due))

    @rule(id=some, reason=st.sampled_from(REASONS), count=counts)
    def answered_late(self, id: str, reason: str, count: int) -> None:
        account = self.model[id]
        count = min(count, account.dropped[reason])
        late = Counter({reason: count})
        self.store.commit(Transaction(self.now, removals={id: Removal(0, late=late)}))
        account.dropped[reason] -= count
        account.delivered += count

    # What people do.

    @rule(id=some, count=counts)
    def purge(self, id: str, count: int) -> None:
        account = self.model[id]
        count = min(count, len(account.waiting))
        purge = Purge(id, account.head, account.head + count)
        assert self.store.operate(purge, at=self.now)[1] == count
        account.dropped["operator"] += len(account.take(count))

    @rule(to=st.sampled_from(["a", "b"]), bytes_max=st.sampled_from([1, 100, 10**6]))
    def adopt(self, to: str, bytes_max: int) -> None:
        orphan = self.model["old"]
        _, step = self.store.operate(Adopt("old", to, bytes_max=bytes_max), at=self.now)
        records = set_aside = 0
        while records + set_aside < step.records + step.set_aside:
            count = 1
            if orphan.waiting[0].payload is None:
                stops = (n for n, r in enumerate(orphan.waiting) if r.payload is not None)
                count = next(stops, len(orphan.waiting))
                # Blocks that are damaged side by side are an entry each.
                count = min(count, self.entry(orphan.head).records)
                orphan.aside[orphan.head] = Entry(None, self.now, count)
                orphan.take(count)
                set_aside += count
            else:
                self.model[to].append(orphan.take(1))
                orphan.moved += 1
                records += 1
        assert (step.records, step.set_aside) == (records, set_aside)
        assert step.left == len(orphan.waiting)
        assert step.left == 0 or bytes_max < 10**6

    def entry(self, seq: int) -> Entry:
        return self.quarantine("old")[seq]

    @precondition(lambda self: any(account.aside for account in self.model.values()))
    @rule(to=some, number=counts, count=st.integers(1, 3))
    def replay_some(self, to: str, number: int, count: int) -> None:
        id = self.account_with_entries(number)
        account = self.model[id]
        seqs = sorted(account.aside)[number % len(account.aside) :][:count]
        replay = ReplayQuarantined(id, to, seqs=seqs)
        if any(account.aside[seq].payload is None for seq in seqs):
            with pytest.raises(QueueError, match="is damaged and cannot be sent"):
                self.store.operate(replay, at=self.now)
            return
        assert self.store.operate(replay, at=self.now)[1].records == len(seqs)
        self.replayed(id, to, seqs)

    @rule(
        id=any_account,
        to=some,
        entries_max=st.sampled_from([1, 3, 1000]),
        bytes_max=st.sampled_from([1, 10**6]),
    )
    def replay_all(self, id: str, to: str, entries_max: int, bytes_max: int) -> None:
        """Step by step, up to what is there at first."""
        start, upto = 0, self.store.ledgers[id].next_seq
        seqs = [seq for seq, entry in sorted(self.model[id].aside.items()) if entry.payload]
        records = skipped = 0
        while True:
            replay = ReplayQuarantined(
                id, to, start=start, upto=upto, entries_max=entries_max, bytes_max=bytes_max
            )
            _, step = self.store.operate(replay, at=self.now)
            records, skipped = records + step.records, skipped + step.skipped
            if not step.next_seq:
                break
            start = step.next_seq
        assert (records, skipped) == (len(seqs), len(self.model[id].aside) - len(seqs))
        self.replayed(id, to, seqs)

    def replayed(self, id: str, to: str, seqs: list[int]) -> None:
        taken = [self.model[id].aside.pop(seq) for seq in seqs]
        self.model[id].moved += len(taken)
        self.model[to].append([Record(entry.payload, self.now) for entry in taken])

    @precondition(lambda self: any(account.aside for account in self.model.values()))
    @rule(number=counts, everything=st.booleans())
    def purge_quarantined(self, number: int, everything: bool) -> None:
        id = self.account_with_entries(number)
        account = self.model[id]
        seqs = sorted(account.aside)
        if not everything:
            seqs = [seqs[number % len(seqs)]]
        purge = PurgeQuarantined(id, seqs=[] if everything else seqs, upto=2**63)
        self.store.operate(purge, at=self.now)
        account.dropped["operator"] += sum(account.aside.pop(seq).records for seq in seqs)

    @rule(id=any_account, bytes_max=st.sampled_from([0, 10**9]), seconds=st.integers(0, 200))
    def trim_quarantine(self, id: str, bytes_max: int, seconds: int) -> None:
        account, before = self.model[id], self.now - seconds
        self.store.operate(TrimQuarantine(id, bytes_max, before=before), at=self.now)
        for seq, entry in sorted(account.aside.items()):
            if bytes_max and entry.at >= before:
                break
            reason = "quarantine-aged" if bytes_max else "quarantine-full"
            account.dropped[reason] += entry.records
            del account.aside[seq]

    def account_with_entries(self, number: int) -> str:
        ids = [id for id in ACCOUNTS if self.model[id].aside]
        return ids[number % len(ids)]

    # What befalls it.

    @rule()
    def stop_and_start(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule()
    def killed_and_started(self) -> None:
        """The files as they are, not closed by anybody."""
        self.lives += 1
        copy = self.directory / str(self.lives)
        shutil.copytree(self.path, copy)
        self.store.close()
        shutil.rmtree(self.path)
        self.path = copy
        self.store = self.opened()

    @rule(a=runs, id=some, killed=st.booleans())
    def cut_off_in_a_commit(self, a: list[bytes], id: str, killed: bool) -> None:
        """Everything is in the transaction, and then it does not end."""

        def cut_off(*_: Any) -> None:
            raise _CutOff

        account = self.model[id]
        with pytest.MonkeyPatch.context() as patch, pytest.raises(_CutOff):
            patch.setattr(Changes, "finish", cut_off)
            self.store.commit(
                Transaction(
                    self.now,
                    {"a": a},
                    {id: Removal(account.head + account.readable)},
                    evictions={"b": Eviction("queue-full", bytes_max=0)},
                    drops={"a": {"sampled": 3}},
                    refusals=[Refusal("in", "no", "p", [b"frame"], 10**6)],
                    positions={"in/file": b"never"},
                )
            )
        if killed:
            self.killed_and_started()

    @rule(id=some, to=some, number=st.integers(0, 3))
    def operation_that_fails_in_the_end(self, id: str, to: str, number: int) -> None:
        account = self.model[id]
        operations: list[Command] = [
            Purge(id, account.head, account.head + len(account.waiting)),
            Adopt("old", "a"),
            ReplayQuarantined(id, to, upto=2**63),
            TrimQuarantine(id, 0),
        ]
        with pytest.raises(QueueError, match="in the end"):
            self.store.operate(Failing(operations[number]), at=self.now)

    @precondition(lambda self: any(self.model[id].readable for id in QUEUES))
    @rule(number=counts)
    def damage(self, number: int) -> None:
        """The disk gives back something else: a bit of the block at the head of a queue."""
        ids = [id for id in QUEUES if self.model[id].readable]
        id = ids[number % len(ids)]
        self.store.close()
        with queue_files.environment(self.path) as environment:
            blocks = environment.open_db(f"blocks/{id}".encode())
            with environment.begin(db=blocks) as txn:
                first, *others = [seq_of(key) for key, _ in txn.cursor()]
        queue_files.damage(self.path, id, first)
        self.store = self.opened()
        account = self.model[id]
        stop = others[0] if others else account.head + len(account.waiting)
        for index in range(stop - account.head):
            account.waiting[index] = account.waiting[index]._replace(payload=None)

    @rule()
    def compact(self) -> None:
        self.store.close()
        compact_queue(str(self.path))
        self.store = self.opened()

    # What there is then.

    @invariant()
    def what_is_there_is_what_the_model_has(self) -> None:
        for id in QUEUES:
            account = self.model[id]
            assert self.everything(id) == [record.payload for record in account.waiting]
            checked = self.store.look(lambda view, id=id: check(view, Check(id)))
            assert checked.problems == []
        for id in ACCOUNTS:
            assert self.quarantine(id) == self.model[id].aside
        assert self.store.positions("in") == {
            name.partition("/")[2]: at for name, at in self.positions.items()
        }

    @invariant()
    def the_accounts_add_up(self) -> None:
        for id, account in self.model.items():
            ledger = self.store.ledgers[id]
            aside = sum(entry.records for entry in account.aside.values())
            assert ledger.received == account.came_in - account.moved
            assert ledger.delivered == account.delivered
            assert ledger.queued == len(account.waiting)
            assert ledger.quarantined == aside
            assert ledger.dropped == +account.dropped
            assert ledger.received == (
                ledger.delivered + ledger.queued + ledger.quarantined + sum(ledger.dropped.values())
            )
            assert (ledger.quarantine_bytes > 0) == bool(aside)
            assert ledger.queued > 0 or ledger.queued_bytes == 0
        # Over all accounts nothing is received twice, wherever it has moved.
        assert sum(ledger.received for ledger in self.store.ledgers.values()) == self.arrived

    def read(self, id: str, start: int) -> list[bytes]:
        return self.store.read(id, start=start, records_max=7, bytes_max=2**20)

    def everything(self, id: str) -> list[bytes | None]:
        """The records of a queue; None for each in a damaged block."""
        found: list[bytes | None] = []
        start = self.store.ledgers[id].acknowledged_seq
        while True:
            try:
                payloads = self.read(id, start + len(found))
            except DamagedRange as damage:
                found += [None] * len(damage.seqs)
                continue
            if not payloads:
                return found
            found += payloads

    def quarantine(self, id: str) -> dict[int, Entry]:
        def entries(view: TransactionView) -> dict[int, Entry]:
            found = {}
            for key, value in view.txn.cursor(db=view.quarantine[id]):
                label, data = read_entry(bytes(value))
                payload = None if label.kind == "block" else data
                found[seq_of(key)] = Entry(payload, label.at, label.records)
            return found

        return self.store.look(entries)


TestAccounting = pytest.mark.slow(AccountingMachine.TestCase)
TestAccounting.settings = settings(max_examples=80, stateful_step_count=40)
