from __future__ import annotations

from pathlib import Path

import lmdb

from relay.queue.compaction.handles import Handles
from relay.queue.files.trees import Cursor, Stat, Transaction


def test_both_kinds_of_transactions_and_their_cursors_offer_what_the_protocols_name(
    tmp_path: Path,
) -> None:
    environment = lmdb.open(str(tmp_path), max_dbs=4)
    handles = Handles(environment)
    with environment.begin() as plain, handles.begin() as guarded:
        for txn in (plain, guarded):
            assert_has_all_of(Transaction, txn)
            assert_has_all_of(Cursor, txn.cursor(db=handles.meta))
            assert set(txn.stat(handles.meta)) == set(Stat.__annotations__)
    handles.leave()


def assert_has_all_of(protocol: type, given: object) -> None:
    wanted = [name for name, member in vars(protocol).items() if callable(member)]
    named = [name for name in wanted if not name.startswith("_") or name == "__iter__"]
    assert named
    assert [name for name in named if not hasattr(given, name)] == []
