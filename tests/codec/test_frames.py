"""Compiled code for frames and sizes does what the reference in Python does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import IS_COMPILED, native, reference

frames = native.frames if IS_COMPILED else reference
pytestmark = pytest.mark.skipif(
    not IS_COMPILED, reason="the package was installed without a C compiler, or SYSLOGRELAY_PURE"
)

texts = st.lists(st.binary(max_size=40) | st.just(b"x" * 1000), max_size=12)
rows = texts | texts.map(tuple)
numbers = st.sampled_from([1, 2, 9, 10, 98, 99, 999_999_998, 999_999_999]) | st.integers(0, 10**9)


@given(rows, st.integers(0, 14), st.integers(0, 14), st.integers(0, 2500))
def test_sizes(payloads: Sequence[bytes], start: int, stop: int, bytes_max: int) -> None:
    assert frames.total_bytes(payloads) == reference.total_bytes(payloads)
    expected = reference.fitting(payloads, start, max(start, stop), bytes_max)
    assert frames.fitting(payloads, start, max(start, stop), bytes_max) == expected


pris = st.from_regex(rb"<?[0-9]{0,4}>?", fullmatch=True)


@given(st.lists(st.builds(bytes.__add__, pris, st.binary(max_size=5))), st.integers(0, 7))
def test_severities(payloads: list[bytes], default: int) -> None:
    counts, expected = [[1] * 8 for _ in range(2)]
    assert frames.tally(payloads, counts, default) == reference.tally(payloads, expected, default)
    assert counts == expected
    assert sum(counts) == 8 + len(payloads)


@given(rows, numbers)
def test_frames_and_answers(payloads: Sequence[bytes], first_txnr: int) -> None:
    written = frames.encode_syslog(first_txnr, payloads)
    assert written == reference.encode_syslog(first_txnr, payloads)
    answers = frames.encode_consecutive_answers(first_txnr, len(payloads))
    assert answers == reference.encode_consecutive_answers(first_txnr, len(payloads))


PIECES = [b"7", b"8", b"9", b"10", b"007", b" ", b" syslog ", b"syslog", b"1", b"3 ", b"\n", b"a"]
streams = st.tuples(texts, st.lists(st.sampled_from(PIECES) | st.binary(max_size=3)), texts).map(
    lambda parts: (
        reference.encode_syslog(7, parts[0])
        + b"".join(parts[1])
        + reference.encode_syslog(7 + len(parts[0]), parts[2])
    )
)


@given(streams, st.integers(6, 8), st.sampled_from([0, 5, 999, 1000]))
def test_runs(stream: bytes, first_txnr: int, data_bytes_max: int) -> None:
    expected = reference.cut_run(stream, first_txnr, data_bytes_max)
    assert frames.cut_run(stream, first_txnr, data_bytes_max) == expected


def test_a_run_ends_wherever_its_bytes_end() -> None:
    stream = reference.encode_syslog(99, [b"hello", b"a\nb", b"x" * 12])
    for size in range(len(stream)):
        assert frames.cut_run(stream[:size], 99, 100) == reference.cut_run(stream[:size], 99, 100)


@given(st.binary(min_size=40, max_size=90), st.lists(st.integers(0, 10), max_size=4))
def test_slots(data: bytes, sizes: list[int]) -> None:
    expected = reference.cut_slots(memoryview(data), 10, sizes)
    assert frames.cut_slots(memoryview(data), 10, sizes) == expected


@pytest.mark.parametrize(
    ("slot_bytes", "sizes"),
    [(10, [1] * 5), (10, [11]), (10, [-1]), (0, [0]), (-1, [0]), (41, [1]), (2**62, [1, 1])],
)
def test_slots_that_are_not_there_are_refused(slot_bytes: int, sizes: list[int]) -> None:
    with pytest.raises(ValueError, match=str(slot_bytes)):
        frames.cut_slots(memoryview(bytes(40)), slot_bytes, sizes)


@pytest.mark.parametrize("wrong", ["text", 5, None, bytearray(b"x"), memoryview(b"x")])
def test_what_is_not_bytes_is_a_type_error(wrong: Any) -> None:
    for call in (
        lambda: frames.total_bytes([b"x", wrong]),
        lambda: frames.tally([wrong], [0] * 8, 5),
        lambda: frames.fitting([wrong], 0, 1, 10),
        lambda: frames.encode_syslog(1, [b"x", wrong]),
        lambda: frames.cut_run(wrong, 1, 10),
    ):
        with pytest.raises(TypeError):
            call()


def test_numbers_below_zero_are_refused() -> None:
    for call in (
        lambda: frames.fitting([b"x"], -1, 1, 10),
        lambda: frames.encode_syslog(-1, [b"x"]),
        lambda: frames.encode_consecutive_answers(-1, 2),
        lambda: frames.encode_consecutive_answers(1, -2),
    ):
        with pytest.raises(ValueError, match="-"):
            call()


def test_numbers_at_the_end_of_what_fits_into_64_bits() -> None:
    last = 2**63 - 1
    assert frames.fitting([b"x"] * 3, 1, -(2**63), 10) == 0
    assert frames.encode_syslog(last - 1, [b"x"]) == b"%d syslog 1 x\n" % (last - 1)
    for call in (
        lambda: frames.encode_syslog(last, [b"x"]),
        lambda: frames.encode_syslog(last - 1, [b"x", b"y"]),
        lambda: frames.encode_consecutive_answers(last, 1),
        lambda: frames.encode_consecutive_answers(2, last),
    ):
        with pytest.raises(ValueError, match="from"):
            call()


def test_the_rest_of_a_line_is_missing_whatever_its_limit_is() -> None:
    cut = frames.cut_frames(
        b"text", 0, 2**63 - 1, False, False, False, native.payloads.new_frames()
    )
    assert cut == (0, False, False, -1)


@pytest.mark.slow
@pytest.mark.usefixtures("small_heap")
def test_nothing_is_kept_of_what_went_through() -> None:
    payloads = [b"%d" % number * 7 for number in range(500)]
    stream = reference.encode_syslog(1, payloads)

    def blocks_after() -> int:
        for row in (list(payloads), tuple(payloads)):
            frames.total_bytes(row)
            frames.fitting(row, 0, 500, 900)
            frames.encode_syslog(1, row)
        frames.encode_consecutive_answers(1, 500)
        frames.cut_run(stream, 1, 1000)
        gc.collect()
        return sys.getallocatedblocks()

    before = [blocks_after() for _ in range(3)][-1]
    assert [blocks_after() for _ in range(20)][-1] - before < len(payloads)
