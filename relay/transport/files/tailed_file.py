"""One open file, which may grow, be truncated, renamed or deleted meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable

from relay.transport.files.search import Identity, identity_of
from relay.wire.file_position import HEAD_BYTES_MAX, FilePosition, fingerprint_of
from relay.wire.framing.charset import HEAD_BYTES
from relay.wire.framing.lines import LineDecoder

CHUNK_BYTES = 65536
NewDecoder = Callable[[int, bytes], LineDecoder]
"""Makes the decoder of a file that is read from an offset on, given the file's first bytes."""


class TailedFile:
    """A file that is being read.

    Every call may block for as long as the disk takes, and raise OSError.

    Args:
        fd: Open for reading; closed by `close`.
        path: Where it was found; it keeps that name in messages.
        offset: Where to begin.
        now: Seconds; the unit of `grown_at`.
    """

    def __init__(
        self, fd: int, *, path: str, offset: int, new_decoder: NewDecoder, now: float
    ) -> None:
        self.path = path
        self.identity: Identity = identity_of(os.fstat(fd))
        self.decoder = new_decoder(offset, _head_of(fd))
        self.stored = offset
        """Offset as of the last commit."""
        self.size = 0
        """As of the last look."""
        self.is_deleted = False
        """No path leads to it any more."""
        self.grown_at = now
        """When something was last read from it."""
        self.gone_since: float | None = None
        """When its path was first seen to lead elsewhere or nowhere."""
        self.is_busy = False
        """A batch waits for its commit."""
        self.is_queued = False
        """It waits for its turn."""
        self.is_ending = False
        """The batch that waits for its commit is its last."""
        self._fd = fd
        self._new_decoder = new_decoder
        self._seen: tuple[int, int] | None = None  # size and time of change at the last read
        # The first bytes, as long as they are before `decoder.read`.
        self._head = os.pread(fd, min(HEAD_BYTES_MAX, offset), 0)

    @property
    def behind_bytes(self) -> int:
        """Bytes not yet in the queue, as of the last check."""
        return max(0, self.size - self.stored)

    def has_changed(self) -> bool:
        """Whether the file may have changed since the last `read`."""
        status = os.fstat(self._fd)
        self.size = status.st_size
        self.is_deleted = status.st_nlink == 0
        return (status.st_size, status.st_mtime_ns) != self._seen

    def was_truncated(self) -> bool:
        """Whether the file no longer holds the bytes read from it.

        Undetected: a file that has grown again to the same size or more, and begins with the
        same 256 bytes.
        """
        status = os.fstat(self._fd)
        self.size = status.st_size
        self._seen = status.st_size, status.st_mtime_ns
        if status.st_size < self.decoder.read:
            return True
        return os.pread(self._fd, len(self._head), 0) != self._head

    def read(self) -> bytes:
        """The next bytes, at most `CHUNK_BYTES`."""
        chunk = os.pread(self._fd, CHUNK_BYTES, self.decoder.read)
        if len(self._head) < HEAD_BYTES_MAX:
            self._head += chunk[: HEAD_BYTES_MAX - len(self._head)]
        return chunk

    def begin_again(self) -> None:
        """Read from the start."""
        self.decoder = self._new_decoder(0, b"")
        self._head = b""

    def position(self) -> FilePosition:
        """The end of the lines that the decoder has handed over."""
        offset = self.decoder.position
        head = self._head[:offset]
        return FilePosition(self.path, *self.identity, offset, fingerprint_of(head), len(head))

    def close(self) -> None:
        os.close(self._fd)


def fits(fd: int, position: FilePosition) -> bool:
    """Whether `fd` is the file that was read up to `position`, and still holds that."""
    if os.fstat(fd).st_size < position.offset:
        return False
    head = os.pread(fd, min(HEAD_BYTES_MAX, position.fingerprint_bytes), 0)
    return len(head) == position.fingerprint_bytes and fingerprint_of(head) == position.fingerprint


def start_of_last_line(fd: int, new_decoder: NewDecoder) -> int:
    """The start of the incomplete last line; the end of the file if there is none.

    A line of which more than `CHUNK_BYTES` are there counts as complete.
    """
    size = os.fstat(fd).st_size
    line_feed = new_decoder(size, _head_of(fd)).line_feed
    unit = len(line_feed)
    start = max(0, size - CHUNK_BYTES) // unit * unit
    tail = os.pread(fd, size - start, start)
    at = tail.rfind(line_feed)
    while at >= 0 and at % unit:  # bytes of two characters
        at = tail.rfind(line_feed, 0, at + unit - 1)
    if at < 0:
        return size // unit * unit if start else 0
    return start + at + unit


def _head_of(fd: int) -> bytes:
    return os.pread(fd, HEAD_BYTES, 0)
