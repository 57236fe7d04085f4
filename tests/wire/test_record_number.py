from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.record_number import (
    Judged,
    RecordNumber,
    format_record_number,
    format_record_numbers,
    judge_numbers,
    judge_numbers_in_python,
    parse_record_number,
)
from relay.wire.relp.lineage import SEQ_MAX

LINEAGE = "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10"
OTHER = "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f11"
numbers = st.builds(
    lambda lineage, seqs: RecordNumber(str(lineage), max(seqs), min(seqs)),
    st.uuids(),
    st.sets(st.integers(0, SEQ_MAX), min_size=2, max_size=2),
)


@given(numbers)
def test_a_number_survives_the_header(number: RecordNumber) -> None:
    value = format_record_number(number)
    assert parse_record_number(value) == number
    assert len(value) <= 70


@given(st.binary(max_size=90))
def test_any_value_is_read_or_refused(value: bytes) -> None:
    number = parse_record_number(value)
    if number is not None:
        assert str(UUID(number.lineage)) == number.lineage
        assert format_record_number(number) == value


@pytest.mark.parametrize(
    "value",
    [
        f"{LINEAGE},0,0",
        f"{LINEAGE},7,7",
        f"{LINEAGE},7,8",
        f"{LINEAGE},07,1",
        f"{LINEAGE},{SEQ_MAX + 1},1",
        f"{LINEAGE.upper()},7,6",
        f"{LINEAGE},7,6\n",
        f"{LINEAGE},7",
        f"{LINEAGE},7,6,5",
        f"{LINEAGE},7,-1",
        f"{LINEAGE},\u0667,1",
    ],
)
def test_malformed_values_are_refused(value: str) -> None:
    assert parse_record_number(value.encode()) is None


def test_consecutive_numbers_say_what_was_before_them() -> None:
    values = format_record_numbers(LINEAGE, [5, 6, 9], 3)
    expected = [
        RecordNumber(LINEAGE, 5, 3),
        RecordNumber(LINEAGE, 6, 5),
        RecordNumber(LINEAGE, 9, 6),
    ]
    assert [parse_record_number(value) for value in values] == expected
    assert format_record_numbers(LINEAGE, [], 3) == []


@pytest.mark.parametrize("judge", [judge_numbers, judge_numbers_in_python])
def test_the_rule_of_the_reader(judge: Callable[..., Judged]) -> None:
    other = OTHER.encode()
    numbers = [
        None,
        LINEAGE.encode() + b",7,5",  # unknown: taken, whatever came before it
        other + b",4,3",  # the next one
        other + b",4,3",  # again
        other + b",9,8",  # 8 is missing
        other + b",8,4",  # over a hole
        LINEAGE.encode() + b",7",
        other + b",10,0",  # a new session: all before 10 is acknowledged
    ]
    have = {OTHER: 3}
    judged = judge(numbers, have)
    assert judged.taken == [0, 1, 2, 5, 6, 7]
    assert judged.moved == have == {LINEAGE: 7, OTHER: 10}
    assert judged.unknown == [LINEAGE]
    assert (judged.duplicates, judged.held, judged.first_held, judged.malformed) == (1, 1, 4, 1)
