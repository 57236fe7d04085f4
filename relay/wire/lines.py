"""Cut the octets of a file into lines, or messages of several lines, and know their place.

Strategy: whoever reads a file again after a crash has to begin where the last thing
that was handed over ended.  So this keeps two offsets: `read`, up to which octets
came in, and `position`, up to which they were handed over.  What lies between them
is the beginning of a line or message.  Of that no more is kept than the longest
allowed message; the rest is counted, so that it can be said how long it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["LineDecoder", "Lines"]

_MESSAGE_LINES_MAX = 10_000  # or an expression that never matches would swallow a file


class Lines(NamedTuple):
    """What a call completed."""

    frames: list[bytes]
    """Lines or messages without the line end after them, cut to the size limit."""
    long: dict[int, int]
    """Which of `frames` were cut: index to the octets that the whole had."""


class LineDecoder:
    """Cut a file at LF; a CR before it belongs to the line end.

    Args:
        start: Offset of the first octet that will be fed; a line begins there.
        frame_bytes_max: Longest line or message to keep, in octets.
        begins: Whether a line begins a message; other lines are joined to the one
            before them with LF.  None = every line is a message.
    """

    def __init__(
        self,
        *,
        start: int,
        frame_bytes_max: int,
        begins: Callable[[bytes], object] | None = None,
    ) -> None:
        self.read = start
        """Offset after the last octet that was fed."""
        self.position = start
        """Offset after the last line or message that was handed over."""
        self._frame_bytes_max = frame_bytes_max
        self._begins = begins
        self._held: list[bytes] = []  # the line that is not complete, as far as it is kept
        self._held_bytes = 0
        self._line_bytes = 0  # all of it
        self._line_end = b""  # its last octet
        self._message: list[bytes] = []  # lines of the message that is not complete, likewise
        self._message_kept = 0
        self._message_bytes = 0
        self._message_lines = 0

    @property
    def waiting(self) -> bool:
        """Whether a message waits for a line that begins the next one."""
        return self._message_lines > 0

    def feed(self, chunk: bytes) -> Lines:
        """Take the next octets; return what they complete."""
        start = self.read - self._line_bytes
        self.read += len(chunk)
        head, line_feed, rest = chunk.rpartition(b"\n")
        if not line_feed:
            self._hold(chunk)
            return Lines([], {})
        first, *others = head.split(b"\n")
        self._hold(first)
        line, excess, size = self._take_held()
        self._hold(rest)
        lines = [line, *(other.removesuffix(b"\r") for other in others)]
        if self._begins is None:
            self.position = self.read - len(rest)
            return self._cut(lines, excess)
        return self._join(lines, excess, start, [size, *map(len, others)])

    def flush(self) -> Lines:
        """Take the message that waits for its end as complete."""
        done = Lines([], {})
        if self.waiting:
            self._end_message(done, self.read - self._line_bytes)
        return done

    def finish(self) -> Lines:
        """Note the end of the file: what is there is all that there will be."""
        if not self._line_bytes:
            return self.flush()
        line, excess, size = self._take_held()
        if self._begins is None:
            done = self._cut([line], excess)
        else:
            done = self._join([line], excess, self.read - size, [size])
            if self.waiting:
                self._end_message(done, self.read)
        self.position = self.read
        return done

    def _hold(self, octets: bytes) -> None:
        """Keep the next part of a line: one octet above the limit, for a CR at its end."""
        if not octets:
            return
        kept = octets[: self._frame_bytes_max + 1 - self._held_bytes]
        if kept:
            self._held.append(kept)
            self._held_bytes += len(kept)
        self._line_bytes += len(octets)
        self._line_end = octets[-1:]

    def _take_held(self) -> tuple[bytes, int, int]:
        """The line that was held without a CR at its end, and how much of it was not kept.

        The third is its size in the file, with the CR.
        """
        line, size = b"".join(self._held), self._line_bytes
        excess = size - len(line)
        if self._line_end == b"\r":
            if excess:
                excess -= 1
            else:
                line = line[:-1]
        self._held = []
        self._held_bytes = self._line_bytes = 0
        self._line_end = b""
        return line, excess, size

    def _cut(self, lines: list[bytes], excess: int) -> Lines:
        limit = self._frame_bytes_max
        if len(max(lines, key=len)) <= limit:
            return Lines(lines, {})
        long = {index: len(line) for index, line in enumerate(lines) if len(line) > limit}
        if 0 in long:
            long[0] += excess
        return Lines([line[:limit] for line in lines], long)

    def _join(self, lines: list[bytes], excess: int, start: int, sizes: list[int]) -> Lines:
        """Put lines together; the first begins at `start`, and `sizes` are those in the file."""
        assert self._begins is not None
        done = Lines([], {})
        offset = start
        for line, size in zip(lines, sizes, strict=True):
            if self.waiting and self._begins(line):
                self._end_message(done, offset)
            self._add(line, len(line) + excess)
            excess = 0
            offset += size + 1
            if self._message_lines >= _MESSAGE_LINES_MAX:
                self._end_message(done, offset)
        return done

    def _add(self, line: bytes, size: int) -> None:
        if self._message_kept <= self._frame_bytes_max:
            self._message.append(line)
            self._message_kept += len(line) + 1
        self._message_bytes += size + (self._message_lines > 0)
        self._message_lines += 1

    def _end_message(self, done: Lines, position: int) -> None:
        octets = b"\n".join(self._message)
        if self._message_bytes > self._frame_bytes_max:
            done.long[len(done.frames)] = self._message_bytes
            octets = octets[: self._frame_bytes_max]
        done.frames.append(octets)
        self._message = []
        self._message_kept = self._message_bytes = self._message_lines = 0
        self.position = position
