"""Cut a syslog byte stream into frames, and put frames into a stream (RFC 6587 §3.4).

Strategy: a decoder takes chunks of any size and returns *all* frames that are
now complete.  It never raises on input: a peer's mistake ends up in `error`,
after the good frames before the mistake have been returned.  A frame longer than
the limit is cut there, the rest of it is discarded and the stream stays in step,
so that no part of a long message turns up as a message of its own.

Nothing a peer sends makes a decoder keep more than one frame of the longest
allowed size plus one chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from relay.model.errors import FramingError

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

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next octets of the stream; return the frames they complete."""

    def finish(self) -> list[bytes]:
        """Note the end of the stream; return what it completes."""


class OctetCountingDecoder:
    """Decode ``MSG-LEN SP SYSLOG-MSG`` frames (RFC 6587 §3.4.1, RFC 5425 §4.3).

    Args:
        frame_bytes_max: Longest SYSLOG-MSG to keep, in octets.  RFC 5425
            §4.3.1: receivers MUST take 2048 and SHOULD take 8192.

    Octet counting has no point to resynchronise at, so after `error` is set the
    caller has to close the connection.
    """

    def __init__(self, *, frame_bytes_max: int) -> None:
        self.error: FramingError | None = None
        self.truncated = 0
        self._frame_bytes_max = frame_bytes_max
        # Chunks wait here, unjoined, until they can hold one more whole frame.
        # A peer that sends one octet at a time therefore costs O(1) per octet.
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._wanted_bytes = 1
        self._skip_bytes = 0  # what is still to come of a frame that was cut

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next octets of the stream; return the frames they complete."""
        if self.error is not None:
            return []
        if self._skip_bytes:
            skipped = min(self._skip_bytes, len(chunk))
            self._skip_bytes -= skipped
            chunk = chunk[skipped:]
        if not chunk:  # or a frame skipped octet by octet would grow the list
            return []
        self._chunks.append(chunk)
        self._buffered_bytes += len(chunk)
        if self._buffered_bytes < self._wanted_bytes:
            return []
        return self._cut(b"".join(self._chunks))

    def finish(self) -> list[bytes]:
        """Note the end of the stream; a partial frame is then an error."""
        rest = b"".join(self._chunks).strip(_BETWEEN_FRAMES)
        if self.error is None and (rest or self._skip_bytes):
            self.error = FramingError(f"the stream ended {len(rest)} octets into a frame")
        return []

    def _cut(self, buffer: bytes) -> list[bytes]:
        frames: list[bytes] = []
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
            if kept:
                frames.append(buffer[header.end() : stop])
            if kept < length:
                self.truncated += 1
                self._skip_bytes = max(0, header.end() + length - len(buffer))
                stop = min(header.end() + length, len(buffer))
            start = stop
        return self._keep(frames, b"", wanted=1)

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

    Empty lines are separators, not frames.  Any stream is valid, so `error` is
    always None.

    Args:
        frame_bytes_max: Longest frame to keep, in octets.
    """

    error: FramingError | None = None

    def __init__(self, *, frame_bytes_max: int) -> None:
        self.truncated = 0
        self._frame_bytes_max = frame_bytes_max
        self._chunks: list[bytes] = []  # of the line that has no end yet
        self._buffered_bytes = 0
        self._discarding = False  # the rest of a line that was cut

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next octets of the stream; return the frames they complete."""
        if b"\0" in chunk:
            chunk = chunk.replace(b"\0", b"\n")
        if self._discarding:
            _, end, chunk = chunk.partition(b"\n")
            self._discarding = not end
        whole, end, rest = chunk.rpartition(b"\n")
        frames: list[bytes] = []
        if end:
            self._chunks.append(whole)
            frames = self._lines(b"".join(self._chunks))
            self._chunks, self._buffered_bytes = [], 0
        if rest:
            self._chunks.append(rest)
            self._buffered_bytes += len(rest)
            # One octet more than the limit may still be the CR of CR LF.
            if self._buffered_bytes > self._frame_bytes_max + 1:
                frames.append(self._truncate(b"".join(self._chunks)))
                self._chunks, self._buffered_bytes = [], 0
                self._discarding = True
        return frames

    def finish(self) -> list[bytes]:
        """Note the end of the stream; the last line needs no LF."""
        frames = self._lines(b"".join(self._chunks))
        self._chunks, self._buffered_bytes = [], 0
        return frames

    def _lines(self, text: bytes) -> list[bytes]:
        if b"\r\n" in text or text.endswith(b"\r"):
            lines = [line.removesuffix(b"\r") for line in text.split(b"\n")]
        else:
            lines = text.split(b"\n")
        if len(text) > self._frame_bytes_max:
            lines = [self._truncate(line) for line in lines]
        return [line for line in lines if line]

    def _truncate(self, line: bytes) -> bytes:
        if len(line) <= self._frame_bytes_max:
            return line
        self.truncated += 1
        return line[: self._frame_bytes_max]


class AutoDecoder:
    """Find out by a connection's first octets which framing it uses.

    Digits and a space mean octet counting, anything else lines; LF, CR and NUL
    before the first frame say nothing.  The choice holds for the connection.  What
    looks like TLS is neither: nothing in it is a message.
    """

    def __init__(self, *, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
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
        self._decoder = (OctetCountingDecoder if counted else NewlineDecoder)(
            frame_bytes_max=self._frame_bytes_max
        )
        return self._decoder.feed(chunk)

    def finish(self) -> list[bytes]:
        """Note the end of the stream; return what it completes."""
        if self._is_tls:
            return []
        if self._decoder is None:  # digits only: a line without an end
            self._decoder = NewlineDecoder(frame_bytes_max=self._frame_bytes_max)
            return self._decoder.feed(self._undecided) + self._decoder.finish()
        return self._decoder.finish()


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
