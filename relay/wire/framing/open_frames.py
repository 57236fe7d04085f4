"""The state of a decoder between two bytes of a stream, for a decoder elsewhere to go on with.

A process that takes a connection over must not lose the bytes of a frame that has begun, nor what
earlier frames have shown: that the sender counts bytes, for example.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class LongFrameState(msgspec.Struct, frozen=True):
    """A frame above the limit whose end has not come."""

    kind: Literal["counted", "cut", "split"]
    """counted = a cut one whose length is known, so that nothing of it is kept any more."""
    missing_bytes: int = 0
    """The number of bytes still to come, if that is known."""
    held: bytes = b""
    """Bytes of a line that may belong to its end."""
    kept: bytes = b""
    frame_bytes: int = 0
    """Of a frame that is cut: bytes so far."""
    header: bytes = b""
    """Of a frame that is split: the header of its next piece."""
    pieces: int = 0
    """Of a frame that is split: how many were returned."""


class DecoderState(msgspec.Struct, frozen=True):
    """All that an `AutoDecoder` knows of its stream; its attributes say what they mean."""

    buffer: bytes = b""
    wanted_bytes: int = 1
    wants_line: bool = False
    scanned_bytes: int = 0
    searched_bytes: int = 0
    waits: bool = False
    has_begun: bool = False
    mark_removed: bool = False
    counts: bool = False
    glued: bool = True
    last: bytes = b""
    long: LongFrameState | None = None

    @property
    def kept_bytes(self) -> int:
        """Bytes of the frame that has begun."""
        return len(self.buffer) + (
            0 if self.long is None else len(self.long.kept) + len(self.long.held)
        )
