"""Many records in one message."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.nats.record_pack import Pack, decode_pack, encode_pack, last_number
from relay.wire.record_number import RecordNumber, format_record_number

LINEAGE = "11111111-2222-4333-8444-555555555555"

payloads = st.lists(st.binary(max_size=300), min_size=1, max_size=40)


@given(payloads)
def test_records_without_numbers_come_back(records: list[bytes]) -> None:
    value, data = encode_pack(Pack(records))
    pack = decode_pack(value, data)
    assert pack is not None
    assert pack.payloads == records
    assert pack.numbers() == [None] * len(records)
    assert last_number(value) is None


@given(payloads, st.data())
def test_records_with_numbers_come_back(records: list[bytes], data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(1, 2**34), min_size=len(records), max_size=len(records)))
    seqs = [*accumulate(gaps)]
    prev = data.draw(st.integers(0, seqs[0] - 1))
    value, encoded = encode_pack(Pack(records, LINEAGE, seqs, prev))
    assert decode_pack(value, encoded) == Pack(records, LINEAGE, seqs, prev)
    last = last_number(value)
    assert last is not None
    assert (last.lineage, last.seq) == (LINEAGE, seqs[-1])


def test_each_record_has_the_number_that_it_would_have_alone() -> None:
    pack = Pack([b"a", b"b"], LINEAGE, [5, 9], 3)
    numbers = [RecordNumber(LINEAGE, 5, 3), RecordNumber(LINEAGE, 9, 5)]
    assert pack.numbers() == [*map(format_record_number, numbers)]


@given(st.binary(max_size=80), st.binary(max_size=200))
def test_anything_is_read_or_refused(value: bytes, data: bytes) -> None:
    for each in (data, b"\x01" + data):
        for header in (value, b"-", LINEAGE.encode() + b",1,3,0"):
            pack = decode_pack(header, each)
            assert pack is None or len(pack.payloads) == len(pack.numbers()) > 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\x00\x01a",
        b"\x01",
        b"\x01\x01\x01a",
        b"\x01\x00\x02a",
        b"\x01\x00\x01a\x00\x01b",
        b"\x01\x00\x01a\x01\x01b\x02\x01c",
        b"\x01\x00\xff\xff\xff\xff\xff\x01a",
    ],
)
def test_a_pack_that_does_not_fit_its_header_is_refused(data: bytes) -> None:
    assert decode_pack(LINEAGE.encode() + b",1,2,0", data) is None


def test_a_pack_with_more_records_than_allowed_is_refused() -> None:
    assert decode_pack(b"-", b"\x01" + b"\x00\x00" * 4096) is not None
    assert decode_pack(b"-", b"\x01" + b"\x00\x00" * 4097) is None
