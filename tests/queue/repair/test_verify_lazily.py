from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.queue.block import KEY, encode_block
from relay.queue.repair.pages import Audit, Entry, PageFile, Tree
from relay.queue.repair.verify import opened_file, verify
from relay.queue.repair.verify_lazily import KEYS_STOP, FileDamaged, LazyVerification
from relay.queue.transaction import Removal, Transaction
from tests.queue_files import make_long_queue, opened

PAGE = 4096
NAME = b"blocks/a"
RECORDS = 12_000  # in 914 leaves, which is more than a start looks at
MIDDLE = 7401  # a record that is not on the first leaf of a branch


def payload(seq: int) -> bytes:
    # A few on pages of their own, so that values matter.
    return b"%06d" % seq * (500 if seq % 100 == 0 else 45)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    make_long_queue(folder, [payload(seq) for seq in range(1, RECORDS + 1)])
    return folder


def tree_of(file: PageFile, name: bytes = NAME) -> Tree:
    snapshot = file.snapshots[0]
    names = file.walk(snapshot.names, "names", file.audit(snapshot))
    return next(tree for each in names if each.key == name if (tree := file.tree(each)))


def entries_of(path: Path) -> list[Entry]:
    with opened_file(str(path)) as file:
        return list(file.walk(tree_of(file), "a", file.audit(file.snapshots[0])))


@pytest.fixture
def copied(sound: Path, tmp_path: Path) -> Path:
    (tmp_path / "data.mdb").write_bytes((sound / "data.mdb").read_bytes())
    return tmp_path


def change(path: Path, place: int, data: bytes) -> None:
    with open(path / "data.mdb", "r+b") as file:
        file.seek(place)
        file.write(data)


@contextmanager
def begun(path: Path) -> Iterator[tuple[LazyVerification, Audit, tuple[bytes, bytes]]]:
    with opened_file(str(path)) as file:
        audit = file.audit(file.snapshots[0])
        lazy = LazyVerification(str(path), audit)
        try:
            yield lazy, audit, lazy.begin(NAME, tree_of(file), audit)
        finally:
            lazy.close()


def look_at_all(lazy: LazyVerification) -> None:
    while (seq := lazy.rest(NAME)) is not None:
        lazy.ensure(NAME, seq)


def test_a_start_knows_both_ends_and_marks_branches_and_leaves(sound: Path) -> None:
    with begun(sound) as (lazy, audit, ends):
        assert ends == (KEY.pack(1), KEY.pack(RECORDS))
        assert audit.problems == []
        with opened_file(str(sound)) as file:
            tree = tree_of(file)
        assert lazy.marked == tree.branch_pages + tree.leaf_pages
        assert lazy.names == [NAME]


def test_all_of_it_is_looked_at_once_in_the_end(sound: Path) -> None:
    with begun(sound) as (lazy, audit, _):
        look_at_all(lazy)
        assert lazy.names == []
        with opened_file(str(sound)) as file:
            tree = tree_of(file)
            whole = file.audit(file.snapshots[0])
            assert len(list(file.walk(tree, "a", whole))) == RECORDS
        assert audit.pages == whole.pages


@pytest.mark.parametrize("order", [1, -1, 4999])
def test_any_order_will_do(sound: Path, order: int) -> None:
    with begun(sound) as (lazy, _, __):
        for number in range(0, RECORDS, 7):
            seq = number * order % RECORDS + 1
            low, high = lazy.ensure(NAME, seq)
            assert low <= seq < high
        look_at_all(lazy)
        assert lazy.names == []


def test_of_another_tree_nothing_is_left(sound: Path) -> None:
    with begun(sound) as (lazy, _, __):
        assert lazy.ensure(b"blocks/b", 5) == (0, KEYS_STOP)
        assert lazy.rest(b"blocks/b") is None


def test_what_is_looked_at_is_ahead_of_what_is_safe(copied: Path) -> None:
    """A delete in LMDB reads the lowest key of leaves a quarter of a branch further on."""
    entry = entries_of(copied)[MIDDLE - 1]
    change(copied, entry.offset // PAGE * PAGE + 12, b"\xff\xff")  # where its nodes end
    with begun(copied) as (lazy, audit, _):
        assert audit.problems == []
        found: list[str] = []
        lazy.on_damage = found.append
        reached = 1
        with pytest.raises(FileDamaged, match="its bounds are 65535"):
            while True:
                reached = lazy.ensure(NAME, reached)[1]
        assert found and "page " in found[0]
        assert reached < MIDDLE - 57 * 12


def test_a_damaged_leaf_is_found_from_any_side(copied: Path) -> None:
    entry = entries_of(copied)[MIDDLE - 1]
    change(copied, entry.offset // PAGE * PAGE, b"\xff")  # its number
    for seq in (MIDDLE, MIDDLE - 40, MIDDLE + 15):
        with begun(copied) as (lazy, _, __), pytest.raises(FileDamaged):
            lazy.ensure(NAME, seq)
    with begun(copied) as (lazy, _, __), pytest.raises(FileDamaged):
        look_at_all(lazy)


def test_two_values_in_one_place_are_found(copied: Path) -> None:
    large = [entry for entry in entries_of(copied) if entry.size > 2048]
    image = (copied / "data.mdb").read_bytes()
    first = (large[30].offset // PAGE).to_bytes(8, "little")
    second = (large[50].offset // PAGE).to_bytes(8, "little")
    change(copied, image.index(KEY.pack(5100) + second) + 8, first)
    with begun(copied) as (lazy, audit, _):
        assert audit.problems == []
        with pytest.raises(FileDamaged, match="used twice"):
            look_at_all(lazy)


def test_a_damaged_head_of_a_value_is_found_before_it_is_safe(copied: Path) -> None:
    large = [entry for entry in entries_of(copied) if entry.size > 2048]
    change(copied, large[60].offset // PAGE * PAGE + 12, b"\x77")  # how many pages it has
    with begun(copied) as (lazy, _, __):
        lazy.ensure(NAME, 5800)  # not so near
        with pytest.raises(FileDamaged, match="its length"):
            lazy.ensure(NAME, 6090)


@pytest.mark.parametrize("place", [0, 10, 12, 14, 40, 3000, 4088, 4092])
def test_damaged_branches_are_found_at_the_start(copied: Path, place: int) -> None:
    image = (copied / "data.mdb").read_bytes()
    heads = [struct.unpack_from("=QHHH", image, at) for at in range(0, len(image), PAGE)]
    branches = [
        number
        for number, (found, _, kind, lower) in enumerate(heads)
        if found == number and kind == 1 and lower > 400  # full ones
    ]
    assert len(branches) > 3
    for number in branches[:4]:
        before = image[number * PAGE + place : number * PAGE + place + 1]
        change(copied, number * PAGE + place, bytes([before[0] ^ 0x21]))
        with begun(copied) as (_, audit, ends):
            assert audit.problems
            assert ends == (b"", b"")
        change(copied, number * PAGE + place, before)


def test_a_tree_with_another_number_of_leaves_than_it_says_is_damaged(sound: Path) -> None:
    with opened_file(str(sound)) as file:
        audit = file.audit(file.snapshots[0])
        lazy = LazyVerification(str(sound), audit)
        tree = tree_of(file)
        lazy.begin(NAME, tree._replace(leaf_pages=tree.leaf_pages + 1), audit)
        lazy.close()
    assert "it says" in audit.problems[0]


def test_what_is_written_meanwhile_is_followed(copied: Path) -> None:
    verified = verify(str(copied), fully=False, reads_max=0, lazy_reads_min=1)
    lazy = verified.lazy
    assert lazy is not None
    with opened(copied, "a") as store:  # which looks at everything itself
        for upto in range(2, 3000, 11):
            lazy.ensure(NAME, upto)
            store.commit(Transaction(0.0, {"a": [b"new" * 900]}, {"a": Removal(upto)}))
        lazy.ensure(NAME, 9000)
        look_at_all(lazy)
    lazy.close()


def test_one_block_in_each_is_no_matter_of_size() -> None:
    # Beyond 2048 bytes LMDB gives a value pages of its own: half of the tests rest on it.
    assert len(encode_block([payload(100)], received_at=0.0)) > 2048
    assert len(encode_block([payload(1)], received_at=0.0)) < 512
