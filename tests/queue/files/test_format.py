from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import QueueFormatError
from relay.queue.files.format import FORMAT, MIGRATIONS, Migration, is_older, migrate, refuse_format
from tests.queue_files import append, environment, looked_at, opened, put


def add_to(key: bytes, text: bytes) -> Any:
    def change(environment: Any, txn: Any) -> None:
        meta = environment.open_db(b"meta", txn=txn)
        txn.put(key, txn.get(key, b"", db=meta) + text, db=meta)

    return change


WAYS = {b"x1": Migration(b"x2", add_to(b"new", b"a")), b"x2": Migration(b"1", add_to(b"new", b"b"))}


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[bytes, Migration]]:
    """Two made-up formats before ours."""
    for number, step in WAYS.items():
        monkeypatch.setitem(MIGRATIONS, number, step)  # type: ignore[arg-type]
    yield WAYS


def in_meta(path: Path) -> dict[bytes, bytes]:
    with environment(path) as found:
        db = found.open_db(b"meta")
        with found.begin(db=db) as txn:
            return dict(txn.cursor())


def test_there_is_a_way_from_every_format_of_the_table() -> None:
    assert all(is_older(number) for number in MIGRATIONS)
    assert not is_older(FORMAT)
    assert not is_older(b"2")


def test_a_table_that_goes_in_circles_or_nowhere_is_no_way() -> None:
    circle = {b"a": Migration(b"b", add_to(b"", b"")), b"b": Migration(b"a", add_to(b"", b""))}
    nowhere = {b"a": Migration(b"b", add_to(b"", b""))}
    assert not is_older(b"a", migrations=circle)
    assert not is_older(b"a", migrations=nowhere)


def test_a_queue_of_an_older_format_is_brought_to_ours(
    tmp_path: Path, ways: Mapping[bytes, Migration]
) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
    put(tmp_path, "meta", b"format", b"x1")
    put(tmp_path, "meta", b"format", b"x1")  # the snapshot before has it too
    with opened(tmp_path) as store:
        assert store.read("a", start=1, records_max=9, bytes_max=99) == [b"1", b"2"]
        assert store.recovery is None
    found = in_meta(tmp_path)
    assert found[b"format"] == FORMAT
    assert found[b"new"] == b"ab"


def test_a_migration_that_fails_halfway_has_changed_nothing(tmp_path: Path) -> None:
    def fails(environment: Any, txn: Any) -> None:
        add_to(b"new", b"c")(environment, txn)
        raise QueueFormatError("no")

    with opened(tmp_path):
        pass
    put(tmp_path, "meta", b"format", b"x1")
    ways = {b"x1": Migration(b"x2", add_to(b"new", b"a")), b"x2": Migration(b"1", fails)}
    with environment(tmp_path) as found, pytest.raises(QueueFormatError, match="no"):
        migrate(found, b"x1", migrations=ways)
    assert in_meta(tmp_path)[b"format"] == b"x2"  # the first step is done
    assert in_meta(tmp_path)[b"new"] == b"a"


def test_an_older_format_is_not_changed_by_looking(
    tmp_path: Path, ways: Mapping[bytes, Migration]
) -> None:
    with opened(tmp_path):
        pass
    put(tmp_path, "meta", b"format", b"x1")
    with pytest.raises(QueueFormatError, match="start the relay once"), looked_at(tmp_path):
        pass
    assert in_meta(tmp_path)[b"format"] == b"x1"


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1"])
    put(tmp_path, "meta", b"format", b"2")
    put(tmp_path, "meta", b"ledger/a", b"nothing that we could read")
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(QueueFormatError, match="of a newer version") as refused, opened(tmp_path):
        pass
    assert "queue export" in str(refused.value)
    assert (tmp_path / "data.mdb").read_bytes() == before
    assert not list(tmp_path.glob("*damaged*"))


def test_what_is_no_number_is_not_called_newer() -> None:
    assert "newer" not in str(refuse_format("/q", b"\xff"))
    assert "newer" in str(refuse_format("/q", b"17"))
