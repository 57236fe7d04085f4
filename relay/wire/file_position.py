"""How far a file was read, as it is stored: JSON, one object a file."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

HEAD_BYTES_MAX = 256
"""Most bytes of the beginning of a file that its fingerprint covers."""


class FilePosition(NamedTuple):
    """A file, known by device, inode and its first bytes, and how far it was read.

    The bytes tell a file from a later one that was given the same inode.
    """

    path: str
    """The path that it was found at, with surrogates for bytes that are not UTF-8."""
    device: int
    inode: int
    offset: int
    """End of the last line or message that was handed over."""
    fingerprint: str = ""
    """Of its first `fingerprint_bytes` bytes."""
    fingerprint_bytes: int = 0
    gone_at: float = 0.0
    """When it was first missed (seconds since 1970-01-01 UTC); 0 = it is there."""

    @property
    def name(self) -> str:
        """The key of the position within its source."""
        return f"{self.device:x}-{self.inode:x}"

    def encode(self) -> bytes:
        # Not msgspec: it refuses surrogates.
        return json.dumps(self._asdict()).encode("ascii")


def parse_position(data: bytes) -> FilePosition | None:
    """Decode the output of `FilePosition.encode`; None if it is invalid."""
    try:
        position = FilePosition(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (position.path, position.fingerprint)
    numbers = (position.device, position.inode, position.offset, position.fingerprint_bytes)
    if not all(isinstance(text, str) for text in texts):
        return None
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return None
    return position if isinstance(position.gone_at, int | float) else None


def fingerprint_of(head: bytes) -> str:
    """The fingerprint of a file that begins with `head`."""
    return hashlib.sha256(head).hexdigest()[:32] if head else ""
