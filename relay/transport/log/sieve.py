"""The choice of records of a distributed log; the rest is counted and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.origin import Origin, Received
from relay.model.text import counted
from relay.transport.reception import OversizePolicy, Reception


class Sieve:
    """Drops what one source has read before, by the numbers of the records, and cuts long ones.

    Args:
        origin: Of all records.
        lineages: The numbers that the source has read.
        oversize: For records longer than its `frame_bytes_max`.

    Attributes:
        held_back: Records that were not taken because one before them is missing.
    """

    def __init__(
        self,
        reception: Reception,
        *,
        origin: Origin,
        lineages: ReadLineages,
        oversize: OversizePolicy,
    ) -> None:
        self.held_back = 0
        self._reception = reception
        self._origin = origin
        self._lineages = lineages
        self._oversize = oversize

    def sift(
        self,
        frames: Sequence[bytes],
        numbers: Sequence[bytes | None],
        partition: int = 0,
        *,
        where: str = "",
    ) -> tuple[Received | None, Mapping[str, bytes]]:
        """Choose from consecutive records of a partition; counts and tells what is left out.

        Args:
            numbers: The header of each record, None = it has none.
            where: The place of the records in the log, for people.

        Returns:
            The records to take, None = none of them; and positions to store in their transaction,
            even without records.
        """
        sifted = self._lineages.sift(numbers, partition)
        if len(sifted.taken) != len(frames):
            frames = [frames[index] for index in sifted.taken]
            self._reception.counters.duplicate_records += sifted.duplicates
            self._note_held_back(sifted.held, where)
        if sifted.malformed:
            self._warn(
                "malformed-number",
                where,
                f"{counted(sifted.malformed, 'record')} with a header syslogrelay that no relay "
                "writes; taken as if without it, and may come twice",
            )
        return self._within_limit(frames) if frames else None, sifted.positions

    def forget(self, partition: int = 0) -> None:
        """Take whatever comes next of a partition, as records before it were not read.

        The positions are removed with those of the next `sift`.
        """
        self._lineages.forget(partition)

    def rewind(self) -> None:
        """Go back to what is on disk; nothing may be on its way there."""
        self._lineages.rewind()

    def _note_held_back(self, count: int, where: str) -> None:
        if not count:
            return
        self.held_back += count
        self._warn(
            "held-back",
            where,
            f"{counted(count, 'record')} held back: one before them is missing; their sender comes "
            "again with all of them, unless it has lost its queue",
        )

    def _warn(self, kind: str, where: str, text: str) -> None:
        self._reception.warn(kind, f"{where}: {text}" if where else text)

    def _within_limit(self, frames: Sequence[bytes]) -> Received:
        limit = self._oversize.frame_bytes_max
        if max(map(len, frames)) <= limit:
            return Received(frames, self._origin)
        cut = {index: len(frame) for index, frame in enumerate(frames) if len(frame) > limit}
        settled = self._oversize.settle([frame[:limit] for frame in frames], cut, {}, self._origin)
        self._reception.warn(settled.kind, settled.text)
        return Received(settled.frames, self._origin, settled.cut)
