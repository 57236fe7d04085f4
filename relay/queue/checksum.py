"""CRC-32 as in zlib, from the quickest library that there is.

zlib-ng takes a tenth of the time of zlib: 6 instead of 80 ns for a message of 350 octets,
and each is looked at when it is stored and again if it is read from the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["crc32"]

crc32: Callable[..., int]
"""Called with octets, and optionally with the checksum of those before them."""


def _quickest() -> Any:
    try:
        from zlib_ng import zlib_ng
    except ImportError:  # there is no wheel of it for this machine
        import zlib

        return zlib.crc32
    return zlib_ng.crc32


crc32 = _quickest()
