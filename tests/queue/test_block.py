from __future__ import annotations

import struct
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import runs
from relay.queue import block
from relay.queue.block import (
    BLOCK_BYTES_TARGET,
    Block,
    BlockDamaged,
    block_header,
    crc32,
    decode_block,
    encode_block,
    payload_bytes,
    received_at,
)

PAYLOADS = [b"one", b"", b"three\n\0\xff"]
BLOCK = encode_block(PAYLOADS, received_at=1.5)


def forged(body: bytes) -> bytes:
    """`body` with a checksum that fits."""
    return struct.pack("<BI", 1, zlib.crc32(body)) + body


@given(st.lists(st.binary(), min_size=1), st.floats(allow_nan=False))
def test_round_trip(payloads: list[bytes], received_at: float) -> None:
    value = encode_block(payloads, received_at=received_at)
    assert decode_block(value) == Block(received_at, payloads)
    assert payload_bytes(value) == sum(map(len, payloads))
    assert block_header(value) == (received_at, len(payloads))


def test_the_layout_is_the_one_of_the_docstring() -> None:
    body = struct.pack("<dIII", 1.5, 2, 3, 5) + b"onethree!"
    with pytest.raises(BlockDamaged):
        decode_block(forged(body))
    body = struct.pack("<dIII", 1.5, 2, 3, 6) + b"onethree!"
    assert forged(body) == encode_block([b"one", b"three!"], received_at=1.5)


@pytest.mark.parametrize("bit", range(8 * len(BLOCK)))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    value = bytearray(BLOCK)
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BlockDamaged):
        decode_block(bytes(value))


@pytest.mark.parametrize("at", range(len(BLOCK)))
def test_every_wrong_byte_is_noticed(at: int) -> None:
    for byte in set(range(256)) - {BLOCK[at]}:
        with pytest.raises(BlockDamaged):
            decode_block(BLOCK[:at] + bytes([byte]) + BLOCK[at + 1 :])


@pytest.mark.parametrize("length", range(len(BLOCK)))
def test_a_shorter_value_is_noticed(length: int) -> None:
    with pytest.raises(BlockDamaged):
        decode_block(BLOCK[:length])


def test_a_longer_value_is_noticed() -> None:
    with pytest.raises(BlockDamaged):
        decode_block(BLOCK + b"\0")


@given(st.one_of(st.binary(), st.binary().map(forged)))
def test_nothing_but_a_block_is_one(value: bytes) -> None:
    try:
        block = decode_block(value)
    except BlockDamaged:
        assert payload_bytes(value) <= len(value)
    else:
        assert encode_block(block.payloads, received_at=block.received_at) == value


@pytest.mark.parametrize("count", [0, 2, 2**32 - 1])
def test_a_count_that_does_not_fit_is_noticed(count: int) -> None:
    with pytest.raises(BlockDamaged, match=r"do not fit|end at"):
        decode_block(forged(struct.pack("<dI", 1.5, count) + b"\1\0\0\0x"))


def test_another_version_is_named() -> None:
    with pytest.raises(BlockDamaged, match="version 2"):
        decode_block(b"\2" + BLOCK[1:])


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([], []),
        ([10], [1]),
        ([0] * 5, [5]),
        ([BLOCK_BYTES_TARGET // 2] * 5, [2, 2, 1]),
        ([3 * BLOCK_BYTES_TARGET, 1, 1], [1, 2]),
        ([1, 3 * BLOCK_BYTES_TARGET], [2]),
    ],
)
def test_runs_end_when_they_reach_the_target(sizes: list[int], counts: list[int]) -> None:
    stops = runs([b"x" * size for size in sizes], BLOCK_BYTES_TARGET)
    assert [stop - start for start, stop in zip([0, *stops], stops, strict=False)] == counts
    assert sum(counts) == len(sizes)


@given(st.binary())
def test_a_header_can_be_read_of_anything(value: bytes) -> None:
    _, count = block_header(value)
    assert count == 0 or len(value) >= 17


def test_the_time_of_receipt_is_found_without_the_records() -> None:
    assert received_at(BLOCK) == 1.5
    assert received_at(memoryview(BLOCK)) == 1.5


@given(st.one_of(st.binary(), st.integers(0, len(BLOCK) - 1).map(lambda end: BLOCK[:end])))
def test_a_damaged_block_has_no_time_of_receipt(value: bytes) -> None:
    assert received_at(value) is None


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_the_checksum_is_that_of_zlib(data: bytes, before: bytes) -> None:
    assert crc32(data) == zlib.crc32(data)
    assert crc32(memoryview(data), crc32(before)) == zlib.crc32(before + data)


def test_without_the_fast_library_zlib_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    assert block._fastest_crc32() is zlib.crc32
