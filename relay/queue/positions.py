"""Positions as they are stored: with a checksum.

    0x01 · CRC-32 of the key and the octets, eight hexadecimal digits · the octets

A position that a disk has changed must not be believed: a file would be skipped, or a
sender told that its messages are here.  Those that were stored without a checksum, by an
earlier version, are text that begins with something else, and are taken as they are.
"""

from __future__ import annotations

import re
from typing import Any

from relay.queue.block import crc32

__all__ = ["put_position", "sealed", "unsealed"]

_MARK = b"\x01"
_SEAL = re.compile(rb"(.)([0-9a-f]{8})", re.DOTALL)


def sealed(key: bytes, octets: bytes) -> bytes:
    """What to store under `key`."""
    return b"%b%08x%b" % (_MARK, crc32(octets, crc32(key)), octets)


def unsealed(key: bytes, value: bytes) -> bytes | None:
    """The octets in `value`, which is stored under `key`; None if they are damaged."""
    seal = _SEAL.match(value)
    octets = value[seal.end() :] if seal else b""
    if seal and int(seal[2], 16) == crc32(octets, crc32(key)):
        return octets  # whatever its mark is like
    return None if value[:1] < b" " else value


def put_position(txn: Any, database: Any, name: str, octets: bytes) -> None:
    """Store the position `name` in the transaction `txn`; an empty one is forgotten."""
    key = name.encode()
    if octets:
        txn.put(key, sealed(key, octets), db=database)
    else:
        txn.delete(key, db=database)
