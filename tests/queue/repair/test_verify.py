from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest

from relay.queue.block import KEY
from relay.queue.ledger import Ledger
from relay.queue.repair.verify import opened_file, sound_ledger, verify
from relay.queue.store import QueueStore
from relay.queue.transaction import Removal, Transaction
from tests.queue_files import append, kept, make_long_queue, opened, put

MAP_BYTES = 2**24


def find_damage(path: str) -> list[str]:
    return verify(path, fully=True).problems


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """Destination a with records 1 to 4 in two blocks, b with none."""
    store = QueueStore.open(str(tmp_path), destinations=["a", "b"], map_bytes=MAP_BYTES)
    for records in ([b"1", b"2"], [b"3", b"4"]):
        store.commit(Transaction(0.0, {"a": records}))
    store.close()
    return tmp_path


@pytest.fixture
def change(queue: Path) -> Iterator[Callable[..., None]]:
    """Puts values into the queue with LMDB itself; None deletes."""

    def put(database: str, values: dict[bytes, bytes | None]) -> None:
        environment = lmdb.open(str(queue), map_size=MAP_BYTES, max_dbs=16)
        db: Any = environment.open_db(database.encode())
        with environment.begin(write=True, db=db) as txn:
            for key, value in values.items():
                txn.delete(key) if value is None else txn.put(key, value)
        environment.close()

    yield put


Change = Callable[..., None]


def test_a_sound_queue_has_nothing_wrong(queue: Path) -> None:
    assert find_damage(str(queue)) == []


def test_no_queue_is_no_damaged_one(tmp_path: Path) -> None:
    assert find_damage(str(tmp_path)) == []


@pytest.mark.parametrize("content", [b"", b"x", b"something else" * 1000])
def test_a_file_of_something_else_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)  # a new queue is never seen half made
    assert "makes no sense" in find_damage(str(tmp_path))[0]


@pytest.mark.parametrize(("magic_at", "version"), [(16, 2), (24, 3)])
def test_another_version_of_lmdb_is_none_of_ours(
    tmp_path: Path, magic_at: int, version: int
) -> None:
    page = bytearray(8192)
    page[magic_at : magic_at + 8] = 0xBEEFC0DE.to_bytes(4, "little") + bytes([version, 0, 0, 0])
    (tmp_path / "data.mdb").write_bytes(page)
    assert find_damage(str(tmp_path)) == []


def test_somebody_elses_environment_is_no_damage(tmp_path: Path) -> None:
    environment = lmdb.open(str(tmp_path), map_size=MAP_BYTES)
    with environment.begin(write=True) as txn:
        txn.put(b"key", b"value")
    environment.close()
    assert find_damage(str(tmp_path)) == []


def test_a_damaged_block_is_no_damage_of_the_file(queue: Path, change: Change) -> None:
    change("blocks/a", {KEY.pack(1): b"damaged"})
    assert find_damage(str(queue)) == []


@pytest.mark.parametrize(
    "text", [b"{", b'{"next_seq": 2}', b'{"unknown": 1}', b'{"delivered": -1, "dropped": {"x": 1}}']
)
def test_a_ledger_that_does_not_add_up(queue: Path, change: Change, text: bytes) -> None:
    change("meta", {b"ledger/a": text})
    (problem,) = find_damage(str(queue))
    assert "does not add up" in problem or "its ledger says" in problem


def test_a_ledger_that_does_not_fit_its_blocks(queue: Path, change: Change) -> None:
    change("blocks/a", {KEY.pack(1): None})
    assert find_damage(str(queue)) == [
        "blocks/a: from 0000000000000003 to 0000000000000003, its ledger says 1 to 4"
    ]


def test_blocks_without_a_ledger(queue: Path, change: Change) -> None:
    change("meta", {b"ledger/a": None})
    assert "its ledger says 1 to 0" in find_damage(str(queue))[0]


def test_a_format_that_was_another_a_commit_ago(queue: Path, change: Change) -> None:
    change("meta", {b"format": b"9"})
    assert find_damage(str(queue)) == ["the format is b'9', and was b'1'"]


def test_the_next_format_is_not_ours_to_judge(queue: Path, change: Change) -> None:
    change("meta", {b"format": b"2"})
    assert find_damage(str(queue)) == []
    change("meta", {b"ledger/a": b"of another kind"})
    change("clocks/a", {b"key": b"value"})
    change("blocks/a", {KEY.pack(1): None})
    assert find_damage(str(queue)) == []


def test_pages_of_the_next_format_are_judged_all_the_same(queue: Path, change: Change) -> None:
    change("meta", {b"format": b"2"})
    data = queue / "data.mdb"
    data.write_bytes(data.read_bytes()[: 3 * 4096])
    assert "not in the file" in find_damage(str(queue))[0]


def test_a_history_is_looked_through_as_well(queue: Path) -> None:
    with opened(queue, histories=kept("a")) as store:
        for number in range(1, 5):
            store.commit(Transaction(0.0, removals={"a": Removal(number + 1)}))
    assert find_damage(str(queue)) == []
    data = queue / "data.mdb"
    content = bytearray(data.read_bytes())
    place = content.rindex(b"history/a")
    with opened_file(str(queue)) as file:
        (name,) = [
            entry
            for entry in file.walk(file.snapshots[0].names, "names", file.audit(file.snapshots[0]))
            if entry.key == b"history/a"
        ]
        tree = file.tree(name)
    assert tree is not None and place > 0
    content[tree.root * 4096 : tree.root * 4096 + 4096] = bytes(4096)
    data.write_bytes(content)
    assert any("history/a" in problem for problem in find_damage(str(queue)))


def test_names_that_are_not_ours_among_ours(queue: Path, change: Change) -> None:
    change("clocks/a", {})
    assert find_damage(str(queue)) == ["clocks/a: unknown"]


def test_a_file_that_was_cut_off(queue: Path) -> None:
    data = queue / "data.mdb"
    data.write_bytes(data.read_bytes()[:-4096])
    with opened_file(str(queue)) as file:
        assert len(file.snapshots) == 2
    assert any("not in the file" in problem for problem in find_damage(str(queue)))


def test_fields_of_a_later_version_can_be_passed_over() -> None:
    ledger = Ledger(next_seq=5, acknowledged_seq=3, delivered=2)
    value = msgspec.json.encode({**msgspec.to_builtins(ledger), "later": 1})
    assert sound_ledger(value) is None
    assert sound_ledger(value, any_version=True) == ledger


@pytest.mark.parametrize("value", [b"{", b'{"moved\xa2":1}', b'{"moved":' + b"[" * 10_000])
def test_a_ledger_that_is_no_json_is_not_sound(value: bytes) -> None:
    assert sound_ledger(value, any_version=True) is None


@pytest.fixture
def long(tmp_path: Path) -> Path:
    make_long_queue(tmp_path, [b"%d" % seq * 90 for seq in range(1, 3001)])
    return tmp_path


def test_of_a_long_queue_most_is_left_for_later(long: Path) -> None:
    verified = verify(str(long), fully=False, reads_max=99, lazy_reads_min=99)
    assert verified.problems == []
    assert verified.lazy is not None
    assert verified.lazy.names == [b"blocks/a"]
    verified.lazy.close()
    assert verify(str(long), fully=False).lazy is None  # not so long
    assert verify(str(long), fully=True).lazy is None


@pytest.mark.parametrize("field", [3, 4, 5])  # branches, leaves, pages of values
def test_numbers_that_do_not_add_up_have_all_of_it_looked_at(long: Path, field: int) -> None:
    with opened_file(str(long)) as file:
        snapshot = file.snapshots[0]
        names = file.walk(snapshot.names, "", file.audit(snapshot))
        (place,) = [name.offset for name in names if name.key == b"blocks/a"]
    with open(long / "data.mdb", "r+b") as data:
        data.seek(place + 8 * (field - 2))
        (number,) = struct.unpack("=Q", data.read(8))
        data.seek(place + 8 * (field - 2))
        data.write(struct.pack("=Q", number ^ 2**20))
    verified = verify(str(long), fully=False, reads_max=99, lazy_reads_min=99)
    assert verified.lazy is None
    assert "it says" in verified.problems[0]


def test_a_long_queue_that_does_not_fit_its_ledger_is_damaged(long: Path) -> None:
    put(long, "meta", b"ledger/a", b'{"next_seq": 2900}')
    verified = verify(str(long), fully=False, reads_max=99, lazy_reads_min=99)
    assert "its ledger says 1 to 2899" in verified.problems[0]


def test_a_page_that_cannot_be_read_is_damage_but_for_the_first_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the beginning cannot be read the disk may be well again tomorrow."""
    with opened(tmp_path) as store:
        append(store, a=[b"x" * 10_000])
    pread = os.pread
    size = os.stat(tmp_path / "data.mdb").st_size // 4096
    outcomes = set()
    for bad in range(size):

        def fail(fd: int, count: int, offset: int, bad: int = bad) -> bytes:
            if offset // 4096 == bad:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return pread(fd, count, offset)

        monkeypatch.setattr(os, "pread", fail)
        try:
            problems = find_damage(str(tmp_path))
        except OSError:
            assert bad < 2
            outcomes.add("refused")
        else:
            assert bad >= 2
            outcomes |= {"cannot be read: Input/output error" in "".join(problems)}
    assert outcomes == {"refused", True, False}
