"""The byte order mark of UTF-8, which some programs put before their output."""

from __future__ import annotations

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def without_byte_order_mark(data: bytes) -> bytes:
    """The first bytes of a datagram, stream or file without a mark before them."""
    return data.removeprefix(BYTE_ORDER_MARK)
