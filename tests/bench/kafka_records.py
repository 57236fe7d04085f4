"""Octets of records as they go to a broker: `python -m tests.bench.kafka_records`.

librdkafka sends a corpus with the header of record numbers to Tansu, in batches of a fixed number
of records, and its own statistics tell how many octets and requests that took.  One lineage is
what a relay with a queue sends; direct mode has thousands, whose identifiers do not compress.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from relay.wire.record_number import NUMBER_HEADER, RecordNumber, format_record_number
from tests.bench.traffic import KINDS, messages
from tests.engines.tansu import Tansu

__all__ = ["Octets", "measured", "numbered"]

COMPRESSIONS = ("none", "lz4", "zstd")
BATCHES = (1, 10, 80, 1000)
LINEAGES = (1, 4000)
TOPIC = "logs"
FLUSH_SECONDS = 30.0
STATISTICS_MS = 100


class Octets(NamedTuple):
    """Of one run, for each record."""

    payload: float
    sent: float
    """Everything on the connection, requests' heads included."""
    records_a_request: float


Numbered = Sequence[tuple[bytes, bytes]]
"""Payloads, each with the value of its header."""


def numbered(payloads: Sequence[bytes], lineages: int, seed: int = 1) -> Numbered:
    """Each record is from a lineage that is drawn."""
    random = Random(seed)
    names = [str(uuid.UUID(int=random.getrandbits(128), version=4)) for _ in range(lineages)]
    lasts = {name: random.randrange(1_000_000) for name in names}
    found = []
    for payload in payloads:
        name = random.choice(names)
        number = RecordNumber(name, lasts[name] + 1, lasts[name])
        lasts[name] += 1
        found.append((payload, format_record_number(number)))
    return found


def measured(address: str, records: Numbered, compression: str, batch: int) -> Octets:
    """Send `records` to partition 0 of TOPIC, `batch` in a request."""
    from confluent_kafka import Producer

    seen: list[dict[str, float]] = []
    producer = Producer(
        {
            "bootstrap.servers": address,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": compression,
            "batch.num.messages": batch,
            "batch.size": 4_000_000,
            "linger.ms": 20,
            "queue.buffering.max.messages": len(records) + 1,
            "statistics.interval.ms": STATISTICS_MS,
            "stats_cb": lambda text: seen.append(_counts(json.loads(text))),
        }
    )
    before = _at_rest(producer, seen)
    for payload, header in records:
        producer.produce(TOPIC, payload, partition=0, headers=[(NUMBER_HEADER, header)])
    assert producer.flush(FLUSH_SECONDS) == 0
    after = _at_rest(producer, seen)
    taken = {name: after[name] - before.get(name, 0.0) for name in after}
    return Octets(
        sum(len(payload) for payload, _ in records) / len(records),
        taken["octets"] / len(records),
        len(records) / taken["requests"],
    )


def _counts(statistics: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    brokers = statistics["brokers"].values()
    return {
        "octets": sum(broker["txbytes"] for broker in brokers),
        "requests": sum(
            float(json.loads(json.dumps(broker["req"])).get("Produce", 0)) for broker in brokers
        ),
    }


def _at_rest(producer: object, seen: list[dict[str, float]]) -> dict[str, float]:
    """The statistics once nothing is sent any more."""
    for _ in range(100):
        producer.poll(STATISTICS_MS / 1000)  # type: ignore[attr-defined]
        if len(seen) > 4 and seen[-1] == seen[-2] == seen[-3]:
            return seen[-1]
    raise AssertionError("the producer never rests")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.kafka_records", description=__doc__
    )
    parser.add_argument("--kinds", default="mixed", help=f"of {','.join(KINDS)} (mixed)")
    parser.add_argument("-n", "--count", type=int, default=20_000, help="records (20,000)")
    given = parser.parse_args()
    print("| Traffic | Lineages | Records a request | Compression | Payload | Sent | Ratio |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        broker = Tansu(Path(name), topics={TOPIC: 1})
        broker.start()
        try:
            for kind in given.kinds.split(","):
                _print_rows(broker.address, kind, given.count)
        finally:
            broker.end()


def _print_rows(address: str, kind: str, count: int) -> None:
    for lineages in LINEAGES:
        records = numbered(messages(kind, count), lineages)
        for batch in BATCHES:
            plain = 0.0
            for compression in COMPRESSIONS:
                some = records[: max(500, min(count, batch * 200))]
                found = measured(address, some, compression, batch)
                plain = plain or found.sent
                print(
                    f"| {kind} | {lineages} | {found.records_a_request:.0f} | {compression} |"
                    f" {found.payload:.0f} | {found.sent:.0f} | {plain / found.sent:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
