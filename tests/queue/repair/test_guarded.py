from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from relay.model.errors import QueueFormatError
from relay.queue.compaction.live import LiveCompaction
from relay.queue.inspect.commands import Purge
from relay.queue.inspect.queries import Check, Read, check, read
from relay.queue.repair import guarded
from relay.queue.repair.guarded import MARK
from relay.queue.repair.pages import PageFile, Tree
from relay.queue.repair.verify import opened_file, verify
from relay.queue.repair.verify_lazily import FileDamaged
from relay.queue.store import QueueStore
from relay.queue.transaction import Eviction, Removal, Transaction
from tests.queue_files import MAP_BYTES, is_unverified, make_long_queue, opened

RECORDS = 12_000
PAGE = 4096


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    make_long_queue(folder, [b"%06d" % seq * 45 for seq in range(1, RECORDS + 1)])
    return folder


@pytest.fixture
def queue(sound: Path, tmp_path: Path) -> Path:
    (tmp_path / "data.mdb").write_bytes((sound / "data.mdb").read_bytes())
    return tmp_path


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A queue of these tests counts as long."""
    monkeypatch.setattr(guarded, "verify", partial(verify, reads_max=100, lazy_reads_min=100))
    yield


def open_late(path: Path, *, strict: bool = False, fully: bool = False) -> QueueStore:
    return QueueStore.open(
        str(path), destinations=["a"], map_bytes=MAP_BYTES, strict=strict, fully=fully
    )


def trees(file: PageFile) -> dict[bytes, Tree | None]:
    snapshot = file.snapshots[0]
    names = file.walk(snapshot.names, "names", file.audit(snapshot))
    return {name.key: file.tree(name) for name in names}


def leaf_of(path: Path, index: int) -> int:
    """The page with the entry `index` of queue a."""
    with opened_file(str(path)) as file:
        tree = trees(file)[b"blocks/a"]
        assert tree is not None
        return list(file.walk(tree, "a", file.audit(file.snapshots[0])))[index].offset // PAGE


def damage_leaf_of(path: Path, seq: int) -> None:
    leaf = leaf_of(path, seq - 1)
    with open(path / "data.mdb", "r+b") as data:
        data.seek(leaf * PAGE + 12)
        data.write(b"\xff\xff")  # LMDB would find thousands of nodes there


def drain(store: QueueStore) -> list[int]:
    """Deliver everything; which records that were."""
    found: list[int] = []
    while (ledger := store.ledgers["a"]).queued:
        start = ledger.acknowledged_seq
        payloads = store.read("a", start=start, records_max=300, bytes_max=2**20)
        found += [int(payload[:6]) for payload in payloads]
        store.commit(Transaction(0.0, {}, {"a": Removal(start + len(payloads))}))
    return found


def test_a_long_queue_is_delivered_whole_and_looked_at_on_the_way(queue: Path) -> None:
    store = open_late(queue)
    assert is_unverified(store)
    assert drain(store) == list(range(1, RECORDS + 1))
    assert not is_unverified(store)
    store.close()


def test_a_short_one_is_looked_at_at_the_start(tmp_path: Path) -> None:
    make_long_queue(tmp_path, [b"%06d" % seq for seq in range(1, 300)])
    store = open_late(tmp_path)
    assert not is_unverified(store)
    store.close()


def test_fully_means_fully(queue: Path) -> None:
    # Who wants no damaged file wants all of it looked at.
    for strict, fully in ((True, False), (False, True)):
        store = open_late(queue, strict=strict, fully=fully)
        assert not is_unverified(store)
        store.close()


def test_damage_is_found_before_lmdb_and_repaired_by_the_next_start(queue: Path) -> None:
    damage_leaf_of(queue, 7401)
    store = open_late(queue)
    assert store.recovery is None
    said: list[str] = []
    store.when_damaged(said.append)
    with pytest.raises(FileDamaged, match="its bounds are 65535"):
        drain(store)
    assert "its bounds are 65535" in said[0]
    assert (queue / MARK).exists()
    delivered = store.ledgers["a"].delivered
    store.close()

    store = open_late(queue)
    assert store.recovery is not None
    assert not (queue / MARK).exists()
    assert store.recovery.salvaged.unreadable_records < 20
    ledger = store.ledgers["a"]
    assert (ledger.gap, ledger.delivered) == (0, delivered)
    store.close()


def test_a_strict_start_after_damage_refuses_and_remembers(queue: Path) -> None:
    damage_leaf_of(queue, 7401)
    store = open_late(queue)
    with pytest.raises(FileDamaged):
        drain(store)
    store.close()
    for _ in range(2):
        with pytest.raises(QueueFormatError, match="strict_queue"):
            open_late(queue, strict=True)
        assert (queue / MARK).exists()


def compact(store: QueueStore) -> None:
    compaction = LiveCompaction(store, str(store.reserve._path))
    compaction.begin()
    try:
        while not compaction.step():
            pass
    finally:
        compaction.abandon()


USES = {
    "looking at records": lambda store: store.look(partial(read, wanted=Read("a", start=7300))),
    "counting blocks": lambda store: store.look(partial(check, wanted=Check("a", start=6000))),
    "eviction": lambda store: store.commit(
        Transaction(0.0, evictions={"a": Eviction("full", bytes_max=0, blocks_max=10**6)})
    ),
    "a purge": lambda store: store.operate(Purge("a", 1, 7500, reason="operator"), at=0.0),
    "an acknowledgement": lambda store: store.commit(Transaction(0.0, {}, {"a": Removal(7500)})),
    "a compaction": lambda store: compact(store),
}


@pytest.mark.parametrize("use", USES)
def test_nothing_comes_to_a_damaged_leaf(queue: Path, use: str) -> None:
    damage_leaf_of(queue, 7401)
    store = open_late(queue)
    before = store.ledgers["a"]
    with pytest.raises(FileDamaged):
        USES[use](store)
    assert store.ledgers["a"] == before
    store.close()


def test_the_ends_can_be_used_all_the_same(queue: Path) -> None:
    damage_leaf_of(queue, 7401)
    store = open_late(queue)
    store.commit(Transaction(0.0, {"a": [b"new"]}, {"a": Removal(50)}))
    assert store.read("a", start=RECORDS + 1, records_max=9, bytes_max=99) == [b"new"]
    assert store.oldest_received_at("a") == 0.0
    store.close()


def test_a_free_page_that_is_in_use_is_found(queue: Path) -> None:
    """It would be written over: the list says that a leaf of the queue is free."""
    with opened(queue, "a") as store:
        for upto in range(2, 100):
            store.commit(Transaction(0.0, {}, {"a": Removal(upto)}))
    with opened_file(str(queue)) as file:
        snapshot = file.snapshots[0]
        audit = file.audit(snapshot)
        lists = [each for each in file.walk(snapshot.free, "", audit) if each.size > 8]
    leaf = leaf_of(queue, -1)
    with open(queue / "data.mdb", "r+b") as data:
        data.seek(lists[0].offset + 8)
        data.write(leaf.to_bytes(8, "little"))
    store = open_late(queue)
    assert store.recovery is not None
    assert "page" in store.recovery.problems[0]
    store.close()
