"""What a transport had to do to frames that were too long, and how messages show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.model.message import SyslogMessage

__all__ = ["NO_MARKS", "ORIGINAL_BYTES", "SPLIT_TAG", "TRUNCATED_TAG", "Marks"]

ORIGINAL_BYTES = ".syslogrelay.original_bytes"
"""Name of the pair that says how long a message was before it was cut, in octets."""
TRUNCATED_TAG = b"syslogrelay.truncated"
SPLIT_TAG = b"syslogrelay.split"


class Marks(NamedTuple):
    """Both by the index of a frame in its batch."""

    cut: Mapping[int, int]
    """Octets that the whole message had."""
    pieces: Mapping[int, int]
    """Which piece of a message that was split this is, from 1 on."""

    def picked(self, indexes: Sequence[int]) -> Marks:
        """Those of the frames at `indexes`, by their place there."""
        if not self.cut and not self.pieces:
            return self
        return Marks(
            {new: self.cut[old] for new, old in enumerate(indexes) if old in self.cut},
            {new: self.pieces[old] for new, old in enumerate(indexes) if old in self.pieces},
        )

    def put_on(self, messages: list[SyslogMessage], start: int = 0) -> None:
        """Give the messages of the frames their tags, and the pair `ORIGINAL_BYTES`.

        Args:
            start: Index of the message of the first frame.
        """
        for index in self.pieces:
            index += start
            message = messages[index]
            messages[index] = message._replace(tags=(*message.tags, SPLIT_TAG))
        for index, original_bytes in self.cut.items():
            index += start
            message = messages[index]
            pairs = {**(message.pairs or {}), ORIGINAL_BYTES: b"%d" % original_bytes}
            messages[index] = message._replace(pairs=pairs, tags=(*message.tags, TRUNCATED_TAG))


NO_MARKS = Marks({}, {})
