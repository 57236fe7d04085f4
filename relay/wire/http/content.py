"""Bodies of requests as they were before they were compressed, within a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import zstandard

from relay.model.text import printable, size

_WINDOW_BYTES_MAX = 8 * 2**20  # RFC 9659: what everybody has to take, and nobody may exceed
_STEP_BYTES = 256 * 1024


EVENTS_MAX = 100_000
"""In one request: two bytes are enough for an event, which then takes a hundred."""
NODES_MAX = 10 * EVENTS_MAX
"""Objects and arrays in one request, which are held while it is read."""
PARTS_MAX = 256
"""Members of gzip, or frames of zstd, in one body; each costs a copy of what follows it."""


class ContentError(Exception):
    """A body that cannot be taken.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def decoded(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Decompress a body.

    Args:
        encoding: Value of Content-Encoding; empty = none.
        bytes_max: Of the result.

    Raises:
        ContentError: The encoding is unknown (415), the body is damaged (400) or becomes too
            long (413); never more than `bytes_max` and a step are held.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    steps = _ENCODINGS.get(name)
    if steps is None:
        raise ContentError(
            415,
            f"Content-Encoding is {printable(encoding)!r}, expected gzip, zstd, deflate or none",
        )
    parts, total = [], 0
    try:
        for part in steps(body):
            total += len(part)
            if total > bytes_max:
                raise too_long(bytes_max)
            parts.append(part)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise ContentError(400, f"the body is no valid {name}: {printable(str(error))}") from None
    return b"".join(parts)


def too_long(bytes_max: int) -> ContentError:
    return ContentError(
        413, f"the body is longer than body_bytes_max ({size(bytes_max)}); send smaller batches"
    )


def lines_of(body: bytes) -> list[bytes]:
    """The lines that are not blank, with CR but without LF at their ends; ContentError above twice
    `EVENTS_MAX`."""
    if body.count(b"\n") > 2 * EVENTS_MAX:
        raise too_many()
    return [line for line in body.split(b"\n") if line.strip()]


def check_nodes(body: bytes) -> None:
    """Raise ContentError for JSON whose objects and arrays would take far more than its bytes."""
    if body.count(b"[") + body.count(b"{") > NODES_MAX:
        raise too_many()


def too_many() -> ContentError:
    return ContentError(413, f"more than {EVENTS_MAX:,} events at once; send smaller batches")


def _gzip(body: bytes) -> Iterator[bytes]:
    return _inflated(body, zlib.MAX_WBITS | 16)


def _deflate(body: bytes) -> Iterator[bytes]:
    """With the header that RFC 9110 §8.4.1.2 demands, or without it, as some clients send it."""
    try:
        zlib.decompressobj().decompress(body[:2])
    except zlib.error:
        return _inflated(body, -zlib.MAX_WBITS)
    return _inflated(body, zlib.MAX_WBITS)


def _inflated(body: bytes, window_bits: int) -> Iterator[bytes]:
    for _ in range(PARTS_MAX):  # gzip: members follow one another
        if not body:
            return
        inflater = zlib.decompressobj(window_bits)
        while body and not inflater.eof:
            yield inflater.decompress(body, _STEP_BYTES)
            body = inflater.unconsumed_tail
        while not inflater.eof and (rest := inflater.decompress(b"", _STEP_BYTES)):
            yield rest
        if not inflater.eof:
            raise EOFError("it ends too early")
        body = inflater.unused_data
    if body:
        raise _too_many_parts()


def _zstd(body: bytes) -> Iterator[bytes]:
    inflater = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
    with inflater.stream_reader(body, read_across_frames=True) as reader:
        while part := reader.read(_STEP_BYTES):
            yield part
    # The reader takes a frame that was cut off for the end; now that the size is known to be
    # within its limit, each frame is read again for its end.
    for _ in range(PARTS_MAX):
        if not body:
            return
        frame = inflater.decompressobj()
        frame.decompress(body)
        if not frame.eof:
            raise EOFError("it ends too early")
        body = frame.unused_data
    if body:
        raise _too_many_parts()


def _too_many_parts() -> ContentError:
    return ContentError(
        413, f"the compressed body has more than {PARTS_MAX} parts; compress it as a whole"
    )


_ENCODINGS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    **dict.fromkeys(("gzip", "x-gzip"), _gzip),
    "deflate": _deflate,
    "zstd": _zstd,
}
