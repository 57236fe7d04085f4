from __future__ import annotations

from pathlib import Path

import pytest

from relay.model.errors import DamagedRange, QueueFormatError
from relay.model.seq import SeqRange
from relay.queue.inspect.reading import (
    measured,
    oldest_block_at,
    read_positions,
    read_records,
    stored_ledger,
)
from relay.queue.ledger import decode_ledger
from relay.queue.store import Transaction
from tests.queue_files import append, damage, opened


def test_a_transaction_finds_records_positions_and_accounts(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, at=3.0, a=[b"1", b"2"])
        append(store, at=4.0, a=[b"3"])
        store.commit(Transaction(4.0, positions={"s/x": b"5", "t/x": b"6"}))
        with store.writing() as handles, handles.environment.begin() as txn:
            limits = {"records_max": 9, "bytes_max": 99}
            assert read_records(txn, handles, "a", start=2, **limits) == [b"2", b"3"]
            assert read_records(txn, handles, "b", start=1, **limits) == []
            assert read_positions(txn, handles, "s") == {"x": b"5"}
            assert oldest_block_at(txn, handles, "a") == 3.0
            assert oldest_block_at(txn, handles, "b") is None
            assert stored_ledger(txn, handles, "a") == store.ledgers["a"]
            assert stored_ledger(txn, handles, "b").received == 0
            assert measured(txn, handles, ["a"]) == ({"a": 4096}, {"a": 0})


def test_damage_names_all_records_of_the_block(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        append(store, a=[b"1", b"2"])
    damage(tmp_path, "a", 1)
    with opened(tmp_path) as store, store.writing() as handles:
        txn = handles.environment.begin()
        with pytest.raises(DamagedRange, match="record 2 cannot be read") as caught:
            read_records(txn, handles, "a", start=2, records_max=1, bytes_max=1)
        assert caught.value.seqs == SeqRange(2, 3)
        assert oldest_block_at(txn, handles, "a") is None
        txn.abort()


@pytest.mark.parametrize("value", [b"{", b'{"next_seq":"x"}', b'{"delivered":5}'])
def test_an_account_that_makes_no_sense_is_refused(value: bytes) -> None:
    with pytest.raises(QueueFormatError, match="queue of a: its ledger"):
        decode_ledger("a", value)


def test_one_that_does_not_add_up_can_be_looked_at() -> None:
    assert decode_ledger("a", b'{"acknowledged_seq":9}', checks=False).acknowledged_seq == 9
