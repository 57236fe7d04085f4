"""Frames that a transport truncated or split, and the tags that say so in the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.model.message import SyslogMessage

ORIGINAL_BYTES = ".syslogrelay.original_bytes"
"""Name of the pair that says how long a message was before it was cut, in bytes."""
TRUNCATED_TAG = b"syslogrelay.truncated"
SPLIT_TAG = b"syslogrelay.split"


class Marks(NamedTuple):
    """Truncated and split frames of a batch, by their index."""

    cut: Mapping[int, int]
    """Length of the whole message, in bytes."""
    pieces: Mapping[int, int]
    """Number of the piece within its message, from 1."""

    def picked(self, indexes: Sequence[int]) -> Marks:
        """The marks of the frames at `indexes`, renumbered."""
        if not self.cut and not self.pieces:
            return self
        return Marks(
            {new: self.cut[old] for new, old in enumerate(indexes) if old in self.cut},
            {new: self.pieces[old] for new, old in enumerate(indexes) if old in self.pieces},
        )

    def put_on(self, messages: list[SyslogMessage], start: int = 0) -> None:
        """Add tags and the pair `ORIGINAL_BYTES` to the messages of the marked frames.

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
