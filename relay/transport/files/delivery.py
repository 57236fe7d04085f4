"""Lines and positions of files on their way to the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.flow.intake import Intake
from relay.model.clock import Now
from relay.model.errors import QueueError
from relay.model.origin import Origin
from relay.model.text import counted
from relay.transport.files.search import octets_of, printable_path
from relay.transport.reception import Reception
from relay.wire.framing.lines import Lines

__all__ = ["FileDelivery", "NewFrames"]


class NewFrames(Protocol):
    """Makes frames of lines, one each."""

    def __call__(self, lines: list[bytes], *, path: bytes, read_at: float) -> list[bytes]: ...


class FileDelivery:
    """Hands over what one source reads.

    Args:
        drop_long: Drop the lines that were cut.
    """

    def __init__(
        self, reception: Reception, *, new_frames: NewFrames, drop_long: bool, now: Now
    ) -> None:
        self._reception = reception
        self._intake: Intake = reception.intake
        self._origin = Origin(source=reception.source, transport="file")
        self._new_frames = new_frames
        self._drop_long = drop_long
        self._now = now

    def hand_over(self, path: str, lines: Lines, positions: Mapping[str, bytes]) -> Deferred[None]:
        """Store `lines` of the file at `path`, and `positions` with them.

        Fails with QueueError if neither could be stored.
        """
        read_at = self._now()
        frames = self._new_frames(lines.frames, path=octets_of(path), read_at=read_at)
        cut: Mapping[int, int] = lines.long
        if cut:
            frames, cut = self._within_size(path, frames, cut)
        keyed = self._keyed(positions)
        return self._intake.accept(frames, self._origin, cut=cut or None, positions=keyed)

    def store(self, positions: Mapping[str, bytes]) -> None:
        """Store positions without lines."""
        if positions:
            stored = self._intake.accept([], self._origin, positions=self._keyed(positions))
            stored.addErrback(_position_lost)

    def _keyed(self, positions: Mapping[str, bytes]) -> dict[str, bytes]:
        return {f"{self._reception.source}/{name}": octets for name, octets in positions.items()}

    def _within_size(
        self, path: str, frames: list[bytes], cut: Mapping[int, int]
    ) -> tuple[list[bytes], Mapping[int, int]]:
        counters = self._reception.counters
        what = f"{printable_path(path)}: {counted(len(cut), 'line')} longer than frame_bytes_max"
        if not self._drop_long:
            counters.truncated_records += len(cut)
            self._reception.warn("truncated", f"{what}: cut there", about=path)
            return frames, cut
        counters.received_records += len(cut)
        counters.received_bytes += sum(len(frames[index]) for index in cut)
        counters.dropped["too-long"] += len(cut)
        self._reception.warn("too-long", f"{what}: dropped", about=path)
        return [frame for index, frame in enumerate(frames) if index not in cut], {}


def _position_lost(failure: Failure) -> None:
    failure.trap(QueueError)  # the next start finds out again what it said
