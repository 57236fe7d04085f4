from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.queue.repair.pages import Audit, PageFile

PAGE = 4096


@contextmanager
def opened(path: Path) -> Iterator[PageFile]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield PageFile(fd)
    finally:
        os.close(fd)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two named trees: one with branch pages, one with values on pages of their own."""
    folder = tmp_path_factory.mktemp("environment")
    environment = lmdb.open(str(folder), map_size=2**24, max_dbs=4)
    many, large = environment.open_db(b"many"), environment.open_db(b"large")
    with environment.begin(write=True) as txn:
        for number in range(1000):
            txn.put(b"%06d" % number, b"value %d" % number, db=many)
        for number in range(9):
            txn.put(b"%d" % number, bytes([number]) * 9000, db=large)
    with environment.begin(write=True) as txn:
        for number in range(0, 1000, 2):
            txn.delete(b"%06d" % number, db=many)
        txn.delete(b"3", db=large)
    environment.close()
    return folder / "data.mdb"


def all_of(file: PageFile, number: int = 0) -> tuple[dict[str, dict[bytes, bytes]], Audit]:
    """Everything in a snapshot, and what was found on the way."""
    snapshot = file.snapshots[number]
    audit = file.audit(snapshot)
    found: dict[str, dict[bytes, bytes]] = {}
    for name in file.walk(snapshot.names, "names", audit):
        tree = file.tree(name)
        if tree is not None:
            entries = file.walk(tree, name.key.decode(), audit)
            found[name.key.decode()] = {entry.key: file.value(entry) for entry in entries}
    file.check_free(snapshot, audit)
    return found, audit


def test_a_sound_file_is_read_as_lmdb_reads_it(sound: Path) -> None:
    with opened(sound) as file:
        found, audit = all_of(file)
    assert file.problems == audit.problems == []
    environment = lmdb.open(str(sound.parent), readonly=True, max_dbs=4, lock=False)
    for name, entries in found.items():
        database = environment.open_db(name.encode(), create=False)
        with environment.begin(db=database) as txn:
            assert list(txn.cursor()) == list(entries.items())
    environment.close()
    assert {name: len(entries) for name, entries in found.items()} == {"large": 8, "many": 500}
    assert all(audit.pages[2:]), "every page is in use or free"


def test_the_snapshot_before_is_whole_too(sound: Path) -> None:
    with opened(sound) as file:
        found, audit = all_of(file, 1)
    assert audit.problems == []
    assert {name: len(entries) for name, entries in found.items()} == {"large": 9, "many": 1000}


def test_a_file_of_nothing_has_no_snapshots(tmp_path: Path) -> None:
    path = tmp_path / "data.mdb"
    for changed in (b"", b"x", bytes(PAGE), b"\xff" * 3 * PAGE):
        path.write_bytes(changed)
        with opened(path) as file:
            assert file.snapshots == []
            assert len(file.problems) == 2


META_FIELDS = {
    "magic": 16,
    "version": 20,
    "size of a page": 40,
    "flags of the free pages": 44,
    "size of a page of the names": 88,
    "depth": 94,
    "leaf pages": 104,
    "entries": 120,
    "root": 128,
    "transaction": 144,
}


@pytest.mark.parametrize("meta", [0, 1])
@pytest.mark.parametrize("field", META_FIELDS)
def test_a_changed_meta_page_is_noticed(sound: Path, tmp_path: Path, meta: int, field: str) -> None:
    image = bytearray(sound.read_bytes())
    image[meta * PAGE + META_FIELDS[field]] ^= 4
    path = tmp_path / "data.mdb"
    path.write_bytes(image)
    with opened(path) as file:
        noticed = bool(file.problems)
        for number in range(len(file.snapshots)):
            noticed = noticed or bool(all_of(file, number)[1].problems)
    assert noticed


@pytest.mark.parametrize(("meta", "change"), [(0, 2), (0, -2), (1, 2), (1, -2)])
def test_a_number_of_another_transaction_is_noticed(tmp_path: Path, meta: int, change: int) -> None:
    environment = lmdb.open(str(tmp_path), map_size=2**20)
    for number in range(9):
        with environment.begin(write=True) as txn:
            txn.put(b"key", b"%d" % number)
    environment.close()
    path = tmp_path / "data.mdb"
    image = bytearray(path.read_bytes())
    with opened(path) as file:
        assert file.problems == []
        roots = [snapshot.names.root for snapshot in file.snapshots]
    image[meta * PAGE + 144] += change  # so that the order of the two may be another
    path.write_bytes(image)
    with opened(path) as file:
        assert any("transaction" in problem for problem in file.problems)
        assert [snapshot.names.root for snapshot in file.snapshots] == roots


def test_a_page_that_is_free_and_in_use_is_noticed(sound: Path, tmp_path: Path) -> None:
    image = bytearray(sound.read_bytes())
    with opened(sound) as file:
        snapshot = file.snapshots[0]
        (entry,) = list(file.walk(snapshot.free, "free", file.audit(snapshot)))[-1:]
        _, first = struct.unpack_from("=QQ", file.value(entry))
        root = snapshot.names.root
    image[entry.offset + 8 : entry.offset + 16] = struct.pack("=Q", root)
    path = tmp_path / "data.mdb"
    path.write_bytes(image)
    with opened(path) as file:
        problems = all_of(file)[1].problems
    assert first != root
    assert any(
        f"page {root} is in use" in problem or "out of place" in problem for problem in problems
    )


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data())
def test_no_damage_makes_it_crash_or_read_what_was_not_there(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    image = bytearray(sound.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(image) - 1))
        changed = data.draw(st.binary(min_size=1, max_size=16))
        image[place : place + len(changed)] = changed
    if data.draw(st.booleans()):
        del image[data.draw(st.integers(0, len(image) - 1)) :]
    path = tmp_path_factory.getbasetemp() / "damaged.mdb"
    path.write_bytes(image)
    with opened(path) as file:
        for number in range(len(file.snapshots)):
            found, _ = all_of(file, number)
            for entries in found.values():
                assert list(entries) == sorted(entries)
