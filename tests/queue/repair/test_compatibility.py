from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.model.errors import QueueError, QueueFormatError
from relay.queue.block import BLOCK_VERSION
from relay.queue.files.format import FORMAT, MIGRATIONS, Migration
from relay.queue.history.keep import Histories, HistoryLimit
from relay.queue.inspect.queries import ReadEntries, read_entries
from relay.queue.ledger import Ledger
from relay.queue.lineage import SENT, Lineage
from relay.queue.positions import sealed
from relay.queue.quarantine import Label
from relay.queue.repair.compatibility import examine, refuse_other_version
from relay.queue.store import QueueStore
from tests.queue_files import append, environment, opened, put, remove

FORMATS = Path(__file__).with_name("formats")


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A queue of the format after this one."""
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
    with environment(tmp_path) as found:
        put_in(found, b"format", str(int(FORMAT) + 1).encode())
        put_in(found, b"other", b"x")  # so that both snapshots have it
    return tmp_path


def put_in(found: Any, key: bytes, value: bytes, name: bytes = b"meta") -> None:
    tree = found.open_db(name)
    with found.begin(write=True) as txn:
        txn.put(key, value, db=tree)


def old(tmp_path: Path, name: str) -> Path:
    packed = FORMATS / f"{name}.mdb.gz"
    (tmp_path / "data.mdb").write_bytes(gzip.decompress(packed.read_bytes()))
    return tmp_path


def test_no_queue_can_be_opened(tmp_path: Path) -> None:
    found = examine(str(tmp_path / "queue"))
    assert (found.state, found.can_open) == ("none", True)
    (tmp_path / "data.mdb").touch()
    assert examine(str(tmp_path)).state == "none"
    assert sorted(os.listdir(tmp_path)) == ["data.mdb"]


def test_a_queue_of_this_version_with_all_that_it_may_have(tmp_path: Path) -> None:
    histories = Histories({"a": HistoryLimit(3600.0, 10**6)})
    with opened(tmp_path, sources=["in"], histories=histories) as store:
        append(store, a=[b"%d" % n for n in range(500)])
        remove(store, "a", upto=10)
        found = examine(str(tmp_path))  # while it is open
    assert (found.state, found.format) == ("same", FORMAT.decode())
    assert found == examine(str(tmp_path))


def test_a_newer_format_is_refused_and_the_text_says_what_to_do(newer: Path) -> None:
    found = examine(str(newer))
    assert (found.state, found.can_open) == ("newer", False)
    assert "use the version that made it" in found.text
    with pytest.raises(QueueFormatError, match="of a newer version"):
        refuse_other_version(str(newer))


def test_a_refusal_touches_nothing(newer: Path) -> None:
    (newer / "compacted").mkdir()
    before = {name: (newer / name).stat() for name in os.listdir(newer)}
    with pytest.raises(QueueFormatError):
        refuse_other_version(str(newer))
    assert {name: (newer / name).stat() for name in os.listdir(newer)} == before


def test_a_format_that_the_disk_changed_is_damage_and_no_version(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1"])
    put(tmp_path, "meta", b"format", b"9")  # the snapshot before says 1
    assert examine(str(tmp_path)).state == "damaged"
    refuse_other_version(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        (b"meta", b"ledger/a", b'{"next_seq":1,"waiting":3}', "a ledger with 'waiting'"),
        (b"summaries/a", b"k", b"v", "a tree 'summaries/a'"),
        (b"blocks/a", bytes(8), bytes([BLOCK_VERSION + 1]) * 40, "blocks of version 2"),
        (b"history/a", bytes(8), bytes([BLOCK_VERSION + 1]) * 40, "blocks of version 2"),
    ],
)
def test_a_change_without_another_format_is_noticed(
    tmp_path: Path, name: bytes, key: bytes, value: bytes, words: str
) -> None:
    with opened(tmp_path):
        pass
    with environment(tmp_path) as found:
        put_in(found, key, value, name)
    verdict = examine(str(tmp_path))
    assert (verdict.state, verdict.can_open) == ("newer", False)
    assert words in verdict.text
    refuse_other_version(str(tmp_path))  # a start verifies the file and repairs it


def test_an_older_format_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(environment: Any, txn: Any) -> None:
        pass

    monkeypatch.setitem(MIGRATIONS, b"0", Migration(FORMAT, nothing))  # type: ignore[arg-type]
    with opened(tmp_path):
        pass
    with environment(tmp_path) as found:
        put_in(found, b"format", b"0")
        put_in(found, b"other", b"x")
    verdict = examine(str(tmp_path))
    assert (verdict.state, verdict.can_open) == ("older", True)
    assert "make a backup first" in verdict.text


def test_another_programs_environment_and_garbage(tmp_path: Path) -> None:
    foreign, garbage = tmp_path / "foreign", tmp_path / "garbage"
    foreign.mkdir()
    garbage.mkdir()
    with environment(foreign) as found:
        put_in(found, b"k", b"v", b"others")
    (garbage / "data.mdb").write_bytes(os.urandom(65536))
    assert examine(str(foreign)).state == "foreign"
    assert examine(str(garbage)).state == "damaged"
    for path in (foreign, garbage):
        refuse_other_version(str(path))


def test_damage_is_told_and_left_to_the_start(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1"])
    data = tmp_path / "data.mdb"
    data.write_bytes(data.read_bytes()[:8192])
    assert examine(str(tmp_path)).state == "damaged"
    refuse_other_version(str(tmp_path))


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").mkdir()
    with pytest.raises(QueueError, match=r"data\.mdb cannot be read"):
        examine(str(tmp_path))


def test_while_a_relay_commits(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"0" * 1000])
        stop = threading.Event()

        def commits() -> None:
            while not stop.is_set():
                append(store, a=[b"x" * 5000], b=[b"y"])
                remove(store, "a", upto=store.ledgers["a"].next_seq)

        thread = threading.Thread(target=commits)
        thread.start()
        try:
            found = [examine(str(tmp_path)).state for _ in range(200)]
        finally:
            stop.set()
            thread.join()
    assert set(found) == {"same"}


@pytest.mark.parametrize("name", ["1-first", "1-without-checksums"])
def test_a_queue_that_an_old_version_made_is_opened(tmp_path: Path, name: str) -> None:
    path = old(tmp_path, name)
    assert examine(str(path)).state == "same"
    with opened(path, "a", sources=["in"]) as store:
        assert store.recovery is None
        ledger = store.ledgers["a"]
        assert (ledger.gap, ledger.queued, ledger.quarantined) == (0, 13, 1)
        left = store.read("a", start=8, records_max=99, bytes_max=10**4)
        assert left == [b"%d-%d" % (n // 5, n % 5) for n in range(7, 20)]
        assert [entry.reason for entry in quarantined(store)] == ["refused"]
        if name == "1-without-checksums":
            assert store.positions("log") == {"file": b'{"offset":3}'}
            lineage = Lineage.decode(store.positions(SENT)["a"])
            assert lineage is not None
            assert lineage.epochs == [("00112233445566aa", 1)]


def quarantined(store: QueueStore) -> Iterator[Any]:
    yield from store.look(lambda view: read_entries(view, ReadEntries("a"))).entries


def test_the_layout_of_format_1() -> None:
    """What an older version would misread needs another format and a `Migration`.

    A field that is added to a ledger is refused by older versions, blocks of another version are
    damage to them.  Change FORMAT and MIGRATIONS with any of these, then this test.
    """
    assert FORMAT == b"1"
    assert Ledger.__struct_fields__ == (
        *("next_seq", "acknowledged_seq", "delivered", "quarantined", "dropped", "never_queued"),
        *("queued_bytes", "quarantine_bytes", "moved"),
    )
    assert BLOCK_VERSION == 1
    assert Label.__struct_fields__[:3] == ("reason", "at", "kind")
    assert sealed(b"k", b"v") == b"\x017eb6749av"
    assert msgspec.json.decode(Lineage("i", [("e", 1)]).encode()) == {
        "id": "i",
        "epochs": [["e", 1]],
    }
