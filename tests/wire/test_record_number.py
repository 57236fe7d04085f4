from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.record_number import RecordNumber, format_record_number, parse_record_number
from relay.wire.relp.lineage import SEQ_MAX

LINEAGE = "0e3a4c54-91f5-4d0a-8a52-0f2a3f6f8f10"
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
