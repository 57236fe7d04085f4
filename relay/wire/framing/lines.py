"""Cut the bytes of a file into lines, or messages of several lines, with their offsets.

Strategy: after a crash, reading resumes at the end of the last line that was handed over.  So
this keeps two offsets: `read`, the end of the bytes received, and `position`, the end of those
handed over.  Between them lies the beginning of a line or message, of which at most the longest
allowed message is kept; the rest is counted, so that its full length is known.

Lines are cut as they are written in the file and converted one by one, so both offsets are
those of the file whatever its character set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from relay.wire.framing.byte_order_mark import (
    BYTE_ORDER_MARK,
    without_byte_order_mark,
)
from relay.wire.framing.charset import HEAD_BYTES, Charset, whole_characters

_MESSAGE_LINES_MAX = 10_000  # or an expression that never matches would swallow a file


class Lines(NamedTuple):
    """The lines completed by a call."""

    frames: list[bytes]
    """Lines or messages without the line end after them, cut to the size limit."""
    long: dict[int, int]
    """Which of `frames` were cut: index to the bytes that the whole had.  Of a converted one,
    what was not kept counts as it is written in the file."""


class LineDecoder:
    """Cut a file at LF; a CR before it belongs to the line end.

    NUL is a byte like others.  A byte order mark at the beginning of the file is no part of
    its first line.

    Args:
        start: Offset of the first byte that will be fed; a line begins there.
        frame_bytes_max: Longest line or message to keep, in bytes (of UTF-8, if it is converted).
        begins: Whether a line begins a message; other lines are joined to the one
            before them with LF.  None = every line is a message.
        charset: What the file is written in, if its lines are to become UTF-8; it has a
            `line_feed`.
        head: The first bytes of the file (`HEAD_BYTES`), if `start` lies behind them: they may
            say more about its character set.
    """

    def __init__(
        self,
        *,
        start: int,
        frame_bytes_max: int,
        begins: Callable[[bytes], object] | None = None,
        charset: Charset | None = None,
        head: bytes = b"",
    ) -> None:
        self.read = start
        """Offset after the last byte that was fed."""
        self.position = start
        """Offset after the last line or message that was handed over."""
        self.line_feed = b"\n"
        """The line feed in the file's character set."""
        self._frame_bytes_max = frame_bytes_max
        self._begins = begins
        # What is kept of a line may have a CR at its end, and a mark at its beginning.
        self._kept_bytes_max = frame_bytes_max + 1 + len(BYTE_ORDER_MARK) * (start == 0)
        self._charset = charset
        self._is_sure = charset is None or start > 0  # whether a mark makes no difference
        if charset is not None:
            self._kept_bytes_max = frame_bytes_max * charset.shrinkage_max + 2 * HEAD_BYTES
            self._note(charset.marked(head) if start else charset)
        self._head = b""  # bytes fed before the character set was certain
        self._partial = b""  # bytes of a character that is not complete
        self._held: list[bytes] = []  # the kept part of the incomplete line
        self._held_bytes = 0
        self._line_bytes = 0  # all of it
        self._line_end = b""  # its last byte
        self._message: list[bytes] = []  # lines of the incomplete message, likewise
        self._message_kept = 0
        self._message_bytes = 0
        self._message_lines = 0

    @property
    def waiting(self) -> bool:
        """Whether a message waits for a line that begins the next one."""
        return self._message_lines > 0

    def feed(self, chunk: bytes) -> Lines:
        """Take the next bytes; return what they complete."""
        self.read += len(chunk)
        if not self._is_sure:
            self._head += chunk
            if len(self._head) < HEAD_BYTES:
                return Lines([], {})
            return self._cut_head()
        return self._cut_chunk(chunk)

    def flush(self) -> Lines:
        """Complete the waiting message."""
        done = Lines([], {})
        if self.waiting:
            self._end_message(done, self.read - len(self._partial) - self._line_bytes)
        return done

    def finish(self) -> Lines:
        """End of the file: return the remaining line or message."""
        done = Lines([], {}) if self._is_sure else self._cut_head()
        partial, self._partial = self._partial, b""
        self._hold(partial)
        if not self._line_bytes:
            return _joined(done, self.flush())
        data, excess, size = self._take_held()
        line = self._text(data, at_start=self.read == size)
        if self._begins is None:
            done = _joined(done, self._cut([line], {0: excess}))
        else:
            done = _joined(done, self._join([line], {0: excess}, self.read - size, [size]))
            if self.waiting:
                self._end_message(done, self.read)
        self.position = self.read
        return done

    def _note(self, charset: Charset) -> None:
        self._charset = charset
        self.line_feed = charset.line_feed

    def _cut_head(self) -> Lines:
        """Begin with the first bytes: enough of them, or all that there are."""
        assert self._charset is not None
        self._is_sure = True
        self._note(self._charset.marked(self._head))
        head, self._head = self._head, b""
        return self._cut_chunk(head)

    def _cut_chunk(self, chunk: bytes) -> Lines:
        chunk = self._partial + chunk
        start = self.read - len(chunk) - self._line_bytes
        if len(self.line_feed) == 1:
            parts = chunk.split(self.line_feed)
        else:
            whole = max(0, len(chunk) - self.read % len(self.line_feed))
            chunk, self._partial = chunk[:whole], chunk[whole:]
            parts = self._split(chunk, self.read - len(self._partial) - len(chunk))
        self._hold(parts[0])
        if len(parts) == 1:
            return Lines([], {})
        _, *others, rest = parts
        data, excess, size = self._take_held()
        self._hold(rest)
        lines = [self._text(data, at_start=not start)]
        excesses = {0: excess}
        if self._charset is None:
            lines += [other.removesuffix(b"\r") for other in others]
        else:
            limit = self._kept_bytes_max
            lines += [self._text(other[:limit], at_start=False) for other in others]
            excesses |= {at: len(other) - limit for at, other in enumerate(others, 1)}
        if self._begins is None:
            self.position = self.read - len(self._partial) - len(rest)
            return self._cut(lines, excesses)
        return self._join(lines, excesses, start, [size, *map(len, others)])

    def _split(self, chunk: bytes, offset: int) -> list[bytes]:
        """Cut `chunk`, which begins at `offset` of the file, at line feeds of several bytes."""
        size = len(self.line_feed)
        parts = []
        begin = 0
        at = chunk.find(self.line_feed)
        while at >= 0:
            if (offset + at) % size:  # bytes of two characters
                at = chunk.find(self.line_feed, at + 1)
                continue
            parts.append(chunk[begin:at])
            begin = at + size
            at = chunk.find(self.line_feed, begin)
        return [*parts, chunk[begin:]]

    def _hold(self, data: bytes) -> None:
        """Keep the next part of a line, as far as it may belong to its text."""
        if not data:
            return
        kept = data[: self._kept_bytes_max - self._held_bytes]
        if kept:
            self._held.append(kept)
            self._held_bytes += len(kept)
        self._line_bytes += len(data)
        self._line_end = data[-1:]

    def _take_held(self) -> tuple[bytes, int, int]:
        """The line that was held, and how much of it was not kept.

        The third is its size in the file, with a CR.  Of a line that is not converted the CR
        at its end is taken off.
        """
        line, size = b"".join(self._held), self._line_bytes
        excess = size - len(line)
        if self._line_end == b"\r" and self._charset is None:
            if excess:
                excess -= 1
            else:
                line = line[:-1]
        self._held = []
        self._held_bytes = self._line_bytes = 0
        self._line_end = b""
        return line, excess, size

    def _text(self, line: bytes, *, at_start: bool) -> bytes:
        """The text of a line; `at_start` of the file without a mark."""
        charset = self._charset
        if charset is None:
            return without_byte_order_mark(line) if at_start else line
        if at_start:
            line = charset.without_mark(line)
        return charset.line_to_utf8(line).removesuffix(b"\r")

    def _cut(self, lines: list[bytes], excesses: Mapping[int, int]) -> Lines:
        limit = self._frame_bytes_max
        if len(max(lines, key=len)) <= limit:
            return Lines(lines, {})
        long = {
            index: len(line) + max(0, excesses.get(index, 0))
            for index, line in enumerate(lines)
            if len(line) > limit
        }
        return Lines([self._beginning(line) for line in lines], long)

    def _beginning(self, text: bytes) -> bytes:
        """As much of `text` as the limit allows; whole characters, if it was converted."""
        if self._charset is None:
            return text[: self._frame_bytes_max]
        return whole_characters(text, self._frame_bytes_max)

    def _join(
        self, lines: list[bytes], excesses: Mapping[int, int], start: int, sizes: list[int]
    ) -> Lines:
        """Put lines together; the first begins at `start`, and `sizes` are those in the file."""
        assert self._begins is not None
        done = Lines([], {})
        offset = start
        for index, (line, size) in enumerate(zip(lines, sizes, strict=True)):
            if self.waiting and self._begins(line):
                self._end_message(done, offset)
            self._add(line, len(line) + max(0, excesses.get(index, 0)))
            offset += size + len(self.line_feed)
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
        data = b"\n".join(self._message)
        if self._message_bytes > self._frame_bytes_max:
            done.long[len(done.frames)] = self._message_bytes
            data = self._beginning(data)
        done.frames.append(data)
        self._message = []
        self._message_kept = self._message_bytes = self._message_lines = 0
        self.position = position


def _joined(first: Lines, second: Lines) -> Lines:
    long = {len(first.frames) + index: size for index, size in second.long.items()}
    return Lines(first.frames + second.frames, {**first.long, **long})
