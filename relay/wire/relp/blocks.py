"""Compressed blocks of RELP frames, between two relays that have agreed on them at `open`.

    1 open … syslogrelay_compress=zstd
    1 rsp  … syslogrelay_compress=zstd
    0 syslogrelayz LENGTH SP block LF

A block is one zstd frame with whole RELP frames in it, numbered as if they stood there themselves,
and answered like them.  It has a txnr of 0, as hints have, since it has no answer of its own.
Frames may also stand between blocks: what compresses badly does, and what is longer than a block.

A block that breaks a rule ends the session, before its content takes any memory: its header has to
say how long that is, and that this is no more than `BLOCK_BYTES_MAX` nor `RATIO_MAX` times as long
as the block.  No more than it says is decompressed, in a window that is no longer either.  A block
in a block is an unknown command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import zstandard

from relay.codec import encode_syslog, fitting
from relay.model.errors import RelpError
from relay.wire.relp.frame import HEADER, HEADER_SO_FAR, encode_frame

COMPRESS_OFFER = b"syslogrelay_compress=zstd"
BLOCK_BYTES_MAX = 256 * 1024
"""Most bytes of frames in a block."""
RATIO_MAX = 1000
"""Most bytes of frames for each byte of a block."""
UNPACKED_BYTES_ENOUGH = 1024 * 1024
"""After so many bytes, blocks that have come as well wait for the next call."""

_COMMAND = b"syslogrelayz"
_WORTH_BYTES_MIN = 200  # less hardly gets smaller
# Payloads in a block: with 29 bytes at most around each, they fit.
_RUN_BYTES_MAX, _RUN_RECORDS_MAX = 192 * 1024, 2048


def takes_zstd(offers: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Whether the other end offers blocks."""
    name, _, value = COMPRESS_OFFER.partition(b"=")
    return value in offers.get(name, ())


class Packer:
    """Writes messages in blocks.

    Args:
        level: Of zstd, 1 to 19.
    """

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)

    def encode_syslog(self, first_txnr: int, payloads: Sequence[bytes]) -> bytes:
        """`payloads` as ``syslog`` frames numbered from `first_txnr`, in blocks where that is
        shorter."""
        packed: list[bytes] = []
        start, count = 0, len(payloads)
        while start < count:
            fits = fitting(payloads, start, count, _RUN_BYTES_MAX)
            stop = start + max(1, min(fits, _RUN_RECORDS_MAX))
            packed.append(self.pack(encode_syslog(first_txnr + start, payloads[start:stop])))
            start = stop
        return b"".join(packed)

    def pack(self, frames: bytes) -> bytes:
        """`frames`, which are whole, as a block if that is shorter and allowed."""
        if not _WORTH_BYTES_MIN <= len(frames) <= BLOCK_BYTES_MAX:
            return frames
        content = self._compressor.compress(frames)
        block = encode_frame(0, _COMMAND, content)
        return block if len(block) < len(frames) <= RATIO_MAX * len(content) else frames


class Unpacker:
    """Finds blocks in a stream of frames, and takes their frames out.

    Attributes:
        error: The rule that a block has broken; nothing more is taken then.
    """

    def __init__(self) -> None:
        self.error: RelpError | None = None
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=BLOCK_BYTES_MAX)
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

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bool]]:
        """Take the next bytes of the stream.

        Yields:
            Bytes of frames, and whether they were a block: whole frames then.
        """
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
            if header[2] != _COMMAND or int(header[1]):
                self._plain_bytes = header.end() - start + (header[4] == b" ") * (length + 1)
                continue
            if begin < start:
                yield buffer[begin:start], False
                begin = start
            stop = header.end() + length + 1
            if not length or header[4] != b" ":
                self._fail("is empty")
                break
            if length <= BLOCK_BYTES_MAX and stop > len(buffer):
                break
            if content := self._content(buffer[header.end() : stop], length):
                unpacked += len(content)
                yield content, True
            start = begin = stop
        if begin < start and self.error is None:
            yield buffer[begin:start], False
        self._buffer = buffer[start:]
        self._is_enough = unpacked >= UNPACKED_BYTES_ENOUGH and start < len(buffer)

    def _content(self, data: bytes, length: int) -> bytes:
        """The frames in a block, which LF ends; empty if it breaks a rule: `error` says which."""
        if length > BLOCK_BYTES_MAX:
            return self._fail(f"has {length} bytes, at most {BLOCK_BYTES_MAX} are allowed")
        if data[-1:] != b"\n":
            return self._fail(f"has no LF after {length} bytes")
        block = data[:-1]
        try:
            stated = zstandard.get_frame_parameters(block)
            size = stated.content_size
            if not 0 < size <= BLOCK_BYTES_MAX:
                return self._fail(f"does not say that it has 1 to {BLOCK_BYTES_MAX} bytes in it")
            if size > RATIO_MAX * length:
                return self._fail(
                    f"has {size} bytes in {length}, more than {RATIO_MAX} times as many"
                )
            if stated.window_size > BLOCK_BYTES_MAX or stated.dict_id:
                return self._fail("needs a window that is too long, or a dictionary")
            content = self._decompressor.decompress(block, allow_extra_data=False)
        except (zstandard.ZstdError, MemoryError) as error:
            return self._fail(f"cannot be decompressed: {error}")
        if len(content) != size:
            return self._fail(f"has {len(content)} bytes in it, and says {size}")
        return content

    def _fail(self, reason: str) -> bytes:
        self.error = RelpError(f"a compressed block {reason}")
        return b""
