from __future__ import annotations

import pytest

from relay.model.clock import ClockStep
from relay.queue.clock_steps import CLOCK, decode_steps, encode_steps

STEPS = [ClockStep(1_700_000_000.5, 3600.0), ClockStep(1_700_010_000.0, 2.0)]


def test_steps_are_kept_as_they_were() -> None:
    ((name, octets),) = encode_steps(STEPS).items()
    assert decode_steps({name.removeprefix(f"{CLOCK}/"): octets}) == STEPS


def test_no_steps_need_no_position() -> None:
    assert list(encode_steps([]).values()) == [b""]
    assert decode_steps({}) == []


@pytest.mark.parametrize("octets", [b"", b"[[1]]", b"{}", b'[["a", 2]]', b"\xff"])
def test_a_damaged_position_holds_no_steps(octets: bytes) -> None:
    assert decode_steps({"steps": octets}) == []
