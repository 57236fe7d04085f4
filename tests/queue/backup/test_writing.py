from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from relay.model.errors import QueueError, QueueInUse
from relay.queue.backup.writing import (
    NOTE,
    PARTIAL,
    BackupNote,
    BackupWriter,
    Course,
    Pace,
    place_for,
    write_note,
)
from relay.queue.compaction.live import LiveCompaction
from relay.queue.inspect.copying import CopiedTree, CopyFrom, CopyPage, copy_step
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction
from tests.queue_files import append, kept, looked_at, opened, remove, set_aside

NOTED = BackupNote(1.0, "/state", "syslogrelay", {"a": 1})


@contextmanager
def writing(folder: Path) -> Iterator[BackupWriter]:
    folder.mkdir()
    writer = BackupWriter(str(folder), 0)
    try:
        yield writer
    finally:
        writer.close()


def step(store: QueueStore, writer: BackupWriter, bytes_max: int = 1000) -> bool:
    page = store.look(lambda view: copy_step(view, writer.wanted(bytes_max)))
    return writer.write(page)[1]


def contents(store: QueueStore) -> dict[str, object]:
    page = store.look(lambda view: copy_step(view, CopyFrom()))
    assert page.is_complete
    trees = {name: tree.added for name, tree in page.trees.items() if tree.added}
    return {**trees, **page.whole}


def test_what_is_copied_is_what_was_there(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "q", sources=["in"], histories=kept("a")) as store,
        writing(tmp_path / "b") as writer,
    ):
        for n in range(30):
            append(store, a=[b"%d" % n * 100], b=[b"b"])
        set_aside(store, "a", 3)
        remove(store, "a", upto=9)
        store.commit(Transaction(1.0, positions={"log/file": b"7"}))
        while not step(store, writer):
            pass
        writer.finish()
        before = contents(store)
    with looked_at(tmp_path / "b") as copy:
        assert contents(copy) == before
        assert copy.ledgers["a"].gap == 0
    with opened(tmp_path / "b") as used:  # a relay can go on with it
        append(used, a=[b"more"])


def compact(store: QueueStore, path: Path) -> None:
    """Let another file take the place of the queue's, as the relay does live."""
    compaction = LiveCompaction(store, str(path))
    compaction.begin()
    while not compaction.step():
        pass
    assert compaction.switch()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_queue_that_changes_meanwhile(tmp_path: Path, seed: int) -> None:
    """The copy is what the transaction of the last step saw, whatever happens between two."""
    chance = random.Random(seed)
    with (
        opened(tmp_path / "q", histories=kept("a")) as store,
        writing(tmp_path / "b") as writer,
    ):
        for n in range(40):
            append(store, a=[b"%d" % n * 50] * chance.randint(1, 5))
        is_complete = False
        while not is_complete:
            for _ in range(chance.randint(0, 3)):
                ledger = store.ledgers["a"]
                match chance.randrange(5):
                    case 0:
                        append(store, a=[b"new"], b=[b"new"] * chance.randint(1, 3))
                    case 1 if ledger.queued > 2:
                        remove(store, "a", upto=ledger.acknowledged_seq + 2)
                    case 2 if ledger.queued > 1:
                        set_aside(store, "a")
                    case 3:
                        compact(store, tmp_path / "q")
                    case _:
                        store.commit(Transaction(1.0, positions={"log/f": b"%d" % ledger.next_seq}))
            is_complete = step(store, writer, chance.choice((200, 2000)))
        before = contents(store)
        writer.finish()
    with looked_at(tmp_path / "b") as copy:
        assert contents(copy) == before
        assert {ledger.gap for ledger in copy.ledgers.values()} == {0}


def test_a_tree_that_does_not_fit_is_copied_anew(tmp_path: Path) -> None:
    with writing(tmp_path / "b") as writer:
        key = (5).to_bytes(8, "big")
        lost = CopyPage({"quarantine/a": CopiedTree(2, key, [(key, b"v")])}, {"meta": []})
        assert writer.write(lost) == (1, False)
        assert writer.wanted().copied == {}
        with pytest.raises(QueueError, match="changes faster than it can be copied"):
            for _ in range(30):
                writer.write(lost)


def test_unreadable_values_are_remembered(tmp_path: Path) -> None:
    with writing(tmp_path / "b") as writer:
        tree = CopiedTree(1, b"k", [(b"k", b"")], ["what is stored from 1 on: bad sector"])
        writer.write(CopyPage({"blocks/a": tree}))
    assert writer.unreadable == ["blocks/a: what is stored from 1 on: bad sector"]


def test_a_place_becomes_the_backup(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with place_for(str(path), 0) as place:
        assert place.folder == str(path) + PARTIAL
        (Path(place.folder) / "data.mdb").write_bytes(b"x")
        write_note(place.folder, NOTED)
        assert not path.exists()
    assert sorted(os.listdir(path)) == [NOTE, "data.mdb"]
    assert path.stat().st_mode & 0o777 == 0o700
    assert msgspec.json.decode((path / NOTE).read_bytes(), type=BackupNote) == NOTED
    assert os.listdir(tmp_path) == ["b"]


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), place_for(str(tmp_path / "b"), 0) as place:
        (Path(place.folder) / "data.mdb").write_bytes(b"x")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="No space left"), place_for(str(tmp_path / "b"), 0):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(QueueError, match="and the disk has"), place_for(str(tmp_path / "b"), 2**60):
        pass
    assert os.listdir(tmp_path) == []


def test_what_an_interrupted_one_left_is_replaced(tmp_path: Path) -> None:
    left = tmp_path / f"b{PARTIAL}"
    left.mkdir()
    (left / "data.mdb").write_bytes(b"half")
    with place_for(str(tmp_path / "b"), 0) as place:
        assert os.listdir(place.folder) == []


def test_places_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / f"foreign{PARTIAL}/folder").mkdir(parents=True)
    for name, words in (
        ("there", "there is there already"),
        ("none/b", "none: No such file or directory; make it first"),
        ("foreign", "is no unfinished backup"),
    ):
        with pytest.raises(QueueError, match=words), place_for(str(tmp_path / name), 0):
            pass
    with (
        place_for(str(tmp_path / "b"), 0),
        pytest.raises(QueueError, match="another backup is being written there"),
        place_for(str(tmp_path / "b"), 0),
    ):
        pass
    assert (tmp_path / f"foreign{PARTIAL}/folder").is_dir()


def test_a_place_can_be_opened_when_it_is_unlocked(tmp_path: Path) -> None:
    with place_for(str(tmp_path / "b"), 0) as place:
        with opened(tmp_path / "q"):
            pass
        (tmp_path / "q/data.mdb").rename(Path(place.folder) / "data.mdb")
        with pytest.raises(QueueInUse), looked_at(Path(place.folder)):
            pass
        place.unlock()
        with looked_at(Path(place.folder)):
            pass


def test_the_pace() -> None:
    waits: list[float] = []
    now = [100.0]

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pace = Pace(1_000_000, lambda: now[0], sleep)
    pace.spend(500_000)
    pace.spend(500_000)
    now[0] += 60  # what was not used is no burst
    pace.spend(2_000_000)
    assert waits == pytest.approx([0.5, 0.5, 2.0])
    Pace(0, lambda: now[0], sleep).spend(10**12)
    assert len(waits) == 3


def test_what_came_meanwhile_is_copied_without_a_pace() -> None:
    waits: list[float] = []
    course = Course(10 * 2**20, Pace(2**20, lambda: 0.0, waits.append))
    for _ in range(9):
        course.step(2**20)
    assert waits == pytest.approx([float(n) for n in range(1, 10)])
    course.step(2**20)
    course.step(2**20)
    assert len(waits) == 9
    assert course.copied_bytes == 11 * 2**20
    assert course.step_bytes == 4 * 2**20


def test_a_copy_that_does_not_end_is_given_up() -> None:
    course = Course(10 * 2**20, Pace(0, lambda: 0.0, lambda _: None))
    course.step(290 * 2**20)
    with pytest.raises(QueueError, match="messages come faster than they can be copied"):
        course.step(7 * 2**20)
