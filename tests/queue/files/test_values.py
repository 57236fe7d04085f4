from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.codec import IS_COMPILED, native
from relay.codec.node import node_of
from relay.model.errors import DamagedRange, QueueError, QueueFormatError
from relay.model.seq import SeqRange
from relay.queue.block import KEY, decode_block
from relay.queue.compaction.live import LiveCompaction
from relay.queue.files.values import FileValues, Unreadable
from relay.queue.inspect.queries import Check, check
from relay.queue.repair.verify_lazily import FileDamaged
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, SetAside, Transaction
from tests.queue_files import append, opened

PAGE = 4096
RECORD = b"x" * 10_000


class Disk:
    """Reads of some pages fail."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.passes_after = self.ends_at = 10**9
        self.failures = 0
        self.pauses: list[float] = []

    def read_at(self, fd: int, size: int, offset: int) -> bytes:
        pages = range(offset // PAGE, (offset + size - 1) // PAGE + 1)
        if self.bad & set(pages) and self.failures < self.passes_after:
            self.failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pread(fd, max(0, min(size, self.ends_at - offset)), offset)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()

    def of(environment: Any) -> FileValues:
        return FileValues(
            environment.path(),
            environment.stat()["psize"],
            read_at=disk.read_at,
            pause=disk.pauses.append,
        )

    monkeypatch.setattr(FileValues, "of", of)
    return disk


@contextmanager
def queue(path: Path) -> Iterator[QueueStore]:
    """Three blocks of two records."""
    with opened(path) as store:
        for number in range(3):
            append(store, a=[RECORD + b"%d" % number, b"short"])
        yield store


def page_of(store: QueueStore, seq: int) -> int:
    """The first page of the block of record `seq`."""
    with store.snapshot() as txn:
        cursor = txn.cursor(db=store._handles.blocks["a"])
        assert cursor.set_key(KEY.pack(seq))
        _, page = node_of(cursor.key())
        return page


def read(store: QueueStore, start: int) -> list[bytes]:
    return store.read("a", start=start, records_max=1, bytes_max=1)


def test_what_a_node_says_is_where_its_value_lies(tmp_path: Path) -> None:
    with queue(tmp_path) as store, store.snapshot() as txn:
        cursor = txn.cursor(db=store._handles.blocks["a"])
        found = cursor.first()
        while found:
            key = cursor.key()
            size, page = node_of(key)
            assert size == len(cursor.value()) > 10_000 and page > 1
            if IS_COMPILED:
                assert native.blocks.node_of(key) == (size, page)
            found = cursor.next()
        small = txn.cursor(db=store._handles.meta)
        assert small.set_key(b"format")
        assert node_of(small.key()) == (1, 0)
        if IS_COMPILED:
            assert native.blocks.node_of(small.key()) == (1, 0)


def test_a_sector_that_cannot_be_read_is_damage_of_its_block(tmp_path: Path, disk: Disk) -> None:
    with queue(tmp_path) as store:
        disk.bad = {page_of(store, 3) + 1}
        assert len(read(store, 1)) == 2
        with pytest.raises(DamagedRange, match="records 3 to 4 cannot be read: Input/output"):
            read(store, 3)
        assert read(store, 5) == [RECORD + b"2", b"short"]
        aside = SetAside(SeqRange(3, 5), "Input/output error")
        store.commit(Transaction(0.0, {}, {"a": Removal(7, [aside])}))
        ledger = store.ledgers["a"]
        assert (ledger.delivered, ledger.quarantined, ledger.queued) == (4, 2, 0)
        assert (ledger.queued_bytes, ledger.gap) == (0, 0)


def test_what_can_be_read_of_it_is_kept_with_the_rest_as_zeros(tmp_path: Path, disk: Disk) -> None:
    with queue(tmp_path) as store:
        whole = PAGE - 16
        disk.bad = {page_of(store, 3) + 1}
        with store.snapshot() as txn:
            cursor = txn.cursor(db=store._handles.blocks["a"])
            assert cursor.set_key(KEY.pack(3))
            value = cursor.value()
            assert isinstance(value, Unreadable) and value.reason == "Input/output error"
            disk.bad = set()
            sound = cursor.value()
        assert (len(value), value[:whole]) == (len(sound), sound[:whole])
        assert value[whole : whole + PAGE] == b"\0" * PAGE
        assert value[whole + PAGE :] == sound[whole + PAGE :]
        assert decode_block(sound).payloads == [RECORD + b"1", b"short"]


def test_an_error_that_passes_costs_nothing(tmp_path: Path, disk: Disk) -> None:
    with queue(tmp_path) as store:
        disk.bad, disk.passes_after = {page_of(store, 3)}, 2
        assert read(store, 3) == [RECORD + b"1", b"short"]
        assert len(disk.pauses) == 2


def test_what_stays_unreadable_is_not_waited_for_again(tmp_path: Path, disk: Disk) -> None:
    with queue(tmp_path) as store:
        disk.bad = {page_of(store, 3) + 1}
        for _ in range(3):
            with pytest.raises(DamagedRange):
                read(store, 3)
        assert len(disk.pauses) == 2


def test_a_block_whose_first_page_is_unreadable_is_not_given_to_lmdb(
    tmp_path: Path, disk: Disk
) -> None:
    """LMDB reads it to delete the block; the next start saves what can be read."""
    with queue(tmp_path) as store:
        said: list[str] = []
        store.when_damaged(said.append)
        page = page_of(store, 1)
        disk.bad = {page}
        with pytest.raises(FileDamaged, match=f"page {page}: Input/output error"):
            store.commit(Transaction(0.0, {}, {"a": Removal(3)}))
        assert set(said) == {f"page {page}: Input/output error"}
        assert (tmp_path / "examine-fully").exists()
        assert store.ledgers["a"].delivered == 0


def test_what_is_put_and_read_in_one_commit_is_not_looked_for_in_the_file(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(Transaction(0.0, {"a": [RECORD, RECORD]}, {"a": Removal(2)}))
        store.commit(Transaction(0.0, {"a": [RECORD]}, {"a": Removal(4)}))
        ledger = store.ledgers["a"]
        assert (ledger.delivered, ledger.queued, ledger.queued_bytes) == (3, 0, 0)
        append(store, a=[b"y" * 9000])
        store.commit(Transaction(0.0, {"a": [RECORD]}, {"a": Removal(5)}))
        assert store.ledgers["a"].queued_bytes == len(RECORD)
        assert read(store, 5) == [RECORD]


def test_a_file_that_ends_too_early_is_damage(tmp_path: Path, disk: Disk) -> None:
    with queue(tmp_path) as store:
        disk.ends_at = (page_of(store, 3) + 1) * PAGE
        with pytest.raises(DamagedRange, match="the file ends before it"):
            read(store, 3)
        assert disk.pauses == []


def test_checking_says_which_records_cannot_be_read(tmp_path: Path, disk: Disk) -> None:
    with queue(tmp_path) as store:
        disk.bad = {page_of(store, 3) + 2}
        found = store.look(lambda view: check(view, Check("a", checksums=True)))
        assert found.problems == ["records 3 to 4 cannot be read: Input/output error"]
        assert (found.blocks, found.records) == (3, 6)
        assert store.look(lambda view: check(view, Check("a"))).problems == []


def test_a_compaction_does_not_make_it_final(tmp_path: Path, disk: Disk) -> None:
    with queue(tmp_path) as store:
        disk.bad = {page_of(store, 3) + 1}
        compaction = LiveCompaction(store, str(tmp_path))
        compaction.begin()
        with pytest.raises(QueueError, match="stored from 3 on cannot be read: Input/output"):
            compaction.step()
        compaction.abandon()
        disk.bad = set()
        assert read(store, 3) == [RECORD + b"1", b"short"]


def test_who_only_looks_gets_no_file_that_would_end_the_process(tmp_path: Path) -> None:
    with queue(tmp_path):
        pass
    size = os.stat(tmp_path / "data.mdb").st_size
    os.truncate(tmp_path / "data.mdb", size // 2 // PAGE * PAGE)
    with pytest.raises(QueueFormatError, match=r"data.mdb is damaged, or not .*; start the relay"):
        QueueStore.open_read_only(str(tmp_path))
