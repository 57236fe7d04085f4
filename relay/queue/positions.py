"""Positions as they are stored: with a checksum; and the steps of the clock, which are one.

    0x01 · CRC-32 of the key and the bytes, eight hexadecimal digits · the bytes

A position that a disk has changed must not be believed: a file would be skipped, or a
sender told that its messages are here.  Those that were stored without a checksum, by an
earlier version, are text that begins with something else, and are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from relay.model.clock import ClockStep
from relay.queue.block import crc32

CLOCK = "/clock"
"""Where the steps of the clock are; no source's id contains a slash."""

_STEPS = "steps"
_MARK = b"\x01"
_SEAL = re.compile(rb"(.)([0-9a-f]{8})", re.DOTALL)


def sealed(key: bytes, position: bytes) -> bytes:
    """What to store under `key`."""
    return b"%b%08x%b" % (_MARK, crc32(position, crc32(key)), position)


def unsealed(key: bytes, value: bytes) -> bytes | None:
    """The bytes in `value`, which is stored under `key`; None if they are damaged."""
    seal = _SEAL.match(value)
    position = value[seal.end() :] if seal else b""
    if seal and int(seal[2], 16) == crc32(position, crc32(key)):
        return position  # whatever its mark is like
    return None if value[:1] < b" " else value


def encode_steps(steps: Sequence[ClockStep]) -> dict[str, bytes]:
    """The position, by its whole name."""
    return {f"{CLOCK}/{_STEPS}": msgspec.json.encode(steps) if steps else b""}


def decode_steps(positions: Mapping[str, bytes]) -> list[ClockStep]:
    """The steps in the positions below `CLOCK`; none where that is damaged."""
    try:
        return msgspec.json.decode(positions.get(_STEPS, b"[]"), type=list[ClockStep])
    except msgspec.DecodeError:
        return []
