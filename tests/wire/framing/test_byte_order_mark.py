from __future__ import annotations

from relay.wire.framing.byte_order_mark import (
    BYTE_ORDER_MARK,
    without_byte_order_mark,
)


def test_one_mark_is_removed_and_only_at_the_beginning() -> None:
    assert without_byte_order_mark(BYTE_ORDER_MARK + b"<13>x") == b"<13>x"
    assert without_byte_order_mark(2 * BYTE_ORDER_MARK) == BYTE_ORDER_MARK
    for data in (b"", b"<13>x", b"x" + BYTE_ORDER_MARK, BYTE_ORDER_MARK[:2]):
        assert without_byte_order_mark(data) == data
