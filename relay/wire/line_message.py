"""Make messages of lines of text files."""

from __future__ import annotations

from datetime import UTC

from relay.wire.headers.rfc5424 import format_header
from relay.wire.headers.structured_data import escape_value
from relay.wire.headers.timestamp import format_epoch

# 32473 is the enterprise number that RFC 5612 sets aside for documentation; there is
# none that is ours.
_SD_ID = b"syslogrelay@32473"


class LineFormat:
    """A message of RFC 5424 for each line; the line is its MSG, byte by byte.

    Args:
        pri: 0 to 191.
        hostname: This relay's name.
        tag: APP-NAME; empty = the name of the file without its last suffix.
    """

    def __init__(self, *, pri: int, hostname: bytes, tag: bytes = b"") -> None:
        self._pri = pri
        self._hostname = hostname
        self._tag = tag

    def frames(self, lines: list[bytes], *, path: bytes, read_at: float) -> list[bytes]:
        r"""A frame for each line; an empty line stays empty.

        Args:
            path: Of the file; bytes that are not UTF-8 are written as in ``\xff``.
            read_at: Seconds since 1970-01-01 UTC.
        """
        # PARAM-VALUE is UTF-8 (§6.3.3).
        name = path.decode("utf-8", "backslashreplace").encode()
        header = format_header(
            self._pri,
            format_epoch(read_at, UTC),
            self._hostname,
            self._tag or tag_of(name),
            None,
            None,
            b'[%s file="%s"]' % (_SD_ID, escape_value(name)),
        )
        start = header + b" "
        return [start + line if line else b"" for line in lines]


def tag_of(path: bytes) -> bytes:
    """The name of the file at `path` without its last suffix."""
    name = path.rpartition(b"/")[2]
    stem = name.rpartition(b".")[0]
    return stem or name
