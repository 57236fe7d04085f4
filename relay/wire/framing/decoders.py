"""Cut a syslog byte stream into frames, and put frames into a stream (RFC 6587 §3.4).

Strategy: the decoder takes chunks of any size and returns *all* frames that are now
complete.  It never raises on input.  A frame longer than the limit is cut there and the
rest of it discarded, so that no part of a long message turns up as a message of its own;
or it is split into several messages (`long_frame.py`).

Nothing a peer sends makes a decoder keep more than one frame of the longest
allowed size plus one chunk, and a byte of it takes little more than a byte of
memory, however small the chunks are that it comes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from relay.codec import IS_COMPILED, built, native, new_frames
from relay.model.errors import WrongProtocol
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
    next_counted,
    rest_of_count,
)
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK
from relay.wire.framing.long_frame import LongFrames, line_end
from relay.wire.framing.open_frames import DecoderState


class _Position:
    """Where a decoder is in its stream.

    Attributes:
        long: The frames above the limit; tells which of those returned last were cut or split.
    """

    def __init__(self, long: LongFrames) -> None:
        self.long = long
        # The buffer begins at a boundary.  It is looked at again when it has the wanted
        # bytes, or when a line ends.
        self._buffer = bytearray()
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

    def state(self) -> DecoderState:
        """The state with which another decoder goes on behind the bytes that this one has taken."""
        return DecoderState(
            buffer=bytes(self._buffer),
            wanted_bytes=self._wanted_bytes,
            wants_line=self._wants_line,
            scanned_bytes=self._scanned_bytes,
            searched_bytes=self._searched_bytes,
            waits=self._waits,
            has_begun=self._beginning.over,
            mark_removed=self._beginning.mark_removed,
            counts=self._counts,
            glued=self._glued,
            last=self._last,
            long=self.long.state(),
        )

    def resume(self, state: DecoderState) -> None:
        """Go on where another decoder was; to be called before anything else."""
        self._buffer = bytearray(state.buffer)
        self._wanted_bytes, self._wants_line = state.wanted_bytes, state.wants_line
        self._scanned_bytes, self._searched_bytes = state.scanned_bytes, state.searched_bytes
        self._waits, self._counts, self._glued = state.waits, state.counts, state.glued
        self._beginning.over = state.has_begun
        self._beginning.mark_removed = state.mark_removed
        self._last = state.last
        if state.long is not None:
            self.long.resume(state.long)


class AutoDecoder(_Position):
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
        problem: The text of the last of these errors.
    """

    def __init__(
        self, *, frame_bytes_max: int, split: bool = False, keep_empty: bool = False
    ) -> None:
        self.error: WrongProtocol | None = None
        self.framing_errors = 0
        self.problem = ""
        self._frame_bytes_max = frame_bytes_max
        self._keeps_empty = keep_empty
        super().__init__(LongFrames(frame_bytes_max=frame_bytes_max, split=split))
        self._rest = Rest.COMES

    @property
    def unfinished_bytes(self) -> int:
        """Bytes buffered of the incomplete frame."""
        return len(self._buffer) + self.long.kept_bytes

    @property
    def undecided(self) -> int:
        """Non-zero if something complete may wait for bytes that show what it is.

        It is another number for each boundary.
        """
        return self._boundaries if self._waits and not self._wants_line else 0

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """Take the next bytes of the stream; return the frames they complete."""
        frames = new_frames()
        start, long = 0, self.long
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
        self.long.forget_marks()
        if self._waits and self.error is None:
            self._rest = max(self._rest, Rest.LATE)
            self._cut(bytes(self._buffer), 0, frames)
            self._rest = Rest.COMES

    def finish(self) -> Sequence[bytes]:
        """Note the end of the stream; return what it completes.

        The last line needs no LF.  An incomplete counted frame is returned, and is a framing
        error.
        """
        self._rest = Rest.MISSING
        frames = new_frames()
        self._settle(frames)
        if self.long.missing_bytes:
            self._wrong(_ended_early(self.long.missing_bytes))
        self.long.finish(frames)
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
            if IS_COMPILED:  # takes the usual frames, and says what is missing of the next one
                start, self._glued, self._counts, wanted = native.frames.cut_frames(
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
            self.long.begin_counted(data[body:stop], length, frames)
            self._glued = self._counts = True
            return self.long.take(data, stop, frames)
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
            self._wrong(_ended_early(body + length - len(data)))
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
                self._wrong("bytes that are no frame stand before a counted one")
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
            self.long.begin_line(data[start:], frames)
            return stop
        line = data[start:stop].removesuffix(b"\r")
        if len(line) > self._frame_bytes_max:
            self.long.take_line(line, frames)
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
        self._waits, self._wants_line, self._wanted_bytes = True, wanted < 0, wanted
        if wanted < 0:
            self._wanted_bytes = self._frame_bytes_max + 2
            self._scanned_bytes = max(0, had_bytes - START_BYTES_MAX)

    def _wrong(self, problem: str) -> None:
        self.framing_errors += 1
        self.problem = problem


def _ended_early(missing_bytes: int) -> str:
    return f"the stream ended {missing_bytes} bytes before the end of a frame"


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
