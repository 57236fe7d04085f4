"""Deliveries of a consumer: records with their numbers, and anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from relay.transport.nats.consumer import Place
from relay.wire.nats.deliveries import parse_delivery
from relay.wire.nats.messages import header_value
from relay.wire.nats.record_pack import PACK_HEADER, decode_pack
from relay.wire.record_number import NUMBER_HEADER

_NUMBER = b"\r\n%s: " % NUMBER_HEADER.encode()
_PACK = b"\r\n%s: " % PACK_HEADER.encode()


@dataclass(slots=True)
class Fetched:
    """The messages of one turn."""

    place: Place
    """Of the last message that is new."""
    deliveries: int
    """Number of the last delivery."""
    records: list[bytes] = field(default_factory=list)
    numbers: list[bytes | None] = field(default_factory=list)
    """The header of each record."""
    replies: list[bytes] = field(default_factory=list)
    """Where new messages are acknowledged."""
    redelivered_replies: list[bytes] = field(default_factory=list)
    """Where messages that had come before are acknowledged."""
    statuses: list[bytes] = field(default_factory=list)
    """Headers of what is no message."""
    count: int = 0
    """Deliveries."""
    dropped: int = 0
    """Messages that cannot be read."""
    pending: int = 0
    """Messages that wait in the stream."""
    missing: str = ""
    """Why what follows cannot be taken; empty = all was."""


def fetched(
    messages: Sequence[tuple[bytes, bytes, bytes, bytes]], deliveries: int, place: Place | None
) -> Fetched:
    """Take messages apart: subject, reply, headers and data of each.

    Args:
        deliveries: Number of the last delivery before them.
        place: Of the last message before them.
    """
    come = Fetched(place or Place(0, ""), deliveries)
    seq = come.place.seq
    for _, reply, headers, data in messages:
        delivery = parse_delivery(reply)
        if delivery is None:
            come.statuses.append(headers)
            continue
        if delivery.number != come.deliveries + 1:
            come.missing = (
                f"delivery {come.deliveries + 1} has not come, {delivery.number} has: a server has "
                "failed over, or another client reads with this consumer"
            )
            break
        come.deliveries = delivery.number
        come.count += 1
        come.pending = delivery.pending
        if delivery.seq <= seq:
            come.redelivered_replies.append(reply)
            continue
        seq = delivery.seq
        come.replies.append(reply)
        _add(come, headers, data)
    come.place = come.place._replace(seq=seq)
    return come


def _add(come: Fetched, headers: bytes, data: bytes) -> None:
    packed = header_value(headers, _PACK) if headers else None
    if packed is None:
        come.records.append(data)
        come.numbers.append(header_value(headers, _NUMBER) if headers else None)
        return
    pack = decode_pack(packed, data)
    if pack is None:
        come.dropped += 1
        return
    come.records += pack.payloads
    come.numbers += pack.numbers()
