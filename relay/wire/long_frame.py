"""What becomes of a frame above the size limit: its first octets, or several frames.

Strategy: both ways take the octets as they come and keep no more than the limit of
them.  Where a piece ends depends on the octets alone, never on the chunks they come in.

A frame that is split becomes frames that are messages themselves.  The first piece is
cut at the limit.  Each further one begins with the header of the first, that is
everything before MSG, and goes on with the octets that follow.  A header that takes
more than half of the limit, or that would not be read as one again, is left out but
for the PRI.
"""

from __future__ import annotations

import re

from relay.wire.parse import parse
from relay.wire.rfc5424 import PRIVAL

__all__ = ["CutFrame", "SplitFrame", "split_frame"]

_PRI = re.compile(rb"<([0-9]{1,3})>")
_DELIMITERS = b"\n\r\0"  # at the end of a frame, which `parse` does not count as MSG


class CutFrame:
    """Keeps the first octets of a frame and counts all of them.

    Attributes:
        frame_bytes: Octets so far, those included that are not kept.
    """

    def __init__(self, *, frame_bytes_max: int) -> None:
        self.frame_bytes = 0
        self._frame_bytes_max = frame_bytes_max
        self._kept = b""

    def feed(self, octets: bytes) -> list[bytes]:
        """Take the next octets.  The first call has at least the limit of them."""
        if not self.frame_bytes:
            self._kept = octets[: self._frame_bytes_max]
        self.frame_bytes += len(octets)
        return []

    def end(self) -> list[bytes]:
        """The frame is over: return what was kept."""
        return [self._kept]


class SplitFrame:
    """Splits one long frame.

    Attributes:
        pieces: How many were returned so far.
    """

    def __init__(self, *, frame_bytes_max: int) -> None:
        self.pieces = 0
        self._frame_bytes_max = frame_bytes_max
        self._header = b""  # of the next piece
        self._waiting = bytearray()  # for the octet that shows that a piece is complete

    def feed(self, octets: bytes) -> list[bytes]:
        """Take the next octets; return the pieces they complete."""
        self._waiting += octets
        room = self._frame_bytes_max - len(self._header)
        if len(self._waiting) <= room:
            return []
        text = bytes(self._waiting)
        frames: list[bytes] = []
        start = 0
        while len(text) - start > room:
            stop = _boundary(text, start, start + room)
            frames.append(self._header + text[start:stop])
            start = stop
            self.pieces += 1
            if self.pieces == 1:
                self._header = _header_to_repeat(text[:room], self._frame_bytes_max)
                room -= len(self._header)
        self._waiting = bytearray(text[start:])
        return frames

    def end(self) -> list[bytes]:
        """The frame is over: return its last piece."""
        self.pieces += 1
        return [self._header + self._waiting]


def split_frame(frame: bytes, *, frame_bytes_max: int) -> list[bytes]:
    """Split a frame that is there as a whole."""
    split = SplitFrame(frame_bytes_max=frame_bytes_max)
    return split.feed(frame) + split.end()


def _boundary(text: bytes, start: int, stop: int) -> int:
    """Where to cut: at `stop`, or where the UTF-8 sequence begins that goes across it."""
    for at in range(stop, max(start, stop - 4), -1):
        if text[at] & 0xC0 != 0x80:  # not one of a sequence's later octets
            return at if text[at] >= 0xC0 else stop
    return stop


def _header_to_repeat(start: bytes, frame_bytes_max: int) -> bytes:
    """What the further pieces of a frame begin with; `start` is the first of it."""
    msg = parse(start).msg
    header = start[: len(start.rstrip(_DELIMITERS)) - len(msg)]
    if 2 * len(header) <= frame_bytes_max and parse(header + b"x").msg == b"x":
        return header
    pri = _PRI.match(start)
    if pri is not None and pri[1] in PRIVAL and 2 * len(pri[0]) <= frame_bytes_max:
        return pri[0]
    return b""
