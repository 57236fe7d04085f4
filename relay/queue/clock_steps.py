"""How the clock was set, as a position: the records that wait have stamps from before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from relay.model.clock import ClockStep

__all__ = ["CLOCK", "decode_steps", "encode_steps"]

CLOCK = "/clock"
"""Where the position is; no source's id contains a slash."""

_NAME = "steps"


def encode_steps(steps: Sequence[ClockStep]) -> dict[str, bytes]:
    """The position, by its whole name."""
    return {f"{CLOCK}/{_NAME}": msgspec.json.encode(steps) if steps else b""}


def decode_steps(positions: Mapping[str, bytes]) -> list[ClockStep]:
    """The steps in the positions below `CLOCK`; none where that is damaged."""
    try:
        return msgspec.json.decode(positions.get(_NAME, b"[]"), type=list[ClockStep])
    except msgspec.DecodeError:
        return []
