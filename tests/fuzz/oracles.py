"""Slow, obvious decoders to compare the fast ones with, and what they all are asked.

Each of them has the whole stream at once and looks at it byte by byte.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from relay.wire.framing.long_frame import split_frame

__all__ = ["Decoded", "chunks_of", "counted_frames", "held_bytes", "line_frames", "relp_frames"]

_DIGITS = frozenset(b"0123456789")
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass
class Decoded:
    """What came out of a stream."""

    frames: list[Any] = field(default_factory=list)
    truncated: int = 0
    failed: bool = False


def chunks_of(source: random.Random, stream: bytes) -> list[bytes]:
    """`stream` in pieces: byte by byte, in a few, or in many of random size."""
    kind = source.randrange(4)
    if kind == 0:
        return [stream[at : at + 1] for at in range(len(stream))]
    size_max = (3, 40, max(1, len(stream)))[kind - 1]
    chunks: list[bytes] = []
    at = 0
    while at < len(stream):
        size = source.randint(0 if chunks and chunks[-1] else 1, size_max)
        chunks.append(stream[at : at + size])
        at += size
    return chunks


def held_bytes(value: Any) -> int:
    """How many bytes of a stream `value` keeps, in any of its parts; nothing counts as one."""
    if isinstance(value, bytes | bytearray):
        return len(value) or 1
    if isinstance(value, list | tuple | set):
        return sum(map(held_bytes, value))
    if isinstance(value, dict):
        return sum(held_bytes(key) + held_bytes(item) for key, item in value.items())
    if type(value).__module__.startswith("relay."):
        return held_bytes(vars(value))
    return 0


def line_frames(stream: bytes, limit: int, *, split: bool = False) -> Decoded:
    """Lines: LF and CR LF end them, empty ones are none."""
    result = Decoded()
    for line in stream.split(b"\n"):
        line = line.removesuffix(b"\r")
        if split and len(line) > limit:
            result.frames += split_frame(line, frame_bytes_max=limit)
            continue
        result.truncated += len(line) > limit
        if line:
            result.frames.append(line[:limit])
    return result


def counted_frames(stream: bytes, limit: int) -> Decoded:
    """Octet counting; `failed` also when the stream ends inside a frame."""
    result = Decoded()
    at = 0
    while at < len(stream):
        if stream[at] in b"\r\n\0":
            at += 1
            continue
        digits = at
        while digits < len(stream) and stream[digits] in _DIGITS and digits - at < 10:
            digits += 1
        if digits == at or stream[digits : digits + 1] != b" ":
            result.failed = True
            return result
        length, body = int(stream[at:digits]), digits + 1
        kept = min(length, limit)
        whole = stream[body : body + kept]
        if len(whole) == kept:  # the rest of one that is cut may still be missing
            result.frames += [whole] if whole else []
            result.truncated += kept < length
        result.failed = body + length > len(stream)
        at = body + length
    return result


class _Ended(Exception):
    """The stream ends inside a frame."""


class _Wrong(Exception):
    """This is no frame."""


def relp_frames(stream: bytes, limit: int) -> Decoded:
    """RELP, cutting long data; a stream that ends inside a frame has not failed."""
    result = Decoded()
    at = 0
    try:
        while at < len(stream):
            txnr = _field(stream, at, _DIGITS, 9)
            command = _field(stream, at + len(txnr) + 1, _LETTERS, 32)
            at += len(txnr) + len(command) + 2
            data, at = _data(stream, at)
            result.frames.append((int(txnr), command, data[:limit]))
            result.truncated += len(data) > limit
    except _Ended:
        pass
    except _Wrong:
        result.failed = True
    return result


def _field(stream: bytes, at: int, allowed: frozenset[int], bytes_max: int) -> bytes:
    """The field that begins at `at` and ends with a space."""
    stop = at
    while stop < len(stream) and stop - at < bytes_max and stream[stop] in allowed:
        stop += 1
    if stop == len(stream):
        raise _Ended
    if stop == at or stream[stop] != 0x20:
        raise _Wrong
    return stream[at:stop]


def _data(stream: bytes, at: int) -> tuple[bytes, int]:
    """Data after its length, and where the frame ends."""
    start = at
    while at < len(stream) and at - start < 9 and stream[at] in _DIGITS:
        at += 1
    length = int(stream[start:at] or b"0")
    if at == len(stream):
        raise _Ended
    if length == 0 and stream[at] == 0x0A:
        return b"", at + 1
    if stream[at] != 0x20 or start == at:
        raise _Wrong
    stop = at + 1 + length
    if stop >= len(stream):
        raise _Ended
    if stream[stop] != 0x0A:
        raise _Wrong
    return stream[at + 1 : stop], stop + 1
