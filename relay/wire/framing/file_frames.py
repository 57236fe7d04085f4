"""Read the messages of a whole file: lines, or frames with octet counting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from relay.model.errors import FramingError
from relay.wire.framing.boundaries import SEPARATORS

_COUNT_DIGITS_MAX = 10
_SKIPPED_BYTES = 64 * 1024  # read at once of what is above the limit


def lines_in(file: IO[bytes], frame_bytes_max: int) -> Iterator[bytes]:
    """The lines of `file`, without LF or CR LF, cut to the limit; not the empty ones."""
    while read := file.readline(frame_bytes_max + 2):
        line = read.removesuffix(b"\n").removesuffix(b"\r")[:frame_bytes_max]
        while read and not read.endswith(b"\n"):
            read = file.readline(_SKIPPED_BYTES)
        if line:
            yield line


def counted_frames_in(file: IO[bytes], frame_bytes_max: int) -> Iterator[bytes]:
    """The frames ``MSG-LEN SP SYSLOG-MSG`` of `file` (RFC 6587 §3.4.1), cut to the limit.

    Counts may have leading zeros, frames may be empty and have LF, CR or NUL between them.

    Raises:
        FramingError: Something else was found, or the file ends within a frame.  There is
            no point to resynchronise at.
    """
    while (length := _read_count(file)) is not None:
        frame = file.read(min(length, frame_bytes_max))
        missing = length - len(frame)
        if missing and len(frame) < frame_bytes_max:
            raise FramingError(f"the file ends {missing} bytes before the end of a frame")
        if frame:
            yield frame
        while missing:
            skipped = len(file.read(min(missing, _SKIPPED_BYTES)))
            if not skipped:
                raise FramingError(f"the file ends {missing} bytes before the end of a frame")
            missing -= skipped


def _read_count(file: IO[bytes]) -> int | None:
    """Read MSG-LEN and SP; None at the end of the file."""
    text = b""
    while (byte := file.read(1)).isdigit() or (byte and byte in SEPARATORS and not text):
        if byte.isdigit():
            text += byte
    if not byte and not text:
        return None
    if byte != b" " or not 0 < len(text) <= _COUNT_DIGITS_MAX:
        found = text + byte + file.read(20)
        raise FramingError(
            f"expected a length in bytes and a space (octet counting), found {found[:20]!r}"
        )
    return int(text)
