"""Policies for messages above the size limit of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.model.counters import SourceCounters
from relay.model.text import size

__all__ = ["OversizePolicy", "Settled"]

_WORDS = {
    "truncate": "cut there",
    "drop": "dropped",
    "split": "split",
    "quarantine": "set aside",
}


class Settled(NamedTuple):
    """The remaining frames, and a warning about those that were too long."""

    frames: Sequence[bytes]
    cut: Mapping[int, int]
    """Index to the bytes of the whole message."""
    pieces: Mapping[int, int]
    """Index to the number of the piece, from 1."""
    kind: str = ""
    """Kind of the warning; empty = none."""
    text: str = ""


class OversizePolicy:
    """The policy of one source.  Decoders cut or split; this counts, drops and words warnings.

    Args:
        name: truncate, drop, split, or quarantine, where the intake sets aside what
            was cut.
    """

    def __init__(self, name: str, *, frame_bytes_max: int, counters: SourceCounters) -> None:
        self.splits = name == "split"
        self._name = name
        self._frame_bytes_max = frame_bytes_max
        self._counters = counters

    def settle(
        self, frames: Sequence[bytes], cut: Mapping[int, int], pieces: Mapping[int, int]
    ) -> Settled:
        """Apply the policy to the frames that a decoder returned together."""
        counters = self._counters
        split = list(pieces.values()).count(1)
        counters.split_records += split
        if self._name in ("truncate", "split"):  # even what is split may have to be cut
            counters.truncated_records += len(cut)
        if self._name == "drop" and cut:
            dropped = [frames[index] for index in cut]
            counters.received_records += len(dropped)
            counters.received_bytes += sum(map(len, dropped))
            counters.dropped["too-long"] += len(dropped)
            frames = [frame for index, frame in enumerate(frames) if index not in cut]
        if not cut and not split:
            return Settled(frames, cut, pieces)
        return Settled(
            frames,
            {} if self._name == "drop" else cut,
            pieces,
            "truncated" if self._name == "truncate" else "too-long",
            f"{split or len(cut)} longer than frame_bytes_max ({size(self._frame_bytes_max)}): "
            f"{_WORDS[self._name]}",
        )
