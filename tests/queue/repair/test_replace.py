from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

from relay.model.errors import QueueError, QueueFormatError
from relay.queue.repair.replace import DAMAGED_FILES_MAX, damaged_files, make_file
from relay.queue.store import QueueStore
from relay.queue.transaction import Transaction

MAP_BYTES = 2**24
open_queue = partial(QueueStore.open, destinations=["a"], map_bytes=MAP_BYTES)
open_environment = partial(lmdb.open, map_size=MAP_BYTES, max_dbs=4)


def damage(queue: Path) -> bytes:
    """Put records 1 and 2 into the queue and spoil its newest meta page; the bytes then."""
    store = open_queue(str(queue))
    store.commit(Transaction(0.0, {"a": [b"1"]}))
    store.commit(Transaction(0.0, {"a": [b"2"]}))
    store.close()
    data = queue / "data.mdb"
    image = bytearray(data.read_bytes())
    newest = max((0, 1), key=lambda meta: image[meta * 4096 + 144])
    image[(1 - newest) * 4096 + 16] ^= 1
    data.write_bytes(image)
    return bytes(image)


def test_a_damaged_queue_goes_on_with_what_can_be_read(tmp_path: Path) -> None:
    before = damage(tmp_path)
    store = open_queue(str(tmp_path), strict=False)
    assert store.recovery is not None
    assert store.recovery.salvaged.records == 2
    assert store.recovery.problems
    assert store.read("a", start=1, records_max=9, bytes_max=99) == [b"1", b"2"]
    store.close()
    assert damaged_files(str(tmp_path)) == [store.recovery.kept_as]
    assert Path(store.recovery.kept_as).read_bytes() == before
    store = open_queue(str(tmp_path))
    assert store.recovery is None
    store.close()


def test_a_strict_relay_changes_nothing(tmp_path: Path) -> None:
    before = damage(tmp_path)
    with pytest.raises(QueueFormatError, match="strict_queue = false"):
        open_queue(str(tmp_path), strict=True)
    assert (tmp_path / "data.mdb").read_bytes() == before
    assert damaged_files(str(tmp_path)) == []


def test_two_damages_in_one_second_are_both_kept(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        damage(tmp_path)
        open_queue(str(tmp_path), strict=False).close()
        assert len(damaged_files(str(tmp_path))) == count


def test_a_disk_is_not_filled_with_damaged_files(tmp_path: Path) -> None:
    before = damage(tmp_path)
    for number in range(DAMAGED_FILES_MAX):
        (tmp_path / f"data.mdb.damaged-{number}").touch()
    with pytest.raises(QueueError, match="look at the disk"):
        open_queue(str(tmp_path), strict=False)
    assert (tmp_path / "data.mdb").read_bytes() == before


def fail(environment: Any) -> None:
    with environment.begin(write=True) as txn:
        txn.put(b"half", b"of it")
    raise QueueError("no space")


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    before = damage(tmp_path)
    with pytest.raises(QueueError, match="no space"):
        make_file(str(tmp_path), open_environment, fail)
    assert (tmp_path / "data.mdb").read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_what_was_left_half_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "data.mdb").write_bytes(b"half")
    store = open_queue(str(tmp_path))
    store.close()
    assert store.recovery is None
    assert not (tmp_path / "new").exists()
