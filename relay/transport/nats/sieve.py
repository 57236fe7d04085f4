"""What of the records that have come is new, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.flow.exactly_once.reading import ReadLineages
from relay.model.text import counted
from relay.transport.nats.fetched import Fetched
from relay.transport.reception import OversizePolicy, Reception

_PARTITION = 0  # a stream is one log


class New(NamedTuple):
    """What is to be stored."""

    frames: Sequence[bytes]
    cut: Mapping[int, int]
    """Frames that were cut: index to the octets of the whole record."""
    positions: Mapping[str, bytes]
    """Of lineages, to be stored with them."""


class Sieve:
    """Drops what was read before, by the numbers of the records.

    Args:
        lineages: What was read of each.

    Attributes:
        held_back: Records that were not taken because one before them is missing.
    """

    def __init__(
        self, reception: Reception, *, lineages: ReadLineages, oversize: OversizePolicy
    ) -> None:
        self.held_back = 0
        self.lineages = lineages
        self._reception = reception
        self._oversize = oversize

    def sift(self, come: Fetched) -> New:
        """What is new of it; counts the rest and warns."""
        counters = self._reception.counters
        if come.dropped:
            counters.received_records += come.dropped
            counters.protocol_errors += come.dropped
            counters.dropped["malformed-pack"] += come.dropped
            text = f"{counted(come.dropped, 'message')} with a pack of records that cannot be read"
            self._reception.warn("pack", f"{text}: dropped")
        sifted = self.lineages.sift(come.numbers, _PARTITION)
        counters.duplicate_records += sifted.duplicates
        if sifted.malformed:
            text = f"{counted(sifted.malformed, 'record')} with a number that cannot be read"
            self._reception.warn("number", f"{text}: taken, and may come twice")
        if sifted.held:
            self.held_back += sifted.held
            self._reception.warn(
                "held-back",
                f"{counted(sifted.held, 'record')} not taken, because one before them is missing "
                "in the stream; their sender has no answer and comes again with all of them",
            )
        frames: Sequence[bytes] = come.records
        if len(sifted.taken) != len(frames):
            frames = [frames[index] for index in sifted.taken]
        return New(*self._within_limit(frames), sifted.positions)

    def forget(self, why: str, missing: int) -> None:
        """Messages are gone that had not been read, so no lineage is known any more.

        Args:
            why: For people.
            missing: How many they are at most.
        """
        self._reception.counters.missing_records += missing
        self.lineages.forget(_PARTITION)
        self._reception.warn("gap", why)

    def rewind(self) -> None:
        """Something was not stored: go back to what is."""
        self.lineages.rewind()

    def _within_limit(self, frames: Sequence[bytes]) -> tuple[Sequence[bytes], Mapping[int, int]]:
        limit = self._oversize.frame_bytes_max
        cut = {index: len(frame) for index, frame in enumerate(frames) if len(frame) > limit}
        if not cut:
            return frames, cut
        settled = self._oversize.settle([frame[:limit] for frame in frames], cut, {})
        self._reception.warn(settled.kind, settled.text)
        return settled.frames, settled.cut
