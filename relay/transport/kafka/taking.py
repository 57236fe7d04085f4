"""Records of a topic become messages to store, and the offsets after them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay.model.origin import Received
from relay.model.text import counted
from relay.transport.kafka.fetched import Fetched
from relay.transport.kafka.handover import Gap
from relay.transport.log.sieve import Sieve
from relay.transport.reception import Reception

OFFSET = "offset"
"""Positions of a Kafka source are named `OFFSET` + "/" + the number of the partition."""

_POSITION = re.compile(rb"([0-9]{1,19}) (\S{1,249})")


def offsets_of(positions: Mapping[str, bytes], topic: str) -> dict[int, int]:
    """The next offset of each partition of `topic`, from the positions of a source."""
    offsets = {}
    for name, value in positions.items():
        kind, _, number = name.partition("/")
        found = _POSITION.fullmatch(value) if kind == OFFSET and number.isdecimal() else None
        if found is not None and found[2] == topic.encode():
            offsets[int(number)] = int(found[1])
    return offsets


@dataclass(slots=True)
class Taken:
    """Contents of one transaction."""

    batches: list[Received] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    """The next offset of each partition."""
    positions: dict[str, bytes] = field(default_factory=dict)
    octets: int = 0
    """As they were handed over."""


class Taking:
    """Decides which records of one source are taken, and where reading goes on after them.

    Args:
        sieve: Of the source.
    """

    def __init__(self, reception: Reception, *, topic: str, sieve: Sieve) -> None:
        self.sieve = sieve
        self._reception = reception
        self._topic = topic

    def take(self, runs: Sequence[Fetched]) -> Taken:
        """Choose from records that came together, for one transaction."""
        taken = Taken()
        for run in runs:
            where = f"partition {run.partition}, before offset {run.next_offset}"
            received, positions = self.sieve.sift(
                run.frames, run.numbers, run.partition, where=where
            )
            taken.positions |= positions
            self._note_offset(taken, run.partition, run.next_offset)
            taken.octets += run.octets
            if received is not None:
                taken.batches.append(received)
        return taken

    def begin(self, partition: int, offset: int) -> Taken:
        """Begin a partition at an offset up to which it was not read."""
        self.sieve.forget(partition)
        taken = Taken(positions=dict(self.sieve.sift((), (), partition)[1]))
        self._note_offset(taken, partition, offset)
        return taken

    def warn_of_gap(self, gap: Gap) -> None:
        """Count and tell what is gone."""
        where = f"topic {self._topic}, partition {gap.partition}"
        if gap.is_recreated:
            self._reception.warn(
                "recreated",
                f"{where}: offset {gap.offset} is behind the end, so the topic was made anew or "
                "has lost its end; read from its beginning",
            )
            return
        missing = gap.low - gap.offset
        self._reception.counters.missing_records += missing
        self._reception.warn(
            "gap",
            f"{where}: {counted(missing, 'record')} were removed before they were read, "
            f"{gap.offset} to {gap.low - 1}; keep records longer (retention.ms, retention.bytes)",
        )

    def _note_offset(self, taken: Taken, partition: int, offset: int) -> None:
        name = f"{self._reception.source}/{OFFSET}/{partition}"
        taken.positions[name] = b"%d %b" % (offset, self._topic.encode())
        taken.offsets[partition] = offset
