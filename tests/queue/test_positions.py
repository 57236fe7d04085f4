from __future__ import annotations

from pathlib import Path

from relay.queue.positions import positions_of, put_positions
from tests.queue_files import environment


def test_positions_are_put_and_forgotten_by_source(tmp_path: Path) -> None:
    with environment(tmp_path) as found:
        db = found.open_db(b"positions")
        with found.begin(write=True) as txn:
            put_positions(txn, db, {"in/f": b"1", "in/g": b"2", "in2/f": b"3"})
            put_positions(txn, db, {"in/g": b"", "in/none": b""})
            assert positions_of(txn, db, "in") == {"f": b"1"}
            assert positions_of(txn, db, "none") == {}
