"""Compiled code for numbers of records does what the reference in Python does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import IS_COMPILED, native
from relay.wire.record_number import format_record_numbers_in_python, judge_numbers_in_python
from relay.wire.relp.lineage import SEQ_MAX
from tests.any_messages import many_examples

pytestmark = pytest.mark.skipif(
    not IS_COMPILED, reason="the package was installed without a C compiler, or SYSLOGRELAY_PURE"
)

LINEAGES = [f"0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f1{digit}" for digit in "0ab"]
seqs = st.integers(0, 12) | st.sampled_from([SEQ_MAX - 1, SEQ_MAX, SEQ_MAX + 1, 10**16, 10**20])
whole = st.builds(
    lambda lineage, seq, prev: f"{lineage},{seq},{prev}".encode(),
    st.sampled_from(LINEAGES),
    seqs,
    seqs,
)


def damage(value: bytes, at: int, byte: int, removed: int) -> bytes:
    at %= len(value)
    return value[:at] + bytes([byte]) + value[at + removed :]


damaged = st.builds(
    damage,
    whole,
    st.integers(0, 60),
    st.sampled_from(b"\0,-0159afgA \n\xff"),
    st.integers(0, 2),
)
headers = st.none() | whole | damaged | st.binary(max_size=60)
known = st.dictionaries(st.sampled_from(LINEAGES), st.integers(0, 12))


@many_examples(2000)
@given(st.lists(headers, max_size=12), known)
def test_the_rule(numbers: list[bytes | None], have: dict[str, int]) -> None:
    expected_have, compiled_have = dict(have), dict(have)
    expected = judge_numbers_in_python(numbers, expected_have)
    assert native.numbers.judge_numbers(numbers, compiled_have) == tuple(expected)
    assert compiled_have == expected_have


@given(st.sampled_from(LINEAGES), st.lists(st.integers(0, 10**17), max_size=9), st.integers(0, 9))
def test_formatting(lineage: str, numbers: Sequence[int], prev: int) -> None:
    expected = format_record_numbers_in_python(lineage, numbers, prev)
    assert native.numbers.format_record_numbers(lineage, numbers, prev) == expected
    assert native.numbers.format_record_numbers(lineage, tuple(numbers), prev) == expected


def test_what_is_no_number_is_refused_by_type() -> None:
    with pytest.raises(TypeError, match="a number that is str, expected bytes"):
        native.numbers.judge_numbers(["7"], {})  # type: ignore[list-item]
    with pytest.raises(ValueError, match="a number of -1"):
        native.numbers.format_record_numbers(LINEAGES[0], [-1], 0)
    with pytest.raises(ValueError, match="65 bytes"):
        native.numbers.format_record_numbers("a" * 65, [1], 0)


def test_nothing_is_kept_of_a_batch() -> None:
    numbers = native.numbers.format_record_numbers(LINEAGES[0], range(1, 200), 0)
    numbers += native.numbers.format_record_numbers(LINEAGES[1], range(1, 200), 0)
    for _ in range(2):
        gc.collect()
        before = [sys.getrefcount(value) for value in numbers]
        native.numbers.judge_numbers(numbers, {})
        assert [sys.getrefcount(value) for value in numbers] == before
