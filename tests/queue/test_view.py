from __future__ import annotations

from pathlib import Path

import pytest

from relay.queue.block import seq_of, to_block_with
from relay.queue.ledger import Ledger
from relay.queue.view import TransactionView
from tests.queue_files import append, opened, remove


@pytest.mark.parametrize(
    ("seq", "first"), [(0, 4), (3, 4), (4, 4), (5, 4), (6, 6), (7, 6), (8, 6), (99, 6)]
)
def test_the_block_of_a_record(tmp_path: Path, seq: int, first: int) -> None:
    def block_with(view: TransactionView) -> int:
        cursor = view.txn.cursor(db=view.blocks["a"])
        assert to_block_with(cursor, seq)
        return seq_of(cursor.key())

    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2", b"3"])
        append(store, a=[b"4", b"5"])
        append(store, a=[b"6", b"7"])
        remove(store, "a", 4)
        assert store.look(block_with) == first


def test_an_empty_queue_has_no_block(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert not store.look(lambda b: to_block_with(b.txn.cursor(db=b.blocks["a"]), 1))


def test_what_is_seen_is_what_was_committed(tmp_path: Path) -> None:
    with opened(tmp_path, "a", sources=["in"]) as store:
        append(store, a=[b"1"])
        ids = store.look(lambda view: (sorted(view.blocks), sorted(view.quarantine)))
        assert ids == (["a"], ["a", "source/in"])
        assert store.look(lambda view: view.ledger("a")) == store.ledgers["a"]
        assert store.look(lambda view: view.ledger("source/in")) == Ledger()
