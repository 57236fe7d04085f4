"""Cut a syslog byte stream into frames, and put frames into a stream (RFC 6587 §3.4).

Strategy: a decoder takes chunks of any size and returns *all* frames that are
now complete.  It never raises on input: a peer's mistake ends up in `error`,
after the good frames before the mistake have been returned.  A frame longer than
the limit is cut there, the rest of it is discarded and the stream stays in step,
so that no part of a long message turns up as a message of its own.  Or it is split
into several messages (`long_frame.py`).  `cut` and `pieces` tell which frames of those
returned last were too long.

Nothing a peer sends makes a decoder keep more than one frame of the longest
allowed size plus one chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from relay.model.errors import FramingError
from relay.wire.acceleration import IS_COMPILED, compiled
from relay.wire.long_frame import CutFrame, SplitFrame

__all__ = [
    "AutoDecoder",
    "FrameDecoder",
    "NewlineDecoder",
    "OctetCountingDecoder",
    "encode_newline",
    "encode_octet_counted",
]

# RFC 6587 §3.4.1 wants a non-zero first digit; senders in the field pad with
# zeros and send empty frames, and put LF, CR or NUL between frames.
_MSG_LEN_SP = re.compile(rb"[\r\n\0]*([0-9]{1,10}) ")
_MSG_LEN_SO_FAR = re.compile(rb"[\r\n\0]*[0-9]{0,10}\Z")
_BETWEEN_FRAMES = b"\r\n\0"
_TLS_RECORD = b"\x16\x03"  # a handshake of SSL 3 or later (RFC 8446 §5.1)


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
        """Which of the frames returned last were cut: index to octets of the whole."""

    @property
    def pieces(self) -> dict[int, int]:
        """Which of the frames returned last are pieces of one that was split: index to
        the number of the piece, from 1."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next octets of the stream; return the frames they complete."""

    def finish(self) -> list[bytes]:
        """Note the end of the stream; return what it completes."""


class OctetCountingDecoder:
    """Decode ``MSG-LEN SP SYSLOG-MSG`` frames (RFC 6587 §3.4.1, RFC 5425 §4.3).

    Args:
        frame_bytes_max: Longest SYSLOG-MSG to keep, in octets.  RFC 5425
            §4.3.1: receivers MUST take 2048 and SHOULD take 8192.
        split: Longer ones are split instead of cut.

    Octet counting has no point to resynchronise at, so after `error` is set the
    caller has to close the connection.
    """

    def __init__(self, *, frame_bytes_max: int, split: bool = False) -> None:
        self.error: FramingError | None = None
        self.truncated = 0
        self.cut: dict[int, int] = {}
        self.pieces: dict[int, int] = {}
        self._frame_bytes_max = frame_bytes_max
        self._splits = split
        # Chunks wait here, unjoined, until they can hold one more whole frame.
        # A peer that sends one octet at a time therefore costs O(1) per octet.
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._wanted_bytes = 1
        self._skip_bytes = 0  # what is still to come of a frame that is too long
        self._split: SplitFrame | None = None  # takes it, unless it is discarded

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next octets of the stream; return the frames they complete."""
        if self.cut or self.pieces:
            self.cut, self.pieces = {}, {}
        if self.error is not None:
            return []
        frames: list[bytes] = []
        if self._skip_bytes:
            chunk = chunk[self._skip(chunk, frames) :]
        if not chunk:  # or a frame skipped octet by octet would grow the list
            return frames
        self._chunks.append(chunk)
        self._buffered_bytes += len(chunk)
        if self._buffered_bytes < self._wanted_bytes:
            return frames
        return self._cut(b"".join(self._chunks), frames)

    def finish(self) -> list[bytes]:
        """Note the end of the stream; a partial frame is then an error.

        Only of one that is being split is the rest returned, because the pieces
        before it were.
        """
        self.cut, self.pieces = {}, {}
        frames: list[bytes] = []
        rest = b"".join(self._chunks).strip(_BETWEEN_FRAMES)
        if self.error is None and (rest or self._skip_bytes):
            self.error = FramingError(f"the stream ended {len(rest)} octets into a frame")
        if self._split is not None:
            self._end_split(self._split, frames)
        return frames

    def _cut(self, buffer: bytes, frames: list[bytes]) -> list[bytes]:
        start = 0
        while start < len(buffer):
            header = _MSG_LEN_SP.match(buffer, start)
            if header is None:
                if _MSG_LEN_SO_FAR.match(buffer, start):
                    # Separators are dropped, or a peer could grow the buffer with them.
                    rest = buffer[start:].lstrip(_BETWEEN_FRAMES)
                    return self._keep(frames, rest, wanted=len(rest) + 1)
                return self._fail(frames, buffer[start:].lstrip(_BETWEEN_FRAMES)[:20])
            length = int(header[1])
            kept = min(length, self._frame_bytes_max)
            stop = header.end() + kept
            if stop > len(buffer):
                start = header.start(1)  # without the separators
                return self._keep(frames, buffer[start:], wanted=stop - start)
            if kept < length:
                self._begin_long(buffer[header.end() : stop], length, frames)
                stop += self._skip(buffer[stop : stop + self._skip_bytes], frames)
            elif kept:
                frames.append(buffer[header.end() : stop])
            start = stop
        return self._keep(frames, b"", wanted=1)

    def _begin_long(self, kept: bytes, length: int, frames: list[bytes]) -> None:
        self._skip_bytes = length - len(kept)
        if self._splits:
            self._split = SplitFrame(frame_bytes_max=self._frame_bytes_max)
            self._split.feed(kept)  # completes nothing: the octet after it is missing
            return
        self.truncated += 1
        self.cut[len(frames)] = length
        frames.append(kept)

    def _skip(self, octets: bytes, frames: list[bytes]) -> int:
        """Take the rest of a long frame from the start of `octets`; return its length."""
        skipped = octets[: self._skip_bytes]
        self._skip_bytes -= len(skipped)
        if self._split is not None:
            _add_pieces(self._split, self._split.feed(skipped), frames, self.pieces)
            if not self._skip_bytes:
                self._end_split(self._split, frames)
        return len(skipped)

    def _end_split(self, split: SplitFrame, frames: list[bytes]) -> None:
        _add_pieces(split, split.end(), frames, self.pieces)
        self._split = None

    def _keep(self, frames: list[bytes], rest: bytes, *, wanted: int) -> list[bytes]:
        self._chunks = [rest]
        self._buffered_bytes = len(rest)
        self._wanted_bytes = wanted
        return frames

    def _fail(self, frames: list[bytes], found: bytes) -> list[bytes]:
        self.error = FramingError(
            f"expected a length in octets and a space (octet counting), found {found!r}"
        )
        return self._keep(frames, b"", wanted=1)


class NewlineDecoder:
    """Decode frames that end with LF, CR LF or NUL (RFC 6587 §3.4.2).

    Empty lines are separators, not frames, unless they are to be kept.  Any stream is
    valid, so `error` is always None.  A line that is cut is returned when it ends, because
    only then its length is known.

    Args:
        frame_bytes_max: Longest frame to keep, in octets.
        split: Longer ones are split instead of cut.
        keep_empty: Empty lines are frames too, of a single LF: a frame of nothing could not
            be sent on.
    """

    error: FramingError | None = None

    def __init__(
        self, *, frame_bytes_max: int, split: bool = False, keep_empty: bool = False
    ) -> None:
        self.truncated = 0
        self.cut: dict[int, int] = {}
        self.pieces: dict[int, int] = {}
        self._frame_bytes_max = frame_bytes_max
        self._splits = split
        self._keeps_empty = keep_empty
        self._chunks: list[bytes] = []  # of the line that has no end yet
        self._buffered_bytes = 0
        self._long: CutFrame | SplitFrame | None = None  # the line, if it is too long
        self._held = b""  # a CR of it that may belong to its end

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next octets of the stream; return the frames they complete."""
        if self.cut or self.pieces:
            self.cut, self.pieces = {}, {}
        if b"\0" in chunk:
            chunk = chunk.replace(b"\0", b"\n")
        frames: list[bytes] = []
        if self._long is not None:
            octets, end, chunk = chunk.partition(b"\n")
            self._feed_long(self._long, octets, frames)
            if end:
                self._end_long(self._long, frames)
        whole, end, rest = chunk.rpartition(b"\n")
        if end:
            self._chunks.append(whole)
            frames = self._lines(b"".join(self._chunks), frames, ended=True)
            self._chunks, self._buffered_bytes = [], 0
        if rest:
            self._chunks.append(rest)
            self._buffered_bytes += len(rest)
            # One octet more than the limit may still be the CR of CR LF.
            if self._buffered_bytes > self._frame_bytes_max + 1:
                self._long = self._new_long()
                self._feed_long(self._long, b"".join(self._chunks), frames)
                self._chunks, self._buffered_bytes = [], 0
        return frames

    def finish(self) -> list[bytes]:
        """Note the end of the stream; the last line needs no LF."""
        self.cut, self.pieces = {}, {}
        frames: list[bytes] = []
        if self._long is not None:
            self._end_long(self._long, frames)
        frames = self._lines(b"".join(self._chunks), frames, ended=False)
        self._chunks, self._buffered_bytes = [], 0
        return frames

    def _lines(self, text: bytes, frames: list[bytes], *, ended: bool) -> list[bytes]:
        """`frames` and then the lines of `text`; the last of them has `ended`, or not."""
        if IS_COMPILED:
            keeps_empty = self._keeps_empty and ended
            found = compiled.split_lines(text, self._frame_bytes_max, keeps_empty)
            if found is not None:
                return frames + found if frames else found
        # Looking for one octet is many times faster than for two.
        if b"\r" in text and (b"\r\n" in text or text.endswith(b"\r")):
            lines = [line.removesuffix(b"\r") for line in text.split(b"\n")]
        else:
            lines = text.split(b"\n")
        if self._keeps_empty and ended:
            lines = [line or b"\n" for line in lines]
        limit = self._frame_bytes_max
        if len(text) <= limit or max(map(len, lines)) <= limit:
            if b"" in lines:
                lines = [line for line in lines if line]
            return frames + lines if frames else lines
        for line in lines:
            if len(line) > limit:
                long = self._new_long()
                self._take_long(long, line, frames)
                self._end_long(long, frames)
            elif line:
                frames.append(line)
        return frames

    def _new_long(self) -> CutFrame | SplitFrame:
        return (SplitFrame if self._splits else CutFrame)(frame_bytes_max=self._frame_bytes_max)

    def _feed_long(self, long: CutFrame | SplitFrame, octets: bytes, frames: list[bytes]) -> None:
        """Take the next octets of a line whose end is not in sight."""
        octets = self._held + octets
        self._held = octets[-1:] if octets.endswith(b"\r") else b""
        self._take_long(long, octets.removesuffix(b"\r"), frames)

    def _take_long(self, long: CutFrame | SplitFrame, octets: bytes, frames: list[bytes]) -> None:
        complete = long.feed(octets)
        if complete and isinstance(long, SplitFrame):
            _add_pieces(long, complete, frames, self.pieces)

    def _end_long(self, long: CutFrame | SplitFrame, frames: list[bytes]) -> None:
        self._long, self._held = None, b""
        if isinstance(long, SplitFrame):
            _add_pieces(long, long.end(), frames, self.pieces)
            return
        self.truncated += 1
        self.cut[len(frames)] = long.frame_bytes
        frames += long.end()


class AutoDecoder:
    """Find out by a connection's first octets which framing it uses.

    Digits and a space mean octet counting, anything else lines; LF, CR and NUL
    before the first frame say nothing.  The choice holds for the connection.  What
    looks like TLS is neither: nothing in it is a message.

    Args:
        frame_bytes_max: Longest frame to keep, in octets.
        split: Longer ones are split instead of cut.
        keep_empty: As for `NewlineDecoder`, after the first line that is not empty.
    """

    def __init__(
        self, *, frame_bytes_max: int, split: bool = False, keep_empty: bool = False
    ) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._splits = split
        self._keeps_empty = keep_empty
        self._undecided = b""  # at most ten digits, or one octet of TLS
        self._decoder: OctetCountingDecoder | NewlineDecoder | None = None
        self._is_tls = False

    @property
    def error(self) -> FramingError | None:
        if self._is_tls:
            return FramingError("the peer speaks TLS on a plain-text port")
        return self._decoder.error if self._decoder is not None else None

    @property
    def truncated(self) -> int:
        return self._decoder.truncated if self._decoder is not None else 0

    @property
    def cut(self) -> dict[int, int]:
        return self._decoder.cut if self._decoder is not None else {}

    @property
    def pieces(self) -> dict[int, int]:
        return self._decoder.pieces if self._decoder is not None else {}

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next octets of the stream; return the frames they complete."""
        if self._decoder is not None:
            return self._decoder.feed(chunk)
        chunk = (self._undecided + chunk).lstrip(_BETWEEN_FRAMES)
        self._is_tls = self._is_tls or chunk.startswith(_TLS_RECORD)
        if self._is_tls:
            return []
        if _MSG_LEN_SO_FAR.match(chunk) or chunk == _TLS_RECORD[:1]:
            self._undecided = chunk
            return []
        counted = _MSG_LEN_SP.match(chunk) is not None
        self._decoder = self._counting() if counted else self._lines()
        return self._decoder.feed(chunk)

    def finish(self) -> list[bytes]:
        """Note the end of the stream; return what it completes."""
        if self._is_tls:
            return []
        if self._decoder is None:  # digits only: a line without an end
            self._decoder = self._lines()
            return self._decoder.feed(self._undecided) + self._decoder.finish()
        return self._decoder.finish()

    def _counting(self) -> OctetCountingDecoder:
        return OctetCountingDecoder(frame_bytes_max=self._frame_bytes_max, split=self._splits)

    def _lines(self) -> NewlineDecoder:
        return NewlineDecoder(
            frame_bytes_max=self._frame_bytes_max,
            split=self._splits,
            keep_empty=self._keeps_empty,
        )


def _add_pieces(
    split: SplitFrame, complete: list[bytes], frames: list[bytes], pieces: dict[int, int]
) -> None:
    """Add the pieces that `split` has just returned to `frames`, and their numbers."""
    first = split.pieces - len(complete) + 1
    pieces.update(enumerate(range(first, split.pieces + 1), len(frames)))
    frames += complete


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
    text = message.rstrip(_BETWEEN_FRAMES)
    if not text:
        text = message.replace(b"\r", b"#015")
    if b"\n" in text or b"\0" in text:
        text = text.replace(b"\n", b"#012").replace(b"\0", b"#000")
    return text + b"\n"
