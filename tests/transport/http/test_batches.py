from __future__ import annotations

from relay.transport.http.batches import Batches, Waiting
from relay.transport.http.suspects import Item
from relay.wire.http.bodies import Record

SIZES = Batches(3, 10, 1.0, 2, 60.0)


def waiting(text: str) -> Waiting:
    """A record for each letter."""
    found = Waiting(SIZES)
    for number, letter in enumerate(text):
        found.add(Item(number, Record(letter.encode())))
    found.close()
    return found


def texts(batch: list[Item]) -> str:
    return b"".join(item.record.payload for item in batch).decode()


def taken(found: Waiting) -> list[str]:
    batches = []
    while found:
        batches.append(texts(found.take(100)))
    return batches


def test_a_batch_is_closed_when_it_has_its_records_or_bytes() -> None:
    found = Waiting(SIZES)
    closed = [found.add(Item(0, Record(b"x" * size))) for size in (1, 1, 1, 6, 6, 11, 1)]
    assert closed == [False, False, True, False, True, True, True]
    assert [len(batch) for batch in (found.take(9), found.take(9), found.take(9))] == [3, 1, 1]


def test_less_than_a_batch_may_be_taken() -> None:
    found = waiting("abcde")
    assert texts(found.take(2)) == "ab"
    assert taken(found) == ["c", "de"]


def test_single_records_are_the_oldest_and_others_by_turns() -> None:
    found, singles = waiting("abcde"), ""
    for turn in range(8):
        single = found.take_single(turn)
        singles += texts(single)
        found.put_back(single)
    assert singles == "abacadae"
    assert "".join(taken(found)) == "abcde"


def test_a_single_record_is_the_oldest_of_all_its_turns() -> None:
    found = waiting("a")
    assert texts(found.take_single(1)) == "a" and not found


def test_batches_are_put_back_in_the_order_of_the_queue() -> None:
    found = waiting("abcdef")
    first = found.take(3)
    found.put_back(found.take(3))
    found.put_back(first)
    found.put_back([])
    assert taken(found) == ["abc", "def"]
    found.put_first([first[:1], first[1:]])
    assert taken(found) == ["a", "bc"]


def test_where_order_counts_others_are_tried_later() -> None:
    assert SIZES.tries_max < Batches(3, 10, 1.0, 1, 60.0).tries_max
