"""Compiled code for blocks does what the reference in Python does."""

from __future__ import annotations

import gc
import struct
import sys
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import IS_COMPILED, native, reference

blocks = native.blocks if IS_COMPILED else reference
pytestmark = pytest.mark.skipif(
    not IS_COMPILED, reason="the package was installed without a C compiler, or SYSLOGRELAY_PURE"
)

LENGTHS_AT = 17
payloads = st.lists(st.binary(max_size=40) | st.just(b"x" * 70_000), min_size=1, max_size=9)


def encode(row: Sequence[bytes], received_at: float) -> bytes:
    return blocks.encode_records(1, struct.pack("<dI", received_at, len(row)), row, zlib.crc32)


@given(payloads | payloads.map(tuple), st.floats(allow_nan=False))
def test_blocks(row: Sequence[bytes], received_at: float) -> None:
    value = encode(row, received_at)
    assert value == reference.encode_records(
        1, struct.pack("<dI", received_at, len(row)), row, zlib.crc32
    )
    assert blocks.cut_records(value, LENGTHS_AT, len(row)) == (len(value), list(row))
    assert blocks.cut_records(memoryview(value), LENGTHS_AT, len(row)) == (len(value), list(row))


@given(payloads, st.integers(1, 200))
def test_runs(row: list[bytes], run_bytes: int) -> None:
    assert blocks.runs(row, run_bytes) == reference.runs(row, run_bytes)
    assert blocks.runs(row[:0], run_bytes) == reference.runs(row[:0], run_bytes) == []


@given(payloads, st.data())
def test_a_damaged_block_is_never_read_beyond_its_end(row: list[bytes], data: Any) -> None:
    value = bytearray(encode(row, 1.0)[:200])
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(value[: data.draw(st.integers(0, len(value)))])
    count = data.draw(st.integers(-1, 60))
    if count < 1 or LENGTHS_AT + 4 * count > len(cut):
        with pytest.raises(ValueError, match="are not in"):
            blocks.cut_records(cut, LENGTHS_AT, count)
    else:
        assert blocks.cut_records(cut, LENGTHS_AT, count) == reference.cut_records(
            cut, LENGTHS_AT, count
        )


@pytest.mark.parametrize(
    ("lengths_at", "count"), [(17, 2**61), (17, 2**62), (2**62, 1), (101, 2**62), (2**63 - 1, 1)]
)
def test_numbers_that_overflow_are_refused(lengths_at: int, count: int) -> None:
    with pytest.raises(ValueError, match="are not in 100 bytes"):
        blocks.cut_records(bytes(100), lengths_at, count)


@pytest.mark.parametrize("wrong", ["text", 5, None, bytearray(b"x")])
def test_what_is_not_bytes_is_a_type_error(wrong: Any) -> None:
    for call in (lambda: encode([b"x", wrong], 1.0), lambda: blocks.runs([wrong], 5)):
        with pytest.raises(TypeError):
            call()


def test_an_error_of_the_checksum_is_passed_on() -> None:
    def fail(cut: memoryview) -> int:
        raise RuntimeError(f"{len(cut)} bytes")

    with pytest.raises(RuntimeError, match="17 bytes"):
        blocks.encode_records(1, bytes(12), [b"x"], fail)


@pytest.mark.slow
@pytest.mark.usefixtures("small_heap")
def test_nothing_is_kept_of_what_went_through() -> None:
    row = [b"%d" % number * 7 for number in range(500)]

    def blocks_after() -> int:
        blocks.cut_records(encode(row, 1.0), LENGTHS_AT, len(row))
        blocks.runs(row, 100)
        gc.collect()
        return sys.getallocatedblocks()

    before = [blocks_after() for _ in range(3)][-1]
    assert [blocks_after() for _ in range(20)][-1] - before < len(row)
