"""Compressed blocks of messages, between two relays that have agreed on them at `open`.

    1 open … syslogrelay_compress=zstd
    1 rsp  … syslogrelay_compress=zstd
    FIRST syslogrelayz LENGTH SP block LF

The blocks of a connection are parts of one zstd frame, each flushed to its end, so a message gets
short by what is like it in the blocks before, as far as the window reaches.  A block that begins
with zstd's magic number begins a new frame, which knows nothing of the old one: the first block
does, and any other one may.  (Within a frame nothing begins so: it would be a raw block of 390,821
bytes, and 128 KiB is the most.)

The content of a block is messages, each ended by LF.  FIRST is the number of the first, and the
others follow.  Inside of messages, LF is written FF 01 and FF is written FF 02.  Frames may stand
between blocks: a message that is longer than a block does.

The receiver answers messages in order, and since it has agreed on blocks an answer of 200 stands
for all messages before it as well.

A block that breaks a rule ends the session.  No more than `BLOCK_BYTES_MAX`, nor `RATIO_MAX` times
the length of the block, is decompressed of one, and a frame may not ask for a window of more than
`WINDOW_BYTES_MAX`.  `Contexts` bounds how many connections have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import zstandard

from relay.codec import encode_syslog, fitting
from relay.model.errors import RelpError
from relay.wire.relp.frame import HEADER, HEADER_SO_FAR, encode_frame

COMPRESS_OFFER = b"syslogrelay_compress=zstd"
BLOCK_BYTES_MAX = 256 * 1024
"""Most bytes of a block, and of what is in it."""
BLOCK_RECORDS_MAX = 8192
"""Most messages in a block."""
RATIO_MAX = 1000
"""Most bytes of content for each byte of a block."""
WINDOW_BYTES_MAX = 256 * 1024
"""How far back a block may refer.  Decompressing takes about 430 KB of memory with that."""
UNPACKED_BYTES_ENOUGH = 1024 * 1024
"""After so many bytes, blocks that have come as well wait for the next call."""

_COMMAND = b"syslogrelayz"
_MAGIC = zstandard.FRAME_HEADER
# Payloads in a block, which escapes make longer.  The receiver begins with a block when all of it
# has come: at 10 Mbit/s one of 192 KiB would take 35 ms, and with it each answer.
_RUN_BYTES_MAX = 32 * 1024
_WORTH_BYTES_MIN = 64  # a header and the end of a zstd block take up to 40
_RECORD_BYTES = 32  # what a message takes in memory beside its bytes


def takes_zstd(offers: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Whether the other end offers blocks."""
    name, _, value = COMPRESS_OFFER.partition(b"=")
    return value in offers.get(name, ())


class Contexts:
    """Counts the connections that may send blocks, since each needs memory.

    Args:
        most: Of them at a time.
    """

    def __init__(self, most: int = 512) -> None:
        self.most = most
        self._taken = 0

    def take(self) -> bool:
        """Whether one more may; then it has to `give_back`."""
        is_free = self._taken < self.most
        self._taken += is_free
        return is_free

    def give_back(self) -> None:
        self._taken -= 1


class Packer:
    """Writes the messages of one connection in blocks.

    Args:
        level: Of zstd, 1 to 19.
    """

    def __init__(self, level: int) -> None:
        window_log = WINDOW_BYTES_MAX.bit_length() - 1
        self._parameters = zstandard.ZstdCompressionParameters.from_level(
            level, window_log=window_log
        )
        self._frame: zstandard.ZstdCompressionObj | None = None  # of which blocks are parts

    def encode_syslog(self, first_txnr: int, payloads: Sequence[bytes]) -> bytes:
        """`payloads`, numbered from `first_txnr`, in blocks where they fit."""
        packed: list[bytes] = []
        start, count = 0, len(payloads)
        while start < count:
            stop = min(count, start + BLOCK_RECORDS_MAX)
            stop = start + max(1, fitting(payloads, start, stop, _RUN_BYTES_MAX))
            run = payloads[start:stop]
            packed.append(self._block(first_txnr + start, run))
            start = stop
        return b"".join(packed)

    def _block(self, first_txnr: int, payloads: Sequence[bytes]) -> bytes:
        content = _content_of(payloads)
        if not _WORTH_BYTES_MIN <= len(content) <= BLOCK_BYTES_MAX:
            return encode_syslog(first_txnr, payloads)
        if self._frame is None:
            compressor = zstandard.ZstdCompressor(compression_params=self._parameters)
            self._frame = compressor.compressobj()
        block = self._frame.compress(content)
        block += self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        if len(content) > RATIO_MAX * len(block):
            self._frame = None  # in which it is now, and the other end does not get it
            return encode_syslog(first_txnr, payloads)
        return encode_frame(first_txnr, _COMMAND, block)


def _content_of(payloads: Sequence[bytes]) -> bytes:
    content = b"\n".join(payloads)
    if b"\xff" in content or content.count(b"\n") >= len(payloads):
        escaped = (each.replace(b"\xff", b"\xff\2").replace(b"\n", b"\xff\1") for each in payloads)
        content = b"\n".join(escaped)
    return content + b"\n"


class Block(NamedTuple):
    first_txnr: int
    messages: list[bytes]


class _BrokenRule(Exception):
    """Says what a block does."""


class _Sink:
    """Takes what is decompressed of one block after another.

    Attributes:
        room: How many bytes more of the block it takes.
    """

    def __init__(self) -> None:
        self.room = 0
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise _BrokenRule(
                f"has more than {BLOCK_BYTES_MAX} bytes in it, or than {RATIO_MAX} times its length"
            )
        self._parts.append(data)
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class Unpacker:
    """Finds blocks in a stream of frames, and takes their messages out.

    Attributes:
        error: The rule that a block has broken; nothing more is taken then.
    """

    def __init__(self) -> None:
        self.error: RelpError | None = None
        self._sink = _Sink()
        self._frame: zstandard.ZstdDecompressionWriter | None = None  # of which blocks are parts
        self._buffer = b""  # of which no whole block or header was taken yet
        self._plain_bytes: int | None = 0  # to come of a frame outside of blocks; None = all
        self._is_enough = False

    @property
    def kept_bytes(self) -> int:
        """Bytes that were not returned yet."""
        return len(self._buffer)

    @property
    def has_more(self) -> bool:
        """Whether there may be more without any bytes to come: call `feed` with none."""
        return self._is_enough and self.error is None

    def feed(self, chunk: bytes) -> Iterator[bytes | Block]:
        """Take the next bytes of the stream; yields blocks, and the bytes between them."""
        buffer, self._buffer = self._buffer + chunk, b""
        start = begin = unpacked = 0  # what is before `start` is to be returned from `begin` on
        while start < len(buffer) and self.error is None and unpacked < UNPACKED_BYTES_ENOUGH:
            if self._plain_bytes is None or self._plain_bytes:
                size = len(buffer) - start
                if self._plain_bytes is not None:
                    size = min(size, self._plain_bytes)
                    self._plain_bytes -= size
                start += size
                continue
            header = HEADER.match(buffer, start)
            if header is None:
                if HEADER_SO_FAR.match(buffer, start):
                    break
                self._plain_bytes = None  # whoever decodes it says what is wrong with it
                continue
            length = int(header[3] or 0)
            if header[2] != _COMMAND:
                self._plain_bytes = header.end() - start + (header[4] == b" ") * (length + 1)
                continue
            if begin < start:
                yield buffer[begin:start]
                begin = start
            stop = header.end() + length + 1
            has_data = length and header[4] == b" "
            if has_data and length <= BLOCK_BYTES_MAX and stop > len(buffer):
                break
            try:
                content = self._content(buffer[header.end() : stop] if has_data else b"", length)
                messages = _messages_in(content)
            except _BrokenRule as error:
                self.error = RelpError(f"a compressed block {error}")
                break
            unpacked += len(content) + _RECORD_BYTES * len(messages)
            yield Block(int(header[1]), messages)
            start = begin = stop
        if begin < start and self.error is None:
            yield buffer[begin:start]
        self._buffer = buffer[start:]
        self._is_enough = unpacked >= UNPACKED_BYTES_ENOUGH and start < len(buffer)

    def _content(self, data: bytes, length: int) -> bytes:
        """What is in a block, which LF ends."""
        if not data:
            raise _BrokenRule("is empty")
        if length > BLOCK_BYTES_MAX:
            raise _BrokenRule(f"has {length} bytes, at most {BLOCK_BYTES_MAX} are allowed")
        if data[-1:] != b"\n":
            raise _BrokenRule(f"has no LF after {length} bytes")
        if data.startswith(_MAGIC):
            decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
            # What is in a block has to come out in one piece, or zstd keeps some of it back.
            self._frame = decompressor.stream_writer(
                self._sink,  # type: ignore[arg-type]  # write is all that it needs
                write_size=BLOCK_BYTES_MAX + 1,
                closefd=False,
            )
        elif self._frame is None:
            raise _BrokenRule("goes on where none has begun")
        self._sink.room = min(BLOCK_BYTES_MAX, RATIO_MAX * length)
        try:
            self._frame.write(data[:-1])
        except (zstandard.ZstdError, MemoryError) as error:
            raise _BrokenRule(f"cannot be decompressed: {error}") from error
        return self._sink.take()


def _messages_in(content: bytes) -> list[bytes]:
    """The messages that are the content of a block."""
    if content[-1:] != b"\n":
        raise _BrokenRule("ends inside a message")
    if (count := content.count(b"\n")) > BLOCK_RECORDS_MAX:
        raise _BrokenRule(f"has {count} messages, at most {BLOCK_RECORDS_MAX} are allowed")
    messages = content[:-1].split(b"\n")
    if not all(messages):
        raise _BrokenRule("has an empty message in it")
    if (escapes := content.count(b"\xff")) == 0:
        return messages
    if escapes != content.count(b"\xff\1") + content.count(b"\xff\2"):
        raise _BrokenRule("has FF before something else than 01 or 02")
    return [each.replace(b"\xff\1", b"\n").replace(b"\xff\2", b"\xff") for each in messages]
