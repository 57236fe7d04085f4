"""Frames above the size limit: cut to their first bytes, or split into several frames.

Strategy: both process the bytes as they arrive and keep at most as many as the limit.
Where a piece ends depends on the bytes alone, never on the chunks that they arrive in.

A frame that is split becomes frames that are messages themselves.  The first piece is
cut at the limit.  Each further one begins with the header of the first, that is
everything before MSG, and goes on with the bytes that follow.  A header that takes
more than half of the limit, or that would not be read as one again, is left out but
for the PRI.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from relay.wire.framing.open_frames import LongFrameState
from relay.wire.headers.rfc5424 import PRIVAL
from relay.wire.parse import parse

_PRI = re.compile(rb"<([0-9]{1,3})>")
_DELIMITERS = b"\n\r\0"  # at the end of a frame, which `parse` does not count as MSG
_LINE_END = re.compile(rb"\n|\0(?:\r?\n|(?=<|\r?\Z))")
_MAY_BE_LINE_END = re.compile(rb"(?:\r?\0\r?|\r)\Z")


class CutFrame:
    """Keeps the first bytes of a frame and counts all of them.

    Attributes:
        frame_bytes: Bytes so far, those included that are not kept.
    """

    def __init__(self, *, frame_bytes_max: int) -> None:
        self.frame_bytes = 0
        self._frame_bytes_max = frame_bytes_max
        self._kept = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes.  The first call has at least the limit of them."""
        if not self.frame_bytes:
            self._kept = data[: self._frame_bytes_max]
        self.frame_bytes += len(data)
        return []

    def end(self) -> list[bytes]:
        """The frame is over: return what was kept."""
        return [self._kept]

    @property
    def kept_bytes(self) -> int:
        return len(self._kept)

    def state(self, missing_bytes: int, held: bytes) -> LongFrameState:
        return LongFrameState(
            "cut", missing_bytes, held, kept=self._kept, frame_bytes=self.frame_bytes
        )

    def resume(self, state: LongFrameState) -> None:
        self._kept, self.frame_bytes = state.kept, state.frame_bytes


class SplitFrame:
    """Splits one long frame.

    Attributes:
        pieces: How many were returned so far.
    """

    def __init__(self, *, frame_bytes_max: int) -> None:
        self.pieces = 0
        self._frame_bytes_max = frame_bytes_max
        self._header = b""  # of the next piece
        self._waiting = bytearray()  # for the byte that shows that a piece is complete

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the pieces they complete."""
        self._waiting += data
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

    @property
    def kept_bytes(self) -> int:
        return len(self._header) + len(self._waiting)

    def state(self, missing_bytes: int, held: bytes) -> LongFrameState:
        return LongFrameState(
            *("split", missing_bytes, held, bytes(self._waiting)),
            header=self._header,
            pieces=self.pieces,
        )

    def resume(self, state: LongFrameState) -> None:
        self._waiting, self._header = bytearray(state.kept), state.header
        self.pieces = state.pieces


class LongFrames:
    """The frames of one stream that are above the limit, one at a time.

    Args:
        frame_bytes_max: The limit, in bytes.
        split: They are split instead of cut.

    Attributes:
        truncated: How many were cut so far.
        cut: Which of the frames returned last were cut: index to bytes of the whole.
        pieces: Which of them are pieces of one that was split: index to the number of
            the piece, from 1.
        missing_bytes: What is still to come of a frame whose length is known.
    """

    def __init__(self, *, frame_bytes_max: int, split: bool) -> None:
        self.truncated = 0
        self.cut: dict[int, int] = {}
        self.pieces: dict[int, int] = {}
        self.missing_bytes = 0
        self._frame_bytes_max = frame_bytes_max
        self._splits = split
        self._frame: CutFrame | SplitFrame | None = None  # whose end has not come
        self._held = b""  # bytes of a line that may belong to its end

    @property
    def kept_bytes(self) -> int:
        """Bytes kept of the frame whose end has not come."""
        return self._frame.kept_bytes + len(self._held) if self._frame is not None else 0

    @property
    def is_open(self) -> bool:
        """Whether the end of a frame has not come."""
        return self._frame is not None or self.missing_bytes > 0

    def state(self) -> LongFrameState | None:
        """The state with which another object goes on; None = the end of every frame has come."""
        if self._frame is not None:
            return self._frame.state(self.missing_bytes, self._held)
        return LongFrameState("counted", self.missing_bytes) if self.missing_bytes else None

    def resume(self, state: LongFrameState) -> None:
        """Go on where another object was."""
        self.missing_bytes, self._held = state.missing_bytes, state.held
        if state.kind != "counted":
            kind = SplitFrame if state.kind == "split" else CutFrame
            self._frame = kind(frame_bytes_max=self._frame_bytes_max)
            self._frame.resume(state)

    def forget_marks(self) -> None:
        """Forget `cut` and `pieces`: other frames are returned now."""
        if self.cut or self.pieces:
            self.cut, self.pieces = {}, {}

    def take_line(self, line: bytes, frames: list[bytes]) -> None:
        """Take a line that has ended, without its end."""
        self._begin()
        self._feed(line, frames)
        self._end(frames)

    def begin_line(self, data: bytes, frames: list[bytes]) -> None:
        """Take the beginning of a line; it is above the limit already."""
        self._begin()
        self._feed_line(data, frames)

    def begin_counted(self, data: bytes, length: int, frames: list[bytes]) -> None:
        """Take the first bytes of a frame of `length`, as many as the limit allows."""
        self.missing_bytes = length - len(data)
        if self._splits:
            self._begin()
            self._feed(data, frames)  # completes nothing: the byte after it is missing
            return
        self.truncated += 1
        self.cut[len(frames)] = length
        frames.append(data)

    def take(self, data: bytes, start: int, frames: list[bytes]) -> int:
        """Take what belongs to the frame whose end has not come, if there is one.

        Returns:
            Where in `data` it ends.
        """
        if self.missing_bytes:
            rest = data[start : start + self.missing_bytes]
            self.missing_bytes -= len(rest)
            if self._frame is not None:
                self._feed(rest, frames)
                if not self.missing_bytes:
                    self._end(frames)
            return start + len(rest)
        if self._frame is None:
            return start
        held, self._held = self._held, b""
        text = held + data[start:]
        end = line_end(text, 0)
        if end is None or not end.is_sure:
            self._feed_line(text, frames)
            return len(data)
        self._feed(text[: end.stop].removesuffix(b"\r"), frames)
        self._end(frames)
        return start + end.next - len(held)

    def finish(self, frames: list[bytes]) -> None:
        """Note the end of the stream."""
        self.missing_bytes = 0
        if self._frame is not None:
            self._end(frames)

    def _begin(self) -> None:
        self._frame = (SplitFrame if self._splits else CutFrame)(
            frame_bytes_max=self._frame_bytes_max
        )

    def _feed_line(self, data: bytes, frames: list[bytes]) -> None:
        """Take bytes of a line without its end; what may belong to that waits."""
        last = _MAY_BE_LINE_END.search(data, max(0, len(data) - 3))
        stop = len(data) if last is None else last.start()
        self._held = data[stop:]
        self._feed(data[:stop], frames)

    def _feed(self, data: bytes, frames: list[bytes]) -> None:
        assert self._frame is not None
        self._add(self._frame, self._frame.feed(data), frames)

    def _end(self, frames: list[bytes]) -> None:
        frame, self._frame, self._held = self._frame, None, b""
        assert frame is not None
        if isinstance(frame, CutFrame):
            self.truncated += 1
            self.cut[len(frames)] = frame.frame_bytes
        self._add(frame, frame.end(), frames)

    def _add(
        self, frame: CutFrame | SplitFrame, complete: list[bytes], frames: list[bytes]
    ) -> None:
        if complete and isinstance(frame, SplitFrame):
            first = frame.pieces - len(complete) + 1
            self.pieces.update(enumerate(range(first, frame.pieces + 1), len(frames)))
        frames += complete


class LineEnd(NamedTuple):
    """Where a line ends."""

    stop: int
    next: int
    """Where the next one begins."""
    is_sure: bool
    """Whether what comes behind `data` makes no difference."""


def line_end(data: bytes, start: int) -> LineEnd | None:
    """The end of a line in `data` from `start` on; None = there is none.

    That is LF; or NUL, for senders who end their messages with it (RFC 6587 §3.4.2), if LF,
    CR LF, the ``<`` of a PRI or nothing follows.  Any other NUL is a part of the text.
    """
    found = _LINE_END.search(data, start)
    if found is None:
        return None
    is_sure = found[0] != b"\0" or data.startswith(b"<", found.end())
    return LineEnd(found.start(), found.end(), is_sure)


def split_frame(frame: bytes, *, frame_bytes_max: int) -> list[bytes]:
    """Split a frame that is there as a whole."""
    split = SplitFrame(frame_bytes_max=frame_bytes_max)
    return split.feed(frame) + split.end()


def _boundary(text: bytes, start: int, stop: int) -> int:
    """Where to cut: at `stop`, or where the UTF-8 sequence begins that goes across it."""
    for at in range(stop, max(start, stop - 4), -1):
        if text[at] & 0xC0 != 0x80:  # not one of a sequence's later bytes
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
