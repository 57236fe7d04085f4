"""Blocks: consecutive records of a queue as one stored value.

Layout, version 1 (all numbers little endian, no padding):

    offset  size    field
    0       1       version, 1
    1       4       CRC-32 (as in zlib) of everything after this field
    5       8       time of receipt, IEEE 754 double, seconds since 1970-01-01 UTC
    13      4       count of records, at least 1
    17      4·count length of each record in bytes
    …               the records, without anything between them

LMDB keeps pages whole but does not check what a disk gives back; the CRC does.
One block holds what arrived together, so the time of receipt of its records
differs by no more than one commit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from relay.codec import cut_records, encode_records
from relay.queue.files.trees import BlockCursor, Buffer, Cursor
from relay.queue.files.values import Unreadable

KEY = struct.Struct(">Q")
"""A seq as a key.  Big endian keeps keys in numeric order."""

BLOCK_BYTES_TARGET = 128 * 1024
"""A block is closed when its records reach this.  Values of similar size keep LMDB
from having to look for long runs of free pages."""

BLOCK_VERSION = 1
_PREFIX = struct.Struct("<BI")
_HEADER = struct.Struct("<dI")
_HEADERS_BYTES = _PREFIX.size + _HEADER.size


crc32: Callable[..., int]
"""CRC-32 as in zlib: called with bytes, and optionally with the checksum of those before them.

zlib-ng takes a tenth of the time of zlib, 6 instead of 80 ns for a message of 350 bytes, and each
is checksummed when it is stored and again if it is read from the disk.
"""


def _fastest_crc32() -> Callable[..., int]:
    try:
        from zlib_ng import zlib_ng
    except ImportError:  # there is no wheel of it for this machine
        import zlib

        return zlib.crc32
    return zlib_ng.crc32


crc32 = _fastest_crc32()


class BlockDamaged(Exception):
    """The value is not a block that was written here.  Its text says what is wrong."""


class Block(NamedTuple):
    received_at: float
    """Seconds since 1970-01-01 UTC."""
    payloads: list[bytes]


def encode_block(payloads: Sequence[bytes], *, received_at: float) -> bytes:
    """`payloads` (at least one, each under 4 GiB) as a value."""
    header = _HEADER.pack(received_at, len(payloads))
    return encode_records(BLOCK_VERSION, header, payloads, crc32)


def decode_block(value: Buffer) -> Block:
    """The block in `value`.

    Raises:
        BlockDamaged: `value` has another version, length or checksum.
    """
    if isinstance(value, Unreadable):
        raise BlockDamaged(value.reason)
    if not value:  # see repair/salvage.py
        raise BlockDamaged("nothing of it was left in a damaged file")
    if len(value) < _HEADERS_BYTES:
        raise BlockDamaged(f"{len(value)} bytes are too short for a block")
    version, checksum = _PREFIX.unpack_from(value)
    if version != BLOCK_VERSION:
        raise BlockDamaged(f"block version {version}, known is {BLOCK_VERSION}")
    if crc32(memoryview(value)[_PREFIX.size :]) != checksum:
        raise BlockDamaged("checksum mismatch")
    received_at, count = _HEADER.unpack_from(value, _PREFIX.size)
    payloads_at = _HEADERS_BYTES + 4 * count
    if not count or payloads_at > len(value):
        raise BlockDamaged(f"{count} records do not fit into {len(value)} bytes")
    stop, records = cut_records(value, _HEADERS_BYTES, count)
    if stop != len(value):
        raise BlockDamaged(f"the records end at {stop}, the block at {len(value)}")
    return Block(received_at, records)


def block_header(value: Buffer) -> tuple[float, int]:
    """Time of receipt and count of a block, unchecked; (0, 0) if it is too short for them."""
    if len(value) < _HEADERS_BYTES:
        return 0.0, 0
    received_at, count = _HEADER.unpack_from(value, _PREFIX.size)
    return received_at, count


def header_of(cursor: BlockCursor) -> tuple[float, int]:
    """`block_header` of the block that a cursor is on."""
    return block_header(cursor.head(_HEADERS_BYTES)[1])


def payload_bytes(value: Buffer, size: int | None = None) -> int:
    """Bytes of payload in a block, by its header alone; 0 if that makes no sense.

    Args:
        size: Of the block, if `value` is only its beginning.
    """
    count = block_header(value)[1]
    return max(0, (len(value) if size is None else size) - _HEADERS_BYTES - 4 * count)


def payload_bytes_of(cursor: BlockCursor) -> int:
    """`payload_bytes` of the block that a cursor is on."""
    size, head = cursor.head(_HEADERS_BYTES)
    return payload_bytes(head, size) if len(head) == _HEADERS_BYTES else 0


def received_at(value: Buffer) -> float | None:
    """Time of receipt of a block (seconds since 1970-01-01 UTC); None if it is damaged."""
    if len(value) < _HEADERS_BYTES:
        return None
    version, checksum = _PREFIX.unpack_from(value)
    if version != BLOCK_VERSION or crc32(memoryview(value)[_PREFIX.size :]) != checksum:
        return None
    at, _ = _HEADER.unpack_from(value, _PREFIX.size)
    return float(at)


# Where blocks lie.


def seq_of(key: Buffer) -> int:
    """The seq that `key` stands for."""
    return int(KEY.unpack(key)[0])


def to_block_with(cursor: Cursor, seq: int) -> bool:
    """Set `cursor` on the last block that begins at `seq` or before, or else on the first.

    Returns:
        False if there is no block at all.
    """
    if not cursor.set_range(KEY.pack(seq)):
        return cursor.last()
    if seq_of(cursor.key()) != seq and not cursor.prev():
        return cursor.first()
    return True
