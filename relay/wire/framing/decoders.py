"""Cut a syslog byte stream into frames, and put frames into a stream (RFC 6587 §3.4).

Strategy: a decoder takes chunks of any size and returns *all* frames that are
now complete.  It never raises on input: a peer's mistake ends up in an attribute,
after the good frames before the mistake have been returned.  A frame longer than
the limit is cut there, the rest of it is discarded and the stream stays in step,
so that no part of a long message turns up as a message of its own.  Or it is split
into several messages (`long_frame.py`).  `cut` and `pieces` tell which frames of those
returned last were too long.

Nothing a peer sends makes a decoder keep more than one frame of the longest
allowed size plus one chunk, and a byte of it takes little more than a byte of
memory, however small the chunks are that it comes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from relay.codec import IS_COMPILED, built, native, new_frames, split_lines
from relay.model.errors import FramingError, WrongProtocol
from relay.wire.framing.boundaries import (
    COUNT,
    PRI,
    SEPARATORS,
    START_BYTES_MAX,
    Beginning,
    Rest,
    after_separators,
    holds_counted,
    inner_start,
    is_followed,
    may_be_count,
    may_hold_count,
    next_counted,
    rest_of_count,
)
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK
from relay.wire.framing.long_frame import LongFrames, line_end

# RFC 6587 §3.4.1 wants a non-zero first digit; files may be padded with zeros and hold
# empty frames, and LF, CR or NUL between frames.
_MSG_LEN_SP = re.compile(rb"[\r\n\0]*([0-9]{1,10}) ")
_MSG_LEN_SO_FAR = re.compile(rb"[\r\n\0]*[0-9]{0,10}\Z")


class FrameDecoder(Protocol):
    """Turns a stream of chunks into a stream of frames."""

    @property
    def error(self) -> FramingError | None:
        """The violation that ended decoding; once set, `feed` returns nothing more."""

    @property
    def truncated(self) -> int:
        """How many frames were cut to the size limit so far."""

    @property
    def cut(self) -> dict[int, int]:
        """Which of the frames returned last were cut: index to bytes of the whole."""

    @property
    def pieces(self) -> dict[int, int]:
        """Which of the frames returned last are pieces of one that was split: index to
        the number of the piece, from 1."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the frames they complete."""

    def finish(self) -> list[bytes]:
        """Note the end of the stream; return what it completes."""


class _LimitedDecoder:
    """What decoders have in common: frames above the limit."""

    def __init__(self, *, frame_bytes_max: int, split: bool, nul_ends_lines: bool = True) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._long = LongFrames(
            frame_bytes_max=frame_bytes_max, split=split, nul_ends_lines=nul_ends_lines
        )
        self._buffer = bytearray()  # what was not returned yet

    @property
    def truncated(self) -> int:
        return self._long.truncated

    @property
    def cut(self) -> dict[int, int]:
        return self._long.cut

    @property
    def pieces(self) -> dict[int, int]:
        return self._long.pieces

    @property
    def unfinished_bytes(self) -> int:
        """Bytes buffered of the incomplete frame."""
        return len(self._buffer) + self._long.kept_bytes


class OctetCountingDecoder(_LimitedDecoder):
    """Decode a file of ``MSG-LEN SP SYSLOG-MSG`` frames (RFC 6587 §3.4.1, RFC 5425 §4.3).

    Every MSG-LEN is believed, so it needs a writer that makes no mistakes: after `error`
    is set there is no point to resynchronise at.

    Args:
        frame_bytes_max: Longest SYSLOG-MSG to keep, in bytes.  RFC 5425
            §4.3.1: receivers MUST take 2048 and SHOULD take 8192.
        split: Longer ones are split instead of cut.
    """

    def __init__(self, *, frame_bytes_max: int, split: bool = False) -> None:
        super().__init__(frame_bytes_max=frame_bytes_max, split=split)
        self.error: FramingError | None = None
        self._wanted_bytes = 1  # of the buffer, before it can hold one more whole frame

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the frames they complete."""
        self._long.forget_marks()
        if self.error is not None:
            return []
        frames: list[bytes] = []
        self._buffer += chunk[self._long.take(chunk, 0, frames) :]
        if len(self._buffer) >= self._wanted_bytes:
            self._cut(bytes(self._buffer), frames)
        return frames

    def finish(self) -> list[bytes]:
        """Note the end of the stream; a partial frame is then an error.

        Only of one that is being split is the rest returned, because the pieces
        before it were.
        """
        self._long.forget_marks()
        frames: list[bytes] = []
        rest = self._buffer.strip(SEPARATORS)
        if self.error is None and (rest or self._long.missing_bytes):
            self.error = FramingError(f"the stream ended {len(rest)} bytes into a frame")
        self._long.finish(frames)
        return frames

    def _cut(self, buffer: bytes, frames: list[bytes]) -> None:
        start = 0
        while start < len(buffer):
            header = _MSG_LEN_SP.match(buffer, start)
            if header is None:
                # Separators are dropped, or a file could grow the buffer with them.
                rest = buffer[start:].lstrip(SEPARATORS)
                if not _MSG_LEN_SO_FAR.match(rest):
                    self.error = FramingError(
                        "expected a length in bytes and a space (octet counting), "
                        f"found {rest[:20]!r}"
                    )
                    rest = b""
                self._keep(rest, wanted=len(rest) + 1)
                return
            length = int(header[1])
            kept = min(length, self._frame_bytes_max)
            stop = header.end() + kept
            if stop > len(buffer):
                start = header.start(1)  # without the separators
                self._keep(buffer[start:], wanted=stop - start)
                return
            if kept < length:
                self._long.begin_counted(buffer[header.end() : stop], length, frames)
                stop = self._long.take(buffer, stop, frames)
            elif kept:
                frames.append(buffer[header.end() : stop])
            start = stop
        self._keep(b"", wanted=1)

    def _keep(self, rest: bytes, *, wanted: int) -> None:
        self._buffer = bytearray(rest)
        self._wanted_bytes = wanted


class NewlineDecoder(_LimitedDecoder):
    """Decode a file of frames that end with LF or CR LF (RFC 6587 §3.4.2).

    Empty lines are separators, not frames, unless they are to be kept.  Any stream is
    valid, so `error` is always None.  A line that is cut is returned when it ends, because
    only then its length is known.

    Args:
        frame_bytes_max: Longest frame to keep, in bytes.
        split: Longer ones are split instead of cut.
        keep_empty: Empty lines are frames too, of a single LF: a frame of nothing could
            not be sent on.
    """

    error: FramingError | None = None

    def __init__(
        self, *, frame_bytes_max: int, split: bool = False, keep_empty: bool = False
    ) -> None:
        super().__init__(frame_bytes_max=frame_bytes_max, split=split, nul_ends_lines=False)
        self._keeps_empty = keep_empty

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the frames they complete."""
        self._long.forget_marks()
        frames: list[bytes] = []
        chunk = chunk[self._long.take(chunk, 0, frames) :]
        whole, end, rest = chunk.rpartition(b"\n")
        if end:
            if self._buffer:
                whole = bytes(self._buffer + whole)
                self._buffer = bytearray()
            frames = self._lines(whole, frames, ended=True)
        if rest:
            self._buffer += rest
            # One byte more than the limit may still be the CR of CR LF.
            if len(self._buffer) > self._frame_bytes_max + 1:
                self._long.begin_line(bytes(self._buffer), frames)
                self._buffer = bytearray()
        return frames

    def finish(self) -> list[bytes]:
        """Note the end of the stream; the last line needs no LF."""
        self._long.forget_marks()
        frames: list[bytes] = []
        self._long.finish(frames)
        frames = self._lines(bytes(self._buffer), frames, ended=False)
        self._buffer = bytearray()
        return frames

    def _lines(self, text: bytes, frames: list[bytes], *, ended: bool) -> list[bytes]:
        """`frames` and then the lines of `text`; the last of them has `ended`, or not."""
        keep_empty = self._keeps_empty and ended
        lines = split_lines(text, self._frame_bytes_max, keep_empty)
        if lines is not None:
            return frames + lines if frames else lines
        for each in text.split(b"\n"):
            line = each.removesuffix(b"\r")
            if len(line) > self._frame_bytes_max:
                self._long.take_line(line, frames)
            elif line:
                frames.append(line)
            elif keep_empty:
                frames.append(b"\n")
        return frames


class AutoDecoder(_LimitedDecoder):
    """Decode a stream whose sender uses octet counting, lines, or both.

    What a frame is shows at each boundary between frames, never once for a connection:

    - ``MSG-LEN SP <PRI>``, without a leading zero, is a counted frame (RFC 6587 §3.4.1).
    - ``MSG-LEN SP <`` without a PRI, and ``MSG-LEN SP`` with anything behind it once a
      counted frame has come, is a counted frame if a plausible start or nothing follows its
      end (`boundaries.py`).
    - Everything else is a line, up to LF, or to a NUL that ends one (`line_end`).

    A wrong MSG-LEN shows in what follows the frame.  If that is no plausible start, the next
    one is looked for: in the frame, whose MSG-LEN was too large then, or behind it.  What
    lies between is returned as it is, and `framing_errors` counts.

    No decision depends on where chunks are cut.  One that takes bytes which have not come
    yet is put off, and `undecided` says so; `settle` decides with what there is.

    A byte order mark at the start of the stream is removed.

    Args:
        frame_bytes_max: Longest frame to keep, in bytes.
        split: Longer ones are split instead of cut.
        keep_empty: Empty lines between lines are frames of a single LF.

    Attributes:
        error: The peer speaks something else, TLS or RELP: nothing is returned then.
        framing_errors: How often bytes were not what the MSG-LEN before them announces.
        problem: The last of these errors, in words.
    """

    def __init__(
        self, *, frame_bytes_max: int, split: bool = False, keep_empty: bool = False
    ) -> None:
        super().__init__(frame_bytes_max=frame_bytes_max, split=split)
        self.error: WrongProtocol | None = None
        self.framing_errors = 0
        self.problem = ""
        self._keeps_empty = keep_empty
        # The buffer begins at a boundary.  It is looked at again when it has the wanted
        # bytes, or when a line ends.
        self._wanted_bytes = 1
        self._wants_line = False
        # Of the line in the buffer: no counted frame begins there, and it does not end there.
        self._scanned_bytes = self._searched_bytes = 0
        self._boundaries = 1
        self._waits = False
        self._beginning = Beginning()
        self._counts = False  # a counted frame has come
        self._glued = True  # only separators have come since it, or since the start
        self._last = b""  # the byte before the buffer
        self._rest = Rest.COMES

    @property
    def undecided(self) -> int:
        """Non-zero if something complete may wait for bytes that show what it is.

        It is another number for each boundary.
        """
        return self._boundaries if self._waits and not self._wants_line else 0

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """Take the next bytes of the stream; return the frames they complete."""
        frames = new_frames()
        start, long = 0, self._long
        if long.cut or long.pieces:
            long.forget_marks()
        if long.is_open:
            start = long.take(chunk, 0, frames)
            self._last = chunk[start - 1 : start]
        if self._buffer:
            wanted = self._wanted_bytes - len(self._buffer)
            if len(chunk) < wanted and not (self._wants_line and self._ends_line(chunk)):
                self._buffer += chunk
                return built(frames)
            chunk = b"".join((self._buffer, chunk))
        if self.error is None:
            self._cut(chunk, start, frames)
        return built(frames)

    def settle(self) -> Sequence[bytes]:
        """Decide what is undecided as if nothing more came; return what that completes."""
        frames = new_frames()
        self._settle(frames)
        return built(frames)

    def _settle(self, frames: list[bytes]) -> None:
        self._long.forget_marks()
        if self._waits and self.error is None:
            self._rest = max(self._rest, Rest.LATE)
            self._cut(bytes(self._buffer), 0, frames)
            self._rest = Rest.COMES

    def finish(self) -> Sequence[bytes]:
        """Note the end of the stream; return what it completes.

        The last line needs no LF.  Of a counted frame what has come is returned, and is
        a framing error.
        """
        self._rest = Rest.MISSING
        frames = new_frames()
        self._settle(frames)
        if self._long.missing_bytes:
            self._ended_early(self._long.missing_bytes)
        self._long.finish(frames)
        return built(frames)

    def _cut(self, data: bytes, start: int, frames: list[bytes]) -> None:
        """Add the frames of `data` from `start` on to `frames`, and keep what is left."""
        began, limit = start, self._frame_bytes_max
        known = self._scanned_bytes, self._searched_bytes
        self._scanned_bytes = self._searched_bytes = 0
        self._wanted_bytes, self._wants_line, self._waits = 1, False, False
        if not self._beginning.over:
            start = self._beginning.end(data, start, self._rest)
            self._waits = not self._beginning.over and start < len(data)
            if self._beginning.foreign is not None:
                self.error = self._beginning.foreign
                start, self._waits = len(data), False
        while start < len(data) and not self._waits:
            start, self._glued, self._counts, wanted = _cut_frames(
                data, start, limit, self._keeps_empty, self._glued, self._counts, frames
            )
            if wanted and self._rest is Rest.COMES:
                self._wait_for(wanted, len(data) - start)
                break
            if start < len(data):
                start = self._next(data, start, known if start == began else (0, 0), frames)
        self._buffer = bytearray(memoryview(data)[start:])
        if start != began:
            self._last = data[start - 1 : start]
            self._boundaries += 1

    def _next(self, data: bytes, start: int, known: tuple[int, int], frames: list[bytes]) -> int:
        """Take the frame at `start`; return where the next one begins, or `start` to wait.

        Args:
            known: In so many bytes of it no counted frame begins, and so many are not its
                end, if it is a line.
        """
        if self._glued and (after := after_separators(data, start)) != start:
            return after
        if self._rest is not Rest.MISSING and may_be_count(data, start):
            return self._wait(start, until=len(data) + 1)
        count = COUNT.match(data, start)
        if count is None:
            return self._uncounted(data, start, known, frames)
        body, length = count.end(), int(count[1])
        pri = PRI.match(data, body)
        if pri is not None and length >= len(pri[0]):
            return self._counted(data, start, body, length, frames)
        if length == 0 and not self._counts:
            may_count = data[body : body + 1].isdigit()
        else:
            may_count = self._counts or data.startswith(b"<", body)
        if not may_count or length > self._frame_bytes_max:
            return self._uncounted(data, start, known, frames)
        stop = body + length
        followed = is_followed(data, start, stop, self._rest)
        if followed is None:
            return self._wait(start, until=max(stop, len(data)) + 1)
        if not followed:
            return self._uncounted(data, start, known, frames)
        return self._take(data, body, stop, frames)

    def _uncounted(
        self, data: bytes, start: int, known: tuple[int, int], frames: list[bytes]
    ) -> int:
        before = data[start - 1 : start] if start else self._last
        if self._glued and before.isdigit():
            size = rest_of_count(data, start, self._rest)
            if size < 0:
                return self._wait(start, until=len(data) + 1)
            if size:
                self._wrong("the bytes announced for a frame reach into the next count")
                return start + size
        return self._line(data, start, known, frames)

    def _counted(self, data: bytes, start: int, body: int, length: int, frames: list[bytes]) -> int:
        """Take the frame of `length` bytes that begins at `body` with a PRI."""
        stop = body + min(length, self._frame_bytes_max)
        if stop > len(data):
            return self._incomplete(data, start, body, length, frames)
        if length > self._frame_bytes_max:
            # Its end is too far away to see what follows, and may never come.
            inner = inner_start(data[:stop], body, stop)
            if 0 < inner < stop:
                return self._resume(data, body, inner, length, frames)
            self._long.begin_counted(data[body:stop], length, frames)
            self._glued = self._counts = True
            return self._long.take(data, stop, frames)
        if inner := inner_start(data, body, stop):
            followed = is_followed(data, start, stop, self._rest)
            if followed is None:
                return self._wait(start, until=len(data) + 1)
            if not followed and inner < stop:
                return self._resume(data, body, inner, length, frames)
        return self._take(data, body, stop, frames)

    def _incomplete(
        self, data: bytes, start: int, body: int, length: int, frames: list[bytes]
    ) -> int:
        """Wait for the rest of a counted frame, or go on without it."""
        wanted = body + min(length, self._frame_bytes_max)
        if self._rest is Rest.COMES:
            return self._wait(start, until=wanted)
        inner = inner_start(data, body, len(data))
        if 0 < inner < len(data):
            return self._resume(data, body, inner, length, frames)
        if self._rest is Rest.MISSING:
            self._ended_early(body + length - len(data))
        elif data.endswith(b"\n"):  # the text was cut, and its count was not
            self._wrong(f"a frame of {length} bytes was announced, a line of fewer came")
        else:
            return self._wait(start, until=wanted)
        return self._take(data, body, len(data), frames)

    def _take(self, data: bytes, body: int, stop: int, frames: list[bytes]) -> int:
        if body < stop:
            frames.append(data[body:stop])
        self._glued = self._counts = True
        return stop

    def _resume(self, data: bytes, body: int, inner: int, length: int, frames: list[bytes]) -> int:
        """Go on at `inner`, because the count of the frame at `body` is wrong."""
        self._wrong(f"a frame of {length} bytes was announced, another begins in it")
        frames.append(data[body:inner].rstrip(SEPARATORS))
        self._glued = self._counts = True
        return inner

    def _line(self, data: bytes, start: int, known: tuple[int, int], frames: list[bytes]) -> int:
        scanned, searched = known
        longest = start + self._frame_bytes_max + 1  # it may still be the CR of CR LF
        end = line_end(data, start + searched)
        if end is not None and not end.is_sure and self._rest is Rest.COMES:
            if end.stop <= longest:
                self._searched_bytes = end.stop - start
                return self._wait(start, until=len(data) + 1)
            end = None
        stop, after = (len(data),) * 2 if end is None else (end.stop, end.next)
        is_ended = end is not None or self._rest is Rest.MISSING
        if self._counts:
            seen = data if stop <= longest else data[: longest + 1]
            inner, until = next_counted(
                *(seen, start, start + scanned, min(stop, len(seen))),
                *(self._frame_bytes_max, self._rest),
            )
            if until and stop <= longest:
                until = until if end is not None else min(until, longest + 1)
                return self._wait(start, until=until)
            if inner < min(stop, len(seen)) and not until:
                self._wrong("octets that are no frame stand before a counted one")
                line = data[start:inner].rstrip(SEPARATORS)
                frames += [line] if line else []
                return inner
        if not is_ended and stop <= longest:
            self._wait_for(-1, stop - start)
            self._searched_bytes = stop - start
            return start
        if self._glued and self._counts and PRI.match(data, start) is None:
            self._wrong(f"no frame follows a counted one, but {data[start : start + 20]!r}")
        self._glued = False
        if not is_ended:
            self._long.begin_line(data[start:], frames)
            return stop
        line = data[start:stop].removesuffix(b"\r")
        if len(line) > self._frame_bytes_max:
            self._long.take_line(line, frames)
        elif line:
            frames.append(line)
        elif end is not None and self._keeps_empty:
            frames.append(b"\n")
        return after

    def _ends_line(self, chunk: bytes) -> bool:
        """Whether `chunk` ends the line in the buffer, or may show that it is none."""
        if b"\n" in chunk or (b"\0" in chunk and line_end(chunk, 0) is not None):
            return True
        return self._counts and holds_counted(bytes(self._buffer[-START_BYTES_MAX:]) + chunk)

    def _wait(self, start: int, *, until: int) -> int:
        self._waits = True
        self._wanted_bytes = until - start
        return start

    def _wait_for(self, wanted: int, had_bytes: int) -> None:
        """Wait for so many bytes, or with a negative number for the end of a line."""
        self._waits = True
        self._wants_line = wanted < 0
        self._wanted_bytes = wanted
        if wanted < 0:
            self._wanted_bytes = self._frame_bytes_max + 2
            self._scanned_bytes = max(0, had_bytes - START_BYTES_MAX)

    def _ended_early(self, missing_bytes: int) -> None:
        self._wrong(f"the stream ended {missing_bytes} bytes before the end of a frame")

    def _wrong(self, problem: str) -> None:
        self.framing_errors += 1
        self.problem = problem


def _cut_lines(
    data: bytes,
    start: int,
    frame_bytes_max: int,
    keep_empty: bool,
    glued: bool,
    counts: bool,
    frames: list[bytes],
) -> tuple[int, bool, bool, int]:
    """Add all lines of `data` that are whole to `frames`, if each of them is nothing else.

    `AutoDecoder` takes what is left one by one.  `relay.codec.frames.cut_frames` takes usual
    counted frames too, and says what is missing of the next frame.

    Returns:
        As `relay.codec.frames.cut_frames`.
    """
    last = data.rfind(b"\n", start)
    if glued and not counts and last >= start:
        start = after_separators(data, start)
    text = data[start:last]
    if counts or last < start or b"\0" in text or may_hold_count(text):
        return start, glued, counts, 0
    lines = split_lines(text, frame_bytes_max, keep_empty)
    if lines is None:
        return start, glued, counts, 0
    frames += lines
    return last + 1, False, counts, 0


_cut_frames = native.frames.cut_frames if IS_COMPILED else _cut_lines


def encode_octet_counted(messages: Iterable[bytes]) -> bytes:
    """Frame `messages` for one write (RFC 6587 §3.4.1)."""
    return b"".join([b"%d %s" % (len(message), message) for message in messages])


def encode_newline(messages: Iterable[bytes]) -> bytes:
    """Frame `messages` with LF for one write (RFC 6587 §3.4.2).

    A frame that holds the delimiter would arrive as two.  So LF and NUL inside a
    message are written as ``#012`` and ``#000``, as rsyslog does; at its end they and
    CR are delimiters that came along and are dropped.  A message of nothing else
    is written out, because receivers drop empty lines.
    """
    return b"".join([_one_line(message) for message in messages])


def _one_line(message: bytes) -> bytes:
    text = message.rstrip(SEPARATORS)
    if not text:
        text = message.replace(b"\r", b"#015")
    if b"\n" in text or b"\0" in text:
        text = text.replace(b"\n", b"#012").replace(b"\0", b"#000")
    return text + b"\n"


# RFC 3164 §4.3.3: what a relay puts before a message without a PRI, and every receiver assumes.
_DEFAULT_PRI = b"<13>"
# What a receiver takes for the start of something else than a line: for a count (rsyslog any
# digit), for TLS, or for bytes before the first line that are no part of it.
_NO_LINE_START = re.compile(rb"[0-9\r\x16]|" + BYTE_ORDER_MARK)


def encode_octet_counted_syslog(messages: Iterable[bytes]) -> bytes:
    """Frame `messages` for receivers that believe a count only if a PRI follows it."""
    return encode_octet_counted(
        [message if message.startswith(b"<") else _DEFAULT_PRI + message for message in messages]
    )


def encode_newline_syslog(messages: Iterable[bytes]) -> bytes:
    """Frame `messages` so that no receiver takes the start of a line for an octet count.

    A message that begins like one gets a PRI.
    """
    doubtful = _NO_LINE_START.match
    return encode_newline(
        [_DEFAULT_PRI + message if doubtful(message) else message for message in messages]
    )
