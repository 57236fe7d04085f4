"""Properties of each delivery of a consumer, in the subject for its acknowledgement.

$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>
$JS.ACK.<domain>.<account>.<stream>.<consumer>.… .<random>       with a domain
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ACK = re.compile(
    rb"\$JS\.ACK\.(?:[^.]+\.[^.]+\.)?[^.]+\.[^.]+"
    rb"\.([0-9]{1,19})\.([0-9]{1,19})\.([0-9]{1,19})\.[0-9]{1,19}\.([0-9]{1,19})(?:\.[^.]+)?\Z"
)


class Delivery(NamedTuple):
    """One message that was delivered."""

    deliveries: int
    """How often it was delivered, this time included."""
    seq: int
    """Its number in the stream."""
    number: int
    """Number of the delivery: of a consumer, each has one more than the one before it."""
    pending: int
    """Messages that the consumer has not delivered yet."""


def parse_delivery(reply: bytes) -> Delivery | None:
    """Read the subject for the acknowledgement; None = it is of another form."""
    found = _ACK.match(reply)
    return None if found is None else Delivery(*map(int, found.groups()))
