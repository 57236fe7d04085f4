from __future__ import annotations

import pytest

from relay.model.seq import SeqRange


def test_it_is_half_open() -> None:
    assert len(SeqRange(5, 8)) == len(range(5, 8)) == 3
    assert len(SeqRange(5, 5)) == 0


def test_ranges_are_values() -> None:
    assert {SeqRange(1, 2), SeqRange(1, 2), SeqRange(1, 3)} == {SeqRange(1, 3), SeqRange(1, 2)}
    with pytest.raises(AttributeError):
        SeqRange(1, 2).stop = 3  # type: ignore[misc]


@pytest.mark.parametrize(("start", "stop"), [(3, 2), (-1, 2)])
def test_numbers_do_not_run_backwards(start: int, stop: int) -> None:
    with pytest.raises(AssertionError):
        SeqRange(start, stop)
