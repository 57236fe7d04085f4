from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from relay.model.errors import DamagedRange
from relay.model.seq import SeqRange
from relay.queue.block import KEY
from relay.queue.inspect.queries import Read, read_history
from relay.queue.ledger import Ledger
from relay.queue.repair.salvage import Salvaged, salvage
from relay.queue.repair.verify import opened_file
from relay.queue.store import QueueStore
from relay.queue.transaction import Refusal, Removal, SetAside, Transaction
from tests.queue_files import kept, opened, remove

MAP_BYTES = 2**24
Change = Callable[..., None]


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """Destination a with records 3 to 8 in blocks of two, and one set aside."""
    path = tmp_path / "queue"
    store = QueueStore.open(str(path), destinations=["a"], sources=["s"], map_bytes=MAP_BYTES)
    for first in (1, 3, 5, 7):
        store.commit(Transaction(0.0, {"a": [b"%d" % first, b"%d" % (first + 1)]}))
    aside = Removal(3, [SetAside(SeqRange(1, 2), "refused")])
    refusal = Refusal("s", "no-app", "peer", [b"frame"], 1000)
    store.commit(Transaction(0.0, {}, {"a": aside}, refusals=[refusal], positions={"s/f": b"9"}))
    store.close()
    return path


@pytest.fixture
def change(queue: Path) -> Iterator[Change]:
    def put(database: str, values: dict[bytes, bytes | None]) -> None:
        environment = lmdb.open(str(queue), map_size=MAP_BYTES, max_dbs=16)
        db: Any = environment.open_db(database.encode())
        for _ in range(2):  # in both snapshots
            with environment.begin(write=True, db=db) as txn:
                for key, value in values.items():
                    txn.delete(key) if value is None else txn.put(key, value)
                txn.put(b"again", b"", db=environment.open_db(b"positions", txn=txn))
        environment.close()

    yield put


def rescued(queue: Path) -> tuple[QueueStore, Salvaged]:
    """A queue made of what could be read of `queue`; to be closed."""
    new = queue.parent / "new"
    new.mkdir()
    environment = lmdb.open(str(new), map_size=MAP_BYTES, max_dbs=64)
    with environment.begin(write=True) as txn:
        txn.put(b"format", b"1", db=environment.open_db(b"meta", txn=txn))
    with opened_file(str(queue)) as file:
        salvaged = salvage(file, environment)
    environment.close()
    return QueueStore.open(str(new), destinations=["a"], map_bytes=MAP_BYTES), salvaged


def contents(store: QueueStore) -> list[bytes | SeqRange]:
    """The records of destination a, and in their places the ranges that are damaged."""
    found: list[bytes | SeqRange] = []
    ledger = store.ledgers["a"]
    seq = ledger.acknowledged_seq
    while seq < ledger.next_seq:
        try:
            records = store.read("a", start=seq, records_max=100, bytes_max=10_000)
            found += records
            seq += len(records)
        except DamagedRange as damage:
            found.append(damage.seqs)
            seq = damage.seqs.stop
    return found


def test_all_of_a_sound_file_is_taken(queue: Path) -> None:
    store, salvaged = rescued(queue)
    assert contents(store) == [b"3", b"4", b"5", b"6", b"7", b"8"]
    assert (salvaged.records, salvaged.unreadable_records) == (6, 0)
    assert store.ledgers["a"] == Ledger(
        next_seq=9,
        acknowledged_seq=3,
        delivered=1,
        quarantined=1,
        queued_bytes=6,
        quarantine_bytes=64,
    )
    assert store.ledgers["source/s"].quarantined == 1
    assert store.positions("s") == {"f": b"9"}
    store.close()


def test_what_is_missing_is_counted_where_it_was(queue: Path, change: Change) -> None:
    change("blocks/a", {KEY.pack(5): None})
    store, salvaged = rescued(queue)
    assert contents(store) == [b"3", b"4", SeqRange(5, 7), b"7", b"8"]
    assert (salvaged.records, salvaged.unreadable_records) == (4, 2)
    assert store.ledgers["a"].gap == 0
    store.close()


@pytest.mark.parametrize("missing", [(3,), (3, 5), (7,), (3, 5, 7)])
def test_what_is_missing_at_the_ends_is_counted(
    queue: Path, change: Change, missing: tuple[int, ...]
) -> None:
    change("blocks/a", {KEY.pack(first): None for first in missing})
    store, salvaged = rescued(queue)
    assert salvaged.unreadable_records == 2 * len(missing)
    assert (store.ledgers["a"].acknowledged_seq, store.ledgers["a"].next_seq) == (3, 9)
    left = [
        b"%d" % seq for first in (3, 5, 7) if first not in missing for seq in (first, first + 1)
    ]
    assert [data for data in contents(store) if isinstance(data, bytes)] == left
    store.close()


def test_a_damaged_block_keeps_its_bytes_and_its_place(queue: Path, change: Change) -> None:
    change("blocks/a", {KEY.pack(5): b"damaged"})
    store, salvaged = rescued(queue)
    assert contents(store) == [b"3", b"4", SeqRange(5, 7), b"7", b"8"]
    assert salvaged.unreadable_records == 0
    store.close()


def test_without_a_ledger_the_blocks_say_what_there_is(queue: Path, change: Change) -> None:
    change("meta", {b"ledger/a": b"{", b"ledger/source/s": None})
    store, _ = rescued(queue)
    assert contents(store) == [b"3", b"4", b"5", b"6", b"7", b"8"]
    assert store.ledgers["a"].gap == store.ledgers["source/s"].gap == 0
    assert store.ledgers["source/s"].quarantined == 1
    store.close()


def spoil_meta(queue: Path, *numbers: int) -> None:
    """Fill the newest meta page (0), or the one before (1), with zeros."""
    image = bytearray((queue / "data.mdb").read_bytes())
    metas = sorted((0, 1), key=lambda meta: -image[meta * 4096 + 144])
    for number in numbers:
        image[metas[number] * 4096 : (metas[number] + 1) * 4096] = bytes(4096)
    (queue / "data.mdb").write_bytes(image)


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)])
def test_lost_meta_pages_cost_nothing(queue: Path, lost: tuple[int, ...]) -> None:
    store = QueueStore.open(str(queue), destinations=["a"], map_bytes=MAP_BYTES)
    for record in (b"9", b"10"):
        store.commit(Transaction(0.0, {"a": [record]}))
    store.close()
    spoil_meta(queue, *lost)
    store, salvaged = rescued(queue)
    assert contents(store) == [b"%d" % seq for seq in range(3, 11)]
    assert salvaged.unreadable_records == 0
    store.close()


def test_a_meta_page_that_leads_nowhere_costs_nothing(queue: Path) -> None:
    store = QueueStore.open(str(queue), destinations=["a"], map_bytes=MAP_BYTES)
    store.commit(Transaction(0.0, {"a": [b"9"]}))
    store.close()
    image = bytearray((queue / "data.mdb").read_bytes())
    newest = max((0, 1), key=lambda meta: image[meta * 4096 + 144])
    image[newest * 4096 + 128] ^= 0x80  # where the tree of names begins
    (queue / "data.mdb").write_bytes(image)
    store, salvaged = rescued(queue)
    assert contents(store) == [b"%d" % seq for seq in range(3, 10)]
    assert not salvaged.may_lack_more
    store.close()


def test_what_the_newest_snapshot_lost_is_taken_from_the_one_before(queue: Path) -> None:
    store = QueueStore.open(str(queue), destinations=["a"], map_bytes=MAP_BYTES)
    store.commit(Transaction(0.0, {"a": [b"9"]}))
    store.close()
    with opened_file(str(queue)) as file:
        roots = [
            tree.root
            for snapshot in file.snapshots
            for name in file.walk(snapshot.names, "names", file.audit(snapshot))
            if name.key == b"blocks/a" and (tree := file.tree(name))
        ]
    assert roots[0] != roots[1]
    image = bytearray((queue / "data.mdb").read_bytes())
    image[roots[0] * 4096 : (roots[0] + 1) * 4096] = bytes(4096)
    (queue / "data.mdb").write_bytes(image)
    store, salvaged = rescued(queue)
    assert contents(store) == [b"3", b"4", b"5", b"6", b"7", b"8", SeqRange(9, 10)]
    assert salvaged.unreadable_records == 1  # what came with the newest alone
    store.close()


def test_a_history_is_kept_as_far_as_it_can_be_read(queue: Path, change: Change) -> None:
    with opened(queue, "a", histories=kept("a")) as store:
        remove(store, "a", 5, at=7.0)
        remove(store, "a", 8, at=8.0)
    change("blocks/a", {KEY.pack(7): b"damaged"})
    store, _ = rescued(queue)
    found = store.look(lambda view: read_history(view, Read("a"))).records
    assert [(each.seq, each.acknowledged_at, each.payload) for each in found] == [
        *((3, 7.0, b"3"), (4, 7.0, b"4")),
        *((5, 8.0, b"5"), (6, 8.0, b"6"), (7, 8.0, b"7")),
    ]
    ledger = store.ledgers["a"]
    assert (ledger.delivered, ledger.queued, ledger.gap) == (6, 1, 0)
    assert set(store.ledgers) == {"a", "source/s"}
    store.close()
