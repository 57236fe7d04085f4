from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import IS_COMPILED, joined, native, reference

pytestmark = pytest.mark.skipif(
    not IS_COMPILED, reason="the package was installed without a C compiler, or SYSLOGRELAY_PURE"
)

rows = st.lists(st.binary(max_size=20), max_size=8)
indexes = st.integers(-10, 10) | st.none()


def packed(row: list[bytes]) -> Any:
    return native.payloads.packed(row)


@given(rows, indexes, indexes, st.sampled_from([None, 1, 2, -1]))
def test_they_are_a_sequence_of_bytes(row: list[bytes], start: int, stop: int, step: int) -> None:
    payloads = packed(row)
    assert (len(payloads), list(payloads), bool(payloads)) == (len(row), row, bool(row))
    assert payloads == row and row == payloads and payloads == tuple(row)
    part = payloads[start:stop:step]
    assert part == row[start:stop:step]
    assert list(part[1:]) == row[start:stop:step][1:]
    for index in range(-len(row), len(row)):
        assert payloads[index] == row[index]


@pytest.mark.parametrize("index", [2, -3, 10**30])
def test_no_index_is_beyond_them(index: int) -> None:
    with pytest.raises(IndexError):
        packed([b"a", b"b"])[index]


def test_what_they_are_not_equal_to() -> None:
    payloads = packed([b"a"])
    assert payloads != [b"b"] and payloads != [b"a", b"b"] and payloads != b"a" and payloads != 5
    with pytest.raises(TypeError):
        hash(payloads)


@given(st.lists(rows, min_size=1, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_runs_are_joined(runs: list[list[bytes]], are_packed: list[bool]) -> None:
    chosen = zip(runs, are_packed, strict=False)
    given = [packed(run) if is_packed else run for run, is_packed in chosen]
    assert joined(given) == reference.joined(runs) == [payload for run in runs for payload in run]
    assert joined(iter(given)) == joined(given)
    if len(runs) == 1:
        assert joined(given) is given[0]


@given(rows, st.integers(0, 9), st.integers(0, 9), st.integers(0, 60))
def test_compiled_code_takes_them_as_lists(
    row: list[bytes], start: int, stop: int, bytes_max: int
) -> None:
    frames, blocks = native.frames, native.blocks
    payloads = packed([b"before", *row, b"after"])[1:-1]
    assert frames.total_bytes(payloads) == frames.total_bytes(row)
    expected = frames.fitting(row, start, stop, bytes_max)
    assert frames.fitting(payloads, start, stop, bytes_max) == expected
    assert frames.encode_syslog(7, payloads) == frames.encode_syslog(7, row)
    assert frames.beginning_with(payloads, 0) == frames.beginning_with(row, 0)
    assert blocks.runs(payloads, 15) == blocks.runs(row, 15)
    written = [blocks.encode_records(1, b"head", each, len) for each in (payloads, row)]
    assert written[0] == written[1]


def test_a_part_outlives_the_whole() -> None:
    part = packed([b"%d" % number * 50 for number in range(1000)])[500:502]
    gc.collect()
    assert part == [b"500" * 50, b"501" * 50]


@pytest.mark.parametrize("wrong", ["text", None, 5, bytearray(b"x")])
def test_what_is_not_bytes_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        packed([b"x", wrong])


@pytest.mark.slow
@pytest.mark.usefixtures("small_heap")
def test_nothing_is_kept_of_what_went_through() -> None:
    row = [b"%d" % number * 7 for number in range(500)]

    def blocks_after() -> int:
        payloads = packed(row)
        joined([payloads, payloads[3:], payloads])[7]
        gc.collect()
        return sys.getallocatedblocks()

    before = [blocks_after() for _ in range(3)][-1]
    assert [blocks_after() for _ in range(20)][-1] - before < len(row)


@given(st.lists(st.binary(max_size=9), max_size=40), st.integers(0, 40))
def test_frames_of_chunks_and_others(lines: list[bytes], others: int) -> None:
    """Few frames become objects, so that their chunk is not kept; many are not copied."""
    frames, expected = native.payloads.new_frames(), []
    text = b"".join(b"<13>%b\n" % line.replace(b"\n", b"").replace(b"\0", b"") for line in lines)
    stop, *_ = native.frames.cut_frames(text, 0, 100, False, True, False, frames)
    expected += [line.removesuffix(b"\r") for line in text[:stop].split(b"\n") if line]
    for number in range(others):
        frames.append(b"%d" % number)
    frames += [b"last"]
    expected += [*(b"%d" % number for number in range(others)), b"last"]
    assert len(frames) == len(expected)
    built = native.payloads.built(frames)
    del text, frames
    gc.collect()
    assert built == expected
    assert isinstance(built, list) is (len(expected) < 16)


def test_whether_a_payload_is_among_them() -> None:
    payloads = packed([b"a", b"", b"bc"])
    assert b"" in payloads and b"bc" in payloads
    assert b"b" not in payloads and None not in payloads and "a" not in payloads
    assert b"" not in packed([b"a"]) and b"" not in packed([])


def test_whether_a_payload_is_among_them_is_told_without_objects() -> None:
    # Without a method of their own, `in` would make an object of each payload, twice a batch.
    assert "__contains__" in vars(native.payloads.Payloads)


@pytest.mark.parametrize("wrong", ["text", None, 5, bytearray(b"x")])
def test_what_is_no_frame_is_a_type_error(wrong: Any) -> None:
    frames = native.payloads.new_frames()
    with pytest.raises(TypeError):
        frames.append(wrong)
    with pytest.raises(TypeError):
        frames += [wrong]
    assert len(frames) == 0
