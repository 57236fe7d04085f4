"""Memory limit for incomplete frames, over all connections of one source."""

from __future__ import annotations

import typing

__all__ = ["UnfinishedFrames"]

_REASON = "unfinished-frames"


class _Connection(typing.Protocol):
    @property
    def unfinished_bytes(self) -> int:
        """Bytes buffered of the incomplete frame."""

    def cut_off(self, reason: str, why: str) -> None:
        """Close at once."""


class UnfinishedFrames:
    """Adds up the incomplete frames of connections, and closes some above the limit.

    The first to go is the one that has waited longest for the end of its frame, among those
    that keep at least as much as the average: closing one that keeps a few bytes would not
    help, and a sender may well leave a line unfinished for long.

    Args:
        bytes_max: For all of them, in bytes; 0 = no limit.

    Attributes:
        bytes: What they keep.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max
        self._kept: dict[_Connection, int] = {}  # whose frame began first comes first

    def note(self, connection: _Connection, received_bytes: int) -> None:
        """Account for bytes that a connection has received."""
        before = self._kept.get(connection, 0)
        kept = connection.unfinished_bytes
        if kept == before == 0:
            return
        self.bytes += kept - before
        if kept != before + received_bytes and before:  # a frame was completed
            del self._kept[connection]
        if kept:
            self._kept[connection] = kept
        while self.bytes > self._bytes_max > 0:
            self._close_one()

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self.bytes -= self._kept.pop(connection, 0)

    def _close_one(self) -> None:
        average = self.bytes / len(self._kept)
        connection = next(each for each, kept in self._kept.items() if kept >= average)
        why = (
            f"frames that are not complete take {self.bytes} bytes on this source, which is more "
            f"than unfinished_bytes_max, and it has sent {self._kept[connection]} of them"
        )
        self.forget(connection)
        connection.cut_off(_REASON, why)
