from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.flow.exactly_once.reading import ReadLineages, Sifted
from relay.wire.record_number import RecordNumber, format_record_number, format_record_numbers

A, B, C = (f"0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f1{digit}" for digit in "abc")


class Disk:
    """What is stored of the source "log", and the reader of it that runs now."""

    def __init__(self, lineages_max: int = 10) -> None:
        self.positions: dict[str, bytes] = {}
        self.now = 1000.0
        self.loads = 0
        self.lineages_max = lineages_max
        self.start()

    def start(self) -> None:
        self.reader = ReadLineages(
            "log", load=self.load, now=lambda: self.now, lineages_max=lambda: self.lineages_max
        )

    def load(self) -> Mapping[str, bytes]:
        self.loads += 1
        return {name.removeprefix("log/"): value for name, value in self.positions.items()}

    def store(self, positions: Mapping[str, bytes]) -> None:
        self.now += 1
        for name, value in positions.items():
            assert name.startswith("log/")
            self.positions[name] = value
            if not value:
                del self.positions[name]

    def read(self, lineage: str, *seqs: int, prev: int = 0, partition: int = 0) -> Sifted:
        """Sift and store a batch."""
        sifted = self.reader.sift(format_record_numbers(lineage, seqs, prev), partition)
        self.store(sifted.positions)
        return sifted


def test_a_restart_knows_what_was_stored() -> None:
    disk = Disk()
    assert disk.reader.sift([], 0) == (range(0), {}, 0, 0, None, [], 0, 0)
    first = disk.read(A, 1, 2, 3)
    assert (list(first.taken), first.unknown) == ([0, 1, 2], [A])
    assert first.positions == {f"log/have/0/{A}": b"3,1000"}
    disk.start()
    again = disk.read(A, 2, 3, 4, prev=1)
    assert (list(again.taken), again.duplicates, again.unknown) == ([2], 2, [])
    assert disk.loads == 2


def test_what_lacks_its_predecessor_is_held_back_until_that_comes() -> None:
    disk = Disk()
    disk.read(A, 1)
    held = disk.read(A, 3, 4, prev=2)
    assert (list(held.taken), held.held, held.first_held, held.positions) == ([], 2, 0, {})
    assert list(disk.read(A, 2, 3, 4, prev=1).taken) == [0, 1, 2]


def test_records_without_a_readable_number_are_taken() -> None:
    sifted = Disk().reader.sift([None, b"", b"x", format_record_number(RecordNumber(A, 1, 0))], 0)
    assert (list(sifted.taken), sifted.malformed) == ([0, 1, 2, 3], 2)


def test_a_batch_that_was_not_stored_moves_nothing() -> None:
    disk = Disk()
    disk.read(A, 1)
    numbers = format_record_numbers(A, [2, 3], 1)
    assert len(disk.reader.sift(numbers, 0).taken) == 2
    assert len(disk.reader.sift(numbers, 0).taken) == 0
    disk.reader.rewind()
    assert len(disk.reader.sift(numbers, 0).taken) == 2


def test_lineages_of_a_partition_are_forgotten_also_on_disk() -> None:
    disk = Disk()
    disk.read(A, 1, 2)
    disk.read(B, 1, 2, partition=1)
    disk.read(C, 1, 2, partition=1)
    disk.start()
    assert disk.reader.forget(1) == 2
    assert disk.reader.forget(7) == 0
    assert len(disk.reader) == 1
    # Retention took 3 and 4.
    sifted = disk.read(B, 5, 6, prev=4, partition=1)
    assert (list(sifted.taken), sifted.unknown) == ([0, 1], [B])
    assert set(disk.positions) == {f"log/have/0/{A}", f"log/have/1/{B}"}
    assert disk.read(A, 4, prev=3).held == 1


def test_forgotten_lineages_come_back_with_a_rewind() -> None:
    disk = Disk()
    disk.read(A, 1, 2)
    disk.reader.forget(0)
    disk.reader.rewind()
    assert disk.read(A, 4, prev=3).held == 1


def test_the_lineage_written_longest_ago_makes_room() -> None:
    disk = Disk(lineages_max=2)
    disk.read(A, 1)
    disk.read(B, 1, partition=1)
    disk.read(A, 2, prev=1)
    disk.start()  # the order is kept
    sifted = disk.read(C, 1)
    assert sifted.forgotten == 1
    assert set(disk.positions) == {f"log/have/0/{A}", f"log/have/0/{C}"}
    assert disk.read(B, 9, prev=8, partition=1).unknown == [B]
    assert (len(disk.reader), len(disk.positions)) == (2, 2)
    disk.lineages_max = 1
    disk.read(B, 10, prev=9, partition=1)
    assert set(disk.positions) == {f"log/have/1/{B}"}


def test_a_batch_of_more_lineages_than_the_limit_stays_within_it() -> None:
    disk = Disk(lineages_max=1)
    numbers = [format_record_number(RecordNumber(lineage, 1, 0)) for lineage in (A, B, C)]
    sifted = disk.reader.sift(numbers, 0)
    disk.store(sifted.positions)
    assert (list(sifted.taken), sifted.forgotten) == ([0, 1, 2], 2)
    assert set(disk.positions) == {f"log/have/0/{C}"}


@pytest.mark.parametrize(
    ("name", "value"),
    [(f"have/0/{A}", b""), (f"have/0/{A}", b"7"), (f"have/x/{A}", b"7,1"), ("offset/0", b"7,1")],
)
def test_positions_that_are_damaged_or_others_say_nothing(name: str, value: bytes) -> None:
    disk = Disk()
    disk.positions[f"log/{name}"] = value
    assert len(disk.reader) == 0
    assert disk.read(A, 3, prev=2).unknown == [A]


# A log of one partition, senders with stateless receivers between, and the reader.


class Record(NamedTuple):
    lineage: str
    seq: int
    header: bytes


class Session:
    """A receiver's session: what a sender has sent to it and it has not put into the log."""

    def __init__(self, seqs: list[int]) -> None:
        self.waiting = list(seqs)
        self.prev = 0
        self.has_failed = False


class Sender:
    def __init__(self, lineage: str) -> None:
        self.lineage = lineage
        self.seqs: list[int] = []
        self.acknowledged = 0  # so many of them
        self.connect()
        self.old: list[Session] = []

    def connect(self) -> None:
        self.session = Session(self.seqs[self.acknowledged :])

    def add(self, step: int) -> None:
        """Another record; `step` leaves a hole where a filter took some."""
        self.seqs.append((self.seqs[-1] if self.seqs else 0) + 1 + step % 3)
        self.session.waiting.append(self.seqs[-1])


class World:
    def __init__(self) -> None:
        self.senders = [Sender(A), Sender(B)]
        self.log: list[Record] = []
        self.disk = Disk()
        self.offset = self.stored_offset = 0
        self.taken: list[Record] = []
        self.underway: list[tuple[int, Sifted, list[Record]]] = []

    def add(self, sender: Sender, number: int) -> None:
        sender.add(number)

    def publish(self, sender: Sender, count: int, session: Session | None = None) -> None:
        session = session or sender.session
        batch, session.waiting = session.waiting[:count], session.waiting[count:]
        headers = format_record_numbers(sender.lineage, batch, session.prev)
        self.log += map(Record, [sender.lineage] * len(batch), batch, headers)
        session.prev = batch[-1] if batch else session.prev
        if session is sender.session and not session.has_failed:
            for seq in batch:
                if seq == sender.seqs[sender.acknowledged]:
                    sender.acknowledged += 1

    def fail(self, sender: Sender, count: int) -> None:
        """Records fail for good, and those behind them do not; only the log's first cannot."""
        session = sender.session
        if any(record.lineage == sender.lineage for record in self.log):
            failed, session.waiting = session.waiting[:count], session.waiting[count:]
            session.prev = failed[-1] if failed else session.prev
            session.has_failed = session.has_failed or bool(failed)

    def lose_answers(self, sender: Sender, count: int) -> None:
        """What is in the log is not answered, and another receiver gets it again."""
        before = sender.acknowledged
        self.publish(sender, count)
        sender.acknowledged = before
        sender.connect()

    def move(self, sender: Sender, number: int) -> None:
        """The receiver stops with what it has, and may wake late."""
        sender.old.append(sender.session)
        sender.connect()

    def wake(self, sender: Sender, count: int) -> None:
        if sender.old:
            self.publish(sender, count, sender.old[count % len(sender.old)])

    def read(self, sender: Sender, count: int) -> None:
        batch = self.log[self.offset : self.offset + count]
        sifted = self.disk.reader.sift([record.header for record in batch], 0)
        self.offset += len(batch)
        self.underway.append((self.offset, sifted, [batch[index] for index in sifted.taken]))

    def commit(self, sender: Sender, count: int) -> None:
        done, self.underway = self.underway[:count], self.underway[count:]
        for offset, sifted, taken in done:
            self.stored_offset = offset
            self.disk.store(sifted.positions)
            self.taken += taken

    def fail_commit(self, sender: Sender, count: int) -> None:
        self.commit(sender, count % 2)
        self.underway.clear()
        self.offset = self.stored_offset
        self.disk.reader.rewind()

    def kill_reader(self, sender: Sender, count: int) -> None:
        self.fail_commit(sender, count)
        self.disk.start()

    def settle(self) -> None:
        for sender in self.senders:
            sender.connect()
            self.publish(sender, 1000)
        self.read(sender, 10_000)
        self.commit(sender, 1000)


names = ["add", "publish", "publish", "fail", "lose_answers", "move", "wake"]
names += ["read", "read", "commit", "fail_commit", "kill_reader"]
steps = st.tuples(st.sampled_from(names), st.integers(0, 1), st.integers(0, 5))


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.just("add"), st.integers(0, 1), st.integers(0, 2)), min_size=6), st.data()
)
def test_whatever_happens_each_record_is_read_once_and_in_order(
    added: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    world = World()
    for name, which, number in [*added, *data.draw(st.lists(steps, min_size=10, max_size=60))]:
        getattr(world, name)(world.senders[which], number)
        for sender in world.senders:  # what is acknowledged is in the log
            there = {record.seq for record in world.log if record.lineage == sender.lineage}
            assert there >= set(sender.seqs[: sender.acknowledged])
    world.settle()
    for sender in world.senders:
        read = [record.seq for record in world.taken if record.lineage == sender.lineage]
        assert read == sender.seqs
