from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.clock import ClockStep
from relay.queue.positions import CLOCK, decode_steps, encode_steps, sealed, unsealed
from relay.queue.transaction import Transaction
from tests.queue_files import opened, put

KEY = b"in/804-2f"
STEPS = [ClockStep(1_700_000_000.5, 3600.0), ClockStep(1_700_010_000.0, 2.0)]
POSITION = b'{"path": "/var/log/a.log", "offset": 18211}'


@given(key=st.binary(min_size=1), data=st.binary())
def test_what_was_sealed_comes_back(key: bytes, data: bytes) -> None:
    assert unsealed(key, sealed(key, data)) == data


@given(bit=st.integers(0, 8 * len(sealed(KEY, POSITION)) - 1))
def test_no_flipped_bit_makes_another_position(bit: int) -> None:
    value = bytearray(sealed(KEY, POSITION))
    value[bit // 8] ^= 1 << bit % 8
    assert unsealed(KEY, bytes(value)) in (None, POSITION)


def test_the_position_of_something_else_is_none() -> None:
    assert unsealed(b"in/804-30", sealed(KEY, POSITION)) is None


@pytest.mark.parametrize("data", [POSITION, b"{}", b"s=1f;i=2;b=3", b'{"have": 5}'])
def test_one_of_before_there_were_checksums_is_taken_as_it_is(data: bytes) -> None:
    assert unsealed(KEY, data) == data


def test_the_store_returns_nothing_in_the_place_of_a_damaged_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.commit(Transaction(0.0, positions={"in/f": b"offset 1", "in/g": b"offset 2"}))
    stored = bytearray(put(tmp_path, "positions", b"in/g", None) or b"")
    stored[-1] ^= 4
    put(tmp_path, "positions", b"in/g", bytes(stored))
    put(tmp_path, "positions", b"in/h", b"of before")
    with opened(tmp_path) as store:
        assert store.positions("in") == {"f": b"offset 1", "g": b"", "h": b"of before"}


def test_steps_are_kept_as_they_were() -> None:
    ((name, data),) = encode_steps(STEPS).items()
    assert decode_steps({name.removeprefix(f"{CLOCK}/"): data}) == STEPS


def test_no_steps_need_no_position() -> None:
    assert list(encode_steps([]).values()) == [b""]
    assert decode_steps({}) == []


@pytest.mark.parametrize("data", [b"", b"[[1]]", b"{}", b'[["a", 2]]', b"\xff"])
def test_a_damaged_position_holds_no_steps(data: bytes) -> None:
    assert decode_steps({"steps": data}) == []
