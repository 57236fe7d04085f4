from __future__ import annotations

import uuid

import pytest

from relay.queue.lineage import EPOCHS_MAX, Lineage


def test_a_new_one_has_an_id_and_an_epoch_of_its_own() -> None:
    one, other = Lineage.new(1), Lineage.new(1)
    assert str(uuid.UUID(one.id)) == one.id != other.id
    assert len(bytes.fromhex(one.epoch)) == 8
    assert one.epoch != other.epoch


def test_it_comes_back_from_disk() -> None:
    lineage = Lineage.new(1).begun(acknowledged_seq=1, next_seq=5)
    assert Lineage.decode(lineage.encode()) == lineage


@pytest.mark.parametrize(
    "data", [None, b"", b"{}", b'{"id": "x", "epochs": []}', b"\xff", b'{"i\xa2": 1}']
)
def test_what_cannot_be_read_is_none(data: bytes | None) -> None:
    assert Lineage.decode(data) is None


def test_a_record_is_of_an_epoch_if_it_was_there_before_that_ended() -> None:
    first = Lineage.new(1)
    second = first.begun(acknowledged_seq=1, next_seq=10)
    assert second.id == first.id
    assert second.contains(9, epoch=first.epoch, next_seq=30)
    assert not second.contains(10, epoch=first.epoch, next_seq=30)
    assert second.contains(29, epoch=second.epoch, next_seq=30)
    assert not second.contains(30, epoch=second.epoch, next_seq=30)
    assert not second.contains(5, epoch="0" * 16, next_seq=30)


def test_two_futures_of_one_past() -> None:
    past = Lineage.new(1)
    one = past.begun(acknowledged_seq=1, next_seq=10)
    other = past.begun(acknowledged_seq=1, next_seq=10)
    assert not other.contains(12, epoch=one.epoch, next_seq=30)
    assert not other.contains(12, epoch=past.epoch, next_seq=30)
    assert other.contains(9, epoch=past.epoch, next_seq=30)


def test_epochs_without_records_are_forgotten() -> None:
    lineage = Lineage.new(1).begun(acknowledged_seq=1, next_seq=10)
    assert len(lineage.epochs) == 2
    lineage = lineage.begun(acknowledged_seq=10, next_seq=20)
    assert len(lineage.epochs) == 2  # the first one is over
    assert len(lineage.begun(acknowledged_seq=20, next_seq=20).epochs) == 1


def test_the_number_of_epochs_is_limited() -> None:
    lineage = Lineage.new(1)
    for next_seq in range(2, EPOCHS_MAX + 5):
        oldest, lineage = lineage, lineage.begun(acknowledged_seq=1, next_seq=next_seq)
    assert len(lineage.epochs) == EPOCHS_MAX
    assert lineage.epochs[:-1] == oldest.epochs[1:]


def test_a_record_has_one_name_in_all_restarts_and_in_no_other_future() -> None:
    past = Lineage.new(5)
    one = past.begun(acknowledged_seq=5, next_seq=10)
    other = past.begun(acknowledged_seq=5, next_seq=10)  # restored from a copy
    assert past.record_id(9) == one.record_id(9) == other.record_id(9) == f"{past.epoch}-9"
    assert one.record_id(10) == f"{one.epoch}-10" != other.record_id(10)
    assert one.record_id(4) == f"{one.id}-4"  # its epoch is forgotten
