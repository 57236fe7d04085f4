"""What a consumer says of a message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.wire.nats.deliveries import Delivery, parse_delivery


def test_the_subject_of_an_acknowledgement() -> None:
    assert parse_delivery(b"$JS.ACK.LOGS.central.2.70.71.1700000000000000000.5") == Delivery(
        2, 70, 71, 5
    )


def test_with_a_domain() -> None:
    text = b"$JS.ACK.hub.ACCOUNT.LOGS.central.1.70.71.1700000000000000000.5.xyz"
    assert parse_delivery(text) == Delivery(1, 70, 71, 5)


@given(st.binary(max_size=80))
def test_anything_else_is_none(text: bytes) -> None:
    assert parse_delivery(b"$JS.ACK." + text) is None or text.count(b".") >= 6
    assert parse_delivery(text) is None
