"""The figures that the model is fed with, each with where it comes from."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import NamedTuple

__all__ = [
    "FIGURES",
    "OCTETS",
    "PENDING_OCTETS",
    "Figure",
    "figure",
    "octets_of_a_record",
    "receiver_seconds",
]

MEASURED = "measured"
ASSUMED = "assumed"


class Figure(NamedTuple):
    name: str
    value: float
    unit: str
    source: str
    """MEASURED or ASSUMED, and how."""


FIGURES = (
    Figure("chunk", 100.0, "µs", f"{MEASURED}: 15,000 connections of TLS, single messages"),
    Figure("message", 3.6, "µs", f"{MEASURED}: 2.6 in large chunks without TLS, and 1 for TLS"),
    Figure("messages", 10.0, "a chunk", f"{ASSUMED}: a relay with 5,000/s and 500 commits/s"),
    Figure("handshake", 1200.0, "µs", f"{MEASURED}: TLS 1.3 and `open`, 1,100 to 1,300"),
    Figure("connection", 43.0, "KiB", f"{MEASURED}: memory of one with TLS"),
    Figure("reader", 5.0, "µs a message", f"{ASSUMED}: 2 without rewriting were measured"),
    Figure("request", 50.0, "µs", f"{ASSUMED}: a broker takes 20,000 produce requests a second"),
    Figure("replica", 10.0, "µs a batch", f"{ASSUMED}: a follower fetches many batches at once"),
    Figure("disk", 500.0, "MB/s of a broker", ASSUMED),
    Figure("network", 0.5, "ms one way", f"{ASSUMED}: between zones"),
    Figure("fetch", 1.0, "ms at most", f"{ASSUMED}: until a follower asks again"),
    Figure("fence", 9.0, "s", "default of Kafka's broker.session.timeout.ms"),
    Figure("metadata", 0.5, "s at most", f"{ASSUMED}: until a producer knows the new leader"),
    Figure("health", 6.0, "s", f"{ASSUMED}: a balancer's three checks, two seconds apart"),
    Figure("reconnect", 5.0, "s", f"{ASSUMED}: over which senders come back"),
    Figure("connection_rate", 5000.0, "messages/s of a connection", f"{ASSUMED}: 1,000 hosts"),
    Figure("in_flight", 5.0, "requests a connection", "limit of an idempotent producer"),
    Figure("batch", 10000.0, "records", "default of librdkafka's batch.num.messages"),
    Figure("pending", 32.0, "MiB", "default of `pending_bytes_max`"),
)


def figure(name: str) -> float:
    """The value of the figure `name`."""
    return next(one.value for one in FIGURES if one.name == name)


def receiver_seconds(messages: float) -> float:
    """Processor time of a receiver for each of `messages` that come in one chunk."""
    return (figure("chunk") / messages + figure("message")) / 1e6


PAYLOAD_OCTETS = 218
"""Of a message of `tests.bench.traffic` mixed."""
PENDING_OCTETS = 2 * PAYLOAD_OCTETS + 640
"""That direct mode counts for it while it waits for its answer."""

OCTETS = {
    "none": {1: 405, 10: 301, 80: 291, 1000: 290},
    "lz4": {1: 395, 10: 248, 80: 189, 1000: 172},
    "zstd": {1: 355, 10: 189, 80: 137, 1000: 100},
}
"""Octets of a record on the connection by records a request, payload, header, heads and all.

Measured by `python -m tests.bench.kafka_records`: mixed traffic of 4,000 lineages, librdkafka
2.16.0, Tansu 0.6.0."""


def octets_of_a_record(compression: str, records: float) -> float:
    """Between the measured sizes of a batch the logarithm decides."""
    table = OCTETS[compression]
    sizes = list(table)
    records = min(max(records, sizes[0]), sizes[-1])
    at = min(bisect_right(sizes, records), len(sizes) - 1)
    low, high = sizes[at - 1], sizes[at]
    share = math.log(records / low) / math.log(high / low)
    return table[low] + share * (table[high] - table[low])
