"""What is stored of the records of a topic: messages, and where reading goes on after them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.origin import Origin, Received
from relay.model.text import counted
from relay.transport.kafka.fetched import Fetched
from relay.transport.kafka.handover import Gap
from relay.transport.reception import OversizePolicy, Reception

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
    """What to store in one transaction."""

    batches: list[Received] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    """The next offset of each partition."""
    positions: dict[str, bytes] = field(default_factory=dict)
    octets: int = 0
    """As they were handed over."""


class Taking:
    """Decides which records of one source are taken.

    Args:
        origin: Of all records.
        lineages: The numbers that the source has read.

    Attributes:
        held_back: Records that were not taken because one before them is missing.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        topic: str,
        origin: Origin,
        lineages: ReadLineages,
        oversize: OversizePolicy,
    ) -> None:
        self.held_back = 0
        self._reception = reception
        self._topic = topic
        self._origin = origin
        self._lineages = lineages
        self._oversize = oversize

    def take(self, runs: Sequence[Fetched]) -> Taken:
        """What to store of records that came together."""
        taken = Taken()
        for run in runs:
            sifted = self._lineages.sift(run.numbers, run.partition)
            taken.positions |= sifted.positions
            self._note_offset(taken, run.partition, run.next_offset)
            taken.octets += run.octets
            frames = run.frames
            if len(sifted.taken) != len(frames):
                frames = [frames[index] for index in sifted.taken]
                self._count_left_out(run, sifted.duplicates, sifted.held)
            if sifted.malformed:
                self._reception.warn(
                    "malformed-number",
                    f"partition {run.partition}: {counted(sifted.malformed, 'record')} with a "
                    "header syslogrelay that no relay writes; taken as if without it",
                )
            if frames:
                taken.batches.append(self._within_size(frames))
        return taken

    def begin(self, partition: int, offset: int) -> Taken:
        """What to store where a partition begins that was not read up to there."""
        self._lineages.forget(partition)
        taken = Taken(positions=dict(self._lineages.sift((), partition).positions))
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

    def rewind(self) -> None:
        """Go back to what is on disk; nothing may be on its way there."""
        self._lineages.rewind()

    def _note_offset(self, taken: Taken, partition: int, offset: int) -> None:
        name = f"{self._reception.source}/{OFFSET}/{partition}"
        taken.positions[name] = b"%d %b" % (offset, self._topic.encode())
        taken.offsets[partition] = offset

    def _count_left_out(self, run: Fetched, duplicates: int, held: int) -> None:
        self._reception.counters.duplicate_records += duplicates
        if not held:
            return
        self.held_back += held
        self._reception.warn(
            "held-back",
            f"partition {run.partition}: {counted(held, 'record')} before offset "
            f"{run.next_offset} held back: one before them is missing; their sender comes again "
            "with all of them, unless it has lost its queue",
        )

    def _within_size(self, frames: Sequence[bytes]) -> Received:
        limit = self._oversize.frame_bytes_max
        if max(map(len, frames)) <= limit:
            return Received(frames, self._origin)
        cut = {index: len(frame) for index, frame in enumerate(frames) if len(frame) > limit}
        settled = self._oversize.settle([frame[:limit] for frame in frames], cut, {}, self._origin)
        self._reception.warn(settled.kind, settled.text)
        return Received(settled.frames, self._origin, settled.cut)
