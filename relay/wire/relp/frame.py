"""RELP frames: ``txnr SP command SP datalen [SP data] LF``.

    txnr    = 1*9DIGIT      0 only for hints; leading zeros are taken, never sent
    command = 1*32ALPHA     case-sensitive
    datalen = *9DIGIT       bytes of data; none at all means 0, as librelp takes it
    data    = datalen bytes of any value, absent with its SP if datalen is 0

As all decoders here, this one never raises on input: a violation becomes `error`
after the frames before it have been returned.  One leniency beyond librelp: a SP
after a zero datalen, because a known client sends it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from relay.codec import TXNR_MAX, cut_run, encode_consecutive_answers
from relay.model.errors import RelpError
from relay.wire.framing.long_frame import SplitFrame

SERVERCLOSE = b"0 serverclose 0\n"
"""The one hint in use: the server is about to close (not answered)."""

HEADER = re.compile(rb"([0-9]{1,9}) ([a-zA-Z]{1,32}) (?:([0-9]{1,9})( |\n)|(\n))")
"""Up to the data: txnr, command, and datalen with SP or LF, or LF alone."""
HEADER_SO_FAR = re.compile(rb"(?:[0-9]{1,9}(?: (?:[a-zA-Z]{1,32}(?: [0-9]{0,9})?)?)?)?\Z")
"""What a header may begin with, as far as it is there."""
_PLAIN_SYSLOG = re.compile(rb"(?:[0-9]{1,10} )?<")
_TLS_RECORDS = (b"\x16", b"\x15\x03")  # a handshake, which no RELP begins like, and an alert


class RelpFrame(NamedTuple):
    txnr: int
    command: bytes
    data: bytes


class RelpFrameDecoder:
    """Cut a stream into RELP frames.

    Args:
        data_bytes_max: Longest data to keep, in bytes (librelp: 128 KiB).
        truncate: Longer data is cut and the rest discarded, as imrelp does by
            default; otherwise it is an error as soon as its length is known.
        split: With `truncate`: longer data of ``syslog`` becomes several frames of
            the same txnr instead, the last of which comes with the end of the data.

    Attributes:
        cut: Which of the frames returned last were cut: index to bytes of the whole.
        pieces: Which of them are pieces of one that was split: index to the number of
            the piece, from 1.
    """

    def __init__(self, *, data_bytes_max: int, truncate: bool = True, split: bool = False) -> None:
        self.error: RelpError | None = None
        self.truncated = 0
        self.cut: dict[int, int] = {}
        self.pieces: dict[int, int] = {}
        self.data_bytes_max = data_bytes_max
        self._truncate = truncate
        self._splits = split
        self._buffer = bytearray()  # what was not returned yet
        self._wanted_bytes = 1
        # A frame that is too long waits here, and so many bytes of it are to come.
        self._long_frame: RelpFrame | None = None
        self._long_bytes = 0
        self._skip_bytes = 0
        self._split: SplitFrame | None = None  # takes them, unless they are discarded

    def feed(self, chunk: bytes) -> list[RelpFrame]:
        """Take the next bytes of the stream; return the frames they complete."""
        buffer = self._joined(chunk)
        return self._frames(buffer, 0) if buffer else []

    def feed_run(self, chunk: bytes, first_txnr: int) -> tuple[list[bytes], list[RelpFrame]]:
        """Like `feed`, where messages numbered from `first_txnr` on are most likely.

        Returns:
            The data of those at the start, and all frames after them, which `cut` and
            `pieces` are about.
        """
        buffer = self._joined(chunk)
        if not buffer:
            return [], []
        messages: list[bytes] = []
        start = 0
        if self._long_frame is None:
            messages, start = cut_run(buffer, first_txnr, self.data_bytes_max)
        return messages, self._frames(buffer, start)

    def _joined(self, chunk: bytes) -> bytes:
        """All that was not returned yet, if that may be enough for something."""
        if self.cut or self.pieces:
            self.cut, self.pieces = {}, {}
        if self.error is not None or not chunk:
            return b""
        if not self._buffer:
            return chunk
        if len(self._buffer) + len(chunk) < self._wanted_bytes and self._long_frame is None:
            self._buffer += chunk
            return b""
        return b"".join((self._buffer, chunk))

    def _frames(self, buffer: bytes, start: int) -> list[RelpFrame]:
        """The frames of `buffer` from `start` on; a part of one at its end is kept."""
        frames: list[RelpFrame] = []
        start += self._end_long_frame(buffer, frames)
        while start < len(buffer) and self.error is None:
            stop = self._next_frame(buffer, start, frames)
            if stop == start:  # incomplete
                self._keep(buffer[start:])
                return frames
            start = stop
        self._keep(b"", wanted=1)
        return frames

    @property
    def inside_frame(self) -> bool:
        """Whether the stream would end inside a frame if it ended now."""
        return bool(self._buffer) or self._long_frame is not None

    @property
    def unfinished_bytes(self) -> int:
        """Bytes buffered of the incomplete frame."""
        long = len(self._long_frame.data) if self._long_frame is not None else 0
        split = self._split.kept_bytes if self._split is not None else 0
        return len(self._buffer) + long + split

    @property
    def inside_split(self) -> bool:
        """Whether some pieces of a frame were returned and others are to come."""
        return self._split is not None and self._split.pieces > 0

    def _next_frame(self, buffer: bytes, start: int, frames: list[RelpFrame]) -> int:
        """Add the frame at `start`; return where it ends, or `start` if it is incomplete."""
        header = HEADER.match(buffer, start)
        if header is None:
            if HEADER_SO_FAR.match(buffer, start):
                self._wanted_bytes = len(buffer) - start + 1
                return start
            return self._fail(buffer, _no_header(buffer[start : start + 20]))
        txnr, command, datalen, separator, _ = header.groups()
        length = int(datalen) if datalen else 0
        body = header.end()
        if length == 0:
            return self._end_empty_frame(buffer, start, header, frames)
        if separator != b" ":
            return self._fail(buffer, f"LF instead of {length} bytes of data")
        if length > self.data_bytes_max:
            return self._begin_long_frame(buffer, start, header, frames)
        stop = body + length + 1
        if stop > len(buffer):
            self._wanted_bytes = stop - start
            return start
        if buffer[stop - 1] != 0x0A:
            return self._fail(buffer, f"no LF after {length} bytes but {buffer[stop - 1 : stop]!r}")
        frames.append(RelpFrame(int(txnr), command, buffer[body : stop - 1]))
        return stop

    def _end_empty_frame(
        self, buffer: bytes, start: int, header: re.Match[bytes], frames: list[RelpFrame]
    ) -> int:
        stop = header.end()
        if header[4] == b" ":  # a SP that should not be there; LF has to follow it
            if stop == len(buffer):
                self._wanted_bytes = stop - start + 1
                return start
            if buffer[stop] != 0x0A:
                return self._fail(buffer, "data after a datalen of 0")
            stop += 1
        frames.append(RelpFrame(int(header[1]), header[2], b""))
        return stop

    def _begin_long_frame(
        self, buffer: bytes, start: int, header: re.Match[bytes], frames: list[RelpFrame]
    ) -> int:
        length, body = int(header[3]), header.end()
        if not self._truncate:
            return self._fail(buffer, f"datalen {length}, at most {self.data_bytes_max}")
        if len(buffer) - body < self.data_bytes_max:
            self._wanted_bytes = body - start + self.data_bytes_max
            return start
        kept = buffer[body : body + self.data_bytes_max]
        self._long_frame = RelpFrame(int(header[1]), header[2], kept)
        self._long_bytes = length
        self._skip_bytes = length - self.data_bytes_max
        if self._splits and header[2] == b"syslog":
            self._split = SplitFrame(frame_bytes_max=self.data_bytes_max)
            self._split.feed(kept)  # completes nothing: the byte after it is missing
            self._long_frame = self._long_frame._replace(data=b"")
        rest = body + self.data_bytes_max
        return rest + self._end_long_frame(buffer[rest:], frames)

    def _end_long_frame(self, buffer: bytes, frames: list[RelpFrame]) -> int:
        """Take the rest of a frame that is too long; return how many bytes that took."""
        long = self._long_frame
        if long is None:
            return 0
        trailer = self._skip_bytes
        if self._split is not None:
            self._add_pieces(self._split, self._split.feed(buffer[:trailer]), frames)
        if trailer >= len(buffer):
            self._skip_bytes -= len(buffer)
            return len(buffer)
        if buffer[trailer] != 0x0A:
            return self._fail(buffer, "no LF after the data of a frame above the size limit")
        if self._split is not None:
            self._add_pieces(self._split, self._split.end(), frames)
        else:
            self.cut[len(frames)] = self._long_bytes
            frames.append(long)
            self.truncated += 1
        self._long_frame, self._split, self._skip_bytes = None, None, 0
        return trailer + 1

    def _add_pieces(
        self, split: SplitFrame, complete: list[bytes], frames: list[RelpFrame]
    ) -> None:
        assert self._long_frame is not None
        first = split.pieces - len(complete) + 1
        self.pieces.update(enumerate(range(first, split.pieces + 1), len(frames)))
        frames += [self._long_frame._replace(data=piece) for piece in complete]

    def _keep(self, rest: bytes, *, wanted: int | None = None) -> None:
        self._buffer = bytearray(rest)
        if wanted is not None:
            self._wanted_bytes = wanted

    def _fail(self, buffer: bytes, reason: str) -> int:
        self.error = RelpError(reason)
        return len(buffer)


def _no_header(found: bytes) -> str:
    """Describe the bytes found in the place of a RELP header."""
    reason = f"no RELP header: {found!r}"
    if found.startswith(_TLS_RECORDS):
        reason += "; the peer speaks TLS: relp+tls:// is for that"
    elif _PLAIN_SYSLOG.match(found):
        reason += "; this is plain syslog: tcp:// is for that"
    return reason


def next_txnr(txnr: int) -> int:
    """The number after `txnr`: 1 follows 999,999,999."""
    return txnr + 1 if txnr < TXNR_MAX else 1


def encode_frame(txnr: int, command: bytes, data: bytes) -> bytes:
    """One frame."""
    if not data:
        return b"%d %s 0\n" % (txnr, command)
    return b"%d %s %d %s\n" % (txnr, command, len(data), data)


def encode_answers(first_txnr: int, count: int) -> bytes:
    """``200 OK`` for `count` consecutive frames, for one write.  Wraps after `TXNR_MAX`."""
    last = first_txnr + count - 1
    if last > TXNR_MAX:
        before = TXNR_MAX - first_txnr + 1
        return encode_answers(first_txnr, before) + encode_answers(1, count - before)
    return encode_consecutive_answers(first_txnr, count)


def encode_last_answer(first_txnr: int, count: int) -> bytes:
    """``200 OK`` for the last of `count` consecutive frames, which stands for all."""
    return encode_answers((first_txnr + count - 2) % TXNR_MAX + 1, 1) if count else b""
