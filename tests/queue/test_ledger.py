from __future__ import annotations

import msgspec
import pytest

from relay.model.errors import QueueFormatError
from relay.queue.ledger import Ledger, added_up, decode_ledger


def test_a_new_queue_is_empty_and_adds_up() -> None:
    ledger = Ledger()
    assert (ledger.received, ledger.queued, ledger.gap) == (0, 0, 0)


def test_every_record_is_in_one_place() -> None:
    ledger = Ledger(
        next_seq=101,
        acknowledged_seq=61,
        delivered=50,
        quarantined=3,
        dropped={"too old": 5, "too many": 2},
    )
    assert (ledger.received, ledger.queued, ledger.gap) == (100, 40, 0)


@pytest.mark.parametrize(
    ("field", "gap"),
    [("next_seq", 0), ("acknowledged_seq", 1), ("delivered", -1), ("quarantined", -1)],
)
def test_a_record_too_many_shows_unless_it_was_received(field: str, gap: int) -> None:
    ledger = Ledger(next_seq=11, acknowledged_seq=6, delivered=5)
    setattr(ledger, field, getattr(ledger, field) + 1)
    assert ledger.gap == gap


def test_a_record_that_moved_is_received_where_it_is_now() -> None:
    # Of ten, two were set aside: one of them is purged, one has been replayed as number 11.
    ledger = Ledger(next_seq=12, acknowledged_seq=11, delivered=8, dropped={"operator": 1}, moved=1)
    assert (ledger.received, ledger.queued, ledger.gap) == (10, 1, 0)
    # And nine of ten were adopted by another queue.
    orphan = Ledger(next_seq=11, acknowledged_seq=11, delivered=1, moved=9)
    assert (orphan.received, orphan.gap) == (1, 0)


def test_reasons_are_counted_for_each_queue_alone() -> None:
    one, other = Ledger(), Ledger()
    one.dropped["too old"] = 1
    assert other.dropped == {}


def test_it_survives_as_json_and_nothing_unknown_does() -> None:
    ledger = Ledger(next_seq=2**64 - 1, acknowledged_seq=7, dropped={"grün": 1}, queued_bytes=9)
    text = msgspec.json.encode(ledger)
    assert msgspec.json.decode(text, type=Ledger) == ledger
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text.replace(b"delivered", b"deliverd"), type=Ledger)


def test_a_ledger_is_read_as_it_was_written() -> None:
    ledger = Ledger(next_seq=5, acknowledged_seq=3, delivered=1, dropped={"purged": 1})
    assert decode_ledger("a", msgspec.json.encode(ledger)) == ledger


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"{", "cannot be read"),
        (b'{"moved\xa2": 1}', "cannot be read"),
        (b'{"other": ' + b"[" * 10_000, "cannot be read"),
        (b'{"next_seq": 2, "moved": 1}', "add up"),
    ],
)
def test_a_ledger_that_is_wrong_is_refused(value: bytes, text: str) -> None:
    with pytest.raises(QueueFormatError, match=f"queue of a: .*{text}"):
        decode_ledger("a", value)


def test_a_ledger_that_does_not_add_up_can_be_looked_at() -> None:
    assert decode_ledger("a", b'{"next_seq": 2, "moved": 1}', checks=False).gap == -1


def test_the_account_of_several_queues() -> None:
    first = Ledger(
        next_seq=11,
        acknowledged_seq=6,
        delivered=4,
        dropped={"too-old": 1, "noise": 2},
        never_queued=2,
        queued_bytes=50,
    )
    second = Ledger(
        next_seq=21,
        acknowledged_seq=20,
        delivered=10,
        quarantined=3,
        dropped={"too-old": 4},
        queued_bytes=7,
        moved=2,
    )
    assert (first.gap, second.gap) == (0, 0)
    whole = added_up([first, second])
    assert (whole.received, whole.queued, whole.delivered) == (30, 6, 14)
    assert (whole.quarantined, whole.queued_bytes, whole.gap) == (3, 57, 0)
    assert whole.dropped == {"too-old": 5, "noise": 2}
    assert first.dropped == {"too-old": 1, "noise": 2}
    assert added_up([first]) is first


def test_drops_are_counted_by_reason_and_nothing_leaves_no_reason() -> None:
    ledger = Ledger(dropped={"old": 1})
    ledger.drop("old", 2)
    ledger.drop("new", 3)
    ledger.drop("none", 0)
    assert ledger.dropped == {"old": 3, "new": 3}
