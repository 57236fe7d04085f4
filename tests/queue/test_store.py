from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from relay.model.errors import (
    DamagedRange,
    QueueError,
    QueueFormatError,
    QueueFull,
    QueueInUse,
    StorageFailed,
)
from relay.model.seq import SeqRange
from relay.queue.block import BLOCK_BYTES_TARGET, encode_block
from relay.queue.files.ownership import Ownership
from relay.queue.history.keep import Histories
from relay.queue.inspect.commands import (
    Adopt,
    Purge,
    PurgeQuarantined,
    ReplayHistory,
    ReplayQuarantined,
)
from relay.queue.inspect.queries import Check, Period, Read, read_history
from relay.queue.inspect.queries import check as inspect
from relay.queue.ledger import Ledger
from relay.queue.store import QueueStore
from relay.queue.transaction import Refusal, Removal, SetAside, Transaction, account_of_source
from relay.queue.view import TransactionView, database_bytes
from tests.queue_files import kept

MAP_BYTES = 16 * 1024**2
HALF_BLOCK = b"x" * (BLOCK_BYTES_TARGET // 2)


class Queue:
    """A directory with a queue in it, opened and closed as often as needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: Any = None

    def open(
        self,
        *destinations: str,
        map_bytes: int = MAP_BYTES,
        histories: Histories | None = None,
    ) -> QueueStore:
        self.close()
        self.store = QueueStore.open(
            str(self.path),
            destinations=destinations or ("a", "b"),
            map_bytes=map_bytes,
            histories=histories,
        )
        return self.store

    def close(self) -> None:
        if self.store is not None:
            self.store.close()
            self.store = None

    @contextmanager
    def environment(self) -> Iterator[Any]:
        """The LMDB environment itself, with the queue closed."""
        self.close()
        environment = lmdb.open(str(self.path), map_size=MAP_BYTES, max_dbs=16)
        try:
            yield environment
        finally:
            environment.close()

    def values(self, database: str) -> dict[int, bytes]:
        with self.environment() as environment:
            db = environment.open_db(database.encode())
            with environment.begin(db=db) as txn:
                return {struct.unpack(">Q", key)[0]: value for key, value in txn.cursor()}

    def put(self, database: str, key: bytes, value: bytes | None) -> None:
        with self.environment() as environment:
            db = environment.open_db(database.encode())
            with environment.begin(write=True, db=db) as txn:
                txn.delete(key) if value is None else txn.put(key, value)

    def damage(self, destination: str, first: int) -> bytes:
        """Flip a bit in the last byte of a block; return what is there now."""
        value = bytearray(self.values(f"blocks/{destination}")[first])
        value[-1] ^= 1
        self.put(f"blocks/{destination}", struct.pack(">Q", first), bytes(value))
        return bytes(value)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path / "queue")
    yield queue
    queue.close()


@pytest.fixture
def store(queue: Queue) -> QueueStore:
    """Empty, with destinations a and b."""
    return queue.open()


def append(store: QueueStore, *, at: float = 0.0, **payloads: list[bytes]) -> None:
    store.commit(Transaction(at, payloads))


def remove(store: QueueStore, destination: str, upto: int, *asides: SetAside) -> Ledger:
    changed = store.commit(Transaction(9.0, {}, {destination: Removal(upto, list(asides))}))
    return changed[destination]


def read(
    store: QueueStore, destination: str, start: int, records_max: int = 10_000, **limits: int
) -> list[bytes]:
    return store.read(
        destination, start=start, records_max=records_max, **{"bytes_max": 1 << 30, **limits}
    )


# Records.


def test_records_are_read_from_anywhere_across_blocks(store: QueueStore) -> None:
    append(store, a=[b"1", b"2", b"3"])
    append(store, a=[b"4"], b=[b"other"])
    append(store, a=[b"5", b"6"])
    records = [b"1", b"2", b"3", b"4", b"5", b"6"]
    for start in range(1, 9):
        assert read(store, "a", start) == records[start - 1 :]
    assert read(store, "b", 1) == [b"other"]


def test_a_closed_store_says_so_to_readers(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1"])
    for call in (
        lambda: store.oldest_received_at("a"),
        lambda: store.positions("in"),
        lambda: read(store, "a", 1),
    ):
        with pytest.raises(QueueError, match="the queue is closed"):
            call()


def test_what_is_appended_at_once_is_cut_into_blocks_of_the_target_size(queue: Queue) -> None:
    append(queue.open(), a=[HALF_BLOCK] * 5)
    assert sorted(queue.values("blocks/a")) == [1, 3, 5]
    assert read(queue.open(), "a", 2) == [HALF_BLOCK] * 4


def test_reading_stops_with_the_block_that_reaches_a_limit(store: QueueStore) -> None:
    for pair in ([b"1", b"2"], [b"3", b"4"], [b"5", b"6"]):
        append(store, a=pair)
    block_bytes = len(encode_block([b"1", b"2"], received_at=0.0))
    assert read(store, "a", 1, 1) == [b"1", b"2"]
    assert read(store, "a", 1, 2) == [b"1", b"2"]
    assert read(store, "a", 2, 2) == [b"2", b"3", b"4"]
    assert read(store, "a", 1, bytes_max=1) == [b"1", b"2"]
    assert read(store, "a", 1, bytes_max=block_bytes) == [b"1", b"2"]
    assert read(store, "a", 1, bytes_max=block_bytes + 1) == [b"1", b"2", b"3", b"4"]


def test_an_empty_queue_gives_nothing(store: QueueStore) -> None:
    assert read(store, "a", 1) == []
    assert store.oldest_received_at("a") is None


def test_a_commit_says_which_ledgers_it_changed(store: QueueStore) -> None:
    append(store, b=[b"1"])
    changed = store.commit(Transaction(0.0, {"a": [b"1", b"22"], "b": []}))
    assert changed == {"a": Ledger(next_seq=3, queued_bytes=3)}
    assert store.ledgers == {**changed, "b": Ledger(next_seq=2, queued_bytes=1)}


def test_ledgers_are_replaced_and_not_changed(store: QueueStore) -> None:
    before = store.ledgers["a"]
    append(store, a=[b"1"])
    assert (before.next_seq, store.ledgers["a"].next_seq) == (1, 2)


def test_the_age_is_that_of_the_oldest_block(store: QueueStore) -> None:
    append(store, at=100.5, a=[b"1", b"2"])
    append(store, at=200.5, a=[b"3"])
    remove(store, "a", 2)
    assert store.oldest_received_at("a") == 100.5
    remove(store, "a", 3)
    assert store.oldest_received_at("a") == 200.5


# Removal.


def test_what_is_acknowledged_leaves(store: QueueStore) -> None:
    append(store, a=[b"1", b"22"])
    append(store, a=[b"333"])
    assert remove(store, "a", 4) == Ledger(next_seq=4, acknowledged_seq=4, delivered=3)
    assert read(store, "a", 4) == []


def test_a_block_stays_until_all_of_it_is_acknowledged(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1", b"22", b"333"])
    append(store, a=[b"4444"])
    ledger = remove(store, "a", 3)
    assert (ledger.delivered, ledger.queued, ledger.queued_bytes) == (2, 2, 10)
    assert read(store, "a", 3) == [b"333", b"4444"]
    ledger = remove(store, "a", 4)
    assert (ledger.delivered, ledger.queued, ledger.queued_bytes) == (3, 1, 4)
    assert sorted(queue.values("blocks/a")) == [4]


def test_one_transaction_can_append_and_remove(store: QueueStore) -> None:
    append(store, a=[b"1", b"2"])
    store.commit(Transaction(0.0, {"a": [b"3"], "b": [b"x"]}, {"a": Removal(4)}))
    assert store.ledgers["a"] == Ledger(next_seq=4, acknowledged_seq=4, delivered=3)
    assert store.ledgers["b"].queued == 1


def test_destinations_do_not_touch_each_other(store: QueueStore) -> None:
    append(store, a=[b"a1", b"a2"], b=[b"b1"])
    remove(store, "a", 3)
    assert read(store, "b", 1) == [b"b1"]
    assert store.ledgers["b"].acknowledged_seq == 1


def test_only_what_is_there_can_be_removed(store: QueueStore) -> None:
    append(store, a=[b"1", b"2"])
    remove(store, "a", 2)
    with pytest.raises(AssertionError):
        remove(store, "a", 4)
    assert store.ledgers["a"].acknowledged_seq == 2
    assert read(store, "a", 2) == [b"2"]


def test_what_has_left_already_is_not_removed_again(store: QueueStore) -> None:
    append(store, a=[b"1", b"2"])
    remove(store, "a", 2)
    assert remove(store, "a", 1) == store.ledgers["a"]
    assert (store.ledgers["a"].delivered, store.ledgers["a"].acknowledged_seq) == (1, 2)


# Opening again.


def test_everything_is_there_after_opening_again(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1", b"2"], b=[b"x"])
    remove(store, "a", 2)
    ledgers = store.ledgers
    store = queue.open()
    assert store.ledgers == ledgers
    assert (read(store, "a", 2), read(store, "b", 1)) == ([b"2"], [b"x"])


def test_a_drained_queue_does_not_use_its_numbers_again(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1", b"2"])
    remove(store, "a", 3)
    store = queue.open()
    append(store, a=[b"3"])
    assert store.ledgers["a"].next_seq == 4
    assert read(store, "a", 3) == [b"3"]


def test_queues_without_a_configuration_are_kept(queue: Queue) -> None:
    append(queue.open("old"), old=[b"1", b"2"])
    store = queue.open("new")
    append(store, new=[b"x"])
    assert set(store.ledgers) == {"old", "new"}
    assert (store.ledgers["old"].queued, read(store, "old", 1)) == (2, [b"1", b"2"])
    assert remove(queue.open("old", "new"), "old", 3).queued == 0


def test_the_directory_is_for_its_owner_only(queue: Queue) -> None:
    queue.open()
    assert queue.path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o077 for file in queue.path.iterdir()} == {0}


# The quarantine.


def labelled(value: bytes) -> tuple[dict[str, Any], bytes]:
    label, _, data = value.partition(b"\n")
    fields = msgspec.json.decode(label)
    del fields["crc"]
    return fields, data


def test_a_record_that_is_set_aside_is_kept_with_its_reason(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1", b"2\n2", b"3"])
    ledger = remove(store, "a", 4, SetAside(SeqRange(2, 3), "refused: no"))
    assert (ledger.delivered, ledger.quarantined, ledger.queued) == (2, 1, 0)
    ((seq, value),) = queue.values("quarantine/a").items()
    label = {"reason": "refused: no", "at": 9.0, "kind": "record"}
    assert (seq, labelled(value)) == (2, (label, b"2\n2"))


def test_a_record_of_a_later_block_can_be_set_aside(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1"])
    append(store, a=[b"2", b"3"])
    append(store, a=[b"4"])
    remove(store, "a", 4, SetAside(SeqRange(1, 2), "x"), SetAside(SeqRange(3, 4), "y"))
    kept = {seq: labelled(value)[1] for seq, value in queue.values("quarantine/a").items()}
    assert kept == {1: b"1", 3: b"3"}
    assert read(queue.open(), "a", 4) == [b"4"]


def test_a_damaged_block_is_found_after_what_lies_before_it(queue: Queue) -> None:
    store = queue.open()
    for pair in ([b"1", b"2"], [b"3", b"4"], [b"5", b"6"]):
        append(store, a=pair)
    queue.damage("a", 3)
    store = queue.open()
    assert read(store, "a", 1) == [b"1", b"2"]
    for start in (3, 4):
        with pytest.raises(DamagedRange, match="checksum") as caught:
            read(store, "a", start)
        assert caught.value.seqs == SeqRange(start, 5)
    assert read(store, "a", 5) == [b"5", b"6"]


def test_a_damaged_last_block_ends_with_the_queue(queue: Queue) -> None:
    append(queue.open(), a=[b"1", b"2", b"3"])
    queue.damage("a", 1)
    store = queue.open()
    with pytest.raises(DamagedRange) as caught:
        read(store, "a", 2)
    assert caught.value.seqs == SeqRange(2, 4)
    assert caught.value.reason == "checksum mismatch"
    assert str(caught.value) == "queue of a: records 2 to 3 cannot be read: checksum mismatch"
    assert read(store, "a", 4) == []
    assert store.oldest_received_at("a") is None


def test_a_damaged_block_is_set_aside_as_it_was_found(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1", b"2"])
    append(store, a=[b"3", b"4", b"5"])
    append(store, a=[b"6"])
    damaged = queue.damage("a", 3)
    store = queue.open()
    remove(store, "a", 4)
    ledger = remove(store, "a", 6, SetAside(SeqRange(4, 6), "checksum"))
    assert (ledger.delivered, ledger.quarantined, ledger.queued) == (3, 2, 1)
    assert ledger.queued_bytes == 1
    ((seq, value),) = queue.values("quarantine/a").items()
    assert seq == 4
    label = {"reason": "checksum", "at": 9.0, "kind": "block", "records": 2}
    assert labelled(value) == (label, damaged)
    assert read(queue.open(), "a", 6) == [b"6"]


def test_no_record_is_lost_if_a_block_can_be_read_after_all(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1", b"2", b"3"])
    assert remove(store, "a", 4, SetAside(SeqRange(2, 4), "checksum")).quarantined == 2
    values = queue.values("quarantine/a")
    assert {seq: labelled(value)[1] for seq, value in values.items()} == {2: b"2", 3: b"3"}
    assert labelled(values[3])[0]["kind"] == "record"


@pytest.mark.parametrize("at", [13, 14, 15, 16])
def test_the_size_of_an_empty_queue_is_nothing_whatever_damage_claims(
    queue: Queue, at: int
) -> None:
    append(queue.open(), a=[b"1", b"2" * 100])
    value = bytearray(queue.values("blocks/a")[1])
    value[at] ^= 0x11  # in the count of records
    queue.put("blocks/a", struct.pack(">Q", 1), bytes(value))
    assert remove(queue.open(), "a", 3, SetAside(SeqRange(1, 3), "checksum")).queued_bytes == 0


def test_a_block_whose_key_was_changed_is_damaged(queue: Queue) -> None:
    store = queue.open()
    for records in ([b"1", b"2"], [b"3", b"4"], [b"5"]):
        append(store, a=records)
    block = queue.values("blocks/a")[3]
    queue.put("blocks/a", struct.pack(">Q", 3), None)
    queue.put("blocks/a", struct.pack(">Q", 4), block)
    store = queue.open()
    with pytest.raises(DamagedRange, match="2 records in the place of 3") as damaged:
        read(store, "a", 1)
    assert damaged.value.seqs == SeqRange(1, 4)
    remove(store, "a", 4, SetAside(damaged.value.seqs, "damaged"))
    with pytest.raises(DamagedRange, match="2 records in the place of 1"):
        read(store, "a", 4)
    remove(store, "a", 5, SetAside(SeqRange(4, 5), "damaged"))
    assert read(store, "a", 5) == [b"5"]
    assert store.ledgers["a"].quarantined == 4


# What cannot be opened.


def contents(path: Path) -> bytes:
    return (path / "data.mdb").read_bytes()


def test_a_second_relay_is_told_who_has_the_queue(queue: Queue) -> None:
    store = queue.open()
    with pytest.raises(QueueInUse, match=rf"process {os.getpid()};"):
        QueueStore.open(str(queue.path), destinations=["a"], map_bytes=MAP_BYTES)
    append(store, a=[b"1"])
    assert read(queue.open(), "a", 1) == [b"1"]


def as_unknown_format(queue: Queue) -> None:
    append(queue.open(), a=[b"1"])
    queue.put("meta", b"format", b"2")


def as_missing_format(queue: Queue) -> None:
    append(queue.open(), a=[b"1"])
    queue.put("meta", b"format", None)


def as_somebody_elses(queue: Queue) -> None:
    queue.path.mkdir()
    queue.put("something", b"key", b"value")


def as_somebody_elses_without_databases(queue: Queue) -> None:
    queue.path.mkdir()
    with queue.environment() as environment, environment.begin(write=True) as txn:
        txn.put(b"meta", b"value")


def as_garbage(queue: Queue) -> None:
    queue.path.mkdir()
    (queue.path / "data.mdb").write_bytes(bytes(range(256)) * 64)


def as_a_short_file(queue: Queue) -> None:
    queue.path.mkdir()
    (queue.path / "data.mdb").write_bytes(b"x")


def with_a_ledger(text: bytes) -> Callable[[Queue], None]:
    def prepare(queue: Queue) -> None:
        append(queue.open(), a=[b"1"])
        queue.put("meta", b"ledger/a", text)

    return prepare


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (as_unknown_format, "format '2'"),
        (as_missing_format, "format is missing"),
        (as_somebody_elses, "not a queue"),
        (as_somebody_elses_without_databases, "not a queue"),
        (as_garbage, "not an LMDB file"),
        (as_a_short_file, "not an LMDB file"),
        (with_a_ledger(b"{"), "does not add up"),
        (with_a_ledger(b'{"next_seq": 2, "unknown": 1}'), "does not add up"),
        (with_a_ledger(b'{"next_seq": 2, "delivered": 1}'), "does not add up"),
        (with_a_ledger(b'{"acknowledged_seq": 2, "delivered": 1}'), "does not add up"),
    ],
)
def test_what_is_no_queue_of_ours_is_left_as_it_is(
    queue: Queue, prepare: Callable[[Queue], None], text: str
) -> None:
    prepare(queue)
    queue.close()
    before = contents(queue.path)
    for _ in range(2):  # the first one leaves no lock behind
        with pytest.raises(QueueFormatError, match=text) as caught:
            queue.open("a")
        assert str(queue.path) in str(caught.value) or "ledger" in str(caught.value)
    assert contents(queue.path) == before


def test_a_directory_that_cannot_be_made_is_a_queue_error(queue: Queue) -> None:
    queue.path.write_bytes(b"a file")
    with pytest.raises(QueueError, match="has to be a directory"):
        queue.open()


# Failures.


def test_a_full_map_changes_nothing_and_can_be_drained(queue: Queue) -> None:
    store = queue.open(map_bytes=1 << 18)
    with pytest.raises(QueueFull):
        for _ in range(1000):
            append(store, a=[b"x" * 5000], b=[b"y"])
    ledgers = dict(store.ledgers)
    count = ledgers["a"].queued
    assert (len(read(store, "a", 1)), len(read(store, "b", 1))) == (count, count)
    assert remove(store, "a", 2).queued == count - 1
    assert remove(store, "a", count + 1).queued == 0
    append(store, a=[b"x" * 5000], b=[b"y"])
    assert queue.open().ledgers["b"].next_seq == ledgers["b"].next_seq + 1


def test_a_ledger_behind_its_blocks_overwrites_nothing(queue: Queue) -> None:
    append(queue.open(), a=[b"1"])
    append(queue.open(), a=[b"2", b"3"])
    store = queue.open()
    store.ledgers["a"] = Ledger(next_seq=2)
    with pytest.raises(QueueError, match="beyond record 2"):
        append(store, a=[b"new"])
    assert read(store, "a", 1) == [b"1", b"2", b"3"]


class BrokenEnvironment:
    """An LMDB environment on a disk that fails."""

    def __init__(self, folder: Path, error: Exception) -> None:
        (folder / "data.mdb").touch()
        self.folder, self.error = str(folder), error

    def open_db(self, name: bytes) -> None: ...

    def path(self) -> str:
        return self.folder

    def stat(self) -> dict[str, int]:
        return {"psize": 4096}

    def begin(self, **options: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (lmdb.MapFullError("x"), QueueFull),
        (lmdb.DiskError("x"), QueueFull),
        (lmdb.Error("x"), StorageFailed),
        (lmdb.PanicError("x"), lmdb.PanicError),  # only opening it again helps
    ],
)
def test_errors_of_the_disk_become_ours(
    tmp_path: Path, error: Exception, kind: type[Exception]
) -> None:
    store = QueueStore(BrokenEnvironment(tmp_path, error), Ownership())
    with pytest.raises(kind) as caught:
        store.commit(Transaction(0.0))
    assert type(caught.value) is kind


# Anything.

DESTINATIONS = ["a", "b", "old"]  # the last one stands for an orphan
runs = st.lists(st.binary(min_size=1, max_size=9), max_size=5)
some = st.sampled_from(DESTINATIONS)


class StoreMachine(RuleBasedStateMachine):
    """A queue and, for each destination, the list of all payloads it ever got."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.queue = Queue(self.directory / "queue")
        self.store = self.queue.open(*DESTINATIONS, histories=kept("a", "old"))
        self.came_in = 0
        self.delivered: dict[str, dict[int, bytes]] = {name: {} for name in DESTINATIONS}
        self.payloads: dict[str, list[bytes]] = {name: [] for name in DESTINATIONS}
        self.gone = dict.fromkeys(DESTINATIONS, 0)
        self.moved = dict.fromkeys(DESTINATIONS, 0)
        self.purged = dict.fromkeys(DESTINATIONS, 0)
        self.aside: dict[str, dict[int, bytes]] = {name: {} for name in DESTINATIONS}

    def teardown(self) -> None:
        for destination in DESTINATIONS:
            values = self.queue.values(f"quarantine/{destination}")
            kept = {seq: labelled(value)[1] for seq, value in values.items()}
            assert kept == self.aside[destination]
        shutil.rmtree(self.directory)

    @rule()
    def reopen(self) -> None:
        self.store = self.queue.open(*DESTINATIONS, histories=kept("a", "old"))

    def deliver(self, destination: str, upto: int) -> None:
        """The payloads up to there have been delivered."""
        for index in range(self.gone[destination], upto):
            self.delivered[destination][index + 1] = self.payloads[destination][index]
        self.gone[destination] = upto

    @rule(a=runs, b=runs, old=runs, acknowledged=st.sampled_from([None, 0.0, 0.5, 1.0]))
    def commit(
        self, a: list[bytes], b: list[bytes], old: list[bytes], acknowledged: float | None
    ) -> None:
        removals = {}
        if acknowledged is not None:
            waiting = len(self.payloads["a"]) - self.gone["a"]
            self.deliver("a", self.gone["a"] + int(acknowledged * waiting))
            removals = {"a": Removal(1 + self.gone["a"])}
        appends = {"a": a, "b": b, "old": old}
        self.store.commit(Transaction(0.0, appends, removals))
        for destination, run in appends.items():
            self.payloads[destination] += run
            self.came_in += len(run)

    @rule(destination=some, count=st.integers(0, 9))
    def acknowledge(self, destination: str, count: int) -> None:
        stored = len(self.payloads[destination])
        self.deliver(destination, min(stored, self.gone[destination] + count))
        remove(self.store, destination, 1 + self.gone[destination])

    @precondition(lambda self: self.gone["a"] < len(self.payloads["a"]))
    @rule()
    def set_aside(self) -> None:
        seq = 1 + self.gone["a"]
        self.aside["a"][seq] = self.payloads["a"][self.gone["a"]]
        self.gone["a"] += 1
        remove(self.store, "a", seq + 1, SetAside(SeqRange(seq, seq + 1), "no"))

    @rule(destination=some, count=st.integers(0, 9))
    def purge(self, destination: str, count: int) -> None:
        head = 1 + self.gone[destination]
        count = min(count, len(self.payloads[destination]) - self.gone[destination])
        changed, purged = self.store.operate(Purge(destination, head, head + count), at=0.0)
        assert (purged, destination in changed) == (count, True)
        self.gone[destination] += count
        self.purged[destination] += count

    @precondition(lambda self: self.aside["a"])
    @rule(to=some, number=st.integers(0, 99))
    def replay(self, to: str, number: int) -> None:
        seq = sorted(self.aside["a"])[number % len(self.aside["a"])]
        self.store.operate(ReplayQuarantined("a", to, seqs=[seq]), at=0.0)
        self.payloads[to].append(self.aside["a"].pop(seq))
        self.moved["a"] += 1

    @precondition(lambda self: self.aside["a"])
    @rule(number=st.integers(0, 99))
    def purge_quarantined(self, number: int) -> None:
        seq = sorted(self.aside["a"])[number % len(self.aside["a"])]
        self.store.operate(PurgeQuarantined("a", seqs=[seq]), at=0.0)
        self.aside["a"].pop(seq)
        self.purged["a"] += 1

    @rule(queue=st.sampled_from(["a", "old"]), to=some, bytes_max=st.sampled_from([1, 10**6]))
    def replay_history(self, queue: str, to: str, bytes_max: int) -> None:
        upto = self.store.ledgers[queue].acknowledged_seq
        again = list(self.delivered[queue].values())
        next_seq, records = 0, 0
        while True:
            replay = ReplayHistory(queue, to, Period(), next_seq, upto, bytes_max)
            _, step = self.store.operate(replay, at=0.0)
            records += step.records
            assert (step.damaged, step.gone) == (0, 0)
            if not step.next_seq:
                break
            next_seq = step.next_seq
        assert records == len(again)
        self.payloads[to] += again
        self.came_in += len(again)

    @rule(to=st.sampled_from(["a", "b"]), bytes_max=st.sampled_from([1, 10**6]))
    def adopt(self, to: str, bytes_max: int) -> None:
        _, step = self.store.operate(Adopt("old", to, bytes_max=bytes_max), at=0.0)
        gone = self.gone["old"]
        self.payloads[to] += self.payloads["old"][gone : gone + step.records]
        self.gone["old"] += step.records
        self.moved["old"] += step.records
        assert step.left == len(self.payloads["old"]) - self.gone["old"]
        assert bytes_max == 1 or step.left == 0

    @invariant()
    def it_agrees(self) -> None:
        for destination in DESTINATIONS:
            ledger = self.store.ledgers[destination]
            everything, gone = self.payloads[destination], self.gone[destination]
            queued = everything[gone:]
            assert ledger.gap == 0
            assert ledger.received == len(everything) - self.moved[destination]
            assert ledger.queued == len(queued)
            assert ledger.quarantined == len(self.aside[destination])
            assert (ledger.quarantine_bytes > 0) == bool(self.aside[destination])
            assert sum(ledger.dropped.values()) == self.purged[destination]
            assert ledger.queued_bytes >= sum(map(len, queued))
            assert ledger.queued > 0 or ledger.queued_bytes == 0
            assert read(self.store, destination, 1 + gone) == queued
            page = self.store.look(lambda view, id=destination: inspect(view, Check(id)))
            assert page.problems == []
        for destination in ("a", "old"):  # what was delivered, and nothing else
            wanted = Read(destination)
            found = self.store.look(lambda view, wanted=wanted: read_history(view, wanted))
            history = {record.seq: record.payload for record in found.records}
            assert history == self.delivered[destination]
            assert len(history) == self.store.ledgers[destination].delivered
        # What was measured after what each commit has changed is what there is.
        queues, quarantines = self.store.look(_sizes)
        assert self.store.destination_bytes == queues
        assert self.store.used_bytes == sum(queues.values()) + sum(quarantines.values())
        # Over all accounts nothing is received twice, wherever it moved.
        ledgers = self.store.ledgers.values()
        assert sum(ledger.received for ledger in ledgers) == self.came_in


def _sizes(view: TransactionView) -> tuple[dict[str, int], dict[str, int]]:
    """What each queue and each quarantine takes of the map."""
    return (
        {id: database_bytes(view.txn, queue) for id, queue in view.blocks.items()},
        {id: database_bytes(view.txn, queue) for id, queue in view.quarantine.items()},
    )


TestStoreMachine = pytest.mark.slow(StoreMachine.TestCase)
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=25)


def test_what_is_used_counts_pages_and_not_bytes(queue: Queue) -> None:
    store = queue.open()
    assert store.used_bytes == 0
    for _ in range(500):  # a block each, so far more than their 500 bytes
        store.commit(Transaction(1.0, {"a": [b"x"]}))
    used = store.used_bytes
    assert 500 * 20 < used < 500 * 200
    assert queue.open().used_bytes == used
    reopened = queue.store
    reopened.commit(Transaction(2.0, {}, {"a": Removal(501)}))
    assert reopened.used_bytes == 0


def test_the_quarantine_is_part_of_what_is_used(store: QueueStore) -> None:
    store.commit(Transaction(1.0, {"a": [b"x" * 5000]}))
    aside = SetAside(SeqRange(1, 2), "refused")
    store.commit(Transaction(2.0, {}, {"a": Removal(2, [aside])}))
    assert store.used_bytes >= 5000


def test_positions_are_those_of_the_last_commit_and_of_one_source(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(Transaction(0.0, {"a": [b"x"]}, positions={"in/f": b"1", "in/g": b"2"}))
        store.commit(Transaction(0.0, positions={"in/g": b"", "other/f": b"3", "in2/f": b"4"}))
        assert store.positions("in") == {"f": b"1"}
    with opened(tmp_path) as store:
        assert store.positions("in") == {"f": b"1"}
        assert store.positions("none") == {}


def test_a_position_is_stored_with_its_records_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path, map_bytes=256 * 1024) as store:
        with pytest.raises(QueueFull):
            store.commit(Transaction(0.0, {"a": [HALF_BLOCK] * 64}, positions={"in/f": b"9"}))
        assert store.positions("in") == {}


def test_what_a_source_refuses_is_kept_with_reason_and_peer_up_to_a_limit(tmp_path: Path) -> None:
    account = account_of_source("in")
    with opened(tmp_path) as store:
        refusal = Refusal(
            "in", "too-long", "192.0.2.1:5", [b"a" * 100, b"b" * 100], 250, [700, 800]
        )
        changed = store.commit(Transaction(7.0, refusals=[refusal]))
        ledger = changed[account]
        assert (ledger.received, ledger.quarantined, ledger.queued) == (2, 1, 0)
        assert (ledger.dropped, ledger.gap) == ({"quarantine-full": 1}, 0)
        assert ledger.quarantine_bytes <= 250
    with opened(tmp_path, sources=()) as store:
        assert store.ledgers[account].quarantined == 1
    environment = lmdb.open(str(tmp_path), map_size=MAP_BYTES, max_dbs=16)
    database = environment.open_db(b"quarantine/source/in", create=False)
    with environment.begin(db=database) as txn:
        label, frame = labelled(txn.get(struct.pack(">Q", 1)))
    environment.close()
    assert frame == b"a" * 100
    assert label == {
        "reason": "too-long",
        "at": 7.0,
        "kind": "frame",
        "peer": "192.0.2.1:5",
        "original_bytes": 700,
    }


@contextmanager
def opened(
    path: Path, *, sources: tuple[str, ...] = ("in",), map_bytes: int = MAP_BYTES
) -> Iterator[QueueStore]:
    store = QueueStore.open(str(path), destinations=["a"], sources=sources, map_bytes=map_bytes)
    try:
        yield store
    finally:
        store.close()


def test_what_a_rewrite_dropped_is_in_the_account_of_its_destination(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(Transaction(0.0, {"a": [b"x"]}, drops={"a": {"noise": 2, "sampled": 1}}))
        store.commit(Transaction(0.0, drops={"a": {"noise": 1}}))
        store.commit(Transaction(0.0, {"a": [b"y"]}, {"a": Removal(2)}))
    with opened(tmp_path) as store:
        ledger = store.ledgers["a"]
        assert (ledger.received, ledger.delivered, ledger.queued, ledger.gap) == (6, 1, 1, 0)
        assert ledger.dropped == {"noise": 3, "sampled": 1}
        assert store.read("a", start=2, records_max=9, bytes_max=99) == [b"y"]


# Looking into a queue that no relay has.


def test_a_queue_can_be_looked_into_without_leaving_a_trace(queue: Queue) -> None:
    store = queue.open()
    append(store, at=5.0, a=[b"1", b"2"])
    queue.close()
    (queue.path / "lock.mdb").unlink()
    before = {file.name: file.read_bytes() for file in queue.path.iterdir()}
    looking = QueueStore.open_read_only(str(queue.path))
    try:
        assert set(looking.ledgers) == {"a"}
        assert read(looking, "a", 1) == [b"1", b"2"]
        with pytest.raises(QueueInUse, match="stop that relay, or ask it"):
            QueueStore.open_read_only(str(queue.path))
        with pytest.raises(QueueInUse):
            queue.open()
    finally:
        looking.close()
    assert {file.name: file.read_bytes() for file in queue.path.iterdir()} == before


def test_looking_into_a_queue_maps_no_more_than_its_file(queue: Queue) -> None:
    append(queue.open(map_bytes=2**40), a=[b"1"])
    queue.close()
    looking = QueueStore.open_read_only(str(queue.path))
    assert read(looking, "a", 1) == [b"1"]
    with looking.writing() as handles:
        assert handles.environment.info()["map_size"] < 2**20
    looking.close()


def test_a_copy_without_a_lock_file_can_be_looked_into(queue: Queue) -> None:
    append(queue.open(), a=[b"1"])
    queue.close()
    (queue.path / "owner.lock").unlink()
    QueueStore.open_read_only(str(queue.path)).close()
    assert not (queue.path / "owner.lock").exists()


def test_an_account_that_does_not_add_up_can_be_looked_at(queue: Queue) -> None:
    append(queue.open(), a=[b"1"])
    queue.put("meta", b"ledger/a", b'{"next_seq": 9, "delivered": 3}')
    looking = QueueStore.open_read_only(str(queue.path))
    assert looking.look(lambda view: view.ledger("a")).gap == -3
    looking.close()


@pytest.mark.parametrize(
    ("prepare", "text"),
    [(as_unknown_format, "format '2'"), (as_somebody_elses, "not a queue"), (as_garbage, "LMDB")],
)
def test_what_is_no_queue_is_not_looked_into(
    queue: Queue, prepare: Callable[[Queue], None], text: str
) -> None:
    prepare(queue)
    queue.close()
    for _ in range(2):
        with pytest.raises(QueueFormatError, match=text):
            QueueStore.open_read_only(str(queue.path))


def test_an_operation_that_refuses_changes_nothing(queue: Queue) -> None:
    store = queue.open()
    append(store, a=[b"1"])

    class Refuses:
        def apply(self, view: Any) -> None:
            view.append("a", [b"2"], received_at=0.0)
            view.ledger("b").delivered += 1
            raise QueueError("no")

    before = dict(store.ledgers)
    with pytest.raises(QueueError, match="no"):
        store.operate(Refuses(), at=0.0)
    assert store.ledgers == before
    assert queue.open().ledgers["a"] == before["a"]


def test_what_a_destination_set_aside_has_a_size(store: QueueStore) -> None:
    append(store, a=[b"x" * 500, b"y"])
    ledger = remove(store, "a", 2, SetAside(SeqRange(1, 2), "no"))
    assert 500 < ledger.quarantine_bytes < 600
