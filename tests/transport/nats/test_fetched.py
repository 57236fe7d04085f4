"""Deliveries of a consumer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.transport.nats.consumer import Place
from relay.transport.nats.fetched import fetched
from relay.wire.nats.record_pack import Pack, encode_pack
from relay.wire.record_number import RecordNumber, format_record_number

LINEAGE = "11111111-2222-4333-8444-555555555555"


def message(
    seq: int, number: int, data: bytes = b"x", headers: bytes = b"", count: int = 1
) -> tuple[bytes, bytes, bytes, bytes]:
    reply = b"$JS.ACK.LOGS.c.%d.%d.%d.1700000000.9" % (count, seq, number)
    block = b"NATS/1.0\r\n%b\r\n" % headers if headers else b""
    return b"logs.a", reply, block, data


def test_records_with_and_without_numbers() -> None:
    number = format_record_number(RecordNumber(LINEAGE, 7, 6))
    come = fetched(
        [message(5, 1, b"a"), message(9, 2, b"b", b"syslogrelay: %b\r\n" % number)],
        0,
        Place(4, "then"),
    )
    assert come.records == [b"a", b"b"]
    assert come.numbers == [None, number]
    assert come.place == Place(9, "then")
    assert (come.deliveries, come.count, come.pending) == (2, 2, 9)
    assert len(come.replies) == 2


def test_a_pack_is_taken_apart() -> None:
    pack = Pack([b"a", b"b"], LINEAGE, [3, 5], 2)
    value, data = encode_pack(pack)
    come = fetched([message(1, 1, data, b"syslogrelay-pack: %b\r\n" % value)], 0, None)
    assert come.records == [b"a", b"b"]
    assert come.numbers == pack.numbers()


def test_a_pack_that_cannot_be_read_is_counted() -> None:
    come = fetched([message(1, 1, b"junk", b"syslogrelay-pack: -\r\n")], 0, None)
    assert (come.records, come.dropped, come.place.seq) == ([], 1, 1)


def test_what_came_before_is_no_news() -> None:
    come = fetched([message(5, 3, count=2), message(6, 4)], 2, Place(5, ""))
    assert (len(come.redelivered_replies), len(come.replies), come.deliveries) == (1, 1, 4)
    assert len(come.records) == 1


def test_a_missing_delivery_ends_it_before_anything_is_out_of_order() -> None:
    come = fetched([message(5, 1), message(7, 3), message(8, 4)], 0, Place(4, ""))
    assert come.records == [b"x"]
    assert come.place.seq == 5
    assert "delivery 2 has not come, 3 has" in come.missing


def test_a_status_is_no_message() -> None:
    come = fetched([(b"_INBOX.x", b"", b"NATS/1.0 408 Timeout\r\n\r\n", b"")], 0, None)
    assert come.statuses == [b"NATS/1.0 408 Timeout\r\n\r\n"]
    assert not come.records


@given(st.lists(st.tuples(*[st.binary(max_size=30)] * 4), max_size=5))
def test_anything_can_come(messages: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
    come = fetched(messages, 0, None)
    assert len(come.records) == len(come.numbers)
